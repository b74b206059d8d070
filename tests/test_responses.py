"""Parsing responses: headers and body encoding."""

import email.utils
import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from customers_async import APIConnectionError, APIResponseError
from customers_async.calls.bodies import decode_body
from customers_async.calls.endpoints import customer_request, page_request
from customers_async.calls.responses import (
    PageMetadata,
    Response,
    read_page_metadata,
    read_rate_limit,
    read_retry_after,
    response_error,
)


def headers(**fields: str) -> CIMultiDict[str]:
    return CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})


def test_requests_match_the_reference() -> None:
    """Paths and queries are as documented, and the route has a placeholder for the uuid."""
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
    """Edition A and edition B are read; missing and garbled headers are None."""
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
    """PHP sends "1" or nothing; a comparison with "true" alone would end every listing after page 1."""
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
def test_any_retry_after_is_read(value: str, seconds: float | None) -> None:
    """Numbers and dates are seconds, anything else is None; nothing raises."""
    response = headers(Retry_After=value, Date="Wed, 21 Oct 2015 07:28:00 GMT")
    assert read_retry_after(response) == (seconds if seconds is None else pytest.approx(seconds))


def test_retry_after_date_without_a_date_header_uses_the_local_clock() -> None:
    """The local clock is used if the server sends no usable Date."""
    value = email.utils.formatdate(email.utils.localtime().timestamp() + 30, usegmt=True)
    seconds = read_retry_after(headers(Retry_After=value))
    assert seconds is not None
    assert 25 < seconds <= 31
    assert read_retry_after(headers(Retry_After=value, Date="nonsense")) is not None


@given(st.text(max_size=30))
def test_any_header_value_is_read(value: str) -> None:
    """Any text in any header is read or ignored."""
    given_headers = CIMultiDict(dict.fromkeys(("Retry-After", "Date", "X-RateLimit-Limit", "X-Api-Total"), value))
    read_retry_after(given_headers)
    read_rate_limit(given_headers)
    read_page_metadata(given_headers)


def test_rate_limit_headers_are_read() -> None:
    """A negative Remaining, which older Laravel versions can send, is 0; a limit of 0 is ignored."""
    full = headers(X_RateLimit_Limit="500", X_RateLimit_Remaining="499")
    assert read_rate_limit(full) == (500, 499)
    odd = headers(X_RateLimit_Limit="0", X_RateLimit_Remaining="-3", Retry_After="4")
    assert read_rate_limit(odd) == (None, 0)
    assert read_rate_limit(headers(X_RateLimit_Remaining="?")) == (None, None)


@pytest.mark.parametrize("status", [201, 204, 206, 301, 302, 304])
def test_other_statuses_below_400_are_errors(status: int) -> None:
    """Only 200 has data, and a redirect is not followed."""
    error = response_error(Response(status, headers(Content_Type="application/json"), b"[]", secrets=["s3cret"]))
    assert error is not None
    assert (error.status, error.content_type) == (status, "application/json")
    assert ("redirect" in str(error)) is (status in (301, 302))


def test_unusual_content_type_is_not_kept() -> None:
    """A header may echo anything, so the error keeps only a plain media type."""
    for content_type in ("s3cret", "text/S3CRET", "text/html" + "x" * 100):
        error = response_error(Response(204, headers(Content_Type=content_type), b"", secrets=["s3cret"]))
        assert error is not None
        assert error.content_type is None


def test_html_and_empty_bodies_are_errors() -> None:
    """An HTML page or an empty body under 200 is an error with status and content type."""
    for content_type, body in (("text/html; charset=utf-8", b"[]"), ("application/json", b"")):
        error = response_error(Response(200, headers(Content_Type=content_type), body, secrets=["s3cret"]))
        assert isinstance(error, APIResponseError)
        assert (error.status, error.content_type) == (200, content_type.partition(";")[0])
    assert response_error(Response(200, headers(), b"[]", secrets=["s3cret"])) is None


@pytest.mark.usefixtures("_with_and_without_isal")
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
    """The encodings that the client accepts are decoded."""
    assert decode_body(Response(200, headers(Content_Encoding=encoding), body), 100).body == b"[1]"


@pytest.mark.usefixtures("_with_and_without_isal")
def test_truncated_gzip_body_is_a_connection_error() -> None:
    """Aiohttp would return the part received; a cut body is retried."""
    body = gzip.compress(b"[" + b"1," * 1000 + b"1]")[:-9]
    with pytest.raises(APIConnectionError, match="cut short"):
        decode_body(Response(200, headers(Content_Encoding="gzip"), body), 10_000)
    garbage = gzip.compress(b"[]") + b"garbage"
    with pytest.raises(APIResponseError, match="not compressed as"):
        decode_body(Response(200, headers(Content_Encoding="gzip"), garbage), 10_000)
    assert decode_body(Response(429, headers(Content_Encoding="gzip"), body), 10_000).body == b""


def test_decompression_bomb_stops_at_max_body() -> None:
    """A body that decompresses to more than ``max_body`` is refused after that many bytes."""
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
def test_undecodable_body_is_an_error(fields: dict[str, str]) -> None:
    """Unknown encodings, invalid gzip and unknown charsets are errors; from status 400 on the body is empty."""
    with pytest.raises(APIResponseError) as caught:
        decode_body(Response(200, headers(**fields), b"plain"), 100)
    assert caught.value.status == 200
    assert decode_body(Response(500, headers(**fields), b"plain"), 100).body == b""


@pytest.mark.parametrize(
    ("parameters", "charset"),
    [
        ("; Charset=utf-16", "utf-16"),
        (";CHARSET = UTF-16", "utf-16"),
        ('; charset="utf-16"', "utf-16"),
        ("; version=1;charset=utf-16; x=y", "utf-16"),
        ("; charset=utf-16, application/json; charset=utf-16", "utf-16"),
        ("; mycharset=utf-16", "utf-8"),
        ('; x="charset=utf-16"', "utf-8"),
        ('; x="; charset=utf-16"', "utf-8"),
        ('; x="\\"; charset=utf-16"', "utf-8"),
        ('; x="charset=utf-16"; charset=latin-1', "latin-1"),
        ("; charset", "utf-8"),
        ("; charset=", "utf-8"),
        (" charset=utf-16", "utf-8"),
    ],
)
def test_charset_is_a_parameter_of_its_own(parameters: str, charset: str) -> None:
    """Its name may be in capitals; what only looks like it, such as a part of another value, is none."""
    response = Response(200, headers(Content_Type=f"application/json{parameters}"), '["é"]'.encode(charset))
    assert decode_body(response, 100).body.decode() == '["é"]'


def test_other_charsets_are_decoded_as_declared() -> None:
    """A body in UTF-16 or Latin-1 becomes UTF-8; a body that does not match its charset is refused."""
    for charset in ("utf-16", "latin-1", '"iso-8859-1"'):
        body = '["é"]'.encode(charset.strip('"'))
        response = Response(200, headers(Content_Type=f"application/json; charset={charset}"), body)
        assert decode_body(response, 100).body.decode() == '["é"]'
    with pytest.raises(APIResponseError, match="not text in the charset"):
        decode_body(Response(200, headers(Content_Type="application/json; charset=utf-16"), b"\x00"), 100)
