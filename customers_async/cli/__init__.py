"""The command ``customers-async``. Needs the extra: ``pip install 'customers-async[cli]'``."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from customers_async.exit_codes import LOCAL

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit.

    Args:
        argv: The arguments after the command's name; None takes those of the process.

    Raises:
        SystemExit: Always. 0: done; 1: a local failure; 2: wrong usage; 3: credentials; 4: the API or the network;
            5: the list is incomplete; 6: a sync would remove too many customers, or ``diff`` found differences; 130,
            143, 129, 131: interrupted by SIGINT, SIGTERM, SIGHUP, SIGQUIT.
    """
    if not _is_extra_installed():
        sys.stderr.write("customers-async needs its command-line extra: pip install 'customers-async[cli]'\n")
        sys.exit(LOCAL)
    from customers_async.cli.run import run

    sys.exit(run(sys.argv[1:] if argv is None else argv))


def _is_extra_installed() -> bool:
    for name in ("cyclopts", "rich"):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            return False
    return True
