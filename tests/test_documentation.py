"""Every example in README.md, in docs/ and in the docstrings runs against the emulator, on a real socket.

Each document is one test, which runs the examples in order. In Markdown,

- ``python`` blocks run, with top-level ``await``; a block that defines tests is run by pytest, together with the
  ``# conftest.py`` block before it;
- an ``output`` block must equal what the block before it printed;
- in ``console`` blocks the ``$`` lines run, and must print the lines below them;
- a ``% invisible-code-block: python`` comment contains code that readers need not see.

In docstrings the ``>>>`` lines run, and must print the lines below them.

In each document ``emulator`` is an `Emulator` with 250 customers and ``client`` is its client; the environment contains
its URL and token. Waits take no time, see `VirtualTimeLoop`.
"""

import ast
import asyncio
import doctest
import importlib
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Example
from sybil.document import PythonDocStringDocument
from sybil.evaluators.doctest import OutputChecker
from sybil.parsers.abstract import DocTestStringParser
from sybil.parsers.myst import CodeBlockParser, SkipParser
from sybil.typing import Evaluator, Parser

import customers_async
from customers_async import CustomersClient, cli
from customers_async.cli.commands import app
from customers_async.emulator import Emulator
from customers_async.testing import VirtualTimeLoop
from tests.benchmarks import limiter_picture, verdicts

ROOT = Path(__file__).parent.parent


def _containing(pattern: str, *paths: Path) -> list[Path]:
    return sorted(path for path in paths if re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE))


