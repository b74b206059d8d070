"""The package as a whole: its public names, what it imports, and the style of its tests."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import customers_async
from customers_async import emulator, export, testing
from customers_async.calls.options import OptionOverrides, Options

TESTS = Path(__file__).parent


def test_public_names_are_complete() -> None:
    """``__all__`` lists the names that type checkers see, without repetition, and each can be imported."""
    names = customers_async.__all__
    assert len(names) == len(set(names))
    seen = ast.walk(ast.parse(Path(customers_async.__file__).read_text(encoding="utf-8")))
    imports = [node for node in seen if isinstance(node, ast.ImportFrom) and str(node.module).startswith("customers_")]
    assert {alias.name for node in imports for alias in node.names} == set(names)
    assert set(names) <= set(dir(customers_async))
    for name in names:
        assert getattr(customers_async, name).__doc__ or name.isupper() or name == "__version__"


@pytest.mark.parametrize("module", [customers_async, emulator, export, testing], ids=lambda module: module.__name__)
def test_public_names_are_documented(module: object) -> None:
    """Each public class and function, and each public method, has a docstring."""
    for name in module.__all__:  # type: ignore[attr-defined]  # of modules
        thing = getattr(module, name)
        assert thing.__doc__ or not isinstance(thing, type), name
        for attribute, value in vars(thing).items() if isinstance(thing, type) else ():
            if callable(value) and not attribute.startswith("_"):
                assert value.__doc__, f"{name}.{attribute}"


def test_importing_the_client_imports_nothing_else() -> None:
    """Neither the emulator nor the command line, nor what they need, is imported."""
    modules = [
        "cli",
        "emulator",
        "export",
        "mirror",
        "prometheus",
        "pydantic_types",
        "pytest_plugin",
        "telemetry",
        "testing",
    ]
    unwanted = [
        *(f"customers_async.{module}" for module in modules),
        *(
            "aiohttp.web",
            "aiohttp.test_utils",
            "cyclopts",
            "rich",
            "pyarrow",
            "opentelemetry",
            "prometheus_client",
            "pydantic_core",
        ),
        *("hypothesis", "jsonschema", "pytest", "unittest", "yaml"),
        *(
            "argparse",
            "concurrent.futures.process",
            "csv",
            "importlib.metadata",
            "multiprocessing",
            "sqlite3",
            "tomllib",
        ),
    ]
    script = f"""if True:
        import sys, aiohttp
        before = set(sys.modules)
        from customers_async import CustomersClient
        print(sorted({{*{unwanted!r}}} & (set(sys.modules) - before)))
    """
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603  # ours
    assert run.stdout.strip() == "[]"


def test_importing_the_package_imports_no_dependency() -> None:
    """Pytest imports the plugin before coverage starts, and in runs that never use it."""
    script = "import sys, customers_async; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603  # ours
    assert not {"aiohttp", "asyncio", "attrs", "cattrs", "msgspec"} & {*ast.literal_eval(run.stdout)}


def test_every_module_is_found_by_programs_that_freeze_others() -> None:
    """An import statement names each module, also the lazy ones, so PyInstaller needs no hidden imports."""
    package = Path(customers_async.__file__).parent
    modules = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in package.rglob("*.py")
    }
    named_by_programs = ("", ".cli", ".mirror", ".prometheus", ".pytest_plugin", ".telemetry", ".testing")
    waiting, found = [f"customers_async{name}" for name in named_by_programs], set[str]()
    while waiting:
        module = waiting.pop()
        if module in modules and module not in found:
            found.add(module)
            waiting += [module.rpartition(".")[0], *_find_imports(modules[module])]
    assert modules.keys() - found == {"customers_async.cli.__main__"}  # for ``python -m`` only


def _find_imports(path: Path) -> set[str]:
    """Return the names that import statements of a module may import as modules."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_each_test_has_a_docstring() -> None:
    """Each test states in a sentence what it shows."""
    silent = [
        f"{path.name}: {node.name}"
        for path in TESTS.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_workers_run_in_development_mode() -> None:
    """The processes of pytest-xdist report what only Python's development mode reports."""
    assert sys.flags.dev_mode or "PYTEST_XDIST_WORKER" not in os.environ


def test_overrides_are_the_options() -> None:
    """The types of ``with_options`` name the options that it accepts."""
    assert list(OptionOverrides.__annotations__) == [field.name for field in attrs.fields(Options)]
