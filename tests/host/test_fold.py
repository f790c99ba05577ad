"""Folding constants and shortening names change no program: each rule, and what it must not do."""

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from host_tools.provision.fold import fold
from host_tools.provision.shorten import shorten

Sources = dict[str, str]


def folded(text: str, **others: str) -> str:
    """Return module pkg.one, folded beside others of its package."""
    sources = {"pkg.__init__": "", "pkg.one": text}
    sources.update({f"pkg.{name}": other for name, other in others.items()})
    return fold(sources)["pkg.one"]


def outcome(folder: Path, sources: Sources, root: str) -> Any:
    """Write a package and return what main.run() in it returns."""
    for name, text in sources.items():
        path = folder / Path(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(f"{root}.main").run()
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == root]:
            del sys.modules[name]


def same(tmp_path: Path, main: str, **others: str) -> Any:
    """Require that a package does the same before and after; return what it does."""
    sources = {"pkg.__init__": "", "pkg.main": main}
    sources.update({f"pkg.{name.replace('__', '.')}": text for name, text in others.items()})
    wanted = outcome(tmp_path / "sources", sources, "pkg")
    forms: list[tuple[str, Callable[[Sources], Sources]]] = [
        ("folded", fold), ("kept", lambda one: fold(one, keep_public=True)), ("short", shorten),
        ("both", lambda one: shorten(fold(one)))]
    for name, form in forms:
        assert outcome(tmp_path / name, form(sources), "pkg") == wanted, name
    return wanted


# ---- fold ----


def test_a_constant_takes_the_place_of_its_name_and_its_assignment_goes() -> None:
    text = folded("A = 3\nB = -A * 2 + (1 << 4)\ndef f():\n    return A, B, B | 1\n")
    assert "A" not in text.replace("return", "") and "(3, 10, 10 | 1)" in text


def test_negative_constants_keep_their_sign() -> None:
    text = folded("LOW = -5\ndef f(x):\n    return x ** LOW, x - LOW, -LOW, LOW ** 2\n")
    namespace: dict[str, Any] = {}
    exec(text, namespace)
    assert namespace["f"](2) == (2 ** -5, 7, 5, 25) and "LOW" not in text


@pytest.mark.parametrize("text", [
    "A = 1\nA = 2\ndef f():\n    return A\n",
    "A = 1\ndef g():\n    global A\n    A = 2\ndef f():\n    g()\n    return A\n",
    "A = 1\nA += 1\ndef f():\n    return A\n",
    "A = 1\ndef f(A=5):\n    return A\n",
    "A = 1\ndef f():\n    A = 7\n    return A\n",
    "A = 1\ndef f():\n    return [A for A in (4, 5)]\n",
    "A = 1\ndef f():\n    return (lambda A: A + 1)(8)\n",
    "A = 1\ndef f():\n    for A in (1, 2):\n        pass\n    return A\n",
    "A = 1\ndef f():\n    try:\n        raise ValueError('x')\n    except ValueError as A:\n"
    "        return str(A)\n",
    "A = 1\ndef f():\n    import os as A\n    return A.sep\n",
    "A = 1\ndef f():\n    def A():\n        return 6\n    return A()\n",
    "A = 1\nclass C:\n    A = 2\n    def get(self):\n        return self.A, A\n"
    "def f():\n    return C().get()\n",
    "A = 1 << 30\ndef f():\n    return A\n",
    "A = True\ndef f():\n    return A\n",
    "A = 'text'\ndef f():\n    return A\n",
    "A = 7 // 0 if False else 3\ndef f():\n    return A\n",
    "if True:\n    A = 4\ndef f():\n    return A\n",
    "lower = 4\ndef f():\n    return lower\n",
    "A = B = 4\ndef f():\n    return A, B\n",
    "A = 1\nB = [A, 2]\ndef f():\n    return B\n",
    "A = 2\ndef f():\n    return f'{A} {A:>4} {-A!r}', 'A'\n",
    "A = 2\ndef f(x=A, *, y=A):\n    return x, y\n",
    "A = 1\ndef f():\n    if (A := 9):\n        return A\n",
    "A = 1\ndef f():\n    with open('/dev/null') as A:\n        return A.name\n",
])
def test_what_is_folded_does_the_same(tmp_path: Path, text: str) -> None:
    same(tmp_path, text + "def run():\n    return f()\n")


