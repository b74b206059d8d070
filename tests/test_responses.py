"""The service's rules as pure functions: what is sent, how headers are read, what an answer means."""

import email.utils
import gzip
import pickle
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from customers_async import (
    APIConnectionError,
    APIResponseError,
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
from customers_async.calls.endpoints import customer_request, page_request
from customers_async.calls.responses import (
    PageMetadata,
    RateLimitHeaders,
    Response,
    decode_body,
    read_page_metadata,
    read_rate_limit,
    read_retry_after,
    response_error,
)
from customers_async.calls.status_errors import status_error
from customers_async.checks import check_base_url


def headers(**fields: str) -> CIMultiDict[str]:
    return CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})


def test_requests_are_what_the_reference_says() -> None:
    """Paths and queries as documented; the route names the kind without the uuid."""
    assert page_request(3, 50).target == "/api/v1/customers?per_page=50&page=3"
    request = customer_request("e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g")
    assert request.target == "/api/v1/customers/e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
    assert request.route == "/api/v1/customers/{uuid}"


@pytest.mark.parametrize(
    ("given_headers", "metadata"),
    [
        (
            headers(X_Api_Total="250", X_Api_Per_Page="100", X_Api_Has_More_Pages="true", X_Api_Current_Page="2"),
            PageMetadata(250, 100, True, 2),
        ),
        (
            headers(X_Api_Total="250", X_Api_Per_Page="50", X_Api_Has_More_Pages="", X_Api_Page="3"),
            PageMetadata(250, 50, False, 3),
        ),
        (headers(x_api_total=" 7 ", X_Api_Has_More_Pages="1"), PageMetadata(7, None, True, None)),
        (headers(), PageMetadata(None, None, None, None)),
        (
            headers(X_Api_Total="many", X_Api_Per_Page="0", X_Api_Has_More_Pages="perhaps", X_Api_Current_Page="-1"),
            PageMetadata(None, None, None, None),
        ),
        (headers(X_Api_Total="1" * 5000, X_Api_Per_Page="١٢"), PageMetadata(None, None, None, None)),
    ],
)
def test_both_editions_of_the_page_headers_are_read(given_headers: Any, metadata: PageMetadata) -> None:
    """Edition A, edition B, and what is missing or garbled, which is None."""
    assert read_page_metadata(given_headers) == metadata


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("1", True),
        ("true", True),
        ("True", True),
        ("YES", True),
        ("0", False),
        ("false", False),
        ("", False),
        ("no", None),
    ],
)
def test_has_more_is_read_in_all_its_forms(word: str, meaning: bool | None) -> None:
    """A PHP boolean cast to text is "1" or empty; comparing with "true" would end every walk after page 1."""
    assert read_page_metadata(headers(X_Api_Has_More_Pages=word)).has_more is meaning


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("-10", -10.0),
        ("1.5", 1.5),
        (" 3 ", 3.0),
        ("9" * 35, 1e9),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("1_000", None),
        ("0x10", None),
        ("٣", None),
        ("9" * 400, None),
        ("Wed, 21 Oct 2015 07:28:05 GMT", 5.0),
        ("Wed, 21 Oct 2015 07:27:55 GMT", -5.0),
        ("Wed, 21 Oct 100000 07:28:00 GMT", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_the_hostile_input_it_is(value: str, seconds: float | None) -> None:
    """Numbers, dates and nonsense: seconds, or None; never an exception."""
    answer = headers(Retry_After=value, Date="Wed, 21 Oct 2015 07:28:00 GMT")
    assert read_retry_after(answer) == (seconds if seconds is None else pytest.approx(seconds))


def test_a_retry_after_date_without_a_date_header_is_compared_with_our_clock() -> None:
    """Without the server's own clock the local one has to do."""
    value = email.utils.formatdate(email.utils.localtime().timestamp() + 30, usegmt=True)
    seconds = read_retry_after(headers(Retry_After=value))
    assert seconds is not None
    assert 25 < seconds <= 31
    assert read_retry_after(headers(Retry_After=value, Date="nonsense")) is not None


@given(st.text(max_size=30))
def test_no_header_value_is_a_crash(value: str) -> None:
    """Any text in any header is read as something or as nothing."""
    given_headers = CIMultiDict(dict.fromkeys(("Retry-After", "Date", "X-RateLimit-Limit", "X-Api-Total"), value))
    read_retry_after(given_headers)
    read_rate_limit(given_headers)
    read_page_metadata(given_headers)


def test_the_quota_headers_are_read() -> None:
    """A negative remainder, which older Laravel versions send under a race, is 0; a limit of 0 is no limit."""
    full = headers(X_RateLimit_Limit="500", X_RateLimit_Remaining="499")
    assert read_rate_limit(full) == RateLimitHeaders(500, 499, None)
    odd = headers(X_RateLimit_Limit="0", X_RateLimit_Remaining="-3", Retry_After="4")
    assert read_rate_limit(odd) == RateLimitHeaders(None, 0, 4.0)
    assert read_rate_limit(headers(X_RateLimit_Remaining="?")) == RateLimitHeaders(None, None, None)


def error_of(status: int, body: bytes = b"", *, expired: bool = False, **fields: str) -> APIStatusError:
    answer = Response(status, headers(**fields), body)
    return status_error(answer, page_request(1, 100).path, secret="s3cret", expired=expired, attempts=2)


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
def test_the_status_decides_the_class(status: int, kind: type[APIStatusError]) -> None:
    """Whatever the body is, the status names the error."""
    for body in (b"", b"<html>", b"[]", b'{"message": 5, "errors": 7}', b"\xff"):
        error = error_of(status, body)
        assert type(error) is kind
        assert (error.status, error.code, error.attempts) == (status, None, 2)
        assert (error.url_path, list(error.errors)) == ("/api/v1/customers", [])


def test_the_envelope_is_kept() -> None:
    """``message`` is the code; ``errors`` may be a map or a list; a 422 says in its message what was refused."""
    body = b'{"status":false,"status_code":422,"message":"VALIDATION_ERROR","errors":{"per_page":["Too big."]}}'
    error = error_of(422, body)
    assert (error.code, error.errors) == ("VALIDATION_ERROR", {"per_page": ["Too big."]})
    assert str(error) == "422 VALIDATION_ERROR for /api/v1/customers; per_page: Too big."
    listed = error_of(422, b'{"message":"VALIDATION_ERROR","errors":["one","two",3]}')
    assert listed.errors == ["one", "two"]
    assert str(listed).endswith("; one; two")


def test_a_server_that_echoes_the_token_leaks_nothing() -> None:
    """The token is struck from all that the error keeps, and control characters with it."""
    error = error_of(422, b'{"message":"bad s3cret","errors":{"s3cret":["a s3cret\\u001b"]}}')
    assert "s3cret" not in repr(vars(error)) + str(error)
    assert (error.code, error.errors) == (None, {"[token]": ["a [token]?"]})


def test_free_text_of_a_server_in_trouble_is_not_kept() -> None:
    """Save for a 422, only codes are kept: anything else might be about customers."""
    body = b'{"message":"insert into customers (name) values (\'Eve\')","errors":["Eve","NO_PERMISSION"]}'
    for status in (400, 500):
        error = error_of(status, body)
        assert (error.code, list(error.errors)) == (None, ["NO_PERMISSION"])
        assert "Eve" not in str(error)
    assert error_of(429, b'{"message":"Too Many Attempts."}').code == "Too Many Attempts."


def test_a_huge_message_is_cut() -> None:
    """Messages stay within 500 characters."""
    errors = ",".join(f'"{number}":["{"y" * 1000}"]' for number in range(50))
    error = error_of(422, b'{"message":"' + b"X" * 1000 + b'","errors":{' + errors.encode() + b"}}")
    assert len(str(error)) == 500
    assert error.code is None
    assert len(pickle.dumps(error)) < 10_000


def test_body_over_64_kib_is_not_an_envelope() -> None:
    """It is not parsed: millions of values would block the event loop."""
    error = error_of(422, b'{"message":"VALIDATION_ERROR","errors":[' + b'"x",' * 20_000 + b'"x"]}')
    assert (error.code, error.errors, str(error)) == (None, (), "422 for /api/v1/customers")


def test_a_401_names_an_expired_token() -> None:
    """The token's own ``exp`` gives the error its name."""
    assert type(error_of(401, expired=True)) is TokenExpiredError
    assert type(error_of(401)) is AuthenticationError
    assert "exp has passed" in str(error_of(401, expired=True))


def test_a_403_speaks_of_the_whitelist() -> None:
    """Production answers 403 to addresses that are not whitelisted."""
    assert "whitelisted IP addresses" in str(error_of(403))


def test_a_429_says_how_long_to_wait() -> None:
    """Absent or unreadable counts as a minute; a negative wait as none."""
    waits = [error_of(429, Retry_After=value).retry_after for value in ("7", "-5", "soon")]
    assert [*waits, error_of(429).retry_after] == [7.0, 0.0, 60.0, 60.0]
    assert error_of(503).retry_after is None


@pytest.mark.parametrize("status", [201, 204, 206, 301, 302, 304])
def test_other_statuses_below_400_are_no_data(status: int) -> None:
    """Only 200 carries data; a redirect is not followed."""
    error = response_error(Response(status, headers(Content_Type="application/json"), b"[]"), "s3cret")
    assert error is not None
    assert (error.status, error.content_type) == (status, "application/json")
    assert ("redirect" in str(error)) is (status in (301, 302))


def test_an_odd_content_type_is_not_kept() -> None:
    """A header may echo anything: the error keeps a media type, and nothing else."""
    for content_type in ("s3cret", "text/S3CRET", "text/html" + "x" * 100):
        error = response_error(Response(204, headers(Content_Type=content_type), b""), "s3cret")
        assert error is not None
        assert error.content_type is None


def test_html_and_nothing_are_no_data() -> None:
    """An HTML page or an empty body under 200 is an error with status and content type, never an empty list."""
    for content_type, body in (("text/html; charset=utf-8", b"[]"), ("application/json", b"")):
        error = response_error(Response(200, headers(Content_Type=content_type), body), "s3cret")
        assert isinstance(error, APIResponseError)
        assert (error.status, error.content_type) == (200, content_type.partition(";")[0])
    assert response_error(Response(200, headers(), b"[]"), "s3cret") is None


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"[1]", mtime=0)),
        ("gzip", gzip.compress(b"[", mtime=0) + gzip.compress(b"1]", mtime=0)),
        ("GZIP", gzip.compress(b"[1]", mtime=0)),
        ("deflate", zlib.compress(b"[1]")),
        ("identity", b"[1]"),
        ("", b"[1]"),
    ],
)
def test_bodies_are_decompressed(encoding: str, body: bytes) -> None:
    """What we accept is read."""
    assert decode_body(Response(200, headers(Content_Encoding=encoding), body), 100).body == b"[1]"


