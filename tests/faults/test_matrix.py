"""The tests of this folder and the fault matrix in docs/explanation/faults.md have the same rows."""

import ast
import re
from pathlib import Path

MATRIX = Path(__file__).parents[2] / "docs/explanation/faults.md"
TESTS = {
    file.name: [
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    for file in Path(__file__).parent.glob("test_*.py")
}


def test_every_row_has_a_test() -> None:
    """The rows are numbered from 1; each has a test in each file that it names, and each test has a row."""
    matrix = MATRIX.read_text(encoding="utf-8")
    found = re.findall(r"^\| (\d+) \| .* \| ([^|]+) \|$", matrix, re.M)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    rows = [(int(number), file) for number, files in found for file in re.findall(r"`(\w+\.py)`", files)]
    tested = {
        (int(number[1]), file)
        for file, tests in TESTS.items()
        for test in tests
        if (number := re.match(r"test_fault_(\d\d)_", test.name))
    }
    assert set(rows) == tested


def test_every_fault_test_has_a_docstring() -> None:
    """Each test has a docstring of whole sentences, and a name that no other test of its file has."""
    for file, tests in TESTS.items():
        assert len({test.name for test in tests}) == len(tests), file
        assert all((ast.get_docstring(test) or "").endswith(".") for test in tests), file