def test_constants_of_other_modules_through_every_import(tmp_path: Path) -> None:
    codes = "A = 4\nB = A + 1\n_HIDDEN = 6\ndef hidden():\n    return _HIDDEN\n"
    main = ("from . import codes\nfrom .codes import A, B as OTHER, hidden\n"
            "from .deep import inner\nC = codes.B * 10\n"
            "def run():\n    from .codes import B\n"
            "    return A, OTHER, codes.A, codes.B, C, B, hidden(), inner.value()\n")
    inner = ("from ..codes import A\nfrom .. import codes\n"
             "def value():\n    return A * codes.B\n")
    assert same(tmp_path, main, codes=codes, deep____init__="", deep__inner=inner) \
        == (4, 5, 4, 5, 50, 5, 6, 20)
    text = folded(main, codes=codes)
    assert "codes.A" not in text and "OTHER" not in text


def test_a_module_whose_name_is_taken_by_something_else(tmp_path: Path) -> None:
    codes = "A = 4\n"
    main = ("from . import codes\n"
            "class Other:\n    A = 5\n"
            "def shadow(codes):\n    return codes.A\n"
            "def local():\n    codes = Other()\n    return codes.A\n"
            "def run():\n    return shadow(Other()), local(), codes.A\n")
    assert same(tmp_path, main, codes=codes) == (5, 5, 4)


def test_names_that_are_shared_by_constants_and_others(tmp_path: Path) -> None:
    one = "LIMIT = 3\ndef of(x):\n    return x.LIMIT\n"
    main = ("from .one import LIMIT, of\n"
            "class Board:\n    LIMIT = 8\n"
            "def run():\n    return LIMIT, of(Board), Board.LIMIT, getattr(Board, 'LIMIT')\n")
    assert same(tmp_path, main, one=one) == (3, 8, 8, 8)


def test_public_constants_stay_where_they_are_wanted() -> None:
    sources = {"pkg.__init__": "", "pkg.one": "A = 1\n_B = 2\ndef f():\n    return A + _B\n"}
    assert "A = 1" in fold(sources, keep_public=True)["pkg.one"]
    assert "_B = " not in fold(sources, keep_public=True)["pkg.one"]
    assert "A = " not in fold(sources)["pkg.one"]


def test_docstrings_go_and_no_body_is_left_empty() -> None:
    text = folded('"""A module."""\nclass E(Exception):\n    """An error."""\n'
                  'def f():\n    """Nothing."""\nasync def g():\n    """Nothing."""\n')
    assert '"""' not in text and text.count("pass") == 3
    ast.parse(text)


# ---- shorten ----


def short(text: str) -> str:
    return shorten({"pkg.one": text})["pkg.one"]


def test_private_names_and_parameters_become_short() -> None:
    text = short("class C:\n    def __init__(self, whatever):\n"
                 "        self._something = whatever\n")
    assert "whatever" not in text and "_something" not in text and "self._a = a" in text


@pytest.mark.parametrize("text", [
    # seen in other ways than self.name
    "class C:\n    def __init__(self):\n        self._a_name = 1\n"
    "def f():\n    c = C()\n    return c._a_name, getattr(c, '_a_name')\n",
    "class C:\n    _shared = 3\n    def get(self):\n        return self._shared, C._shared\n"
    "def f():\n    return C().get()\n",
    "class C:\n    _shared = 3\n    def get(self):\n        return self._shared\n"
    "def f():\n    return C().get()\n",
    # keywords
    "def g(alpha, beta=2):\n    return alpha - beta\ndef f():\n    return g(beta=1, alpha=5)\n",
    "def g(**rest):\n    return sorted(rest)\ndef f():\n    return g(alpha=1, beta=2)\n",
    "def g(*many, last=0):\n    return many, last\ndef f():\n    return g(1, 2, last=3)\n",
    # scopes
    "def f():\n    def inner(value):\n        return lambda other: value + other\n"
    "    return inner(1)(2)\n",
    "def f():\n    total = 0\n    def add(amount):\n        nonlocal total\n"
    "        total += amount\n    add(4)\n    return total\n",
    "def g(total):\n    def add(amount):\n        nonlocal total\n        total += amount\n"
    "    add(4)\n    return total\ndef f():\n    return g(1)\n",
    "_count = 0\ndef g():\n    global _count\n    _count += 1\n"
    "def f():\n    g()\n    return _count\n",
    "value = 5\ndef g(value):\n    return value\ndef f():\n    return g(1), value\n",
    "def helper():\n    return 3\ndef g(number):\n    return helper() + number\n"
    "def f():\n    return g(1)\n",
    "def g(items):\n    return [[item for item in items] for items in (items, items)]\n"
    "def f():\n    return g((1, 2))\n",
    "def g(error):\n    try:\n        raise ValueError(error)\n    except ValueError as error:\n"
    "        return str(error)\ndef f():\n    return g('x')\n",
    "def g(length):\n    return [len(length), max(length), a(length)]\n"
    "def a(b):\n    return b[0]\ndef f():\n    return g('xy')\n",
    "def f():\n    a, b, c = 1, 2, 3\n    def g(alpha):\n        return a + b + c + alpha\n"
    "    return g(4)\n",
    "class C:\n    def outer(self, value):\n        class D:\n            def get(self, other):\n"
    "                return value + other\n        return D().get(2)\n"
    "def f():\n    return C().outer(1)\n",
    "class C:\n    def _private(self):\n        return 4\n    def get(self):\n"
    "        return self._private()\ndef f():\n    return C().get()\n",
    "def g(name):\n    return f'{name!r:>8}|{name}'\ndef f():\n    return g('x')\n",
    "class C:\n    def __init__(self, fields):\n        for name in fields:\n"
    "            setattr(self, name, fields[name])\n    def get(self):\n"
    "        return self._from_fields\ndef f():\n    return C({'_from_fields': 9}).get()\n",
    "def g(first, *, second):\n    return first, second\ndef f():\n    return g(1, second=2)\n",
    "async def g(waiting):\n    return waiting\ndef f():\n    one = g(3)\n"
    "    try:\n        one.send(None)\n"
    "    except StopIteration as end:\n        return end.value\n",
])
def test_what_is_shortened_does_the_same(tmp_path: Path, text: str) -> None:
    same(tmp_path, text + "def run():\n    return f()\n")


