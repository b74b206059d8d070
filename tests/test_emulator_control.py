"""The emulator's control: its page, its JSON API, and who may use them."""

import asyncio
import base64
import io
import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from multidict import CIMultiDictProxy

from customers_async import CustomersClient, RetryPolicy, ServerError
from customers_async.emulator import Emulator
from tests.browser import BROWSER, run_browser
from tests.test_cli import in_a_thread

PAGE, STATS = "/_emulator", "/_emulator/stats"
COMMANDS = ("fail_next", "mutate", "expire_token", "rate_limit", "reset")


@attrs.frozen
class Reply:
    status: int
    headers: CIMultiDictProxy[str]
    text: str

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.text)


@attrs.frozen
class Control:
    """A client of the control."""

    session: aiohttp.ClientSession
    base: str

    async def get(self, path: str = PAGE, **headers: str) -> Reply:
        """Send a GET request."""
        return await self._send("GET", path, headers)

    async def post(self, command: str, body: object = None, **headers: str) -> Reply:
        """Send a command, as JSON unless the body is bytes."""
        data = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        return await self._send("POST", f"{PAGE}/{command}", {"content_type": "application/json", **headers}, data)

    async def submit(self, command: str, text: str, **headers: str) -> Reply:
        """Send a form, as a browser does from the control's own page."""
        form = {"content_type": "application/x-www-form-urlencoded", "origin": self.base}
        return await self._send("POST", f"{PAGE}/{command}", form | headers, text.encode())

    async def _send(self, method: str, path: str, headers: dict[str, str], data: bytes | None = None) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, f"{self.base}{path}", headers=named, data=data and io.BytesIO(data), allow_redirects=False
        ) as response:
            return Reply(response.status, response.headers, await response.text())


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator with a control."""
    async with Emulator(customers=250, control=True) as emulator:
        yield emulator


@pytest.fixture
async def control(emulator: Emulator) -> AsyncIterator[Control]:
    """A client of its control."""
    async with aiohttp.ClientSession() as session:
        yield Control(session, emulator.url)


# The JSON API


async def test_control_is_off_by_default() -> None:
    """Its paths are unknown, and counted as such."""
    async with Emulator() as emulator, aiohttp.ClientSession() as session:
        control = Control(session, emulator.url)
        assert [(await control.get(path)).status for path in (PAGE, STATS)] == [404, 404]
        assert (await control.post("reset")).status == 404
        assert emulator.stats.requests == 3
        assert emulator.stats.unexpected == [f"GET {PAGE}", f"GET {STATS}", f"POST {PAGE}/reset"]


async def test_control_requests_are_not_part_of_the_service(control: Control, emulator: Emulator) -> None:
    """They are not limited, counted, delayed or failed."""
    emulator.rate_limit(1)
    emulator.latency = 1000.0
    emulator.fail_next(500, times=None)
    for _ in range(3):
        assert (await control.get(STATS)).status == 200
        assert (await control.post("reset", {"parts": ["stats"]})).status == 200
    assert (await control.get("/_emulator/unknown")).status == 405
    assert (emulator.stats.requests, emulator.stats.statuses, emulator.stats.unexpected) == (0, {}, [])


async def test_stats_show_what_happened_and_what_is_scripted(control: Control, emulator: Emulator) -> None:
    """Counts, the rate limit of each address, faults, and the latest responses."""
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        await client.count_customers()
    await control.post("fail_next", {"fault": "html", "times": 2, "page": 7})
    stats = (await control.get(STATS)).json
    assert (stats["requests"], stats["statuses"], stats["totals"]) == (1, {"200": 1}, [250])
    assert stats["latest"] == ["GET /api/v1/customers: 200"]
    assert stats["faults"] == ["html: the next 2 requests for page 7"]
    assert stats["pending"] == ["fail_next('html')"]
    assert stats["rate_limit"]["limit"] == 500
    assert stats["rate_limit"]["addresses"]["127.0.0.1"]["remaining"] == 499


async def test_fail_next_scripts_a_fault(control: Control, emulator: Emulator) -> None:
    """A status or a name, for so many requests."""
    assert (await control.post("fail_next", {"fault": 503, "times": None})).status == 200
    retry = RetryPolicy(max_attempts=1)
    async with CustomersClient(emulator.token, base_url=emulator.url, retry=retry) as client:
        with pytest.raises(ServerError):
            await client.whoami()
        assert (await control.post("reset", {"parts": ["faults"]})).json["faults"] == []
        await client.whoami()


async def test_mutate_changes_the_list(control: Control, emulator: Emulator) -> None:
    """Insert, delete, touch and swap do what the methods do."""
    first, second, third = emulator.uuids(0, 3)
    await control.post("mutate", {"swap": [0, 2]})
    assert list(emulator.uuids(0, 3)) == [third, second, first]
    await control.post("mutate", {"delete": 1, "insert": 2, "at": 1})
    assert (emulator.total, next(emulator.uuids(3))) == (251, first)
    await control.post("mutate", {"touch": 3, "fields": {"name": "Changed"}})
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        assert (await client.get_customer(first)).name == "Changed"


async def test_mutate_with_a_page_waits_for_it(control: Control, emulator: Emulator) -> None:
    """The change happens when that page is requested."""
    reply = await control.post("mutate", {"delete": 1, "page": 2})
    assert (reply.json["pending"], emulator.total) == (["on_page(2)"], 250)
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        await client.get_page(2)
    assert emulator.total == 249


async def test_expire_token_returns_a_new_one(control: Control, emulator: Emulator) -> None:
    """The old token is refused, so that a program's rotation can be tested."""
    old = emulator.token
    new = (await control.post("expire_token")).json["token"]
    assert new == emulator.token != old
    assert "token" not in (await control.post("expire_token", {"after": 3})).json


