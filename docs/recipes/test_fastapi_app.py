"""How to test the FastAPI service: with the emulator, or with another client."""

from collections.abc import Iterator
from datetime import timedelta

import fastapi_app
import pytest
from fastapi.testclient import TestClient
from fastapi_app import app, customers

from customers_async import Customer, ServerError
from customers_async.emulator import Emulator
from customers_async.testing import make_customer


@pytest.fixture
def http(customers_emulator: Emulator) -> Iterator[TestClient]:
    """The service. Its client finds the emulator through environment variables."""
    with TestClient(app) as http:
        yield http


def test_shows_customer(http: TestClient, customers_emulator: Emulator) -> None:
    uuid = next(customers_emulator.uuids())
    published = {"uuid": uuid, "name": "John Doe", "post_address_country_code": "LT"}
    assert http.get(f"/customers/{uuid}").json() == published


def test_unknown_customer_is_404(http: TestClient) -> None:
    assert http.get("/customers/00000000-0000-0000-0000-000000000000").status_code == 404


def test_malformed_uuid_is_refused_without_a_request(http: TestClient, customers_emulator: Emulator) -> None:
    assert http.get("/customers/1234").status_code == 422
    assert customers_emulator.stats.requests == 0


@pytest.mark.customers_emulator(limit=1)
def test_used_up_rate_limit_is_429_with_retry_after(http: TestClient, customers_emulator: Emulator) -> None:
    path = f"/customers/{next(customers_emulator.uuids())}"
    assert http.get(path).status_code == 200
    response = http.get(path)
    assert response.status_code == 429
    assert 55 <= int(response.headers["Retry-After"]) <= 61


@pytest.mark.parametrize(("fault", "status"), [("reset", 503), (500, 503), (401, 502), ("html", 502)])
def test_other_errors(http: TestClient, customers_emulator: Emulator, fault: int | str, status: int) -> None:
    customers_emulator.fail_next(fault, times=None)
    assert http.get(f"/customers/{next(customers_emulator.uuids())}").status_code == status


def test_readiness_costs_one_request_a_minute(http: TestClient, customers_emulator: Emulator) -> None:
    assert [http.get("/readyz").status_code for _ in range(5)] == [200] * 5
    assert customers_emulator.stats.requests == 1


def test_is_ready_while_customers_service_responds(
    http: TestClient, customers_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastapi_app, "RECENT", timedelta(0))
    assert http.get("/readyz").status_code == 200
    customers_emulator.fail_next("reset", times=None)
    assert http.get("/readyz").status_code == 503


class FakeClient:
    """A client without a service."""

    async def get_customer(self, uuid: str) -> Customer:
        """Return a customer with that uuid, or fail if it begins with f."""
        if uuid.startswith("f"):
            raise ServerError("down", status=500)
        return make_customer(uuid=uuid, name="Žygimantas")


@pytest.fixture
def http_with_fake(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The service without its lifespan, and with the fake client."""
    monkeypatch.setitem(app.dependency_overrides, customers, FakeClient)
    return TestClient(app)


def test_with_fake_client(http_with_fake: TestClient) -> None:
    response = http_with_fake.get("/customers/00000000-0000-4000-8000-000000000000")
    assert response.json()["name"] == "Žygimantas"
    assert http_with_fake.get("/customers/f0000000-0000-4000-8000-000000000000").headers["Retry-After"] == "5"
