"""The checks of what the service sent. No I/O."""

from collections import Counter
from collections.abc import Mapping
from statistics import median

from customers_async.calls.responses import Response, read_page_metadata, read_rate_limit, read_retry_after
from customers_async.checks import RESULT_CAP
from customers_async.doctor.facts import DoctorFacts, SentRequest
from customers_async.doctor.finding import RENEW, Finding, format_duration, format_seconds, skip
from customers_async.doctor.records import describe_records
from customers_async.errors import APIResponseError, APITimeoutError, CustomersError
from customers_async.exit_codes import API, CREDENTIALS

__all__ = ["SERVICE_CHECKS"]

_SKEW = 10.0
"""Seconds by which the clocks of two machines may differ."""
_SLOW = 2.0
"""Seconds."""
_OTHER_SERVER = "check the base URL: a proxy, a login page or another server may respond"


def _check_response(facts: DoctorFacts) -> Finding:
    if not facts.requests:
        reason = "there is no token" if facts.token.problem is not None else "there is no connection"
        return skip("response", reason)
    for request in facts.requests:
        if problem := _find_response_problem(request, is_beyond=request is facts.beyond):
            message, remedy = problem
            return Finding("response", "failed", message, remedy, API)
    return Finding("response", "ok", "the server responds as the API does")


def _find_response_problem(request: SentRequest, *, is_beyond: bool) -> tuple[str, str | None] | None:
    """Return what is wrong with a response, and what else to do; statuses with a check of their own are not."""
    error, response, path = request.error, request.response, request.path
    if response is None:
        return f"{error}", _find_remedy(error)
    if error is not None:
        return f"{error}, for {path}", _OTHER_SERVER
    if response.status < 400 or response.status in (401, 403, 429) or (is_beyond and response.status == 422):
        return None
    html = " as an HTML page" if "html" in response.headers.get("Content-Type", "").lower() else ""
    if response.status >= 500:
        return f"status {response.status}{html} for {path}", "the service fails: run it again later"
    return f"status {response.status}{html} for {path}", "check the base URL: another server may respond"


def _find_remedy(error: CustomersError | None) -> str | None:
    """Return what to do if there is no response; None if the error says it."""
    match error:
        case APITimeoutError():
            return "run it again; --timeout allows more time"
        case CustomersError(retryable=True):
            return "run it again; a proxy or the server ends connections early"
        case APIResponseError():
            return _OTHER_SERVER
    return None


def _check_authentication(facts: DoctorFacts) -> Finding:
    if facts.saw(401):
        message = "401: the service refuses the token"
        return Finding("authentication", "failed", message, f"is it revoked or expired? {RENEW}", CREDENTIALS)
    if facts.accepted:
        return Finding("authentication", "ok", "the service accepts the token")
    return skip("authentication", "the service did not say")


def _check_whitelist(facts: DoctorFacts) -> Finding:
    if facts.saw(403):
        remedy = "add this machine's public address to the IP whitelist in the vendor's dashboard"
        message = "403: the service refuses this machine's address, or the token has no permission"
        return Finding("whitelist", "failed", message, remedy, CREDENTIALS)
    if facts.accepted:
        return Finding("whitelist", "ok", "the service accepts this machine's address")
    return skip("whitelist", "the service did not say")


def _check_clock(facts: DoctorFacts) -> Finding:
    skew = facts.skew
    if skew is None:
        return skip("clock", "no response names the time")
    if abs(skew) <= _SKEW:
        return Finding("clock", "ok", f"this machine's clock agrees with the service's, within {_SKEW:g} s")
    direction = "behind" if skew > 0 else "ahead of"
    message = f"this machine's clock is {format_duration(abs(skew))} {direction} the service's"
    return Finding("clock", "warning", message, "synchronize it: the expiry of the token is judged by it")


