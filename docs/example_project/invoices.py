"""The program under test: whom an invoice goes to, and who lives where."""

from collections import Counter

from customers_async import Customer, CustomersClient, NotFoundError


def address(customer: Customer) -> str:
    """The lines of an address label."""
    lines = (customer.name, customer.post_address_line, customer.post_address_index, customer.post_address_country_code)
    return "\n".join(line for line in lines if line)


async def label(client: CustomersClient, uuid: str) -> str:
    """The label for an invoice; a customer who is gone gets none."""
    try:
        return address(await client.get_customer(uuid))
    except NotFoundError:
        return "(no such customer)"


async def countries(client: CustomersClient) -> Counter[str]:
    """How many customers live in each country. Refuses to count a list that is not whole."""
    pager = client.list_customers(on_incomplete="raise")
    return Counter([customer.post_address_country_code or "unknown" async for customer in pager])
