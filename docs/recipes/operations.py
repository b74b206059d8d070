"""What a web service needs in operation: a deadline for each request, a correlation id, and logs in JSON.

Wrap any ASGI application: ``app = operate(app)``.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

DEADLINE = 10.0
"""Seconds for a request: more than the client's own waits and attempts take in total, and less than the proxy's."""
_correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
_is_id = re.compile(r"[A-Za-z0-9._:-]{1,64}").fullmatch


def operate(app: App, deadline: float = DEADLINE) -> App:
    """Return the application with a correlation id and a deadline for each request."""

    async def operated(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        token = _correlation_id.set(given if _is_id(given) else str(uuid4()))
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                name = (_correlation_id.get() or "").encode()
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", name)]
            await send(message)

        try:
            async with asyncio.timeout(deadline):
                await app(scope, receive, send_with_id)
        except TimeoutError:
            if started:
                raise
            await send_with_id({"type": "http.response.start", "status": 504, "headers": []})
            await send_with_id({"type": "http.response.body", "body": b""})
        finally:
            _correlation_id.reset(token)

    return operated


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the correlation id, and with what a customers_async error says."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "correlation_id": _correlation_id.get(),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            entry["error"] = type(error).__name__
            entry["request_id"] = getattr(error, "request_id", None)
            entry["traceback"] = self.formatException(record.exc_info) if record.exc_info else None
        return json.dumps({name: value for name, value in entry.items() if value is not None}, ensure_ascii=False)


def log_as_json(level: int = logging.INFO) -> None:
    """Write all log records to stderr as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
