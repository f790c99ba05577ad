"""Documents that name tests name tests that exist."""

import ast
import re

from . import tree

NAMED = re.compile(r"`(tests/[a-z_/0-9]+\.py)(?:::([a-z_0-9]+))?`")


def test_every_test_that_a_document_names_exists():
    count = 0
    for path in sorted((tree.ROOT / "docs").glob("*.md")):
        for name, function in NAMED.findall(path.read_text(encoding="utf-8")):
            file = tree.ROOT / name
            assert file.is_file(), f"{path.name}: {name}"
            if function:
                found = [node.name for node in ast.parse(file.read_text(encoding="utf-8")).body
                         if isinstance(node, ast.FunctionDef)]
                assert function in found, f"{path.name}: {name}::{function}"
            count += 1
    assert count > 20
