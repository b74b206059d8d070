"""What the emulator's routes answer."""

import asyncio
import base64
from typing import Any

import pytest

from customers_async.emulator.service import OWNER
from tests.test_emulator import AUTH, CUSTOMERS, DOCUMENTED, claims, serving


def error(status: int, message: str, errors: Any = None) -> dict[str, Any]:
    """The envelope of an error."""
    return {"status": False, "status_code": status, "message": message, "errors": errors or [message]}


async def test_the_list_is_walked_page_by_page() -> None:
    """The pages together are the whole list, the last one shorter."""
    async with serving(250) as (emulator, caller):
        pages = [(await caller.page(page, per_page=100)).uuids for page in (1, 2, 3)]
        assert [len(page) for page in pages] == [100, 100, 50]
        assert [uuid for page in pages for uuid in page] == list(emulator.uuids())


async def test_a_page_has_15_customers_unless_asked() -> None:
    """Without parameters the first 15 customers are served."""
    async with serving() as (emulator, caller):
        answer = await caller.get(CUSTOMERS)
        assert answer.uuids == list(emulator.uuids(0, 15))
        assert answer.headers["X-Api-Per-Page"] == "15"
        assert answer.headers["Content-Type"] == "application/json"


async def test_past_the_end_is_an_empty_page() -> None:
    """A page past the end is 200 and an empty array, as is page 1 of an empty list."""
    async with serving(20) as (_, caller):
        for page in (3, 2**63 - 1):
            answer = await caller.page(page)
            assert (answer.status, answer.json) == (200, [])
            assert answer.headers["X-Api-Has-More-Pages"] == "false"
    async with serving(0, edition="b") as (_, caller):
        answer = await caller.page()
        assert (answer.json, answer.headers["X-Api-Has-Has-Pages"]) == ([], "1")


async def test_edition_a_of_the_headers() -> None:
    """Edition A: booleans as words, the applied page size, X-Api-Current-Page."""
    async with serving(25) as (_, caller):
        first, last = [(await caller.page(page)).headers for page in (1, 3)]
        assert {name: first[name] for name in first if name.startswith("X-Api")} == {
            "X-Api-Total": "25",
            "X-Api-Per-Page": "10",
            "X-Api-Has-More-Pages": "true",
            "X-Api-Current-Page": "1",
        }
        assert (last["X-Api-Has-More-Pages"], last["X-Api-Per-Page"]) == ("false", "10")


async def test_edition_b_of_the_headers() -> None:
    """Edition B: booleans as PHP casts them, the records on this page, X-Api-Page and X-Api-Has-Has-Pages."""
    async with serving(25, edition="b") as (_, caller):
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
async def test_a_bad_query_is_a_422(query: str, errors: dict[str, list[str]]) -> None:
    """A page or a size that is no whole number in its range is refused in Laravel's words."""
    async with serving() as (_, caller):
        answer = await caller.get(f"{CUSTOMERS}?{query}")
    expected = {name: [text.format(name.replace("_", " ")) for text in texts] for name, texts in errors.items()}
    assert answer.json == error(422, "VALIDATION_ERROR", expected)
    assert answer.status == 422


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
async def test_a_query_is_read_as_php_reads_it(query: str, count: int) -> None:
    """The last of repeated values counts, blanks around it do not, a plus sign may stand, other names are ignored."""
    async with serving() as (_, caller):
        answer = await caller.get(f"{CUSTOMERS}?{query}")
    assert (answer.status, len(answer.json)) == (200, count)


async def test_one_customer_is_looked_up() -> None:
    """Each customer on the list is found by uuid, with the same content."""
    async with serving(30) as (_, caller):
        for customer in (await caller.page(2)).json:
            answer = await caller.get(f"{CUSTOMERS}/{customer['uuid']}")
            assert (answer.status, answer.json) == (200, customer)


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
async def test_an_unknown_uuid_is_a_404(uuid: str) -> None:
    """A uuid nobody has, malformed or not, is not found."""
    async with serving() as (_, caller):
        answer = await caller.get(f"{CUSTOMERS}/{uuid}")
    assert (answer.status, answer.json) == (404, error(404, "NOT_FOUND"))


