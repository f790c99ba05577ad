"""Mutation testing: change one thing in a firmware module, and see that a portable test notices.

Every mutant that no test notices needs a line in tests/mutation_survivors.toml that says why it
cannot be noticed; a mutant without one fails, and so does a line without its mutant. Why the tool
is our own: docs/mutation.md. Each mutant runs in a child of its own, forked from a parent that has
imported nothing of ours, with the mutated module handed to `import` in place of its file.
"""

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import resource
import signal
import sys
import time
import tomllib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "firmware" / "element"
TESTS = ROOT / "tests" / "portable"
SURVIVORS = ROOT / "tests" / "mutation_survivors.toml"
# The files that must notice; the slow ones (FAR) see what the near ones have let through.
NEAR = {
    "limits": ("test_limits",),
    "interlock": ("test_interlock",),
    "usage": ("test_usage",),
    "windows": ("test_windows", "test_usage"),
}
FAR = ("test_limits", "test_interlock", "test_usage", "test_windows", "test_control",
       "test_properties")
TIMEOUT_FACTOR = 5
TIMEOUT_S_MIN = 10
MEMORY_SIZE_MAX = 1 << 30

_COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.FloorDiv,),
    ast.FloorDiv: (ast.Mult, ast.Div), ast.Mod: (ast.FloorDiv,), ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,), ast.BitXor: (ast.BitAnd,), ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
_CALLS = {"min": "max", "max": "min"}
_DELETABLE = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return, ast.If, ast.For)


@dataclass(frozen=True)
class Mutant:
    """One change. line, becomes: the statement without its body, as `ast.unparse` writes it."""

    module: str
    function: str
    line: str
    becomes: str
    number: int
    code: CodeType

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names it in the file of survivors; `number` is for a reader who looks it up."""
        return self.module, self.function, self.line, self.becomes


def header(statement: ast.stmt) -> str:
    """Return a statement's own line, without what is indented below it."""
    shown = copy.copy(statement)
    for field in ("body", "orelse", "decorator_list"):
        if isinstance(getattr(shown, field, None), list):
            setattr(shown, field, [])
    if isinstance(shown, ast.FunctionDef):
        shown.returns = None
    return " ".join(ast.unparse(ast.fix_missing_locations(shown)).split())


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what an expression, or a statement that is no block, is changed to."""
    match node:
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                for other in _COMPARISONS[type(operator)]:
                    ops = [*node.ops[:index], other(), *node.ops[index + 1:]]
                    yield ast.Compare(node.left, ops, node.comparators)
        case ast.BinOp():
            for other in _ARITHMETIC[type(node.op)]:
                yield ast.BinOp(node.left, other(), node.right)
        case ast.AugAssign():
            for other in _ARITHMETIC[type(node.op)]:
                yield ast.AugAssign(node.target, other(), node.value)
            yield ast.Assign([node.target], node.value)
        case ast.BoolOp():
            yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
            for index in range(len(node.values)):
                rest = [*node.values[:index], *node.values[index + 1:]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp():
            yield node.operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(number)):
            yield ast.Constant(number + 1)
            yield ast.Constant(number - 1)
        case ast.Constant(value=str(text)):
            yield ast.Constant(text + "x")
        case ast.Constant(value=None):
            yield ast.Constant(0)
        case ast.Call(func=ast.Name(id="abs")):
            yield node.args[0]
        case ast.Call(func=ast.Name(id=("min" | "max") as name)):
            yield ast.Call(ast.Name(_CALLS[name], ast.Load()), node.args, node.keywords)
        case ast.Call():
            for index, argument in enumerate(node.args):
                if not isinstance(argument, ast.Constant | ast.Starred):
                    rest = [*node.args[:index], ast.Constant(None), *node.args[index + 1:]]
                    yield ast.Call(node.func, rest, node.keywords)
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            yield ast.Return(ast.Constant(None))
    if isinstance(node, ast.If | ast.IfExp) and not isinstance(node.test, ast.Compare):
        changed = copy.copy(node)
        changed.test = ast.UnaryOp(ast.Not(), node.test)
        yield changed
    if isinstance(node, _DELETABLE) and not _is_text(node):
        yield ast.Pass()


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class Walk:
    """All mutants of one module, in the order of its lines; the tree is as before after each."""

    def __init__(self, module: str, source: str):
        self._module = module
        self._tree = ast.parse(source)

    def mutants(self) -> Iterator[Mutant]:
        """Yield each mutant; two changes of a line to the same text are one."""
        known: set[tuple[str, str, str, str]] = set()
        times: dict[tuple[str, str], int] = {}
        for function, statement, put in self._statements(self._tree, ""):
            line = header(statement)
            if not _is_text(statement):
                times[function, line] = times.get((function, line), 0) + 1
            for changed in self._changes(statement, put):
                becomes = header(changed) if changed is not None else "pass"
                place = times.get((function, line), 1)
                where = function if place == 1 else f"{function} #{place}"
                key = (self._module, where, line, becomes)
                if key in known or line == becomes:
                    continue
                known.add(key)
                code = compile(ast.fix_missing_locations(copy.deepcopy(self._tree)),
                               str(SOURCE / f"{self._module}.py"), "exec")
                yield Mutant(*key, statement.lineno, code)

    def _statements(
        self, parent: ast.AST, function: str
    ) -> Iterator[tuple[str, ast.stmt, Callable[[ast.stmt], None]]]:
        for field in ("body", "orelse"):
            block = getattr(parent, field, None)
            if not isinstance(block, list):
                continue
            for index, statement in enumerate(block):
                if isinstance(statement, ast.Import | ast.ImportFrom):
                    continue

                def put(new: ast.stmt, block: list[ast.stmt] = block, index: int = index) -> None:
                    block[index] = new

                name = function
                if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                    name = f"{function}.{statement.name}".lstrip(".")
                yield name, statement, put
                yield from self._statements(statement, name)

    def _changes(
        self, statement: ast.stmt, put: Callable[[ast.stmt], None]
    ) -> Iterator[ast.stmt | None]:
        """Make each change of one statement's own line in the tree, and take it back."""
        for new in replacements(statement):
            assert isinstance(new, ast.stmt)
            put(new)
            yield None if isinstance(new, ast.Pass) else new
            put(statement)
        if _is_text(statement):
            return
        for node, change in list(_expressions(statement)):
            for new in replacements(node):
                change(new)
                yield statement
                change(node)