PAGES = _containing("^```(python|console)$", ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
MODULES = _containing("^ *>>> ", *(ROOT / "customers_async").rglob("*.py"))

_CHECKER = OutputChecker()
_TOLERANT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Reader:
    """Runs the examples of a document in one event loop."""

    def __init__(self, runner: "asyncio.Runner", directory: Path) -> None:
        self._runner = runner
        self._directory = directory
        self._printed = ""
        self._exit_code: object = None

    def run_block(self, example: Example) -> str | None:
        """Run a block of a page, and keep what it prints for an ``output`` block."""
        source = example.parsed
        if source.startswith("# conftest.py"):
            (self._directory / "conftest.py").write_text(source, encoding="utf-8")
        if re.search(r"^(async )?def test_", source, re.MULTILINE):
            return self._run_pytest(source)
        line = example.line + source.line_offset
        self._printed = self._run(source, line, "exec", example)
        return None

    def compare_output(self, example: Example) -> str | None:
        """Compare an ``output`` block with what the last block printed."""
        return _difference(example.parsed, self._printed)

    def run_prompt(self, example: Example) -> str | None:
        """Run one ``>>>`` example of a docstring, and compare what it prints."""
        statement = example.parsed
        return _difference(statement.want, self._run(statement.source, example.line - 1, "single", example))

    def run_console(self, example: Example) -> str | None:
        """Run the commands of a ``console`` block, and compare what each prints."""
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", example.parsed, re.MULTILINE):
            if difference := _difference(expected, self._run_command(command)):
                return f"$ {command}\n{difference}"
        return None

    def _run_command(self, command: str) -> str:
        if command == "echo $?":
            return f"{self._exit_code}\n"
        name, *arguments = shlex.split(command)
        assert name == "customers-async"
        with redirect_stdout(io.StringIO()) as printed, redirect_stderr(printed), pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        self._exit_code = ended.value.code
        return printed.getvalue()

    def _run(self, source: str, line: int, mode: str, example: Example) -> str:
        padded = "\n" * line + source
        code = compile(padded, example.path, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        with redirect_stdout(io.StringIO()) as printed:
            result = eval(code, example.namespace)  # noqa: S307  # our own documents
            if code.co_flags & inspect.CO_COROUTINE:
                self._runner.run(result)
        return printed.getvalue()

    def _run_pytest(self, source: str) -> str | None:
        (self._directory / "test_example.py").write_text(source, encoding="utf-8")
        plugins = ["-p", "pytest_asyncio.plugin", "-p", "customers_async.pytest_plugin"]
        options = ["-q", *plugins, "-o", "asyncio_default_fixture_loop_scope=function"]
        strict = ["-W", "error", "--rootdir=.", "-c", os.devnull]
        done = subprocess.run(  # noqa: S603  # our own documents
            [sys.executable, "-m", "pytest", *options, *strict, "test_example.py"],
            cwd=self._directory,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout + done.stderr if done.returncode else None


def _difference(expected: str, printed: str) -> str | None:
    if _CHECKER.check_output(expected, printed, _TOLERANT):
        return None
    return f"It should print\n{expected}\nbut printed\n{printed}"


class _Prompts:
    """Finds the ``>>>`` examples of a docstring."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._parse = DocTestStringParser()

    def __call__(self, document: Document) -> Iterator[Any]:
        for region in self._parse(document.text, document.path):
            region.evaluator = self._evaluator
            yield region


@pytest.fixture
def runner() -> Iterator["asyncio.Runner"]:
    """Runs coroutines on virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        yield runner


@pytest.fixture
def namespace(runner: "asyncio.Runner", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The namespace of a document. Sets the environment variables, and changes to an empty directory."""
    emulator = Emulator(customers=250)
    runner.run(emulator.start())
    monkeypatch.setenv("CUSTOMERS_BASE_URL", emulator.url)
    monkeypatch.setenv("CUSTOMERS_TOKEN", emulator.token)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(asyncio, "run", runner.run)  # the emulator runs on this loop
    client = CustomersClient()
    yield {"__name__": "__main__", "emulator": emulator, "client": client}
    runner.run(client.close())
    runner.run(emulator.close())


def _run(document: Document) -> None:
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_of_pages(page: Path, runner: "asyncio.Runner", namespace: dict[str, Any], tmp_path: Path) -> None:
    """The examples of a page run, and print what the page says."""
    reader = Reader(runner, tmp_path)
    parsers: list[Parser] = [
        CodeBlockParser("python", reader.run_block),
        CodeBlockParser("output", reader.compare_output),
        CodeBlockParser("console", reader.run_console),
        SkipParser(),
    ]
    document = Document.parse(str(page), *parsers)
    document.namespace.update(namespace)
    _run(document)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.relative_to(ROOT).as_posix())
def test_examples_of_docstrings(
    module: Path, runner: "asyncio.Runner", namespace: dict[str, Any], tmp_path: Path
) -> None:
    """The examples of a docstring run, with the public names and those of the module."""
    document = PythonDocStringDocument.parse(str(module), _Prompts(Reader(runner, tmp_path).run_prompt))
    document.evaluators.clear()  # sybil would import the file again
    name = ".".join(module.relative_to(ROOT).with_suffix("").parts)
    document.namespace |= vars(customers_async) | vars(importlib.import_module(name)) | namespace
    _run(document)


def test_the_design_page_lists_every_module() -> None:
    """The tables of the design page name the modules of each folder, in the order of the import contracts."""
    design = (ROOT / "docs/explanation/design.md").read_text(encoding="utf-8").partition("Three consequences")[0]
    first, *others = re.split(r"^`(\w+)/`", design, flags=re.MULTILINE)
    tables = {"": first, **dict(zip(others[::2], others[1::2], strict=True))}
    rows = {folder: re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) for folder, table in tables.items()}
    assert set(rows) == {"", "calls", "listing", "export", "mirror", "doctor", "cli", "emulator"}
    for folder, modules in rows.items():
        paths = (ROOT / "customers_async" / folder).iterdir()
        found = {path.stem for path in paths if path.suffix in ("", ".py") and not path.name.startswith("_")}
        assert sorted(modules) == sorted(found), folder
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in project["tool"]["importlinter"]["contracts"]:
        name = ".".join(contract.get("containers", [])).removeprefix("customers_async").removeprefix(".")
        if contract["type"] == "layers" and name in rows:
            layers = [re.findall(r"\w+", layer) for layer in contract["layers"]]
            listed = [[module for module in rows[name] if module in layer] for layer in layers]
            assert [module for layer in listed for module in layer] == rows[name], name


def test_the_table_of_verdicts_has_the_rows_that_its_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Header and names of the scenarios are those of ``python -m tests.benchmarks.verdicts``; figures may differ."""
    verdicts.main(1)
    header, *rows = capsys.readouterr().out.splitlines()
    page = (ROOT / "docs/explanation/completeness.md").read_text(encoding="utf-8")
    table = re.findall(r"^\|.*$", page, re.MULTILINE)
    assert table[0] == header.replace("of 1 listings", f"of {verdicts.LISTINGS} listings")
    assert [row.split("|")[1] for row in table[1:]] == [row.split("|")[1] for row in rows]


def test_every_command_is_documented() -> None:
    """The guide names every command, and only options that exist."""
    guide = (ROOT / "docs/howto/command-line.md").read_text(encoding="utf-8")
    options = {name for name in app if name.startswith("-")}
    for name in {"--install-completion", *app} - {"--help", "-h", "--version"}:
        assert name in options or f"| `customers-async {name}" in guide
        options |= {flag for argument in app[name].assemble_argument_collection() for flag in argument.names}
    assert set(re.findall(r"--[a-z][a-z-]*", guide)) <= options


def test_the_readme_installs_extras_that_exist() -> None:
    """The extras in README.md's install commands are declared in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = re.findall(r"(?:\.|customers-async)\[([\w,]+)\]", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert installed
    assert {extra for extras in installed for extra in extras.split(",")} <= set(project["optional-dependencies"])


def test_picture_of_the_limiter_is_current() -> None:
    """``python -m tests.benchmarks.limiter_picture`` was run after the last change to the limiter."""
    assert limiter_picture.TARGET.read_text(encoding="utf-8") == limiter_picture.draw(limiter_picture.simulate())
