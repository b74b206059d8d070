"""The program under test: address labels for invoices, and customers by country."""

from collections import Counter

from customers_async import Customer, CustomersClient, NotFoundError


def address(customer: Customer) -> str:
    """Return the lines of an address label."""
    lines = (customer.name, customer.post_address_line, customer.post_address_index, customer.post_address_country_code)
    return "\n".join(line for line in lines if line)


async def label(client: CustomersClient, uuid: str) -> str:
    """Return the label for an invoice, or a note if the customer does not exist."""
    try:
        return address(await client.get_customer(uuid))
    except NotFoundError:
        return "(no such customer)"


async def countries(client: CustomersClient) -> Counter[str]:
    """Count the customers by country. Raises if the list is not complete."""
    pager = client.list_customers(on_incomplete="raise")
    return Counter([customer.post_address_country_code or "unknown" async for customer in pager])