def _expressions(parent: ast.AST) -> Iterator[tuple[ast.AST, Callable[[ast.AST], None]]]:
    """Yield the expressions of a statement's own line and how to put another in their place."""
    for field, value in ast.iter_fields(parent):
        if field in ("body", "orelse", "annotation", "returns", "decorator_list", "ops", "op") \
                and not isinstance(parent, ast.IfExp):
            continue
        for index, node in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(node, ast.AST):
                continue

            def change(new: ast.AST, field: str = field, index: int = index,
                       value: object = value) -> None:
                if isinstance(value, list):
                    value[index] = new
                else:
                    setattr(parent, field, new)

            yield node, change
            yield from _expressions(node)


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Hand `import` a compiled mutant in place of its module's file."""

    def __init__(self, name: str, code: CodeType):
        self._name = name
        self._code = code

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for one module only."""
        return importlib.util.spec_from_loader(name, self) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutant as the module."""
        exec(self._code, module.__dict__)


def run_tests(files: tuple[str, ...]) -> bool:
    """Call every test of the files; False at the first that fails. For a child only."""
    for name in files:
        module = importlib.import_module(name)
        for test in [one for one in dir(module) if one.startswith("test_")]:
            getattr(module, test)()
    return True


def notices(files: tuple[str, ...], mutant: Mutant | None, timeout_s: float) -> bool:
    """Return True when the tests fail, crash or take too long with the mutant in place."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.setitimer(signal.ITIMER_REAL, timeout_s)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_SIZE_MAX, MEMORY_SIZE_MAX))
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            if mutant is not None:
                sys.meta_path.insert(0, Mutated(f"element.{mutant.module}", mutant.code))
            run_tests(files)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return status != 0


def timed(files: tuple[str, ...]) -> float:
    """Return the seconds that the tests take as they are; end here when they fail."""
    started_s = time.monotonic()
    if notices(files, None, 600):
        raise SystemExit(f"the tests fail without any mutant: {' '.join(files)}")
    return max(TIMEOUT_S_MIN, TIMEOUT_FACTOR * (time.monotonic() - started_s))


def explanations(path: Path) -> dict[tuple[str, str, str, str], str]:
    """Return the reasons from the file of survivors."""
    found: dict[tuple[str, str, str, str], str] = {}
    for one in tomllib.loads(path.read_text()).get("survivor", []):
        for becomes in one["becomes"]:
            key = (one["module"], one["function"], one["line"], becomes)
            if key in found or not one["why"].strip():
                raise SystemExit(f"{path.name}: twice, or without a reason: {key}")
            found[key] = one["why"]
    return found


def survivors_of(
    module: str, excused: Callable[[Mutant], bool]
) -> tuple[int, list[Mutant]]:
    """Return how many mutants a module has, and those that no test has noticed.

    excused: which of those that the near tests let through need not see the slow ones.
    """
    near = NEAR[module]
    near_s = timed(near)
    far = tuple(one for one in FAR if one not in near)
    far_s = 0.0
    count = 0
    alive = []
    for mutant in Walk(module, (SOURCE / f"{module}.py").read_text()).mutants():
        count += 1
        if notices(near, mutant, near_s):
            continue
        if not excused(mutant):
            far_s = far_s or timed(far)
            if notices(far, mutant, far_s):
                continue
        alive.append(mutant)
    return count, alive


def main(argv: list[str] | None = None) -> int:
    """Run the mutants of the modules; exit 1 on an unexplained survivor or a stale reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="default: " + " ".join(NEAR))
    parser.add_argument("--thorough", action="store_true",
                        help="the slow tests for the explained survivors too: none may notice")
    arguments = parser.parse_args(argv)
    modules = arguments.modules or list(NEAR)
    if unknown := [one for one in modules if one not in NEAR]:
        parser.error(f"no such module: {' '.join(unknown)}")
    os.chdir(ROOT)
    sys.path[:0] = [str(SOURCE.parent), str(TESTS)]
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore", SyntaxWarning)  # a mutant may compare a number with `is`
    reasons = explanations(SURVIVORS) if SURVIVORS.exists() else {}
    stale = {key for key in reasons if key[0] in modules}
    bad = 0
    for module in modules:
        started_s = time.monotonic()
        count, alive = survivors_of(
            module, lambda one: not arguments.thorough and one.key in reasons)
        for mutant in alive:
            stale.discard(mutant.key)
            if mutant.key not in reasons:
                bad += 1
                print(f"survivor, not explained: {module}.py:{mutant.number} {mutant.function}\n"
                      f"    {mutant.line}\n    {mutant.becomes}")
        print(f"{module}: {count} mutants, {count - len(alive)} killed, {len(alive)} survived, "
              f"{time.monotonic() - started_s:.0f} s", flush=True)
    for key in sorted(stale):
        print(f"explained, but killed or gone: {key[0]} {key[1]}\n    {key[2]}\n    {key[3]}")
    print(f"{bad} not explained, {len(stale)} stale")
    return 1 if bad or stale else 0


if __name__ == "__main__":
    sys.exit(main())