def _check_rate_limit(facts: DoctorFacts) -> Finding:
    readings = [read_rate_limit(response.headers) for response in facts.responses]
    if facts.saw(429):
        wait = read_retry_after(facts.responses[-1].headers)
        again = "" if wait is None else f"; it says to wait for {format_duration(max(wait, 0.0))}"
        remedy = "wait; other programs behind the same address can leave requests by --reserve"
        return Finding("rate_limit", "failed", f"429: the rate limit is used up{again}", remedy, API)
    known = [(limit, remaining) for limit, remaining in readings if limit is not None and remaining is not None]
    if not known:
        if not readings:
            return skip("rate_limit", "there is no response")
        remedy = "is a proxy in between? The client assumes 500 requests a minute"
        return Finding("rate_limit", "warning", "the responses do not name the rate limit", remedy)
    (limit, first), (_, last) = known[0], known[-1]
    others = max(first - last - len(known) + 1, 0)
    message = f"{last} of {limit} requests are left; {max(limit - first - 1, 0)} were used before"
    message += f", and {others} meanwhile by other programs" if others else ""
    if last < max(limit // 10, 1):
        remedy = "other programs behind the same address use it: they can leave requests by --reserve"
        return Finding("rate_limit", "warning", message, remedy)
    return Finding("rate_limit", "ok", message)


def _find_page(facts: DoctorFacts) -> Response | None:
    """The first page of the list, if it is one."""
    return facts.page.response if facts.page is not None and facts.page.is_data else None


def _check_headers(facts: DoctorFacts) -> Finding:
    page = _find_page(facts)
    if page is None:
        return skip("headers", "there is no page of the list")
    metadata = read_page_metadata(page.headers)
    names = {"X-Api-Total": metadata.total, "X-Api-Has-More-Pages": metadata.has_more}
    missing = [name for name, value in names.items() if value is None]
    if missing:
        message = f"missing or unreadable: {', '.join(missing)}"
        return Finding("headers", "warning", message, "is a proxy in between? No listing can be COMPLETE without them")
    is_b = "X-Api-Page" in page.headers or page.headers.get("X-Api-Has-More-Pages", "").strip() in ("", "1")
    return Finding("headers", "ok", f"edition {'b' if is_b else 'a'} of the vendor's documentation")


def _check_cap(facts: DoctorFacts) -> Finding:
    page = _find_page(facts)
    total = None if page is None else read_page_metadata(page.headers).total
    if total is None:
        return skip("cap", "the length of the list is not known")
    if total <= RESULT_CAP:
        return Finding("cap", "ok", f"{total:,} customers, no more than the cap of {RESULT_CAP:,}")
    beyond = facts.beyond
    if beyond is None or beyond.response is None or not (beyond.is_data or beyond.response.status == 422):
        return skip("cap", "there is no response for the customers beyond it")
    if beyond.is_data and beyond.response.body.strip(b" \t\r\n[]"):
        return Finding("cap", "ok", f"{total:,} customers, also those beyond the first {RESULT_CAP:,}")
    message = f"the service lists only the first {RESULT_CAP:,} of {total:,} customers"
    return Finding("cap", "warning", message, "ask the vendor; customers whose uuids you know can be looked up")


def _check_records(facts: DoctorFacts) -> Finding:
    page = _find_page(facts)
    if page is None:
        return skip("records", "there is no page of the list")
    records = describe_records(page)
    if not records.count:
        return skip("records", "the list is empty")
    if records.misfits:
        fields = _join_counts(records.misfits)
        message = f"{sum(records.misfits.values())} of {records.count} do not fit: {fields}"
        remedy = "tell the vendor; export --rejected continues without them"
        return Finding("records", "failed", message, remedy, API)
    missing = f"missing: {_join_counts(records.missing)}" if records.missing else ""
    unknown = f"not in the documentation: {', '.join(records.unknown)}" if records.unknown else ""
    if missing or unknown:
        message = f"all of {records.count} fit; {'; '.join(filter(None, (missing, unknown)))}"
        remedy = "look for a newer version of customers-async" if unknown else "the fields are None; ask the vendor"
        return Finding("records", "warning", message, remedy)
    return Finding("records", "ok", f"all of {records.count} fit the documentation")


def _join_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in Counter(counts).most_common())


def _check_latency(facts: DoctorFacts) -> Finding:
    times = [request.seconds for request in facts.requests if request.response is not None]
    if not times:
        return skip("latency", "there is no response")
    message = f"{format_seconds(median(times))} for a request"
    if median(times) > _SLOW:
        return Finding("latency", "warning", message, "the network or the service is slow: allow time by --timeout")
    return Finding("latency", "ok", message)


SERVICE_CHECKS = (
    _check_response,
    _check_authentication,
    _check_whitelist,
    _check_clock,
    _check_rate_limit,
    _check_headers,
    _check_cap,
    _check_records,
    _check_latency,
)
"""In the order in which their failures hide one another."""
