"""Customer and TokenOwner as types of Pydantic and FastAPI."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import attrs
import pytest
from fastapi import Body, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.testclient import TestClient

from customers_async import Customer, TokenOwner, customer_from_dict
from customers_async.models import CustomerWithExtra
from customers_async.testing import make_customer

CUSTOMERS: TypeAdapter[Customer] = TypeAdapter(Customer)
OWNERS: TypeAdapter[TokenOwner] = TypeAdapter(TokenOwner)
UUID = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
WITH_EXTRA = customer_from_dict({"uuid": UUID, "vat_code": "LT1", "limits": {"card": [1, None]}}, keep_unknown=True)
OWNER = TokenOwner(uuid="a", is_active=True, name="Ada", created_at=datetime(2025, 1, 2, tzinfo=UTC))


class Invoice(BaseModel):
    """A model of a user's, with customers in it."""

    customer: Customer
    others: list[Customer] = []
    owner: TokenOwner | None = None


def test_instances_are_kept_as_they_are() -> None:
    """A model holds the very object that it was given."""
    customer = make_customer()
    invoice = Invoice(customer=customer, others=[WITH_EXTRA], owner=OWNER)
    assert invoice.customer is customer
    assert invoice.others[0] is WITH_EXTRA
    assert invoice.owner is OWNER


@pytest.mark.parametrize(
    "customer",
    [
        make_customer(),
        make_customer(created_at=None, updated_at=datetime(2025, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)),
        make_customer(name="Žygimantas \u2028 \U0001f600", related_persons=[{"name": "Eve"}, 1, None]),
        Customer(uuid=UUID),
        WITH_EXTRA,
    ],
)
def test_customer_survives_json(customer: Customer) -> None:
    """Times, missing values and unknown fields come back equal."""
    assert CUSTOMERS.validate_json(CUSTOMERS.dump_json(customer)) == customer
    assert CUSTOMERS.validate_python(CUSTOMERS.dump_python(customer)) == customer


@given(name=st.text(), time=st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # bounds
def test_any_customer_survives_json(name: str, time: datetime) -> None:
    """Any name and any time."""
    customer = make_customer(name=name.encode("utf-8", "replace").decode(), updated_at=time)
    assert CUSTOMERS.validate_json(CUSTOMERS.dump_json(customer)) == customer


def test_owner_survives_json() -> None:
    """An owner has no unknown fields: they are dropped."""
    assert OWNERS.validate_json(OWNERS.dump_json(OWNER)) == OWNER
    assert OWNERS.validate_python({"name": "Ada", "unknown": 1}) == TokenOwner(name="Ada")


def test_json_has_the_models_fields() -> None:
    """The names are the model's, times are in ISO 8601, and unknown fields stand beside the known ones."""
    dumped = json.loads(CUSTOMERS.dump_json(WITH_EXTRA, exclude_none=True))
    assert dumped == {"uuid": UUID, "vat_code": "LT1", "limits": {"card": [1, None]}}
    invoice = Invoice(customer=make_customer(), owner=OWNER)
    assert json.loads(invoice.model_dump_json(include={"owner": {"created_at"}})) == {
        "owner": {"created_at": "2025-01-02T00:00:00Z"}
    }


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2025-04-11T12:17:23Z", datetime(2025, 4, 11, 12, 17, 23, tzinfo=UTC)),
        ("2025-04-11T15:17:23+03:00", datetime(2025, 4, 11, 12, 17, 23, tzinfo=UTC)),
        (1744373843, datetime(2025, 4, 11, 12, 17, 23, tzinfo=UTC)),
    ],
)
def test_times_become_utc(time: object, expected: datetime) -> None:
    """ISO 8601 with an offset, and Unix seconds as the service sends them."""
    created_at = CUSTOMERS.validate_python({"uuid": UUID, "created_at": time}).created_at
    assert created_at == expected
    assert created_at is not None
    assert created_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, "uuid"),
        ({"uuid": "1234"}, "uuid"),
        ({"uuid": f"{UUID}\n"}, "uuid"),
        ({"uuid": UUID, "name": 5}, "name"),
        ({"uuid": UUID, "created_at": "2025-04-11T12:17:23"}, "created_at"),
        ({"uuid": UUID, "created_at": "yesterday"}, "created_at"),
        ({"uuid": UUID, "created_at": "9999-12-31T23:59:59-10:00"}, "created_at"),
        ({"uuid": UUID, "created_at": "0001-01-01T00:00:00+10:00"}, "created_at"),
        ({"uuid": UUID, "created_at": 1e300}, "created_at"),
    ],
)
def test_values_that_do_not_fit_are_refused(value: Any, field: str) -> None:
    """The error names the field."""
    with pytest.raises(ValidationError) as caught:
        CUSTOMERS.validate_python(value)
    assert caught.value.errors()[0]["loc"] == (field,)


