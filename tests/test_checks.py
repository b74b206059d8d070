"""Checks of arguments."""

import pytest

from customers_async.checks import check_base_url


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/",
        "https://example.com///",
        "http://127.0.0.1:80",
        "http://[::1]:8080",
        "http://localhost/api",
        "https://example.com./",
        "https://my_host-1:443",
        "https://[::ffff:192.0.2.1]",
    ],
)
def test_good_base_urls_are_accepted(url: str) -> None:
    """Https is allowed anywhere, http on loopback; trailing slashes are removed."""
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
        "https://" + "x." * 127 + "com",
        *(f"https://{host}" for host in ("x^y", "x\\y", "x|y", "x%41y", "*", "-x", "[::1]x", "[::1].example.com")),
    ],
)
def test_bad_base_urls_are_refused(url: str) -> None:
    """A URL that could send the token unencrypted or elsewhere is refused, without repeating it."""
    with pytest.raises(ValueError, match=r"^base_url ") as caught:
        check_base_url(url)
    assert "password" not in str(caught.value)
    with pytest.raises(TypeError):
        check_base_url(5)  # type: ignore[arg-type]  # on purpose
