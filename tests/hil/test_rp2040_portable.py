"""The portable tests on the emulated board: what the target reports, and its exceptions."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from hil.bench.rp2040.portable import PortableBoard

ROOT = Path(__file__).resolve().parents[2]
PORTABLE = ROOT / "tests" / "portable"
WALL_S_MAX = 60.0


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PortableBoard]:
    """One emulated board with the firmware's modules in its flash."""
    board = PortableBoard(ROOT, tmp_path_factory.mktemp("board"))
    yield board
    board.close()


def names_in(path: Path) -> list[str]:
    """Return the names of the tests in a file, as the runner sorts them."""
    return sorted(node.name for node in ast.parse(path.read_text(encoding="utf-8")).body
                  if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


def tool() -> ModuleType:
    """Return tools/run_portable.py as a module."""
    spec = importlib.util.spec_from_file_location("run_portable", ROOT / "tools/run_portable.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_file_passes_with_every_one_of_its_tests(board: PortableBoard) -> None:
    path = PORTABLE / "test_units.py"
    verdict = board.run_file(path, WALL_S_MAX)
    assert (verdict.passed, verdict.failed) == (len(names_in(path)), 0), verdict.output
    assert verdict.free > 200_000


def test_parts_and_exceptions_add_up(board: PortableBoard) -> None:
    path = PORTABLE / "test_units.py"
    names = names_in(path)
    passed = [board.run_file(path, WALL_S_MAX, skip=names[:1], part=(index, 3)).passed
              for index in range(3)]
    assert sum(passed) == len(names) - 1 and max(passed) - min(passed) <= 1


@pytest.mark.parametrize(("text", "words"), [
    ("def test_fine():\n    pass\ndef test_bad():\n    assert 1 == 2\n", "AssertionError"),
    ("import nothing_like_it\ndef test_fine():\n    pass\n", "ImportError"),
    ("def test_big():\n    bytearray(300000)\n", "MemoryError"),
    ("import machine\ndef test_gone():\n    machine.reset()\n", ""),
    ("value = 1\n", "no tests"),
])
def test_every_failure_is_one(board: PortableBoard, tmp_path: Path, text: str,
                              words: str) -> None:
    path = tmp_path / "test_here.py"
    path.write_text(text, encoding="utf-8")
    verdict = board.run_file(path, 20.0)
    assert verdict.failed >= 1 and words in verdict.output


def test_every_exception_names_a_test_that_exists() -> None:
    module = tool()
    for name in (*module.NOT_ON_BOARD, *module.PARTS, *module.SETTINGS, *module.LONG_FIRST):
        file, _, test = name.partition(".")
        path = PORTABLE / f"{file}.py"
        assert path.is_file(), name
        assert not test or test in names_in(path), name
    jobs, left_out = module.jobs_of(sorted(PORTABLE.glob("test_*.py")))
    assert len(left_out) == len(module.NOT_ON_BOARD)
    assert len(jobs) >= len(list(PORTABLE.glob("test_*.py"))) - len(left_out)
