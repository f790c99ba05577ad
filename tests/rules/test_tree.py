"""Check the tree: sizes of files, no traces of one machine, docstrings where they are owed."""

import ast
import re

from . import tree

FILE_SIZE_MAX = 512 * 1024
# Places of one machine. Built from parts, so that this file is not its own first finding.
MACHINE_PATHS = re.compile(
    r"(?<![\w.~-])/(?:" + "|".join(["wo" + "rk", "ro" + "ot", "home/[a-z]+", "Users/[a-z]+",
                                   "mnt/[a-z]+", "opt/[a-z]+"]) + r")(?:/|\b)")
# A registry's or mirror's address belongs in a user's own configuration.
REGISTRY = re.compile(
    r"https?://[\w.:-]*(?:pypi|pythonhosted|artifactory|nexus|mirror|devpi|registry|"
    r"deb\.debian|archive\.ubuntu|npmjs)[\w.:-]*", re.IGNORECASE)
ADDRESS = re.compile(r"(?<![\d.])(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}"
                     r"(?:\.\d{1,3})?(?![\d.])")
BINARY = {".png", ".jpg", ".gif", ".ico", ".pdf", ".mpy", ".uf2", ".bin", ".sqlite", ".gz",
          ".woff2", ".pyc"}
DOCUMENTED = ("firmware", "host_tools", "hil")


def texts():
    """Yield (path, text) of every text file."""
    for path in tree.files():
        if path.suffix.lower() in BINARY:
            continue
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_no_file_is_large():
    large = [f"{tree.name_of(path)}: {path.stat().st_size}" for path in tree.files()
             if path.stat().st_size > FILE_SIZE_MAX]
    assert large == []


def findings(pattern):
    """Return 'file:line: match' of every match in the tree's text files."""
    out = []
    for path, text in texts():
        for number, line in enumerate(text.splitlines(), 1):
            found = pattern.search(line)
            if found:
                out.append(f"{tree.name_of(path)}:{number}: {found.group()}")
    return out


def test_no_path_of_one_machine():
    assert findings(MACHINE_PATHS) == []


def test_no_address_of_a_registry():
    assert findings(REGISTRY) == []


def test_no_private_network_address():
    assert findings(ADDRESS) == []


def test_traces_are_found():
    for line in ("cd /" + "work/main", "'/" + "root/.cache'", "in /" + "home/ada/x"):
        assert MACHINE_PATHS.search(line), line
    for line in ("build/work/x", "element/root.py", "net/workers", "a ../root/b"):
        assert not MACHINE_PATHS.search(line), line
    assert REGISTRY.search("https://" + "pypi.example/simple")
    assert ADDRESS.search("host 192.168" + ".1.20") and not ADDRESS.search("1.10.2.3")


def test_every_package_and_module_says_what_it_is():
    missing = [tree.name_of(path) for path in tree.python(*DOCUMENTED)
               if not ast.get_docstring(tree.parsed(path))]
    assert missing == []


def undocumented(module):
    """Yield (line, name) of public functions, classes and methods without a docstring.

    A method that a base class of ours documents inherits its contract, and with it its words;
    so does one whose class is private.
    """
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_") and not ast.get_docstring(node):
                yield node.lineno, node.name
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.lineno, node.name
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) \
                        and not inner.name.startswith("_") and not ast.get_docstring(inner) \
                        and not node.bases and not is_plain_property(inner):
                    yield inner.lineno, f"{node.name}.{inner.name}"


def is_plain_property(node):
    """Return True for a setter: its getter has the docstring."""
    return any(isinstance(one, ast.Attribute) and one.attr == "setter"
               for one in node.decorator_list)


def test_everything_public_says_what_it_does():
    missing = [f"{tree.name_of(path)}:{line}: {name}" for path in tree.python(*DOCUMENTED)
               for line, name in undocumented(tree.parsed(path))]
    assert missing == []


def test_a_missing_docstring_is_found():
    source = 'def f():\n    pass\nclass C:\n    """X."""\n    def m(self):\n        pass\n'
    assert list(undocumented(ast.parse(source))) == [(1, "f"), (5, "C.m")]
