"""Lets ``python -m customers_async.cli`` run the command."""

from customers_async.cli import main

main()