def test_a_truncated_gzip_body_is_a_connection_failure() -> None:
    """Aiohttp would hand on what is there; a cut body is tried again."""
    body = gzip.compress(b"[" + b"1," * 1000 + b"1]")[:-9]
    with pytest.raises(APIConnectionError, match="cut short"):
        decode_body(Response(200, headers(Content_Encoding="gzip"), body), 10_000)
    garbage = gzip.compress(b"[]") + b"garbage"
    with pytest.raises(APIResponseError, match="not compressed as"):
        decode_body(Response(200, headers(Content_Encoding="gzip"), garbage), 10_000)
    assert decode_body(Response(429, headers(Content_Encoding="gzip"), body), 10_000).body == b""


def test_a_bomb_stops_at_the_cap() -> None:
    """A small body that unpacks to more than ``max_body`` is refused after so many bytes."""
    bomb = gzip.compress(b"0" * 10_000_000)
    for response in (Response(200, headers(Content_Encoding="gzip"), bomb), Response(200, headers(), b"0" * 1001)):
        with pytest.raises(APIResponseError, match=r"larger than max_body \(1000 bytes\)"):
            decode_body(response, 1000)
    assert decode_body(Response(200, headers(), b"0" * 1000), 1000).body == b"0" * 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"Content_Encoding": "br"},
        {"Content_Encoding": "gzip"},
        {"Content_Type": "text/x; charset=nonsense"},
        {"Content_Type": "text/x; charset=utf-nonsense"},
        {"Content_Type": "text/x; charset=unicode_escape"},
    ],
)
def test_what_cannot_be_decoded_is_an_error(fields: dict[str, str]) -> None:
    """An unknown encoding, gzip that is not, an unknown charset; under a status of 400 and above the status rules."""
    with pytest.raises(APIResponseError) as caught:
        decode_body(Response(200, headers(**fields), b"plain"), 100)
    assert caught.value.status == 200
    assert decode_body(Response(500, headers(**fields), b"plain"), 100).body == b""


