"""``--install-completion``: the scripts for the shells, and where they are written."""

import os
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


TYPED = [
    ("ex", ["export"]),
    ("em", ["emulator"]),
    ("co", ["count"]),
    ("--inst", ["--install-completion"]),
    ("export --resu", ["--resume-within"]),
    ("count --tok", ["--token-file"]),
    ("emulator --edition ", ["a", "b"]),
    ("export customers.jsonl --qu", ["--quiet"]),
]

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_customers_async
printf '%s\\n' "${COMPREPLY[@]}"
"""


def needs(shell: str) -> pytest.MarkDecorator:
    """Skip a test where that shell is not installed."""
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def run_shell(*arguments: str) -> str:
    """Run a shell, which must print nothing on stderr, and return its output."""
    process = subprocess.run(arguments, capture_output=True, text=True, check=True)  # noqa: S603  # our own scripts
    assert process.stderr == ""
    return process.stdout


@needs("bash")
@pytest.mark.parametrize(("typed", "completed"), TYPED)
def test_bash_completes(command: Command, home: Path, typed: str, completed: list[str]) -> None:
    """Commands, options and the values of options."""
    path = home / "script"
    command("--install-completion", "--shell", "bash", "--output", f"{path}")
    words = ["customers-async", *typed.split(" ")]
    assert run_shell("bash", "-c", COMPLETE, "bash", f"{path}", *words).split() == completed


@pytest.mark.slow
@needs("fish")
@pytest.mark.parametrize(("typed", "completed"), TYPED)
def test_fish_completes(
    command: Command, home: Path, monkeypatch: pytest.MonkeyPatch, typed: str, completed: list[str]
) -> None:
    """The same, each with its help, in a new shell that finds the script by itself."""
    program = home / "customers-async"  # fish completes only what exists
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{home}", prepend=os.pathsep)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    command("--install-completion", "--shell", "fish")
    lines = run_shell("fish", "-c", "complete -C $argv[1]", f"customers-async {typed}").splitlines()
    assert [line.partition("\t")[0] for line in lines] == completed


@needs("zsh")
def test_zsh_finds_the_script(command: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a new shell, by the lines in its startup file, which may begin with the user's own."""
    (home / ".zshrc").write_bytes(b"# \xff\nautoload -Uz compinit && compinit\n")
    monkeypatch.delenv("ZDOTDIR", raising=False)
    for _ in range(2):
        command("--install-completion", "--shell", "zsh")
    assert (home / ".zshrc").read_bytes().count(b"compinit && compinit") == 2
    assert run_shell("zsh", "-i", "-c", "print -r -- $_comps[customers-async]") == "_cyclopts_customers-async\n"