def test_attributes_of_one_object_stay_apart_over_modules(tmp_path: Path) -> None:
    base = ("class Base:\n    def __init__(self):\n        self._first = 1\n"
            "    def first(self):\n        return self._first\n")
    middle = "from . import base\nclass Middle(base.Base):\n    pass\n"
    other = ("class Other:\n    def __init__(self):\n        self._fourth = 4\n"
             "    def fourth(self):\n        return self._fourth\n")
    main = ("from .middle import Middle\nfrom .other import Other\n"
            "class Last(Middle):\n    def __init__(self):\n        super().__init__()\n"
            "        self._second = 2\n    def all(self):\n"
            "        return self.first(), self._second\n"
            "class Both(Last, Other):\n    def __init__(self):\n        Last.__init__(self)\n"
            "        Other.__init__(self)\n"
            "def run():\n    return Last().all(), Both().all(), Both().fourth()\n")
    assert same(tmp_path, main, base=base, middle=middle, other=other) == ((1, 2), (1, 2), 4)


def test_a_mixin_that_is_set_from_outside(tmp_path: Path) -> None:
    one = ("class One:\n    def __init__(self):\n        self._seen = []\n"
           "    def note(self, what):\n        self._seen.append(what)\n"
           "        return self._seen\n")
    main = ("from .one import One\n"
            "class Two:\n    def __init__(self):\n"
            "        self._unlike = 3\n        self.one = One()\n"
            "    def run(self):\n        return self.one.note(self._unlike), self._unlike\n"
            "def run():\n    return Two().run()\n")
    assert same(tmp_path, main, one=one) == ([3], 3)


# ---- the firmware ----


def test_the_firmware_keeps_its_public_names() -> None:
    """Public functions, classes, methods and attributes read as in the sources."""
    root = Path(__file__).resolve().parents[2] / "firmware"
    sources = {".".join(path.relative_to(root).with_suffix("").parts): path.read_text()
               for path in sorted((root / "element").rglob("*.py"))}
    built = shorten(fold(sources))
    folded_away = constants(sources)
    for name, text in built.items():
        before, after = ast.parse(sources[name]), ast.parse(text)
        assert public_definitions(before) == public_definitions(after), name
        assert attributes(before) - attributes(after) <= folded_away, name
        assert texts(after) <= texts(before), name


DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def public_definitions(tree: ast.AST) -> list[str]:
    return [node.name for node in ast.walk(tree) if isinstance(node, DEFINED)
            and (not node.name.startswith("_") or node.name.startswith("__"))]


def attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
            and not node.attr.startswith("_")}


def texts(tree: ast.AST) -> set[str]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)
            and isinstance(node.value, str)}


def constants(sources: Sources) -> set[str]:
    """Return the names in capitals that modules bind."""
    return {target.id for text in sources.values() for node in ast.parse(text).body
            if isinstance(node, ast.Assign) for target in node.targets
            if isinstance(target, ast.Name) and target.id.isupper()}
