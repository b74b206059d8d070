"""What the package offers to tests of its users, used as they would."""

import pytest

from customers_async import Customer, customer_from_dict, customer_to_dict
from customers_async.testing import make_customer


def test_a_made_customer_is_plausible() -> None:
    """It would pass for one of the service's, and each is another."""
    one, two = make_customer(), make_customer()
    assert one.uuid != two.uuid
    assert customer_from_dict(customer_to_dict(one)) == one
    assert isinstance(one, Customer)


def test_a_made_customer_has_the_fields_one_gives() -> None:
    """What the test cares about is taken as it is; what is no field is refused."""
    customer = make_customer(uuid="e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g", name=None)
    assert (customer.uuid, customer.name) == ("e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g", None)
    with pytest.raises(TypeError, match="nickname"):
        make_customer(nickname="Ž")
