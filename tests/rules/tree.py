"""Find and parse the project's files; what every rule needs."""

import ast
import os
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SKIPPED = {".git", "build", "__pycache__", ".hypothesis", ".mypy_cache", ".ruff_cache",
           ".pytest_cache", "node_modules", ".venv"}


@lru_cache(maxsize=1)
def files() -> tuple[Path, ...]:
    """Return every file of the checkout, tracked or not, outside build and caches."""
    found = []
    for folder, names, plain in os.walk(ROOT):
        names[:] = [name for name in names
                    if name not in SKIPPED and not name.endswith(".egg-info")]
        found += [Path(folder) / name for name in plain if name not in SKIPPED]
    return tuple(sorted(found))


def python(*rooms: str) -> list[Path]:
    """Return the Python files below the named folders."""
    roots = [ROOT / room for room in rooms]
    out = [path for path in files()
           if path.suffix == ".py" and any(root in path.parents for root in roots)]
    assert out, f"no files in {rooms}"
    return out


@lru_cache(maxsize=512)
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    """Return a path as a reader of a failure wants it."""
    return str(path.relative_to(ROOT))


def imports(path: Path) -> list[tuple[int, str, int, bool]]:
    """Return (relative level, module, line, inside a function) of every import of a file.

    `from a import b` counts as a, and as a.b too when that is a module of ours. What stands
    under `if TYPE_CHECKING` never runs and counts as inside a function.
    """
    out: list[tuple[int, str, int, bool]] = []

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.Import):
            out.extend((0, alias.name, node.lineno, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            out.append((node.level, module, node.lineno, inside))
            for alias in node.names:
                full = f"{module}.{alias.name}".lstrip(".")
                if node.level == 0 and is_module(full):
                    out.append((0, full, node.lineno, inside))
        deeper = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        deeper = deeper or (isinstance(node, ast.If) and isinstance(node.test, ast.Name)
                            and node.test.id == "TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, deeper)

    visit(parsed(path), False)
    return out


def is_module(name: str) -> bool:
    """Return True for the name of a module or package of ours."""
    parts = Path(*name.split("."))
    for base in (ROOT, ROOT / "firmware"):
        if (base / parts).is_dir() or (base / parts).with_suffix(".py").is_file():
            return True
    return False


def inside(module: str, *packages: str) -> bool:
    """Return True when module is one of the packages or lies in one."""
    return any(module == package or module.startswith(package + ".") for package in packages)