@pytest.mark.parametrize("value", [None, 5, "text", [], TokenOwner()])
def test_other_objects_are_refused(value: object) -> None:
    """Only customers and objects with their fields are customers."""
    with pytest.raises(ValidationError):
        CUSTOMERS.validate_python(value)


@attrs.frozen(kw_only=True, repr=False)
class Debtor(Customer):
    """A user's own kind of customer."""

    debt: int


def test_kinds_of_customers_are_types_too() -> None:
    """One with unknown fields has them, even if there are none; a user's own has its fields, and no others."""
    kept = TypeAdapter(CustomerWithExtra)
    for extra in ({}, {"vat_code": "LT1"}):
        customer = kept.validate_python({"uuid": UUID, **extra})
        assert customer == CustomerWithExtra(uuid=UUID, extra=extra)
        assert kept.validate_json(kept.dump_json(customer)) == customer
    debtors = TypeAdapter(Debtor)
    debtor = debtors.validate_python({"uuid": UUID, "debt": "5", "unknown": 1})
    assert debtor == Debtor(uuid=UUID, debt=5)
    assert debtors.validate_json(debtors.dump_json(debtor)) == debtor
    assert CUSTOMERS.validate_python(debtor) is debtor


class Shouting(BaseModel):
    """A model with settings that change strings and refuse fields."""

    model_config = ConfigDict(str_to_upper=True, strict=True, extra="forbid")
    customer: Customer


def test_settings_of_a_model_do_not_change_its_customers() -> None:
    """They are for the model's own fields."""
    shouting = Shouting.model_validate({"customer": {"uuid": UUID, "name": "Eve", "created_at": 0, "vat_code": "lt1"}})
    assert shouting.customer.name == "Eve"
    assert shouting.customer.extra == {"vat_code": "lt1"}


def test_fastapi_returns_and_receives_customers() -> None:
    """``-> Customer`` and a body work, with FastAPI's own options."""
    app = FastAPI()

    @app.get("/customer")
    async def show() -> Customer:
        return WITH_EXTRA

    @app.post("/customers", response_model_include={"uuid"})
    async def store(customer: Annotated[Customer, Body()]) -> Customer:
        assert customer == WITH_EXTRA
        return customer

    @app.get("/owner", response_model_exclude_none=True)
    async def owner() -> TokenOwner:
        return OWNER

    with TestClient(app) as http:
        customer = http.get("/customer").json()
        assert customer["limits"] == {"card": [1, None]}
        assert http.post("/customers", json=customer).json() == {"uuid": UUID}
        assert http.post("/customers", json={"uuid": "1"}).status_code == 422
        assert http.get("/owner").json()["created_at"] == "2025-01-02T00:00:00Z"
        description = http.get("/openapi.json").json()
    assert {"Customer", "TokenOwner"} <= description["components"]["schemas"].keys()
    response = description["paths"]["/customer"]["get"]["responses"]["200"]
    assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Customer"}
    schema = description["components"]["schemas"]["Customer"]
    assert schema["required"] == ["uuid"]
    assert schema["properties"]["created_at"]["anyOf"][0] == {"type": "string", "format": "date-time"}


def test_pydantic_is_not_imported_by_this_package() -> None:
    """Only Pydantic itself requests what it needs to know."""
    script = (
        "import sys, customers_async as c; c.Customer(uuid='e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g'); c.CustomersClient;"
        "sys.exit('pydantic_core' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0  # noqa: S603  # a fixed command
