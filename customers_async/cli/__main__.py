"""``python -m customers_async.cli`` is ``customers-async``."""

from customers_async.cli import main

main()
