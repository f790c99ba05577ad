"""The portable tests on the emulated board: each file in a fresh heap, bytecode from its flash."""

import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from element.protocol.errors import BusError

from .firmware import compile_file, package_files
from .littlefs_image import add_files, make_flash
from .pico import Build, Pico
from .repl import RawREPL

EMULATED_S_MAX = 6000.0
# Collect long before the heap is full: kept objects then lie together, and files still find the
# 1148 bytes in one piece that each takes. Bytes between two collections while importing.
THRESHOLD = 16384
# Tests change the folder they work in, and the firmware imports late: the path must be absolute.
_LOAD = """\
import gc, sys
gc.threshold({threshold})
sys.path.insert(0, "/")
try:
    import {module} as module
    names = [name for name in sorted(dir(module)) if name.startswith("test_")]
    names = [name for name in names if name not in {skip}]
    for other in [sys.modules[one] for one in sys.modules if one.startswith("test_")]:
        for name in dir(other):
            if name.startswith("test_") and not (
                    other is module and name in names[{index}::{count}]):
                delattr(other, name)
    del module, names, other
except Exception as error:
    sys.print_exception(error)
gc.collect()
gc.threshold(max({threshold} // 2, gc.mem_free() // 4))
print("FREE", gc.mem_free())
"""
_TEST_IMPORT = re.compile(r"^\s*(?:from|import) (test_\w+)", re.MULTILINE)
_RESULT = re.compile(r"^RESULT (\d+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What one test file did on the board. free: bytes of heap left when its tests began."""

    passed: int
    failed: int
    output: str
    emulated_s: float
    free: int


class PortableBoard:
    """One emulated Pico that runs test files one after the other."""

    def __init__(self, root: Path, folder: Path, build: Build | None = None) -> None:
        """root: the checkout. folder: where the flash file is made; anything in it may go."""
        self._build = build or Build.of_checkout()
        self._portable = root / "tests" / "portable"
        self._flash = folder / "flash.bin"
        folder.mkdir(parents=True, exist_ok=True)
        files = package_files(self._build, root / "firmware" / "element")
        for path in sorted((root / "firmware").glob("*.py")):
            if path.name != "main.py":
                files[f"{path.stem}.mpy"] = compile_file(self._build, path, path.name)
        files["portable_runner.mpy"] = self._compiled(root / "tests" / "portable_runner.py")
        for path in sorted(self._portable.glob("*.py")):
            if not path.name.startswith("test_"):
                files[f"{path.stem}.mpy"] = self._compiled(path)
        for path in sorted((root / "tests" / "vectors").glob("*.json")):
            files[f"tests/vectors/{path.name}"] = path.read_bytes()
        make_flash(self._flash, self._build.image, files)
        self._image = self._flash.read_bytes()
        self._pico = Pico(self._build, self._flash, log=folder / "emulator.log")

    def close(self) -> None:
        """End the emulator."""
        self._pico.close()

    def _compiled(self, path: Path) -> bytes:
        """Return a test file as .mpy, its assertions kept."""
        return compile_file(self._build, path, path.name, optimise=False)

    def _changed(self, path: Path, settings: dict[str, int]) -> Path:
        """Return a copy of a test file in which globals have other values."""
        text = path.read_text(encoding="utf-8")
        for name, value in settings.items():
            text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text,
                                  flags=re.MULTILINE)
            if count != 1:
                raise BusError("the file does not set this once", f"{path.name}: {name}")
        copy = self._flash.with_name(path.name)
        copy.write_text(text, encoding="utf-8")
        return copy

    def _with_imports(self, path: Path) -> list[Path]:
        """Return a test file and the test files that it imports, and they."""
        found = [path]
        for one in found:
            for name in _TEST_IMPORT.findall(one.read_text(encoding="utf-8")):
                other = self._portable / f"{name}.py"
                if other not in found:
                    found.append(other)
        return found

    def run_file(self, path: Path, wall_s_max: float, skip: Collection[str] = (),
                 part: tuple[int, int] = (0, 1), settings: dict[str, int] | None = None,
                 ) -> Verdict:
        """Run one test file from power-on; a crash, a hang or no result is a failure.

        skip: names of tests that are not run. part: (index, count), to run every count-th test
        from index on and leave the others' bytecode out of the heap. settings: values for
        globals of the file that say how much it does.
        """
        self._pico.power_off()
        self._flash.write_bytes(self._image)
        started_us = self._pico.now_us
        free = -1
        try:
            files = {f"{one.stem}.mpy": self._compiled(one) for one in self._with_imports(path)}
            if settings:
                files[f"{path.stem}.mpy"] = self._compiled(self._changed(path, settings))
            add_files(self._flash, files)
            self._pico.power_on()
            load = _LOAD.format(threshold=THRESHOLD, module=path.stem, skip=sorted(skip),
                                index=part[0], count=part[1])
            output, free = self._run(path.stem, load, wall_s_max)
        except BusError as error:
            return Verdict(0, 1, f"{error}", (self._pico.now_us - started_us) / 1e6, free)
        emulated_s = (self._pico.now_us - started_us) / 1e6
        found = _RESULT.search(output)
        if found is None:
            return Verdict(0, 1, f"{output}\nno result", emulated_s, free)
        passed, failed = int(found[1]), int(found[2])
        if passed + failed == 0:
            return Verdict(0, 1, "no tests in this file", emulated_s, free)
        return Verdict(passed, failed, output[:found.start()].rstrip(), emulated_s, free)

    def _run(self, module: str, load: str, wall_s_max: float) -> tuple[str, int]:
        end_s = time.monotonic() + wall_s_max
        repl = RawREPL(self._pico)
        repl.enter()
        first = repl.execute(load, EMULATED_S_MAX, wall_s_max)
        found = re.search(r"FREE (\d+)\n", first)
        free = int(found[1]) if found else -1
        output = repl.execute(
            f"import portable_runner\nportable_runner.run({module!r})",
            EMULATED_S_MAX, max(1.0, end_s - time.monotonic()))
        return first.replace(found[0] if found else "", "") + output, free
