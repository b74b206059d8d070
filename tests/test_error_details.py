"""What errors tell beyond their message: the request id and the notes."""

import asyncio
import pickle
import re
import traceback
from typing import Any

import pytest

from customers_async import (
    APIConnectionError,
    APIResponseError,
    AuthenticationError,
    CallableToken,
    ConfigurationError,
    CustomersClient,
    CustomersError,
    IncompleteListError,
    NotFoundError,
    RateLimitError,
    RecordError,
    RetryPolicy,
    ServerError,
)
from customers_async.emulator import Emulator
from tests.faults.canary import EXAMPLE, customer, page
from tests.wire import TOKEN, hang_up, make_response, send_then, serve


def notes_of(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


async def fail(call: Any) -> CustomersError:
    with pytest.raises(CustomersError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize(
    "name", ["X_Request_Id", "X_Correlation_Id", "Request_Id", "X_Amzn_RequestId", "X_Amzn_Trace_Id", "CF_Ray"]
)
async def test_request_id_is_read_from_the_usual_headers(name: str) -> None:
    """Services and proxies use several names."""
    async with serve(make_response(b"{}", "404 No", **{name: "Root=1-67/89:ab.c_d"})) as (client, _):
        assert (await fail(client.get_customer(EXAMPLE))).request_id == "Root=1-67/89:ab.c_d"


RESPONSES = {
    "a status": (b"{}", "500 Oh", ServerError),
    "a rate limit": (b"{}", "429 Many", RateLimitError),
    "a rejected token": (b"{}", "401 No", AuthenticationError),
    "a redirect": (b"", "302 Found", APIResponseError),
    "HTML": (b"<html>", "200 OK", APIResponseError),
    "another customer": (customer("00000000-0000-0000-0000-00000000000z"), "200 OK", APIResponseError),
    "too large": (b" " * 2_000, "200 OK", APIResponseError),
    "a bad record": (customer().replace(b'"name":"', b'"name":5,"x":"'), "200 OK", RecordError),
}


@pytest.mark.parametrize(("body", "status", "kind"), RESPONSES.values(), ids=RESPONSES.keys())
async def test_every_error_after_a_response_has_its_request_id(
    body: bytes, status: str, kind: type[CustomersError]
) -> None:
    """Whatever is wrong with the response, the service's log can be searched for it."""
    reply = make_response(body, status, X_Request_Id="r-1")
    once = {"retry": RetryPolicy(max_attempts=1), "max_rate_limit_wait": 0.0, "max_body": 1_000}
    async with serve(reply, **once) as (client, _):
        error = await fail(client.get_customer(EXAMPLE))
        assert type(error) is kind
        assert error.request_id == pickle.loads(pickle.dumps(error)).request_id == "r-1"


async def test_bad_records_and_cut_bodies_have_a_request_id() -> None:
    """Also a record that is set aside, and a body that ends too early."""
    rejected: list[RecordError] = []
    reply = make_response(page(b'{"uuid":5}'), X_Request_Id="r-2")
    async with serve(reply) as (client, _):
        pager = client.list_customers(on_incomplete="ignore", on_bad_record=lambda _, error: rejected.append(error))
        await pager.collect()
    assert [error.request_id for error in rejected] == ["r-2"]
    cut = send_then(make_response(page(), X_Request_Id="r-3", Content_Length="999"), hang_up)
    async with serve(cut, retry=RetryPolicy(max_attempts=1)) as (client, _):
        error = await fail(client.get_page(1))
        assert isinstance(error, APIConnectionError)
        assert error.request_id == "r-3"


@pytest.mark.parametrize(
    "value",
    [
        TOKEN,
        f"a{TOKEN[5:20]}b",
        TOKEN[:12].upper(),
        EXAMPLE,
        f"id-{EXAMPLE.upper()}",
        f"id:{EXAMPLE.replace('-', '')}",
        EXAMPLE.replace("-", "/"),
        "a b",
        "a" * 129,
        "<b>",
        "é",
        "",
        "a;b",
    ],
)
async def test_unsafe_request_id_is_dropped(value: str) -> None:
    """It contains the token or a part of it, the requested uuid, or characters that no request id needs."""
    async with serve(make_response(b"{}", "404 No", X_Request_Id=value)) as (client, _):
        assert (await fail(client.get_customer(EXAMPLE))).request_id is None


async def test_next_header_is_read_if_the_first_is_unsafe() -> None:
    """A proxy may use another header than the service."""
    reply = make_response(b"{}", "404 No", X_Request_Id=EXAMPLE, CF_Ray="8f-AMS")
    async with serve(reply) as (client, _):
        assert (await fail(client.get_customer(EXAMPLE))).request_id == "8f-AMS"


async def test_notes_name_page_attempts_and_what_to_do(
    emulator: Emulator, client: CustomersClient, impatient: RetryPolicy
) -> None:
    """They are part of the printed traceback."""
    emulator.fail_next(503, page=2, times=None)
    error = await fail(client.with_options(retry=impatient).list_customers().collect())
    assert notes_of(error) == [
        "The request was for page 2 of the list.",
        "It failed at attempt 4 of at most 4.",
        "The cause may pass: try again later.",
        "To resume the listing, iterate the same pager again, or begin another one with first_page=2 and per_page=100.",
    ]
    printed = "".join(traceback.format_exception(error))
    assert printed.endswith("\n".join(["", *notes_of(error), ""]))


async def test_expected_error_has_no_notes(client: CustomersClient) -> None:
    """There is nothing to add to a 404."""
    assert notes_of(await fail(client.get_customer("00000000-0000-0000-0000-00000000000z"))) == []


async def test_notes_say_when_to_try_again(emulator: Emulator, client: CustomersClient) -> None:
    """For the rate limit, also which setting waits for it."""
    emulator.rate_limit(1)
    await client.whoami()
    error = await fail(client.with_options(max_rate_limit_wait=0).whoami())
    [note] = notes_of(error)
    assert re.fullmatch(r"Try again after 6[01] s\. A larger max_rate_limit_wait would wait for it\.", note)
    async with serve(make_response(b"{}", "503 No", Retry_After="900")) as (other, _):
        assert notes_of(await fail(other.whoami())) == ["Try again after 900 s."]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 501])
