"""Fold named integer constants of the firmware into the code that uses them, for a board.

A name in MicroPython costs memory: its letters, a place in the table of names, a place in its
module. A board has 240 KB for everything, so before the firmware is compiled each module-level
constant whose value is a small integer takes the place of its name, in its own module and in the
others, and its assignment goes. The code does the same; only the names are gone.

What is not folded stays as it was: names that are assigned more than once or inside a function or
class, values that are no small integers, and accesses that cannot be seen in the source (getattr).
Ref: MicroPython, "Maximising MicroPython speed" and `micropython.const`, which do this for the
names of one module.
"""

import ast
from collections import Counter

# Larger ones are objects of their own wherever they stand: 31-bit small integers.
_SMALL_MIN = -(1 << 30)
_SMALL_MAX = (1 << 30) - 1

_UNARY = {ast.USub: lambda a: -a, ast.Invert: lambda a: ~a, ast.UAdd: lambda a: a}
_BINARY = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b, ast.Mod: lambda a, b: a % b,
    ast.LShift: lambda a, b: a << b, ast.RShift: lambda a, b: a >> b,
    ast.BitOr: lambda a, b: a | b, ast.BitAnd: lambda a, b: a & b, ast.BitXor: lambda a, b: a ^ b,
}


def fold(sources: dict[str, str], keep_public: bool = False) -> dict[str, str]:
    """Return the sources of a package (dotted module name: text) with constants folded.

    keep_public: public names stay in their modules too, for code outside that asks for them.
    Raises SyntaxError for a source that Python cannot parse.
    """
    modules = {name: _Module(name, name + ".__init__" in sources, text)
               for name, text in sources.items()}
    for _ in range(len(modules)):  # a constant may be made of another module's
        learnt = [module.learn(modules) for module in modules.values()]
        if not any(learnt):
            break
    for module in modules.values():
        module.mark_needed(modules)
    return {name: module.folded(modules, keep_public) for name, module in modules.items()}