async def test_rate_limit_changes(control: Control) -> None:
    """The limit and the window."""
    reply = await control.post("rate_limit", {"limit": 5, "window": 1.5})
    assert reply.json["rate_limit"] == {"limit": 5, "window": 1.5, "addresses": {}}


async def test_reset_restores_the_start(control: Control, emulator: Emulator) -> None:
    """List, faults, scripted changes, tokens, rate limit and counts are as at first; one token works for ever."""
    token, uuids = emulator.token, list(emulator.uuids())
    emulator.insert(5)
    emulator.delete(7, at=9)
    emulator.touch(0, name="Changed")
    emulator.on_page(9, insert=1)
    emulator.fail_next(500)
    emulator.fail_randomly({503: 0.5})
    emulator.expire_token()
    emulator.rate_limit(1)
    async with CustomersClient(token, base_url=emulator.url) as client:
        await control.get(STATS)
        assert (await control.post("reset")).status == 200
        assert (emulator.pending, emulator.stats.requests, list(emulator.uuids())) == ([], 0, uuids)
        assert (await client.get_customer(uuids[0])).name == "John Doe"
        assert client.rate_limit.limit == 500


BAD = [
    ("fail_next", b"", 400),
    ("fail_next", b"{", 400),
    ("fail_next", b"[" * 5000, 400),
    ("fail_next", b"\xff", 400),
    ("fail_next", [], 422),
    ("fail_next", {}, 422),
    ("fail_next", {"fault": "nonsense"}, 422),
    ("fail_next", {"fault": 200}, 422),
    ("fail_next", {"fault": True}, 422),
    ("fail_next", {"fault": 500, "times": 0}, 422),
    ("fail_next", {"fault": 500, "times": "2"}, 422),
    ("fail_next", {"fault": 500, "page": 0}, 422),
    ("fail_next", {"fault": 500, "after": -1}, 422),
    ("fail_next", {"fault": 500, "path": 1}, 422),
    ("fail_next", {"fault": 500, "path": "[" * 3000}, 422),
    ("fail_next", {"fault": 500, "unknown": 1}, 422),
    ("mutate", {}, 422),
    ("mutate", {"insert": -1}, 422),
    ("mutate", {"insert": 1.5}, 422),
    ("mutate", {"insert": 10**30}, 422),
    ("mutate", {"insert": 10**12 + 1}, 422),
    ("mutate", {"delete": 1, "insert": 2**63 - 1}, 422),
    ("mutate", {"insert": 2**63 - 1, "page": 1}, 422),
    ("mutate", {"delete": 1, "insert": 1, "at": -1}, 422),
    ("mutate", {"insert": 1, "touch": 0}, 422),
    ("mutate", {"touch": 250}, 422),
    ("mutate", {"touch": 0, "fields": 1}, 422),
    ("mutate", {"touch": 0, "fields": {"position": 1}}, 422),
    ("mutate", {"touch": 0, "page": 2}, 422),
    ("mutate", {"touch": 0, "at": 2}, 422),
    ("mutate", {"swap": [0, 1], "at": 2}, 422),
    ("mutate", {"swap": [0, 1], "fields": {"name": "x"}}, 422),
    ("mutate", {"insert": 1, "fields": {"name": "x"}}, 422),
    ("mutate", {"swap": [0]}, 422),
    ("mutate", {"swap": [0, 250]}, 422),
    ("mutate", {"insert": 1, "page": 0}, 422),
    ("mutate", {"insert": 1, "token": "unknown"}, 422),
    ("expire_token", {"after": -1}, 422),
    ("expire_token", {"after": None}, 422),
    ("rate_limit", {}, 422),
    ("rate_limit", {"limit": 0}, 422),
    ("rate_limit", {"limit": 1, "window": 0}, 422),
    ("rate_limit", {"limit": 1, "window": "60"}, 422),
    ("reset", {"parts": ["everything"]}, 422),
    ("reset", {"parts": "list"}, 422),
    ("unknown", {}, 404),
]