async def test_the_tokens_owner() -> None:
    """The authentication route tells whose token it is."""
    async with serving() as (emulator, caller):
        assert (await caller.get(AUTH)).json == OWNER
        assert claims(emulator.token)["sub"] == OWNER["uuid"]


@pytest.mark.parametrize("path", ["/", "/api/v1", "/api/v1/customers/", "/api/v1/customers/a/b", "/login", "/%FF"])
async def test_an_unknown_path_is_a_404(path: str) -> None:
    """Paths the service does not have get the envelope, with a token or without."""
    async with serving() as (_, caller):
        answer = await caller.get(path, headers={"Authorization": ""})
    assert (answer.status, answer.json) == (404, error(404, "NOT_FOUND"))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", [CUSTOMERS, DOCUMENTED, AUTH])
async def test_another_method_is_a_405(method: str, path: str) -> None:
    """Only GET and HEAD are allowed, which the Allow header says."""
    async with serving() as (_, caller):
        answer = await caller.get(path, method=method)
    assert (answer.status, answer.json) == (405, error(405, "METHOD_NOT_ALLOWED"))
    assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}


async def test_head_is_get_without_a_body() -> None:
    """As Laravel does, HEAD answers with the headers of GET."""
    async with serving() as (_, caller):
        answer = await caller.get(CUSTOMERS, method="HEAD")
    assert (answer.status, answer.body, answer.headers["X-Api-Total"]) == (200, b"", "250")


async def test_the_description_is_public() -> None:
    """The OpenAPI description is served without a token."""
    async with serving() as (_, caller):
        answer = await caller.get("/openapi.yaml", headers={"Authorization": ""})
    assert answer.body.startswith(b"openapi: 3.1.0")
    assert answer.headers["Content-Type"] == "application/yaml"


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
async def test_a_bad_token_is_a_401(authorization: str) -> None:
    """A missing, malformed or unknown token is refused."""
    async with serving() as (emulator, caller):
        headers = {"Authorization": authorization.format(emulator.token)}
        answer = await caller.get(AUTH, headers=headers)
    assert (answer.status, answer.json) == (401, error(401, "UNAUTHORIZED"))


async def test_a_token_is_signed_and_has_no_expiry() -> None:
    """By default a token is an HS256 JWT without exp, for nothing promises that claim."""
    async with serving() as (emulator, _):
        header = emulator.token.split(".")[0]
        assert base64.urlsafe_b64decode(header + "==") == b'{"alg":"HS256","typ":"JWT"}'
        assert set(claims(emulator.token)) == {"sub", "iat", "jti"}


async def test_a_token_with_a_lifetime_expires() -> None:
    """With token_lifetime the token says when it expires, does so, and is replaced by a new one."""
    async with serving(token_lifetime=100) as (emulator, caller):
        token = emulator.token
        assert claims(token)["exp"] - claims(token)["iat"] == 100
        await asyncio.sleep(99)
        assert (await caller.get(AUTH)).status == 200
        assert emulator.token == token
        await asyncio.sleep(2)
        assert (await caller.get(AUTH)).status == 401
        fresh = {"Authorization": f"Bearer {emulator.token}"}
        assert (await caller.get(AUTH, headers=fresh)).status == 200


async def test_tokens_are_issued_and_revoked() -> None:
    """Several tokens may be valid at a time; one revoked is valid no longer."""
    async with serving() as (emulator, caller):
        second = emulator.issue_token(lifetime=50)
        assert "exp" in claims(second)
        headers = {"Authorization": f"bearer {second}"}
        assert (await caller.get(AUTH, headers=headers)).status == 200
        emulator.revoke(second)
        emulator.revoke("unknown")
        assert (await caller.get(AUTH, headers=headers)).status == 401
        assert (await caller.get(AUTH)).status == 200


