"""A headless Chromium, driven over its DevTools protocol: what a person does with a page."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import attrs

__all__ = ["BROWSER", "Browser", "run_browser"]

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
"""The path of the browser, or None."""

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0")


@attrs.define
class Browser:
    """One page.

    Attributes:
        complaints: What the browser wrote to the page's console, such as violations of the policy.
    """

    _socket: aiohttp.ClientWebSocketResponse
    complaints: list[str] = attrs.field(factory=list)
    _numbers: "count[int]" = attrs.field(factory=lambda: count(1))
    _loaded: int = 0

    async def open(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        async with self._next_page():
            await self.send("Page.navigate", url=url)

    async def resize(self, width: int) -> None:
        """Give the page this many pixels of width."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
        )

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, which the page's policy does not concern."""
        result = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    async def click(self, button: str, **fields: str) -> None:
        """Fill in the form with the button of that text, press it, and wait for the next page."""
        form = f"[...document.querySelectorAll('button')].find(b => b.textContent == {json.dumps(button)}).form"
        for name, value in fields.items():
            await self.evaluate(f"{form}.elements[{json.dumps(name)}].value = {json.dumps(value)}")
        async with self._next_page():
            await self.evaluate(f"{form}.querySelector('button').click()")

    async def send(self, method: str, **parameters: Any) -> Any:
        """Send a command, and return its result."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while (message := await self._receive()).get("id") != number:
            pass
        assert "error" not in message, message
        return message["result"]

    @asynccontextmanager
    async def _next_page(self) -> AsyncIterator[None]:
        """Wait until what the block does has loaded a page; the event may precede the command's result."""
        loaded = self._loaded
        yield
        while self._loaded == loaded:
            await self._receive()

    async def _receive(self) -> Any:
        message = await self._socket.receive_json()
        if message.get("method") == "Page.loadEventFired":
            self._loaded += 1
        if message.get("method") == "Log.entryAdded":
            self.complaints.append(message["params"]["entry"]["text"])
        return message


@asynccontextmanager
async def run_browser(folder: Path) -> AsyncIterator[Browser]:
    """Run the browser with its files in a folder. It works in real time."""
    assert BROWSER is not None
    process = await asyncio.create_subprocess_exec(
        BROWSER,
        *_FLAGS,
        f"--user-data-dir={folder}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port = await _read_port(folder / "DevToolsActivePort")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.get("/json/list") as response:
                pages = [target for target in await response.json() if target["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                browser = Browser(socket)
                for domain in ("Page", "Log", "Runtime"):
                    await browser.send(f"{domain}.enable")
                yield browser
    finally:
        process.kill()
        await process.wait()


async def _read_port(path: Path) -> str:
    """Return the port that the browser writes into a file once it listens."""
    while not path.exists() or not path.read_text():  # noqa: ASYNC110  # no event: another process writes it
        await asyncio.sleep(0.05)
    return path.read_text().splitlines()[0]
