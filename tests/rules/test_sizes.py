"""Check the sizes of STYLE.md section 6: modules, functions, lines."""

import ast

from . import tree

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
LINE_SIZE_MAX = 99
ROOMS = ("firmware", "boards", "host_tools", "hil", "tools", "tests")
# Numbers in rows are data and no code: nobody reads them.
TABLES = ("firmware/element/crypto/p256_table.py",)


def test_modules_are_short_enough_to_read():
    long = []
    for path in tree.python("firmware", "boards", "host_tools", "hil", "tools"):
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > MODULE_LINES_MAX and tree.name_of(path) not in TABLES:
            long.append(f"{tree.name_of(path)}: {count} lines")
    assert long == []


def function_sizes(module):
    """Yield (name, first line, lines) of every function; decorators count."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *[one.lineno for one in node.decorator_list]])
            yield node.name, first, (node.end_lineno or first) - first + 1


def test_functions_fit_on_a_screen():
    long = []
    for path in tree.python(*ROOMS):
        for name, line, count in function_sizes(tree.parsed(path)):
            if count > FUNCTION_LINES_MAX:
                long.append(f"{tree.name_of(path)}:{line}: {name} has {count} lines")
    assert long == []


def test_lines_are_short_enough():
    long = []
    for path in tree.python(*ROOMS):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if len(line) > LINE_SIZE_MAX:
                long.append(f"{tree.name_of(path)}:{number}: {len(line)} columns")
    assert long == []


def test_a_long_function_is_found():
    source = "def f():\n" + "    pass\n" * 70
    assert list(function_sizes(ast.parse(source))) == [("f", 1, 71)]
