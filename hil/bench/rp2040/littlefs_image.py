"""The board's file system from the host: put files into a flash image and take them out again.

The layout is that of the RPI_PICO image: littlefs version 2 in the last 1408 KB of flash, with the
sizes that its `_boot.py` and MicroPython's defaults use. littlefs-python is the reference
implementation of the same file system.
"""

from pathlib import Path, PurePosixPath

from littlefs import LittleFS
from littlefs.errors import LittleFSError

from element.protocol.errors import BusError

from .pico import FLASH_SIZE, write_image

BLOCK_SIZE = 4096
BLOCK_COUNT = 352
OFFSET = FLASH_SIZE - BLOCK_SIZE * BLOCK_COUNT
PROG_SIZE = 256
READ_SIZE = 32
CACHE_SIZE = 4 * PROG_SIZE
LOOKAHEAD_SIZE = 32
BLOCK_CYCLES = 100


def _file_system(data: bytes | None) -> LittleFS:
    """Return the file system in data, or a fresh one."""
    fs = LittleFS(mount=False, block_size=BLOCK_SIZE, block_count=BLOCK_COUNT,
                  prog_size=PROG_SIZE, read_size=READ_SIZE, cache_size=CACHE_SIZE,
                  lookahead_size=LOOKAHEAD_SIZE, block_cycles=BLOCK_CYCLES)
    if data is None:
        fs.format()
    else:
        fs.context.buffer = bytearray(data)
    try:
        fs.mount()
    except LittleFSError as error:
        raise BusError("the flash holds no mountable file system", str(error)) from error
    return fs


def _store(fs: LittleFS, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        folder = PurePosixPath(name).parent
        if folder.name:
            fs.makedirs(str(folder), exist_ok=True)
        with fs.open(name, "wb") as file:
            file.write(data)


def make_flash(flash: Path, image: Path, files: dict[str, bytes]) -> None:
    """Make a flash file with the image and a fresh file system that holds files."""
    write_image(flash, image)
    fs = _file_system(None)
    _store(fs, files)
    _write_back(flash, fs)


def add_files(flash: Path, files: dict[str, bytes]) -> None:
    """Put or replace files in a flash file's file system. The board must be off."""
    fs = _file_system(_read(flash))
    _store(fs, files)
    _write_back(flash, fs)


def read_files(flash: Path) -> dict[str, bytes]:
    """Return every file of a flash file by its path. Raises BusError when it does not mount."""
    fs = _file_system(_read(flash))
    files: dict[str, bytes] = {}
    for folder, _, names in fs.walk("/"):
        for name in names:
            path = str(PurePosixPath(folder) / name).lstrip("/")
            with fs.open(path, "rb") as file:
                files[path] = file.read()
    return files


def _read(flash: Path) -> bytes:
    return flash.read_bytes()[OFFSET:]


def _write_back(flash: Path, fs: LittleFS) -> None:
    with flash.open("r+b") as file:
        file.seek(OFFSET)
        file.write(fs.context.buffer)