class _Module:
    """One module: what it binds, and its constants as far as they are known."""

    def __init__(self, name: str, is_package: bool, text: str) -> None:
        self.name = name.removesuffix(".__init__")
        self._package = self.name if name.endswith(".__init__") or is_package \
            else name.rpartition(".")[0]
        self.tree = ast.parse(text)
        self.constants: dict[str, int] = {}
        self.needed: set[str] = set()  # constants that another module asks for by name
        self._bound = _bound_names(self.tree)
        # every import of the form `from origin import name`: local name, dotted name
        self._imports = [(alias.asname or alias.name, f"{self._origin(node)}.{alias.name}")
                         for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom)
                         for alias in node.names]
        self._imported = dict(self._imports)
        self._import_counts = Counter(name for name, dotted in self._imports
                                      if self._imported[name] == dotted)

    def _origin(self, node: ast.ImportFrom) -> str:
        """Return the dotted name of what an import statement imports from."""
        if not node.level:
            return node.module or ""
        base = self._package
        for _ in range(node.level - 1):
            base = base.rpartition(".")[0]
        return f"{base}.{node.module}" if node.module else base

    def _import_of(self, name: str) -> str | None:
        """Return the dotted name of what a local name is, if it is an import and nothing else."""
        return self._imported[name] if self._import_counts[name] == self._bound[name] > 0 else None

    def mark_needed(self, modules: "dict[str, _Module]") -> None:
        """Tell other modules which of their constants cannot be folded here."""
        asked = [dotted for name, dotted in self._imports if self._import_of(name) is None]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) \
                    and self._import_of(node.value.id) is None:
                asked += [f"{dotted}.{node.attr}" for name, dotted in self._imports
                          if name == node.value.id]
        for dotted in asked:
            origin, _, name = dotted.rpartition(".")
            module = _find(modules, origin)
            if module is not None:
                module.needed.add(name)

    def learn(self, modules: "dict[str, _Module]") -> bool:
        """Look for constants that can be computed by now; True when there was a new one."""
        learnt = False
        for node in self.tree.body:
            name = _assigned_name(node)
            if name is None or name in self.constants or self._bound[name] != 1:
                continue
            assert isinstance(node, ast.Assign)
            value = self._value(node.value, modules)
            if value is not None and _SMALL_MIN <= value <= _SMALL_MAX:
                self.constants[name] = value
                learnt = True
        return learnt

    def _value(self, node: ast.expr, modules: "dict[str, _Module]") -> int | None:
        if isinstance(node, ast.Constant):
            return node.value if type(node.value) is int else None
        if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
            operand = self._value(node.operand, modules)
            return None if operand is None else _UNARY[type(node.op)](operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            left, right = self._value(node.left, modules), self._value(node.right, modules)
            if left is None or right is None:
                return None
            try:
                return _BINARY[type(node.op)](left, right)
            except (ZeroDivisionError, ValueError):
                return None
        return self.constant(node, modules)

    def constant(self, node: ast.expr, modules: "dict[str, _Module]") -> int | None:
        """Return the value of NAME or module.NAME where that is a known constant."""
        if isinstance(node, ast.Name):
            if node.id in self.constants:
                return self.constants[node.id]
            dotted = self._import_of(node.id)
            if dotted is not None:
                origin, _, name = dotted.rpartition(".")
                module = _find(modules, origin)
                return None if module is None else module.constants.get(name)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            dotted = self._import_of(node.value.id)
            if dotted is not None:
                module = _find(modules, dotted)
                return None if module is None else module.constants.get(node.attr)
        return None

    def folded(self, modules: "dict[str, _Module]", keep_public: bool) -> str:
        """Return the source with every known constant in the place of its name."""
        tree = _Folder(self, modules, keep_public).visit(self.tree)
        return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _find(modules: dict[str, _Module], name: str) -> _Module | None:
    return modules.get(name) or modules.get(name + ".__init__")


def _assigned_name(node: ast.stmt) -> str | None:
    """Return NAME of a top-level `NAME = value` in capitals, else None."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == target.id.upper():
            return target.id
    return None


def _bound_names(tree: ast.Module) -> "Counter[str]":
    """Return how often each name is bound anywhere in a module, in whatever way and scope."""
    bound: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound[node.id] += 1
        elif isinstance(node, ast.arg):
            bound[node.arg] += 1
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
                        | ast.ExceptHandler):
            bound[node.name or ""] += 1
        elif isinstance(node, ast.Global | ast.Nonlocal):
            bound.update(node.names)
        elif isinstance(node, ast.alias):
            bound[node.asname or node.name] += 1
    return bound


class _Folder(ast.NodeTransformer):
    """Put values in the places of names and drop what then nobody needs."""

    def __init__(self, module: _Module, modules: dict[str, _Module], keep_public: bool) -> None:
        self._module = module
        self._modules = modules
        self._keep_public = keep_public

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load):
            return self._folded(node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.ctx, ast.Load):
            folded = self._folded(node)
            if folded is not node:
                return folded
        self.generic_visit(node)
        return node

    def _folded(self, node: ast.expr) -> ast.expr:
        value = self._module.constant(node, self._modules)
        if value is None:
            return node
        constant = ast.Constant(abs(value))
        return ast.UnaryOp(ast.USub(), constant) if value < 0 else constant

    def visit_Assign(self, node: ast.Assign) -> ast.Assign | None:
        name = _assigned_name(node)
        # bound once in the module, so this is that one binding
        kept = name in self._module.needed or (self._keep_public and name and name[0] != "_")
        if name in self._module.constants and not kept:
            return None
        self.generic_visit(node)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        names = []
        for alias in node.names:
            local = ast.Name(alias.asname or alias.name, ast.Load())
            if self._keep_public or self._module.constant(local, self._modules) is None:
                names.append(alias)
        if not names:
            return None
        node.names = names
        return node

    def _body(self, node: ast.AST) -> ast.AST:
        """Drop a docstring, which no board keeps, and never leave a body empty."""
        self.generic_visit(node)
        body = node.body  # type: ignore[attr-defined]
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body.pop(0)
        if not body and not isinstance(node, ast.Module):
            body.append(ast.Pass())
        return node

    visit_Module = visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _body