@pytest.mark.parametrize(("command", "body", "status"), BAD)
async def test_malformed_command_gets_a_sentence(
    control: Control, emulator: Emulator, command: str, body: object, status: int
) -> None:
    """400, 404 or 422, and nothing is changed."""
    uuids = list(emulator.uuids())
    reply = await control.post(command, body)
    assert reply.status == status
    assert set(reply.json) == {"error"}
    assert len(reply.json["error"]) > 10
    assert (emulator.pending, list(emulator.uuids()), emulator.stats.requests) == ([], uuids, 0)


async def test_other_methods_and_large_bodies_are_refused(control: Control) -> None:
    """405 with the method to use, and 413."""
    wrong = await control.get("/_emulator/reset")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
    assert (await control.post("reset", b" " * 2**21)).status == 413


# Who may use it


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:80"},
        {"host": "localhost@evil.example"},
        {"host": "["},
        {"host": "evil.example", "origin": "http://evil.example"},
    ],
    ids=str,
)
async def test_other_web_pages_can_do_nothing(control: Control, emulator: Emulator, headers: dict[str, str]) -> None:
    """Neither by another origin nor by a name of their own for this machine; and they cannot read anything."""
    assert (await control.get(**headers)).status == 403
    assert (await control.post("mutate", {"insert": 1}, **headers)).status == 403
    assert (await control.submit("mutate", "insert=1", **headers)).status == 403
    assert emulator.total == 250


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/octet-stream", ""])
async def test_what_a_web_page_may_send_without_asking_is_refused(
    control: Control, emulator: Emulator, kind: str
) -> None:
    """Browsers send these types to other sites without asking them; an old one perhaps without an origin."""
    reply = await control.post("mutate", b'{"insert": 1}', content_type=kind)
    assert (reply.status, emulator.total) == (415, 250)


async def test_form_without_an_origin_is_refused(control: Control, emulator: Emulator) -> None:
    """Each browser of today sends it."""
    reply = await control.post("mutate", b"insert=1", content_type="application/x-www-form-urlencoded")
    assert (reply.status, emulator.total) == (403, 250)


async def test_names_of_this_machine_are_accepted(control: Control) -> None:
    """Whatever the port, which may be forwarded."""
    for host in ("localhost:1", "127.0.0.1", "[::1]:8000", "emulator.localhost"):
        assert (await control.get(host=host)).status == 200