def test_other_charsets_are_decoded_as_declared() -> None:
    """A body in UTF-16 or Latin-1 becomes UTF-8; one that is not what it declares is refused."""
    for charset in ("utf-16", "latin-1", '"iso-8859-1"'):
        body = '["é"]'.encode(charset.strip('"'))
        response = Response(200, headers(Content_Type=f"application/json; charset={charset}"), body)
        assert decode_body(response, 100).body.decode() == '["é"]'
    with pytest.raises(APIResponseError, match="not text in the charset"):
        decode_body(Response(200, headers(Content_Type="application/json; charset=utf-16"), b"\x00"), 100)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/",
        "https://example.com///",
        "http://127.0.0.1:80",
        "http://[::1]:8080",
        "http://localhost/api",
    ],
)
def test_base_urls_are_accepted(url: str) -> None:
    """Https anywhere, http on loopback; trailing slashes do not matter."""
    assert check_base_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "https://",
        "https:///path",
        "ftp://example.com",
        "example.com",
        "",
        "https://user:password@example.com",
        "https://@example.com",
        "https://example.com?x=1",
        "https://example.com/?",
        "https://example.com#x",
        "https://example.com:port",
        "https://exa mple.com",
        "https://example.com/\r\nX: y",
        "https://exämple.com",
        "https://[::1",
        "https://x..example.com",
        "https://" + "x" * 64 + ".example.com",
    ],
)
def test_base_urls_are_refused(url: str) -> None:
    """What would send the token in the clear, elsewhere or nowhere is refused, without repeating it."""
    with pytest.raises(ValueError, match=r"^base_url ") as caught:
        check_base_url(url)
    assert "password" not in str(caught.value)
    with pytest.raises(TypeError):
        check_base_url(5)  # type: ignore[arg-type]  # on purpose
