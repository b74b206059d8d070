"""The helpers for tests of other projects."""

import pytest

from customers_async import Customer, customer_from_dict, customer_to_dict
from customers_async.testing import make_customer


def test_made_customer_is_plausible() -> None:
    """A made customer round-trips like one from the service, and each has a new uuid."""
    one, two = make_customer(), make_customer()
    assert one.uuid != two.uuid
    assert customer_from_dict(customer_to_dict(one)) == one
    assert isinstance(one, Customer)


def test_made_customer_has_the_given_fields() -> None:
    """The given fields are used as they are; an unknown field is refused."""
    customer = make_customer(uuid="e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g", name=None)
    assert (customer.uuid, customer.name) == ("e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g", None)
    with pytest.raises(TypeError, match="nickname"):
        make_customer(nickname="Ž")
