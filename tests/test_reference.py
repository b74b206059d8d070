"""The pages of docs/reference list every public name, and their summaries match the package."""

import ast
import asyncio
import inspect
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from enum import Enum, StrEnum
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import attrs
import pytest
from aiohttp import web

import customers_async
from customers_async import emulator, export, mirror, prometheus, telemetry, testing
from customers_async.emulator import settings

PAGES = sorted((Path(__file__).parent.parent / "docs/reference").glob("*.md"))
README = Path(__file__).parent.parent / "README.md"
MODULES = (customers_async, emulator, settings, export, mirror, telemetry, prometheus, testing)
DIRECTIVES = re.compile(r"^```\{eval-rst\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
SUMMARIES = re.compile(r"^```py\n(.*?)^```", re.MULTILINE | re.DOTALL)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def find(name: str, page: Path) -> Any:
    """Return the public thing of this name: first of the module that the page is about."""
    modules = sorted(MODULES, key=lambda module: not module.__name__.endswith(f".{page.stem}"))
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def load(source: str) -> dict[str, Any]:
    """Execute a summary; return what it defines."""
    names = {name: getattr(customers_async, name) for name in customers_async.__all__}
    typing = {
        "Awaitable": Awaitable,
        "Callable": Callable,
        "Protocol": Protocol,
        "Sequence": Sequence,
        "TypeAlias": TypeAlias,
    }
    namespace = {
        **names,
        **typing,
        "asyncio": asyncio,
        "PathLike": PathLike,
        "random": random,
        "web": web,
        "StrEnum": StrEnum,
        "timedelta": timedelta,
    }
    namespace |= {"Settings": settings.Settings, "StrEnum": StrEnum, "timedelta": timedelta}
    exec(f"from __future__ import annotations\n{source}", namespace)  # noqa: S102  # our own pages
    defined = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {node.name: namespace[node.name] for node in defined}


def parameters(function: Any) -> list[tuple[str, object, object]]:
    """The parameters of a function or class: their names, kinds and defaults."""
    return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]


def check_function(stub: Any, real: Any) -> None:
    """Compare a function or method with its summary."""
    assert type(stub) is type(real)
    if not isinstance(stub, property):
        assert parameters(stub) == parameters(real)
        assert inspect.iscoroutinefunction(stub) == inspect.iscoroutinefunction(real)


def check_class(stub: Any, real: Any) -> None:
    """Compare a class with its summary: bases, fields with their defaults, and methods."""
    assert {base.__name__ for base in stub.__bases__} <= {base.__name__ for base in real.__mro__}
    if issubclass(stub, Enum):
        assert {member.name: member.value for member in stub} == {member.name: member.value for member in real}
        return
    members = {name: value for name, value in vars(stub).items() if callable(value) or isinstance(value, property)}
    for name, value in members.items():
        if name == "__init__":
            assert parameters(stub) == parameters(real)
        elif not name.startswith("__"):
            check_function(value, inspect.getattr_static(real, name))
    fields = {*inspect.get_annotations(stub)}
    arguments = inspect.signature(real.__init__).parameters
    assert all(name in arguments or hasattr(real, name) for name in fields)
    defaults = {name: value for name, value in vars(stub).items() if name in fields}
    assert defaults == {name: arguments[name].default for name in defaults}
    if attrs.has(real) and "__init__" not in members:
        own = {field.name for field in attrs.fields(real) if not field.inherited and not field.name.startswith("_")}
        assert own <= fields


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_summaries_match_the_package(page: Path) -> None:
    """Each class, field and signature in a page's summary is that of the package."""
    for source in SUMMARIES.findall(read(page)):
        for name, stub in load(source).items():
            if isinstance(stub, type):
                check_class(stub, find(name, page))
            else:
                check_function(stub, find(name, page))


def test_every_public_name_is_in_the_reference() -> None:
    """Each public name is in a summary, and in a directive for Sphinx, and each error in the README's table."""
    public = {
        name
        for module in (customers_async, emulator, export, mirror, prometheus, telemetry, testing)
        for name in module.__all__
    }
    public -= {"__version__"}
    pages = [read(page) for page in PAGES]
    summaries = "".join(source for page in pages for source in SUMMARIES.findall(page))
    assert public == {
        name for name in public if re.search(rf"^(class |(async )?def )?{name}\b", summaries, re.MULTILINE)
    }
    directives = "".join(source for page in pages for source in DIRECTIVES.findall(page))
    assert public <= {*re.findall(r"^\.\. (?:auto|py:)\w+:: (?:[\w.]+\.)?(\w+)", directives, re.MULTILINE)}
    errors = {name for name in customers_async.__all__ if name.endswith("Error")}
    assert errors == {name for name in errors if f"`{name}`" in read(README)}
