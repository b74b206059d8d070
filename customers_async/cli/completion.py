"""``--install-completion``: completes commands and options in the shell."""

from pathlib import Path
from typing import Literal

from cyclopts import App
from cyclopts.completion import detect_shell
from cyclopts.completion.detect import ShellDetectionError

from customers_async.cli.connection import UsageError
from customers_async.cli.output import print_message

__all__ = ["add_completion"]

Shell = Literal["bash", "zsh", "fish"]


def add_completion(app: App) -> None:
    """Add the option to the command."""

    @app.command(name="--install-completion")
    def install_completion(*, shell: Shell | None = None, output: Path | None = None) -> None:
        """Let the shell complete commands and options.

        Args:
            shell: The shell; default: the one that runs this command.
            output: Write the script to this file only, and leave the shell's startup file as it is. Default: where the
                shell looks for it.
        """
        path = app.install_completion(shell=shell or _find_shell(), output=output, add_to_startup=output is None)
        print_message(f"{path} completes commands and options in a new shell")


def _find_shell() -> Shell:
    try:
        shell = detect_shell()
    except ShellDetectionError:
        shell = None
    if shell not in ("bash", "zsh", "fish"):
        raise UsageError("the shell is unknown: use --shell bash, zsh or fish")
    return shell
