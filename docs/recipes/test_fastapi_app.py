"""How to test the FastAPI service: over the emulator, or with the client replaced."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from fastapi_app import app, lookups

from customers_async import Customer, ServerError
from customers_async.emulator import Emulator
from customers_async.testing import make_customer


@pytest.fixture
def http(customers_emulator: Emulator) -> Iterator[TestClient]:
    """The service; its own client finds the emulator by the environment."""
    with TestClient(app) as http:
        yield http


def test_a_customer_is_shown(http: TestClient, customers_emulator: Emulator) -> None:
    uuid = next(customers_emulator.uuids())
    assert http.get(f"/customers/{uuid}").json() == {"uuid": uuid, "name": "John Doe", "country": "LT"}


def test_an_unknown_customer_is_404(http: TestClient) -> None:
    assert http.get("/customers/00000000-0000-0000-0000-000000000000").status_code == 404


def test_a_malformed_uuid_is_refused_before_anything_is_sent(http: TestClient, customers_emulator: Emulator) -> None:
    assert http.get("/customers/1234").status_code == 422
    assert customers_emulator.stats.requests == 0


@pytest.mark.customers_emulator(limit=1)
def test_a_spent_quota_is_503_and_says_when_to_come_back(http: TestClient, customers_emulator: Emulator) -> None:
    path = f"/customers/{next(customers_emulator.uuids())}"
    assert http.get(path).status_code == 200
    answer = http.get(path)
    assert answer.status_code == 503
    assert 55 <= int(answer.headers["Retry-After"]) <= 61


@pytest.mark.parametrize(("fault", "status"), [("reset", 503), (401, 502), ("html", 502)])
def test_other_failures(http: TestClient, customers_emulator: Emulator, fault: int | str, status: int) -> None:
    customers_emulator.fail_next(fault, times=None)
    assert http.get(f"/customers/{next(customers_emulator.uuids())}").status_code == status


class Fake:
    """A client without a service behind it."""

    async def get_customer(self, uuid: str) -> Customer:
        """Somebody with that uuid; nobody with one that begins with f."""
        if uuid.startswith("f"):
            raise ServerError("down", status=500)
        return make_customer(uuid=uuid, name="Žygimantas")


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The service without its lifespan, and with another client."""
    monkeypatch.setitem(app.dependency_overrides, lookups, Fake)
    return TestClient(app)


def test_with_a_client_of_ones_own(faked: TestClient) -> None:
    answer = faked.get("/customers/00000000-0000-4000-8000-000000000000")
    assert answer.json()["name"] == "Žygimantas"
    assert faked.get("/customers/f0000000-0000-4000-8000-000000000000").headers["Retry-After"] == "5"
