"""What `probe` found out, before anything is concluded from it."""

import math

import attrs

from customers_async.calls.responses import Response, read_date
from customers_async.errors import CustomersError

__all__ = ["Certificate", "DoctorFacts", "SentRequest", "Step", "TokenFacts"]


@attrs.frozen
class TokenFacts:
    """What is known of the token, without the token.

    Attributes:
        origin: Where it comes from, such as ``$CUSTOMERS_TOKEN``.
        problem: Why there is none, or None.
        is_jwt: Whether it has the form of a JWT.
        expires: Its ``exp`` in Unix seconds; infinity if it has none.
    """

    origin: str
    problem: str | None = None
    is_jwt: bool = False
    expires: float = math.inf


@attrs.frozen
class Step:
    """One step towards the server.

    Attributes:
        problem: Why it failed, or None.
        detail: What it found, such as an address.
        seconds: How long it took.
    """

    problem: str | None = None
    detail: str = ""
    seconds: float = 0.0


@attrs.frozen
class Certificate:
    """The server's certificate, or the failure of TLS.

    Attributes:
        version: The version of TLS, such as ``TLSv1.3``; empty if it failed.
        expires: When the certificate expires, in Unix seconds; infinity if that is not known.
        failure: What failed, and what to do where that is known; or None.
        is_local: Whether the failure is in a file of this machine.
    """

    version: str = ""
    expires: float = math.inf
    failure: str | None = None
    is_local: bool = False


@attrs.frozen
class SentRequest:
    """One request and what came of it.

    Attributes:
        path: The path of the request.
        seconds: The time from sending to the last byte.
        received_at: When the response arrived, in Unix seconds by this machine's clock.
        response: The response, whatever its status, or None.
        error: Why there is no response, or why it is not what this API sends; or None.
    """

    path: str
    seconds: float
    received_at: float
    response: Response | None = None
    error: CustomersError | None = None

    @property
    def is_data(self) -> bool:
        """Whether the response is what this API sends for a valid request."""
        return self.error is None and self.response is not None and self.response.status == 200


@attrs.define
class DoctorFacts:
    """Everything that was found out; None for what was not tried.

    Attributes:
        now: The time by this machine's clock, in Unix seconds.
        token: The token.
        url: The base URL, empty if it is not valid.
        url_problem: What is wrong with the base URL, or None.
        proxy: Host and port of the proxy, or an empty text; ``dns`` and ``tcp`` are then about the proxy.
        ignored_proxies: The environment variables that name a proxy, which the client does not use.
        dns: Whether the name of the server, or of the proxy, is known.
        tcp: Whether its port accepts connections.
        tls: The server's certificate; None also with a proxy, unless a file of this machine cannot be used.
        owner: The request for the token's owner.
        page: The request for the first page of the list.
        beyond: The request for the customers beyond the first 10,000.
    """

    now: float
    token: TokenFacts
    url: str = ""
    url_problem: str | None = None
    proxy: str = ""
    ignored_proxies: tuple[str, ...] = ()
    dns: Step | None = None
    tcp: Step | None = None
    tls: Certificate | None = None
    owner: SentRequest | None = None
    page: SentRequest | None = None
    beyond: SentRequest | None = None

    @property
    def requests(self) -> list[SentRequest]:
        """The requests that were sent, in order."""
        return [request for request in (self.owner, self.page, self.beyond) if request is not None]

    @property
    def responses(self) -> list[Response]:
        """The responses that arrived, in order."""
        return [request.response for request in self.requests if request.response is not None]

    @property
    def skew(self) -> float | None:
        """By how many seconds the service's clock is ahead of this machine's; None if that is not known."""
        for request in self.requests:
            if request.response is not None and (date := read_date(request.response.headers)) is not None:
                return date - request.received_at
        return None

    @property
    def accepted(self) -> bool:
        """Whether a response was data."""
        return any(request.is_data for request in self.requests)

    def saw(self, status: int) -> bool:
        """Whether a response had this status."""
        return any(response.status == status for response in self.responses)