async def test_notes_advise_a_retry_only_if_it_may_help(status: int) -> None:
    """Whatever headers come with it."""
    async with serve(make_response(b"{}", f"{status} No", Retry_After="30")) as (client, _):
        error = await fail(client.whoami())
        assert (error.retryable, error.retry_after, notes_of(error)) == (False, 30.0, [])


async def test_notes_are_not_repeated_and_not_shared(emulator: Emulator, client: CustomersClient) -> None:
    """Each of several waiters gets a copy with notes of its own; pickles and resumed listings keep them as they are."""
    emulator.fail_next(500, times=None)
    once = client.with_options(retry=RetryPolicy(max_attempts=1))
    errors: list[Any] = await asyncio.gather(*(once.get_customer(EXAMPLE) for _ in range(3)), return_exceptions=True)
    errors[0].add_note("mine")
    expected = ["The cause may pass: try again later."]
    assert [notes_of(error) for error in errors] == [[*expected, "mine"], expected, expected]
    assert notes_of(pickle.loads(pickle.dumps(errors[1]))) == expected
    pager = once.list_customers()
    for _ in range(3):
        notes = notes_of(await fail(anext(pager)))
        assert len(notes) == len(set(notes)) == 3


async def test_error_that_is_raised_again_gets_its_notes_once(emulator: Emulator) -> None:
    """A token source may raise the same object each time; it is not about a page."""
    refusal = ConfigurationError("the vault is sealed")

    async def refuse() -> str:
        raise refusal

    async with CustomersClient(CallableToken(refuse), base_url=emulator.url) as client:
        pager = client.list_customers()
        for _ in range(3):
            assert await fail(anext(pager)) is refusal
    assert len(notes_of(refusal)) == 1


async def test_unreadable_page_is_named(emulator: Emulator, client: CustomersClient) -> None:
    """The note also helps where the message does not name the page."""
    emulator.fail_next("html", page=3)
    error = await fail(client.list_customers(ordered=False).collect())
    assert "The request was for page 3 of the list." in notes_of(error)
    assert any("such as a proxy" in note for note in notes_of(error))


async def test_bad_record_says_how_to_continue(emulator: Emulator, client: CustomersClient) -> None:
    """The note is for listings only."""
    emulator.touch(3, name=5)
    error = await fail(client.list_customers().collect())
    assert notes_of(error) == [
        "The request was for page 1 of the list.",
        "To set such records aside, pass on_bad_record to list_customers.",
        "To resume the listing, iterate the same pager again, or begin another one with first_page=1 and per_page=100.",
    ]
    assert notes_of(await fail(client.get_customer(next(emulator.uuids(3))))) == []


@pytest.mark.parametrize(("options", "page"), [({"per_page": 25}, 2), ({"limit": 25}, 1)])
async def test_resume_note_names_the_page_size(
    emulator: Emulator, client: CustomersClient, options: dict[str, Any], page: int
) -> None:
    """With another size the page begins elsewhere: a listing with ``first_page`` alone would skip customers."""
    emulator.fail_next(400, page=page)
    error = await fail(client.list_customers(**options).collect())
    assert notes_of(error)[-1].endswith(f" with first_page={page} and per_page=25.")


async def test_incomplete_list_says_what_to_do(emulator: Emulator, client: CustomersClient) -> None:
    """The note depends on the verdict."""
    emulator.capped, emulator.cap = True, 100
    error = await fail(client.list_customers(on_incomplete="raise").collect())
    assert isinstance(error, IncompleteListError)
    assert notes_of(error) == [
        "The service returns no more customers than these. Listing again does not help: ask the vendor."
    ]


async def test_not_found_in_a_batch_has_no_traceback(client: CustomersClient) -> None:
    """Errors of results carry the request's details, but not its frames."""
    [result] = [result async for result in client.get_customers(["00000000-0000-0000-0000-00000000000z"])]
    assert isinstance(result.error, NotFoundError)
    assert result.error.__traceback__ is None
