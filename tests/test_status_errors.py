"""Status errors: the class, code and message for each response from status 400 on."""

import json
import pickle

import pytest
from multidict import CIMultiDict

from customers_async import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TokenExpiredError,
    UnprocessableEntityError,
)
from customers_async.calls.endpoints import page_request
from customers_async.calls.responses import Response
from customers_async.calls.status_errors import status_error


def make_error(status: int, body: bytes = b"", *, expired: bool = False, **fields: str) -> APIStatusError:
    """Return the error for a response with this status, body and headers."""
    headers = CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})
    response = Response(status, headers, body, secrets=["s3cret"])
    return status_error(response, page_request(1, 100).path, expired=expired, attempts=2)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (418, APIStatusError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
        (999, APIStatusError),
    ],
)
def test_status_determines_the_class(status: int, kind: type[APIStatusError]) -> None:
    """The class depends on the status, whatever the body is."""
    for body in (b"", b"<html>", b"[]", b'{"message": 5, "errors": 7}', b"\xff"):
        error = make_error(status, body)
        assert type(error) is kind
        assert (error.status, error.code, error.attempts) == (status, None, 2)
        assert (error.url_path, list(error.errors)) == ("/api/v1/customers", [])


def test_error_body_is_kept() -> None:
    """``message`` is the code, ``errors`` a map or a list, and the message of a 422 names the parameter."""
    body = b'{"status":false,"status_code":422,"message":"VALIDATION_ERROR","errors":{"per_page":["Too big."]}}'
    error = make_error(422, body)
    assert (error.code, error.errors) == ("VALIDATION_ERROR", {"per_page": ["Too big."]})
    assert str(error) == "422 VALIDATION_ERROR for /api/v1/customers; per_page: Too big."
    listed = make_error(422, b'{"message":"VALIDATION_ERROR","errors":["one","two",3]}')
    assert listed.errors == ["one", "two"]
    assert str(listed).endswith("; one; two")


def test_echoed_token_is_removed() -> None:
    """The token and control characters are removed from everything the error keeps."""
    error = make_error(422, b'{"message":"bad s3cret","errors":{"s3cret":["a s3cret\\u001b"]}}')
    assert "s3cret" not in repr(vars(error)) + str(error)
    assert (error.code, error.errors) == (None, {"[hidden]": ["a [hidden]?"]})


def test_free_text_of_an_error_is_not_kept() -> None:
    """Only codes are kept, except for a 422: other text may contain customer data."""
    body = b'{"message":"insert into customers (name) values (\'Eve\')","errors":["Eve","NO_PERMISSION"]}'
    for status in (400, 500):
        error = make_error(status, body)
        assert (error.code, list(error.errors)) == (None, ["NO_PERMISSION"])
        assert "Eve" not in str(error)
    assert make_error(429, b'{"message":"Too Many Attempts."}').code == "Too Many Attempts."


def test_huge_message_is_cut() -> None:
    """Messages have at most 500 characters."""
    errors = ",".join(f'"{number}":["{"y" * 1000}"]' for number in range(50))
    error = make_error(422, b'{"message":"' + b"X" * 1000 + b'","errors":{' + errors.encode() + b"}}")
    assert len(str(error)) == 500
    assert error.code is None
    assert len(pickle.dumps(error)) < 10_000


def test_error_body_over_64_kib_is_not_parsed() -> None:
    """Millions of values would block the event loop."""
    error = make_error(422, b'{"message":"VALIDATION_ERROR","errors":[' + b'"x",' * 20_000 + b'"x"]}')
    assert (error.code, error.errors, str(error)) == (None, (), "422 for /api/v1/customers")


def test_401_for_an_expired_token_has_its_own_class() -> None:
    """The token's own ``exp`` determines the class."""
    assert type(make_error(401, expired=True)) is TokenExpiredError
    assert type(make_error(401)) is AuthenticationError
    assert "exp has passed" in str(make_error(401, expired=True))


def test_403_mentions_the_whitelist() -> None:
    """Production sends a 403 to addresses that are not whitelisted."""
    assert "whitelisted IP addresses" in str(make_error(403))


def test_429_has_a_retry_after() -> None:
    """A missing or unreadable Retry-After is a minute, a negative one 0."""
    waits = [make_error(429, Retry_After=value).retry_after for value in ("7", "-5", "soon")]
    assert [*waits, make_error(429).retry_after] == [7.0, 0.0, 60.0, 60.0]
    assert make_error(503).retry_after is None


@pytest.mark.parametrize(
    "echo",
    [
        "abcDEF+ghi=.Zz0-123_x",
        "abcDEF%2Bghi%3D.Zz0-123_x",
        "ABCDEF+GHI=.ZZ0-123_X",
        "abcDEF+ghi=.Zz0...",
        "a b c D E F + g h i = . Z z 0",
        "abcDEF&#43;ghi&#61;.Zz0-123_x",
        "token: abcDEF+ghi=.Zz0-123_x!",
    ],
)
def test_echoed_token_is_removed_in_any_spelling(echo: str) -> None:
    """A service may encode, escape, cut, space or upper-case the token that it sends back."""
    body = json.dumps({"message": echo, "errors": {"token": [echo], echo: ["bad"]}}).encode()
    error = status_error(Response(422, {}, body, secrets=["abcDEF+ghi=.Zz0-123_x"]), "/", expired=False, attempts=1)
    kept = f"{error} {error.code} {error.errors}".lower()
    assert "def" not in kept
    assert "zz0" not in kept
    assert "[hidden]" in kept
