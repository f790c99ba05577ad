"""Give private names of the firmware short ones that its modules share, for a board.

Every distinct name takes about 20 bytes of a board's heap for ever, and the table of names grows
by doubling. What nobody outside can see needs no name of its own: parameters that are never passed
by keyword, and what is private (`_frames`, `_on_trip`). Public functions, methods and classes keep
their names: a traceback says the file, and whose work it was.

Two private names may become one when they can never meet: they lie in modules whose classes have
no base in common. What may be seen in another way stays: a private name used on anything but
`self`, or written as a text anywhere.
"""

import ast
import builtins
import itertools
import string
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def shorten(sources: dict[str, str]) -> dict[str, str]:
    """Return the sources of a package (dotted module name: text) with private names shortened.

    Raises SyntaxError for a source that Python cannot parse.
    """
    trees = {name: ast.parse(text) for name, text in sources.items()}
    private = _private_names(trees)
    keywords = {node.arg for tree in trees.values() for node in ast.walk(tree)
                if isinstance(node, ast.keyword) and node.arg}
    short = {}
    for name, tree in trees.items():
        _Attributes(private).visit(tree)
        _shorten_parameters(tree, keywords)
        short[name] = ast.unparse(tree) + "\n"
    return short


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _short_names(taken: set[str], prefix: str = "") -> Iterator[str]:
    """Yield names that are not taken: a, b, ... z, aa, ab, ... behind the prefix."""
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            name = prefix + "".join(letters)
            if name not in taken:
                yield name


# what is private


def _private_names(trees: dict[str, ast.Module]) -> dict[str, str]:
    """Return what to call everything private that may be renamed."""
    seen: dict[str, set[str]] = defaultdict(set)  # name: modules
    fixed: set[str] = set()
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, _DEFINITIONS):
                if _is_private(node.name):
                    seen[node.name].add(module)
                else:
                    fixed.add(node.name)
            elif isinstance(node, ast.alias):
                fixed |= {node.name, node.asname or node.name}
            elif isinstance(node, ast.arg):
                fixed.add(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                fixed.add(node.value)
            elif isinstance(node, ast.Name):
                seen[node.id].add(module)
            elif isinstance(node, ast.Attribute):
                seen[node.attr].add(module)
                if not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                    fixed.add(node.attr)
    family = _families(trees)
    chosen: dict[str, str] = {}
    used: dict[str, set[str]] = defaultdict(set)  # family: short names in it
    pool = list(itertools.islice(_short_names(set(seen) | fixed, "_"), len(seen)))
    # names of many modules first: they have the least choice
    for name in sorted(seen, key=lambda name: (-len(seen[name]), name)):
        if not _is_private(name) or name in fixed:
            continue
        homes = {family[module] for module in seen[name]}
        new = next(one for one in pool if not any(one in used[home] for home in homes))
        for home in homes:
            used[home].add(new)
        chosen[name] = new
    return chosen


def _families(trees: dict[str, ast.Module]) -> dict[str, str]:
    """Return one name for all modules whose classes may have a base in common."""
    family = {name: name for name in trees}
    origin: dict[str, set[str]] = defaultdict(set)  # class name: modules that define it
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                origin[node.name].add(name)
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for base in node.bases:
                base_name = base.attr if isinstance(base, ast.Attribute) else ast.unparse(base)
                # by the name alone: one class too many in a family only costs a name
                for other in origin.get(base_name, ()):
                    one, two = family[name], family[other]
                    family = {key: one if value == two else value
                              for key, value in family.items()}
    return family


class _Attributes(ast.NodeTransformer):
    """Rename what is private."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def visit_Attribute(self, node: ast.Attribute) -> ast.Attribute:
        self.generic_visit(node)
        node.attr = self._names.get(node.attr, node.attr)
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self._names.get(node.id, node.id)
        return node

    def _definition(self, node: Any) -> ast.AST:
        self.generic_visit(node)
        node.name = self._names.get(node.name, node.name)
        return node

    visit_FunctionDef = _definition
    visit_AsyncFunctionDef = _definition
    visit_ClassDef = _definition

    def _scope(self, node: ast.Global | ast.Nonlocal) -> ast.AST:
        node.names = [self._names.get(name, name) for name in node.names]
        return node

    visit_Global = _scope
    visit_Nonlocal = _scope


# parameters


def _shorten_parameters(tree: ast.Module, keywords: set[str]) -> None:
    """Rename the parameters of every outermost function, and of what is inside it alike."""
    outside = set(dir(builtins)) | keywords | {"self"}
    for node in ast.walk(tree):
        if isinstance(node, _DEFINITIONS):
            outside.add(node.name)
        elif isinstance(node, ast.alias):
            outside.add((node.asname or node.name).split(".")[0])
    for node in tree.body:
        outside |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name)
                    and not isinstance(node, _DEFINITIONS)}
    for function in _outermost(tree):
        names = {one.id for one in ast.walk(function) if isinstance(one, ast.Name)}
        names |= {one.name for one in ast.walk(function)
                  if isinstance(one, ast.ExceptHandler) and one.name}
        parameters = {one.arg for one in ast.walk(function) if isinstance(one, ast.arg)}
        fresh = _short_names(names | parameters | outside)
        renamed = {name: next(fresh) for name in sorted(parameters - outside)
                   if len(name) > 1}
        for one in ast.walk(function):
            if isinstance(one, ast.Name):
                one.id = renamed.get(one.id, one.id)
            elif isinstance(one, ast.arg):
                one.arg = renamed.get(one.arg, one.arg)
            elif isinstance(one, ast.ExceptHandler) and one.name:
                one.name = renamed.get(one.name, one.name)
            elif isinstance(one, ast.Nonlocal | ast.Global):
                one.names = [renamed.get(name, name) for name in one.names]


def _outermost(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the functions that are in no other function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _FUNCTIONS):
            yield child
        else:
            yield from _outermost(child)
