"""``--install-completion``: the scripts for the shells, and where they are written."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cyclopts.completion import ShellDetectionError

from tests.test_cli import Command, command

__all__ = ["command"]  # a fixture

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home directory."""
    monkeypatch.setenv("HOME", f"{tmp_path}")
    for name in ("ZSH", "ZSH_CUSTOM"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("shell", SHELLS)
def test_script_is_valid(command: Command, home: Path, shell: str) -> None:
    """The shell parses it, where that shell is installed."""
    path = home / "script"
    assert command("--install-completion", "--shell", shell, "--output", f"{path}").code == 0
    script = path.read_text(encoding="utf-8")
    assert all(word in script for word in ("customers-async", "export", "resume-within", "install-completion"))
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: its script is not parsed")
    subprocess.run([shell, "-n", f"{path}"], check=True)  # noqa: S603  # a shell of this machine


@pytest.mark.parametrize(
    ("shell", "script", "startup"),
    [
        ("bash", ".local/share/bash-completion/completions/customers-async", ".bashrc"),
        ("zsh", ".zsh/completions/customers-async", ".zshrc"),
        ("fish", ".config/fish/completions/customers-async.fish", None),
    ],
)
def test_script_is_written_where_the_shell_looks(
    command: Command, home: Path, shell: str, script: str, startup: str | None
) -> None:
    """The message names it; a second run does not add to the startup file again."""
    loads = []
    for _ in range(2):
        outcome = command("--install-completion", "--shell", shell)
        assert (outcome.code, outcome.out) == (0, "")
        (written,) = (home / script).parent.iterdir()
        assert written.name.endswith(Path(script).name)
        assert f"{written} completes commands and options in a new shell" in outcome.err
        loads.append((home / startup).read_text(encoding="utf-8") if startup else f"{written}")
    assert loads[0] == loads[1]
    assert f"{(home / script).parent}" in loads[0]


def test_output_leaves_the_startup_file_alone(command: Command, home: Path) -> None:
    """For packages, and for people who load it themselves."""
    assert command("--install-completion", "--shell", "bash", "--output", f"{home / 'script'}").code == 0
    assert [path.name for path in home.iterdir()] == ["script"]


def test_unknown_shell_is_wrong_usage(command: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which there are."""

    def fail() -> str:
        raise ShellDetectionError

    for detect in (fail, lambda: "powershell"):
        monkeypatch.setattr("customers_async.cli.completion.detect_shell", detect)
        outcome = command("--install-completion")
        assert (outcome.code, outcome.out) == (2, "")
        assert "use --shell bash, zsh or fish" in outcome.err
    assert command("--install-completion", "--shell", "tcsh").code == 2


COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_customers_async
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("ex", ["export"]),
        ("em", ["emulator"]),
        ("co", ["count"]),
        ("--inst", ["--install-completion"]),
        ("export --resu", ["--resume-within"]),
        ("count --tok", ["--token-file"]),
        ("emulator --edition ", ["a", "b"]),
        ("export customers.jsonl --qu", ["--quiet"]),
    ],
)
def test_bash_completes(command: Command, home: Path, typed: str, completed: list[str]) -> None:
    """Commands, options and the values of options."""
    path = home / "script"
    command("--install-completion", "--shell", "bash", "--output", f"{path}")
    words = ["customers-async", *typed.split(" ")]
    process = subprocess.run(  # noqa: S603  # our own script
        ["bash", "-c", COMPLETE, "bash", f"{path}", *words],  # noqa: S607  # whichever bash comes first
        capture_output=True,
        text=True,
        check=True,
    )
    assert (process.stdout.split(), process.stderr) == (completed, "")
