"""The responses of the emulator's routes."""

import asyncio
import base64
from typing import Any

import pytest

from customers_async.emulator.accounts import OWNER
from tests.test_emulator import AUTH, CUSTOMERS, DOCUMENTED, read_claims, run_emulator


def error(status: int, message: str, errors: Any = None) -> dict[str, Any]:
    """Return the body of an error response."""
    return {"status": False, "status_code": status, "message": message, "errors": errors or [message]}


async def test_pages_make_up_the_list() -> None:
    """The pages together are the whole list; the last one is shorter."""
    async with run_emulator(250) as (emulator, caller):
        pages = [(await caller.page(page, per_page=100)).uuids for page in (1, 2, 3)]
        assert [len(page) for page in pages] == [100, 100, 50]
        assert [uuid for page in pages for uuid in page] == list(emulator.uuids())


async def test_page_has_15_customers_by_default() -> None:
    """Without parameters the first 15 customers are returned."""
    async with run_emulator() as (emulator, caller):
        response = await caller.get(CUSTOMERS)
        assert response.uuids == list(emulator.uuids(0, 15))
        assert response.headers["X-Api-Per-Page"] == "15"
        assert response.headers["Content-Type"] == "application/json"


async def test_page_past_the_end_is_empty() -> None:
    """A page past the end is a 200 with an empty array, like page 1 of an empty list."""
    async with run_emulator(20) as (_, caller):
        for page in (3, 2**63 - 1):
            response = await caller.page(page)
            assert (response.status, response.json) == (200, [])
            assert response.headers["X-Api-Has-More-Pages"] == "false"
    async with run_emulator(0, edition="b") as (_, caller):
        response = await caller.page()
        assert (response.json, response.headers["X-Api-Has-Has-Pages"]) == ([], "1")


async def test_page_headers_of_edition_a() -> None:
    """Edition A: booleans as words, the applied page size, X-Api-Current-Page."""
    async with run_emulator(25) as (_, caller):
        first, last = [(await caller.page(page)).headers for page in (1, 3)]
        assert {name: first[name] for name in first if name.startswith("X-Api")} == {
            "X-Api-Total": "25",
            "X-Api-Per-Page": "10",
            "X-Api-Has-More-Pages": "true",
            "X-Api-Current-Page": "1",
        }
        assert (last["X-Api-Has-More-Pages"], last["X-Api-Per-Page"]) == ("false", "10")


async def test_page_headers_of_edition_b() -> None:
    """Edition B: PHP's booleans, the number of records on this page, X-Api-Page and X-Api-Has-Has-Pages."""
    async with run_emulator(25, edition="b") as (_, caller):
        first, last = [(await caller.page(page)).headers for page in (1, 3)]
        assert {name: first[name] for name in first if name.startswith("X-Api")} == {
            "X-Api-Total": "25",
            "X-Api-Per-Page": "10",
            "X-Api-Has-More-Pages": "1",
            "X-Api-Page": "1",
            "X-Api-Has-Has-Pages": "3",
        }
        assert (last["X-Api-Has-More-Pages"], last["X-Api-Per-Page"]) == ("", "5")