def basic(secret: str) -> str:
    """Return the header of a browser that was given this password."""
    return f"Basic {base64.b64encode(f'me:{secret}'.encode()).decode()}"


async def test_other_machines_need_the_controls_token() -> None:
    """As a bearer token or as a password; the service's token does not do."""
    async with Emulator(customers=3, host="0.0.0.0", control=True) as emulator, aiohttp.ClientSession() as session:  # noqa: S104  # the address under test
        control, token = Control(session, emulator.url), emulator.control_token
        for authorization in ("", "Bearer", "Basic !", "Basic é", f"Token {token}", basic(""), basic("é")):
            assert (await control.get(authorization=authorization)).status == 401
        assert (await control.post("reset", authorization=f"Bearer {emulator.token}")).status == 401
        refused = await control.get("/_emulator/unknown")
        assert (refused.status, refused.headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
        assert "Bearer" not in refused.headers["WWW-Authenticate"]  # Chromium would not ask for the password
        for authorization in (f"Bearer {token}", f"bearer  {token} ", basic(token)):
            assert (await control.get(authorization=authorization)).status == 200
            assert (await control.post("reset", authorization=authorization, host="emulator:8000")).status == 200
        evil = await control.post("reset", authorization=basic(token), origin="http://evil.example")
        assert evil.status == 403


@pytest.mark.parametrize("header", [b"Authorization: Bearer \xff\xfe", b"Authorization: Basic \xff", b"Origin: \xff"])
async def test_header_that_is_no_text_is_refused(header: bytes) -> None:
    """As any other that does not fit."""
    async with Emulator(customers=3, host="0.0.0.0", control=True) as emulator:  # noqa: S104  # the address under test
        reader, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.rpartition(":")[2]))
        writer.write(b"GET /_emulator HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + header + b"\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
        writer.close()
        await writer.wait_closed()


async def test_no_token_is_shown() -> None:
    """Neither the service's nor the control's, in the page, the counts, a refusal or a repr."""
    async with Emulator(tokens={"a-service-token": 3}, control=True) as emulator, aiohttp.ClientSession() as session:
        control = Control(session, emulator.url)
        replies = [await control.get(), await control.get(STATS), await control.post("mutate", {"token": 1})]
        shown = "".join(reply.text for reply in replies) + repr(emulator)
        assert "a-service-token" not in shown
        assert emulator.control_token not in shown


@pytest.mark.parametrize("token", ["", "a b", "é", "a\n", 1])
def test_control_token_must_fit_a_header(token: Any) -> None:
    """The error does not repeat it."""
    with pytest.raises((TypeError, ValueError), match="control_token must be"):
        Emulator(control=True, control_token=token)


# The page


async def test_page_has_its_path_with_a_slash_too(control: Control) -> None:
    """As a person may type it."""
    assert (await control.get(f"{PAGE}/")).text == (await control.get()).text


class Tags(HTMLParser):
    """Collects the tags of a page, and the text of its list items."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def named(self, *tags: str) -> list[dict[str, str | None]]:
        """The attributes of the tags with these names."""
        return [attributes for tag, attributes in self.tags if tag in tags]


async def test_page_needs_nothing_else(control: Control) -> None:
    """No script, no resource and no link; the policy forbids them all, and the style's hash is right."""
    page = await control.get()
    tags = Tags(page.text)
    assert not tags.named("script", "link", "img", "iframe", "a", "base")
    assert all(
        "style" not in attributes and not any(n.startswith("on") for n in attributes) for _, attributes in tags.tags
    )
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["X-Content-Type-Options"] == "nosniff"


async def test_forms_of_the_page_fit_the_commands(control: Control) -> None:
    """Each form has a command, and its fields are those of the command."""
    forms = re.findall(
        r'<form method="post" action="/_emulator/(\w+)">(.*?)</form>', (await control.get()).text, re.DOTALL
    )
    assert {command for command, _ in forms} == {*COMMANDS}
    for command, form in forms:
        names = re.findall(r'name="(\w+)"', form)
        values = {"fault": "html", "limit": "5", "window": "1.5", "parts": "faults", "insert": "1", "touch": "1"}
        text = "&".join(f"{name}={values.get(name, '')}" for name in names)
        text = text.replace("swap=", "swap=1", 1).replace("swap=&", "swap=1&").replace("&swap=", "&swap=2")
        reply = await control.submit(command, text)
        assert (reply.status, reply.headers.get("Location")) == (303, PAGE), (command, text, reply.text)


async def test_form_that_is_refused_shows_why(control: Control) -> None:
    """The page again, with the reason, escaped."""
    reply = await control.submit("fail_next", "fault=%3Cscript%3E&times=null")
    assert reply.status == 422
    assert "unknown fault &#x27;&lt;script&gt;&#x27;" in reply.text


@pytest.mark.parametrize(
    "text", ["limit=%FF", "=", "limit", "limit=5&limit=x", "limit=1e9", "&" * 2000, "%", "limit=null"]
)
async def test_malformed_form_is_refused(control: Control, emulator: Emulator, text: str) -> None:
    """Whatever it contains, and whatever charset it names."""
    kind = "application/x-www-form-urlencoded; charset=nonsense"
    assert (await control.submit("rate_limit", text, content_type=kind)).status == 422
    assert emulator._service.windows.limit == 500


async def test_page_escapes_what_clients_send(control: Control, emulator: Emulator) -> None:
    """Paths and parameters of requests are text."""
    async with control.session.get(f"{emulator.url}/<script>alert(1)</script>?<b>"):
        pass
    emulator.fail_next(500, path="<i>")
    page = (await control.get()).text
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;i&gt;" in page
    assert not Tags(page).named("script", "b", "i")


async def test_page_shows_the_state(control: Control, emulator: Emulator) -> None:
    """The window, the requests, the faults and the list; of customers nothing but uuids."""
    emulator.touch(0, name="Kan4ri")
    emulator.fail_next("stall", times=None)
    emulator.on_page(3, insert=1)
    async with CustomersClient("wrong", base_url=emulator.url, timeout=1, retry=RetryPolicy(max_attempts=1)) as client:
        with pytest.raises(TimeoutError):
            await client.whoami()
    page = (await control.get()).text
    for shown in (*emulator.uuids(0, 20), "499", "all requests", "on_page(3)", "500 requests in 60 s", "127.0.0.1"):
        assert shown in page
    assert "Kan4ri" not in page


@pytest.mark.skipif(BROWSER is None, reason="headless Chromium is not installed: the page is checked by its HTML only")
@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104  # the second one requires the token
def test_page_in_a_browser(tmp_path: Path, host: str) -> None:
    """Chromium shows it without sideways scrolling, submits its forms, and reports no violation of the policy."""

    async def use(emulator: Emulator) -> list[str]:
        login = f"http://me:{emulator.control_token}@"
        async with asyncio.timeout(50), run_browser(tmp_path) as browser:
            await browser.open(f"{emulator.url.replace('http://', login)}{PAGE}")
            for width in (400, 1200):
                await browser.resize(width)
                assert await browser.evaluate("document.documentElement.scrollWidth") <= width
            await browser.click("Change the list", insert="2")
            await browser.click("Let them fail", fault="stall", times="null", page="2")
            await browser.click("Change the list")  # with nothing filled in
            assert await browser.evaluate("document.querySelector('[role=alert]').textContent")
            await browser.click("Refresh")
            assert await browser.evaluate("document.querySelector('[role=alert]')") is None
            shown: str = await browser.evaluate("document.body.innerText")
            await browser.click("Reset everything")
            assert not [text for text in browser.complaints if "status of 422" not in text]
            return shown.split("\n")

    with in_a_thread(Emulator(customers=3, control=True, host=host)) as emulator:
        emulator.stats.unexpected.append("x" * 500)
        with asyncio.Runner(debug=False, loop_factory=asyncio.SelectorEventLoop) as runner:
            shown = runner.run(use(emulator))
        assert emulator.total == 3
    assert "customers\t5" in shown
    assert "stall: all requests for page 2" in shown
