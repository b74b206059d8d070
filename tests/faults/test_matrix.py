"""Every row of the fault matrix has a test."""

import ast
from pathlib import Path

TESTS = {
    file.name: [
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    for file in Path(__file__).parent.glob("test_*.py")
}


def test_every_row_has_a_test() -> None:
    """Fifty rows each have a test with their number, and no test has another number."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in Path(__file__).parent.glob("test_*.py")]
    functions = [
        node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    rows = {function.name.split("_")[2] for function in functions if function.name.startswith("test_fault_")}
    assert rows == {f"{row:02d}" for row in range(1, 51)}


def test_every_fault_test_is_documented() -> None:
    """Each test has its own name and a sentence."""
    for file, tests in TESTS.items():
        assert len({test.name for test in tests}) == len(tests), file
        assert all((ast.get_docstring(test) or "").endswith(".") for test in tests), file