INTEGER = "The {} must be an integer."
LEAST = "The {} must be at least 1."
MOST = "The {} must not be greater than 100."


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("per_page=0", {"per_page": [LEAST]}),
        ("per_page=-5", {"per_page": [LEAST]}),
        ("per_page=101", {"per_page": [MOST]}),
        ("per_page=abc", {"per_page": [INTEGER]}),
        ("per_page=1.5", {"per_page": [INTEGER]}),
        ("per_page=1e3", {"per_page": [INTEGER, MOST]}),
        ("per_page=010", {"per_page": [INTEGER]}),
        ("per_page=", {"per_page": [INTEGER, LEAST]}),
        ("per_page=%20", {"per_page": [INTEGER, LEAST]}),
        ("per_page=%D9%A1%D9%A5", {"per_page": [INTEGER]}),
        ("per_page=%00", {"per_page": [INTEGER]}),
        ("per_page=%FF", {"per_page": [INTEGER]}),
        ("per_page[]=10", {"per_page": [INTEGER]}),
        ("per_page[a]=10", {"per_page": [INTEGER]}),
        ("per_page=10&per_page=0", {"per_page": [LEAST]}),
        ("per_page=" + "9" * 5000, {"per_page": [INTEGER, MOST]}),
        ("page=0", {"page": [LEAST]}),
        ("page=x", {"page": [INTEGER]}),
        ("page=9223372036854775808", {"page": [INTEGER]}),
        ("page=1e400", {"page": [INTEGER]}),
        ("page[]=1", {"page": [INTEGER]}),
        ("page=0&per_page=0", {"per_page": [LEAST], "page": [LEAST]}),
    ],
)
async def test_invalid_query_is_a_422(query: str, errors: dict[str, list[str]]) -> None:
    """An invalid page or page size gets Laravel's messages."""
    async with run_emulator() as (_, caller):
        response = await caller.get(f"{CUSTOMERS}?{query}")
    expected = {name: [text.format(name.replace("_", " ")) for text in texts] for name, texts in errors.items()}
    assert response.json == error(422, "VALIDATION_ERROR", expected)
    assert response.status == 422


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("per_page=1", 1),
        ("per_page=100", 100),
        ("per_page=%2B20", 20),
        ("per_page=%2020%20", 20),
        ("per_page=0&per_page=20", 20),
        ("per_page[]=0&per_page=20", 20),
        ("page=1&other=x", 15),
        ("page=%2B1", 15),
    ],
)
async def test_query_is_read_like_php(query: str, count: int) -> None:
    """The last of repeated values counts, a plus sign is allowed, spaces and unknown names are ignored."""
    async with run_emulator() as (_, caller):
        response = await caller.get(f"{CUSTOMERS}?{query}")
    assert (response.status, len(response.json)) == (200, count)


async def test_get_customer() -> None:
    """Each customer on the list is found by uuid, with the same content."""
    async with run_emulator(30) as (_, caller):
        for customer in (await caller.page(2)).json:
            response = await caller.get(f"{CUSTOMERS}/{customer['uuid']}")
            assert (response.status, response.json) == (200, customer)


@pytest.mark.parametrize(
    "uuid",
    [
        "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2h",
        "E1F8A3B1-7D6C-4E9A-9B2E-3F8D1A9C5F2G",
        "00000000-0000-0000-0000-000000000000",
        "-",
        "abc",
        "%00",
        "%FF%FE",
        "..%2Fauth",
        "%E2%82%AC",
    ],
)
async def test_unknown_uuid_is_a_404(uuid: str) -> None:
    """An unknown uuid, malformed or not, is not found."""
    async with run_emulator() as (_, caller):
        response = await caller.get(f"{CUSTOMERS}/{uuid}")
    assert (response.status, response.json) == (404, error(404, "NOT_FOUND"))


async def test_get_owner() -> None:
    """The authentication route returns the token's owner."""
    async with run_emulator() as (emulator, caller):
        assert (await caller.get(AUTH)).json == OWNER
        assert read_claims(emulator.token)["sub"] == OWNER["uuid"]


@pytest.mark.parametrize("path", ["/", "/api/v1", "/api/v1/customers/", "/api/v1/customers/a/b", "/login", "/%FF"])
async def test_unknown_path_is_a_404(path: str) -> None:
    """Unknown paths get the error body, without a token too."""
    async with run_emulator() as (_, caller):
        response = await caller.get(path, headers={"Authorization": ""})
    assert (response.status, response.json) == (404, error(404, "NOT_FOUND"))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", [CUSTOMERS, DOCUMENTED, AUTH])
async def test_other_methods_are_a_405(method: str, path: str) -> None:
    """The Allow header lists GET and HEAD."""
    async with run_emulator() as (_, caller):
        response = await caller.get(path, method=method)
    assert (response.status, response.json) == (405, error(405, "METHOD_NOT_ALLOWED"))
    assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}


