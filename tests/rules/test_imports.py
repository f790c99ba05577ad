"""Check which way imports point: DESIGN.md section 2 and STYLE.md sections 1 and 3."""

import ast

from . import tree

STANDARD = {"asyncio", "array", "binascii", "collections", "errno", "gc", "hashlib", "io", "math",
            "micropython", "os", "select", "struct", "sys", "time"}
HARDWARE = {"machine", "network", "bluetooth", "rp2", "esp", "esp32", "ffi", "termios"}
# What the lines through a network need; each of them is loaded by the boards that use it.
NETWORK = {"socket", "tls", "bluetooth", "umqtt"}
OURS = ("element", "host_tools", "hil", "tests", "tools", "boards", "firmware")


def relative_target(path, level, module):
    """Return the dotted module that a relative import means."""
    parts = path.relative_to(tree.ROOT / "firmware").parts[:-1]
    base = parts[: len(parts) - level + 1]
    return ".".join([*base, module] if module else base)


def violations(rooms, rule):
    """Return 'file:line: what' for every import for which rule(path, level, module, inner)."""
    out = []
    for path in tree.python(*rooms):
        for level, module, line, inner in tree.imports(path):
            why = rule(path, level, module, inner)
            if why:
                out.append(f"{tree.name_of(path)}:{line}: {why}")
    return out


def test_the_element_imports_itself_relatively_and_nothing_else_of_ours():
    def rule(path, level, module, inner):
        if level:
            target = relative_target(path, level, module)
            return None if tree.inside(target, "element") else f"leaves the package: {module}"
        return f"absolute: {module}" if tree.inside(module, *OURS) else None

    assert violations(["firmware/element"], rule) == []


def test_the_element_uses_only_what_a_board_has():
    def rule(path, level, module, inner):
        if level:
            return None
        root = module.split(".")[0]
        room = path.relative_to(tree.ROOT / "firmware" / "element").parts[0]
        allowed = STANDARD | (HARDWARE if room == "hal" else set())
        allowed |= {"cryptolib"} if room == "crypto" else set()
        allowed |= NETWORK if room == "link" and path.stem.endswith("_line") else set()
        return None if root in allowed else f"import of {module}"

    assert violations(["firmware/element"], rule) == []


def test_the_root_files_of_a_board_use_only_what_a_board_has():
    def rule(path, level, module, inner):
        if tree.name_of(path).startswith("firmware/element/"):
            return None
        root = module.split(".")[0]
        fine = root in STANDARD | HARDWARE | {"element", "board", "slots"} and level == 0
        # a manifest is read by the build of an image and by nothing else
        return None if fine or path.name == "manifest.py" else f"import of {module}"

    assert violations(["firmware", "boards"], rule) == []


def test_the_protocol_stands_alone():
    def rule(path, level, module, inner):
        if level == 0:
            return None
        target = relative_target(path, level, module)
        return None if tree.inside(target, "element.protocol") else f"leaves protocol: {target}"

    assert violations(["firmware/element/protocol"], rule) == []


def test_the_pure_modules_do_no_input_or_output():
    for name in ("limits", "interlock", "lease", "control", "power/converter", "power/bms_fets",
                 "power/relay", "power/diffusion", "power/sunspec_map", "proof", "usage",
                 "windows", "estimator", "bms/plausible", "bms/protocol",
                 "protocol/units", "protocol/cbor", "protocol/cose", "protocol/schema",
                 "protocol/framing", "protocol/sealed", "protocol/edhoc",
                 "protocol/exporter", "protocol/edhoc_initiator", "protocol/edhoc_responder"):
        path = tree.ROOT / "firmware" / "element" / f"{name}.py"
        for level, module, line, _ in tree.imports(path):
            fine = level or module in ("array", "binascii", "math", "struct")
            assert fine, f"{name}:{line}: {module}"
        calls = {node.func.id for node in ast.walk(tree.parsed(path))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
        assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}, name


def test_the_host_takes_only_the_contract_and_the_bms_decoders_of_the_element():
    def rule(path, level, module, inner):
        if tree.inside(module, "element.bms"):
            # the same decoders serve `cellwall bms read`; the rest of the host sees no BMS
            own = tree.name_of(path).startswith(("host_tools/bms/", "host_tools/cli/bms_"))
            return None if own else f"import of {module}"
        if tree.inside(module, "element") and not tree.inside(module, "element.protocol"):
            return None if module == "element" else f"import of {module}"
        if module == "element":
            return "import of element"
        return None

    assert violations(["host_tools"], rule) == []


def test_the_host_reaches_the_bench_only_inside_functions_of_the_cli():
    def rule(path, level, module, inner):
        if not tree.inside(module, "hil"):
            return None
        if inner and tree.name_of(path).startswith("host_tools/cli/"):
            return None
        return f"import of {module}"

    assert violations(["host_tools"], rule) == []


def test_nothing_imports_the_tests_or_a_command_line():
    def rule(path, level, module, inner):
        if tree.inside(module, "tests"):
            return f"import of {module}"
        if tree.inside(module, "host_tools.cli"):
            own = tree.name_of(path).startswith("host_tools/cli/")
            return None if own else f"import of {module}"
        return None

    assert violations(["firmware", "boards", "host_tools", "hil", "tools"], rule) == []


def test_the_rules_find_what_they_forbid(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("import machine\nfrom hil.bench import run\ndef f():\n    import tests.x\n")
    found = [(module, inner) for _, module, _, inner in tree.imports(bad)]
    assert found == [("machine", False), ("hil.bench", False), ("hil.bench.run", False),
                     ("tests.x", True)]
    assert tree.inside("hil.bench", "hil") and not tree.inside("hilbert", "hil")
