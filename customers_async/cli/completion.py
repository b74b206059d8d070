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

_COMPINIT = "autoload -Uz compinit && compinit  # after the line for customers-async\n"
"""Without it, zsh does not look into a directory that cyclopts adds at the end of the startup file."""


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
        shell = shell or _find_shell()
        path = app.install_completion(shell=shell, output=output, add_to_startup=output is None)
        if shell == "zsh" and output is None:
            _add_line(Path.home() / ".zshrc", _COMPINIT)
        print_message(f"{path} completes commands and options in a new shell")


def _find_shell() -> Shell:
    try:
        shell = detect_shell()
    except ShellDetectionError:
        shell = None
    if shell not in ("bash", "zsh", "fish"):
        raise UsageError("the shell is unknown: use --shell bash, zsh or fish")
    return shell


def _add_line(path: Path, line: str) -> None:
    """Append a line to a file, unless it is there; the file may be in any encoding."""
    with path.open("ab+") as file:
        file.seek(0)
        if line.encode() not in file.read():
            file.write(line.encode())