async def test_head_has_the_headers_of_get() -> None:
    """As in Laravel, HEAD gets the headers of GET and no body."""
    async with run_emulator() as (_, caller):
        response = await caller.get(CUSTOMERS, method="HEAD")
    assert (response.status, response.body, response.headers["X-Api-Total"]) == (200, b"", "250")


async def test_description_is_public() -> None:
    """The OpenAPI description is served without a token."""
    async with run_emulator() as (_, caller):
        response = await caller.get("/openapi.yaml", headers={"Authorization": ""})
    assert response.body.startswith(b"openapi: 3.1.0")
    assert response.headers["Content-Type"] == "application/yaml"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer not.a.token",
        "Bearer {0}x",
        "{0}",
        "Bearer {0} {0}",
        "Token {0}",
    ],
)
async def test_invalid_token_is_a_401(authorization: str) -> None:
    """A missing, malformed or unknown token is rejected."""
    async with run_emulator() as (emulator, caller):
        headers = {"Authorization": authorization.format(emulator.token)}
        response = await caller.get(AUTH, headers=headers)
    assert (response.status, response.json) == (401, error(401, "UNAUTHORIZED"))


async def test_token_is_signed_and_has_no_expiry() -> None:
    """By default a token is an HS256 JWT without exp, since the API does not promise that claim."""
    async with run_emulator() as (emulator, _):
        header = emulator.token.split(".")[0]
        assert base64.urlsafe_b64decode(header + "==") == b'{"alg":"HS256","typ":"JWT"}'
        assert set(read_claims(emulator.token)) == {"sub", "iat", "jti"}


async def test_token_with_a_lifetime_expires() -> None:
    """With token_lifetime the token has an exp claim, expires then, and is replaced by a new one."""
    async with run_emulator(token_lifetime=100) as (emulator, caller):
        token = emulator.token
        assert read_claims(token)["exp"] - read_claims(token)["iat"] == 100
        await asyncio.sleep(99)
        assert (await caller.get(AUTH)).status == 200
        assert emulator.token == token
        await asyncio.sleep(2)
        assert (await caller.get(AUTH)).status == 401
        fresh = {"Authorization": f"Bearer {emulator.token}"}
        assert (await caller.get(AUTH, headers=fresh)).status == 200


async def test_tokens_are_issued_and_revoked() -> None:
    """Several tokens can be valid at a time; a revoked one is rejected."""
    async with run_emulator() as (emulator, caller):
        second = emulator.issue_token(lifetime=50)
        assert "exp" in read_claims(second)
        headers = {"Authorization": f"bearer {second}"}
        assert (await caller.get(AUTH, headers=headers)).status == 200
        emulator.revoke(second)
        emulator.revoke("unknown")
        assert (await caller.get(AUTH, headers=headers)).status == 401
        assert (await caller.get(AUTH)).status == 200


async def test_tokens_expire_after_a_number_of_requests() -> None:
    """After that number of requests the current tokens are rejected, and a new one is available."""
    async with run_emulator() as (emulator, caller):
        old = emulator.token
        emulator.expire_token(after=2)
        later = emulator.issue_token()
        assert [(await caller.get(AUTH)).status for _ in range(3)] == [200, 200, 401]
        assert emulator.token != old
        for token in (later, emulator.token):
            assert (await caller.get(AUTH, headers={"Authorization": f"Bearer {token}"})).status == 200
        emulator.expire_token()
        assert (await caller.get(AUTH, headers={"Authorization": f"Bearer {later}"})).status == 401


async def test_address_not_whitelisted_is_a_403() -> None:
    """A client that is not whitelisted is rejected even with a valid token."""
    async with run_emulator() as (emulator, caller):
        emulator.whitelisted = False
        response = await caller.get(AUTH)
    assert (response.status, response.json) == (403, error(403, "NO_PERMISSION"))


