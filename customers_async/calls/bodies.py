"""Decodes bodies: decompresses them, converts them to UTF-8, and notices when they were cut short. No I/O."""

import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec

from customers_async.calls.responses import Response, read_request_id, with_location
from customers_async.errors import APIConnectionError, APIResponseError

_fast_zlib: Any = None
"""isal's counterpart of zlib, if the extra ``speed`` is installed."""
with suppress(ModuleNotFoundError):
    from isal import isal_zlib

    _fast_zlib = isal_zlib

__all__ = ["decode_body", "to_utf8", "too_large_error"]

_MAX_GZIP_MEMBERS = 10
"""A body with more gzip members is refused: what follows a member is copied, even after an empty one."""
_PIECE = 2**20
_find_parameters = re.compile(r';\s*([^\s;="]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)').findall


def decode_body(response: Response, max_body: int, *, is_raw: bool = False) -> Response:
    """Decompress the body and convert it to UTF-8; return the response.

    At most ``max_body`` bytes are decompressed, however small the body is. A byte order mark, which some PHP files
    begin with, is removed. The body of an error status that cannot be decoded becomes empty, because the status alone
    decides the error's class. A raw body, except of an error, is only decompressed.

    Raises:
        APIConnectionError: The body was cut short. It may be whole the next time.
        APIResponseError: It is too large, or not encoded as its headers say.
    """
    try:
        body = _decompress(response, max_body)
        if not is_raw or response.status >= 400:
            body = to_utf8(body, response.headers.get("Content-Type", ""))
        if response.status == 200 and (not is_raw or "json" in response.headers.get("Content-Type", "").lower()):
            _check_whole(body, response.headers)
    except (APIConnectionError, APIResponseError) as error:
        failure = error
    else:
        response.body = body
        return response
    if response.status >= 400:
        response.body = b""
        return response
    failure.request_id = read_request_id(response)
    raise with_location(failure, response) if isinstance(failure, APIResponseError) else failure


def _decompress(response: Response, max_body: int) -> bytes:
    """Return the body as it was before its ``Content-Encoding``."""
    match response.headers.get("Content-Encoding", "identity").strip().lower():
        case "identity" | "":
            if len(response.body) > max_body:
                raise too_large_error(max_body)
            return response.body
        case "gzip" | "x-gzip" | "deflate":
            return _unzip(response.body, max_body)
    raise APIResponseError("the response has an unknown Content-Encoding")


def too_large_error(max_body: int) -> APIResponseError:
    """The error for a body of more than ``max_body`` bytes."""
    return APIResponseError(f"the response is larger than max_body ({max_body} bytes)")


def _unzip(body: bytes, max_body: int) -> bytes:
    """Decompress a gzip or zlib body.

    A page takes 72 µs with zlib, and 31 with isal. What isal does not accept is tried with zlib, so that the error is
    the same.
    """
    if _fast_zlib is not None:
        with suppress(APIConnectionError, APIResponseError):
            return _unzip_members(_fast_zlib, body, max_body)
    return _unzip_members(zlib, body, max_body)


def _unzip_members(module: Any, body: bytes, max_body: int) -> bytes:
    """Decompress the members of a body, in pieces: in one call, a bomb would be held twice."""
    pieces: list[bytes] = []
    size = 0
    for _ in range(_MAX_GZIP_MEMBERS):
        decompressor = module.decompressobj(wbits=47)  # either header
        while not decompressor.eof:
            piece = _unzip_piece(decompressor, body, module.error)
            size += len(piece)
            if size > max_body:
                raise too_large_error(max_body)
            pieces.append(piece)
            body = decompressor.unconsumed_tail
        body = decompressor.unused_data
        if not body:
            return b"".join(pieces)
    raise APIResponseError("the response is compressed in too many pieces")


def _unzip_piece(decompressor: Any, body: bytes, error: type[Exception]) -> bytes:
    """Decompress up to a megabyte of the body."""
    piece: bytes | None
    try:
        piece = decompressor.decompress(body, _PIECE)
    except error:
        piece = None
    if piece is None:
        raise APIResponseError("the response is not compressed as its Content-Encoding says")
    if not piece and not decompressor.eof:
        raise APIConnectionError("the compressed response was cut short")
    return piece


def to_utf8(body: bytes, content_type: str) -> bytes:
    """Convert a body to UTF-8, without a byte order mark.

    Raises:
        APIResponseError: It is not in the charset that its type declares, or that is not used for JSON.
    """
    charset = _read_charset(content_type) if "=" in content_type else ""
    if charset in ("", "utf-8", "utf8", "us-ascii"):
        return body.removeprefix(BOM_UTF8)
    if not re.match(r"utf|iso|latin|windows|cp|koi", charset):
        raise APIResponseError("the response declares a charset that is not used for JSON")
    with suppress(LookupError, ValueError):
        return body.decode(charset).encode().removeprefix(BOM_UTF8)
    raise APIResponseError("the response is not text in the charset it declares")


@lru_cache
def _read_charset(content_type: str) -> str:
    """The ``charset`` parameter in lower case, or an empty text."""
    for name, value in _find_parameters(content_type):
        if name.lower() == "charset":
            found = re.fullmatch(r"\"?([\w.:-]+)\"?", value, re.ASCII)
            return found[1].lower() if found else ""
    return ""


def _check_whole(body: bytes, headers: Mapping[str, str]) -> None:
    """Raise if the connection's end is the only sign of the body's end, and came in the middle of the JSON."""
    if "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower():
        return
    text = body.strip()
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (ValueError, RecursionError) as error:
        begin, end = text[:1], text[-1:]
        is_open = not text or (begin == b"[" and end != b"]") or (begin == b"{" and end != b"}")
        is_cut = is_open or "truncated" in str(error)
    else:
        is_cut = False
    if is_cut:
        raise APIConnectionError("the response was cut short")
