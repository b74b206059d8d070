"""``customers-async emulator``: runs an emulator until it is interrupted."""

import asyncio
import os
import shlex
import socket
from pathlib import Path
from typing import Literal

from customers_async.cli.connection import Flag, translate_usage_errors
from customers_async.cli.output import count, print_message, write
from customers_async.emulator import Emulator
from customers_async.emulator.addresses import is_loopback, is_unspecified

__all__ = ["emulate"]

_TOKENS_VARIABLE = "CUSTOMERS_EMULATOR_TOKENS"
_CONTROL_VARIABLE = "CUSTOMERS_EMULATOR_CONTROL_TOKEN"


async def emulate(
    *,
    customers: int = 1000,
    records: Path | None = None,
    tokens_file: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    control: Flag = False,
    limit: int = 500,
    window: float = 60.0,
    edition: Literal["a", "b"] = "a",
    seed: int = 1,
    shared_address: Flag = False,
    capped: Flag = False,
    latency: float = 0.0,
    token_lifetime: float | None = None,
) -> None:
    """Run an emulator of the service on this machine until Ctrl-C.

    Args:
        customers: Customers on the list.
        records: A file of customers to serve instead of invented ones: JSON Lines or a JSON array, in the service's
            form.
        tokens_file: A file of tokens to accept, separated by white space. TOKEN=COUNT gives a token a list of its own
            of COUNT customers. Default: $CUSTOMERS_EMULATOR_TOKENS, else one new token.
        host: The address to listen on; 0.0.0.0 makes it reachable from other machines.
        port: The port to listen on; 0 chooses a free one.
        control: Serve a page and a JSON API at /_emulator that script faults and changes. If other machines can reach
            it, it requires the token in $CUSTOMERS_EMULATOR_CONTROL_TOKEN, by default a new one.
        limit: Requests allowed in each rate-limit window.
        window: Length of that window in seconds.
        edition: The edition of the vendor's documentation whose X-Api-* headers are sent.
        seed: The seed from which customers are generated.
        shared_address: Count the requests of all clients together, as if they were behind one address. Each container
            has an address of its own.
        capped: Serve only the first 10,000 customers, with a total that counts all.
        latency: Seconds before each response.
        token_lifetime: Seconds until the token expires; by default it never does.
    """
    with translate_usage_errors():
        emulator = Emulator(
            customers=customers,
            records=records,
            tokens=_read_tokens(tokens_file),
            host=host,
            port=port,
            control=control,
            control_token=os.environ.get(_CONTROL_VARIABLE) or None,
            limit=limit,
            window=window,
            edition=edition,
            seed=seed,
            shared_address=shared_address,
            capped=capped,
            latency=latency,
            token_lifetime=token_lifetime,
        )
    async with emulator:
        _announce(emulator)
        url, token = shlex.quote(emulator.url), shlex.quote(emulator.token)
        await write(f"export CUSTOMERS_BASE_URL={url} CUSTOMERS_TOKEN={token}\n")
        try:
            await asyncio.Event().wait()
        finally:
            stats = emulator.stats
            print_message(f"{count(stats.requests, 'request')}, {stats.statuses[429]:,} answered with 429")


def _read_tokens(path: Path | None) -> dict[str, int | None] | None:
    """Read the tokens and the lengths of their lists; None if none are given.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not text, or there is no token in it. The message repeats none.
    """
    if path is None:
        text = os.environ.get(_TOKENS_VARIABLE, "")
        return dict(map(_parse_token, text.split())) or None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        text = ""
    tokens = dict(map(_parse_token, text.split()))
    if not tokens:
        raise ValueError(f"there is no token in {path}")
    return tokens


def _parse_token(word: str) -> tuple[str, int | None]:
    token, _, size = word.rpartition("=")
    return (token, int(size)) if token and size.isdecimal() and len(size) < 19 else (word, None)


def _announce(emulator: Emulator) -> None:
    """Print where the emulator listens, and how to reach it."""
    served = count(emulator.total, "customer")
    print_message(f"{served} at {emulator.url}; run this line in another terminal, and stop with Ctrl-C")
    if is_unspecified(emulator.host):
        name, port = socket.gethostname(), emulator.url.rpartition(":")[2]
        print_message(f"from other machines: http://{name}:{port}, with CUSTOMERS_ALLOW_HTTP={name}")
    if emulator.control:
        token = "" if is_loopback(emulator.host) else f", with the token {emulator.control_token}"
        print_message(f"control: {emulator.url}/_emulator{token}")