async def test_login_redirect() -> None:
    """With login_redirect an invalid token is a redirect unless the request accepts JSON."""
    async with run_emulator(login_redirect=True) as (_, caller):
        browser = {"Authorization": "", "Accept": "*/*"}
        response = await caller.get(AUTH, headers=browser)
        assert (response.status, response.headers["Location"]) == (302, "/login")
        assert (await caller.get(AUTH, headers={**browser, "Accept": "application/json"})).status == 401


async def test_capped_list_ends_early() -> None:
    """A capped list returns only the first customers, though the headers count all."""
    async with run_emulator(100, capped=True, cap=45) as (emulator, caller):
        responses = [await caller.page(page, per_page=20) for page in (1, 3, 4)]
        assert [len(response.json) for response in responses] == [20, 5, 0]
        assert responses[1].uuids == list(emulator.uuids(40, 45))
        assert {response.headers["X-Api-Total"] for response in responses} == {"100"}
        assert {response.headers["X-Api-Has-More-Pages"] for response in responses} == {"true"}


async def test_capped_list_can_refuse_pages() -> None:
    """With cap_refuses pages beyond the cap are a 422."""
    async with run_emulator(100, capped=True, cap=45, cap_refuses=True) as (_, caller):
        assert len((await caller.page(3, per_page=20)).json) == 5
        response = await caller.page(4, per_page=20)
        assert response.json == error(422, "VALIDATION_ERROR", {"page": ["The page must not be greater than 3."]})


async def test_default_cap_is_ten_thousand() -> None:
    """By default a capped list ends at 10,000, as documented."""
    async with run_emulator(10_050, capped=True) as (_, caller):
        assert [len((await caller.page(page, per_page=100)).json) for page in (100, 101)] == [100, 0]


async def test_page_parameters_can_be_ignored() -> None:
    """With ignore_per_page and ignore_page other pages are returned, and the headers describe these."""
    async with run_emulator() as (emulator, caller):
        emulator.ignore_per_page = 15
        response = await caller.page(2, per_page=100)
        assert response.uuids == list(emulator.uuids(15, 30))
        assert response.headers["X-Api-Per-Page"] == "15"
        emulator.ignore_page = True
        response = await caller.page(2, per_page=100)
        assert response.uuids == list(emulator.uuids(0, 15))
        assert response.headers["X-Api-Current-Page"] == "1"


async def test_headers_can_be_replaced() -> None:
    """Headers are removed, replaced or computed in the responses that have them."""
    async with run_emulator() as (emulator, caller):
        emulator.headers["X-Api-Total"] = None
        emulator.headers["x-api-has-more-pages"] = "perhaps"
        emulator.headers["X-RateLimit-Remaining"] = lambda remaining: f"-{remaining}"
        emulator.headers["Retry-After"] = "soon"
        listed, owner = await caller.page(), await caller.get(AUTH)
        assert "X-Api-Total" not in listed.headers
        assert listed.headers["X-Api-Has-More-Pages"] == "perhaps"
        assert listed.headers["X-RateLimit-Remaining"] == "-499"
        assert "X-Api-Has-More-Pages" not in owner.headers
        assert "Retry-After" not in owner.headers
        emulator.headers.clear()
        assert (await caller.page()).headers["X-Api-Total"] == "250"


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("gzip, deflate", True),
        ("deflate;q=0.5,GZIP;q=0.1", True),
        ("*", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, deflate", False),
        ("x-gzip", False),
        ("", False),
    ],
)
async def test_responses_are_compressed_on_request(accepted: str, *, compressed: bool) -> None:
    """Responses are gzipped exactly if the request accepts it."""
    async with run_emulator() as (_, caller):
        response = await caller.page(headers={"Accept-Encoding": accepted})
    assert response.headers.get("Content-Encoding") == ("gzip" if compressed else None)
    assert len(response.json) == 10


async def test_compression_can_be_disabled() -> None:
    """With gzip=False nothing is compressed, and small responses never are."""
    async with run_emulator(gzip=False) as (emulator, caller):
        assert "Content-Encoding" not in (await caller.page()).headers
        emulator.gzip = True
        assert "Content-Encoding" in (await caller.page()).headers
        assert "Content-Encoding" not in (await caller.get(AUTH)).headers