async def test_tokens_expire_after_some_requests() -> None:
    """After the requests allowed, all tokens of that time are refused and a new one is at hand."""
    async with serving() as (emulator, caller):
        old = emulator.token
        emulator.expire_token(after=2)
        later = emulator.issue_token()
        assert [(await caller.get(AUTH)).status for _ in range(3)] == [200, 200, 401]
        assert emulator.token != old
        for token in (later, emulator.token):
            assert (await caller.get(AUTH, headers={"Authorization": f"Bearer {token}"})).status == 200
        emulator.expire_token()
        assert (await caller.get(AUTH, headers={"Authorization": f"Bearer {later}"})).status == 401


async def test_an_address_not_whitelisted_is_a_403() -> None:
    """Without the whitelist's blessing even a good token is refused."""
    async with serving() as (emulator, caller):
        emulator.whitelisted = False
        answer = await caller.get(AUTH)
    assert (answer.status, answer.json) == (403, error(403, "NO_PERMISSION"))


async def test_a_browser_is_sent_to_the_login_page() -> None:
    """With login_redirect a bad token is a redirect unless the request accepts JSON."""
    async with serving(login_redirect=True) as (_, caller):
        browser = {"Authorization": "", "Accept": "*/*"}
        answer = await caller.get(AUTH, headers=browser)
        assert (answer.status, answer.headers["Location"]) == (302, "/login")
        assert (await caller.get(AUTH, headers={**browser, "Accept": "application/json"})).status == 401


async def test_a_capped_list_ends_early() -> None:
    """Only the first customers are served of a capped list, though the headers tell of all."""
    async with serving(100, capped=True, cap=45) as (emulator, caller):
        answers = [await caller.page(page, per_page=20) for page in (1, 3, 4)]
        assert [len(answer.json) for answer in answers] == [20, 5, 0]
        assert answers[1].uuids == list(emulator.uuids(40, 45))
        assert {answer.headers["X-Api-Total"] for answer in answers} == {"100"}
        assert {answer.headers["X-Api-Has-More-Pages"] for answer in answers} == {"true"}


async def test_a_capped_list_may_refuse() -> None:
    """With cap_refuses pages beyond the cap are a 422."""
    async with serving(100, capped=True, cap=45, cap_refuses=True) as (_, caller):
        assert len((await caller.page(3, per_page=20)).json) == 5
        answer = await caller.page(4, per_page=20)
        assert answer.json == error(422, "VALIDATION_ERROR", {"page": ["The page must not be greater than 3."]})


async def test_the_cap_is_ten_thousand() -> None:
    """By default the cap of a capped list is where the documentation has it."""
    async with serving(10_050, capped=True) as (_, caller):
        assert [len((await caller.page(page, per_page=100)).json) for page in (100, 101)] == [100, 0]


async def test_parameters_may_be_ignored() -> None:
    """A server that ignores per_page or page serves the size or the page it likes, and says so."""
    async with serving() as (emulator, caller):
        emulator.ignore_per_page = 15
        answer = await caller.page(2, per_page=100)
        assert answer.uuids == list(emulator.uuids(15, 30))
        assert answer.headers["X-Api-Per-Page"] == "15"
        emulator.ignore_page = True
        answer = await caller.page(2, per_page=100)
        assert answer.uuids == list(emulator.uuids(0, 15))
        assert answer.headers["X-Api-Current-Page"] == "1"


async def test_headers_may_be_replaced() -> None:
    """Headers are left out, garbled or computed anew in the answers that would carry them."""
    async with serving() as (emulator, caller):
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
async def test_answers_are_compressed_on_request(accepted: str, *, compressed: bool) -> None:
    """Answers are gzipped exactly when the request accepts it."""
    async with serving() as (_, caller):
        answer = await caller.page(headers={"Accept-Encoding": accepted})
    assert answer.headers.get("Content-Encoding") == ("gzip" if compressed else None)
    assert len(answer.json) == 10


async def test_compression_can_be_switched_off() -> None:
    """With gzip=False nothing is compressed, and small answers never are."""
    async with serving(gzip=False) as (emulator, caller):
        assert "Content-Encoding" not in (await caller.page()).headers
        emulator.gzip = True
        assert "Content-Encoding" in (await caller.page()).headers
        assert "Content-Encoding" not in (await caller.get(AUTH)).headers
