"""What a run on a rig sees, in order, with its times: the books are kept from it, live and later.

Entries are (ms since the start, kind, name, data). `put` hands one to the books and to the
recording; `raw` to the recording alone. A recording is `record.jsonl` in a folder: a header, then
one entry a line; it ends with an `end` entry or is not whole.
"""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from element.protocol.errors import BusError

RECORD_FILE = "record.jsonl"
VERSION = 1
SIZE_MAX = 4 << 30
EARLY_MAX = 10_000


class Entry(NamedTuple):
    """One thing that was seen."""

    at_ms: int
    kind: str
    name: str
    data: Any


class Journal:
    """Hand what is seen to the books, and write it down where a recording is wanted."""

    def __init__(self, take: Callable[[Entry], None], folder: Path | None,
                 now_ms: Callable[[], int], size_max: int = SIZE_MAX) -> None:
        """now_ms: for `raw`, which is called from any thread."""
        self._take = take
        self._now_ms = now_ms
        self._left = size_max
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        self._early: list[Any] | None = []  # what came before the header
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / RECORD_FILE).open(
                "w", encoding="utf-8", buffering=1)  # a line at a time: a crash keeps what was

    def header(self, fields: dict[str, Any]) -> None:
        """Write what a replay needs before the first entry."""
        with self._lock:
            early, self._early = self._early or [], None
        for what in ({"version": VERSION, **fields}, *early):
            self._write(what)

    def put(self, at_ms: int, kind: str, name: str, data: Any) -> None:
        """Take one entry."""
        self._write([at_ms, kind, name, data])
        self._take(Entry(at_ms, kind, name, data))

    def raw(self, name: str, kind: str, data: Any) -> None:
        """Write down what went over a line; the books do without it."""
        if self._file is not None:
            self._write([self._now_ms(), f"raw {kind}", name, data])

    def _write(self, what: Any) -> None:
        with self._lock:
            if self._file is None or self._left <= 0:
                return
            if self._early is not None:
                if len(self._early) < EARLY_MAX:
                    self._early.append(what)
                return
            line = json.dumps(what, separators=(",", ":")) + "\n"
            self._left -= len(line)
            if self._left <= 0:
                line = json.dumps([0, "full", "", None]) + "\n"
            self._file.write(line)

    def close(self) -> None:
        """End the recording; twice is fine."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def read_record(folder: Path) -> tuple[dict[str, Any], Iterator[Entry]]:
    """Return (header, entries without the raw ones) of a recording.

    Raises BusError, at once or while it is read, for one that is damaged or not whole.
    """
    path = folder / RECORD_FILE
    try:
        with path.open(encoding="utf-8") as file:
            header = json.loads(file.readline())
        if header["version"] != VERSION:
            raise ValueError(f"version {header['version']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BusError("no recording of a rig", f"{path}: {error}\n  next: name the folder that "
                                                "was given to --record") from error
    return header, _entries(path)


def _entries(path: Path) -> Iterator[Entry]:
    kind = ""
    with path.open(encoding="utf-8") as file:
        next(file)
        for number, line in enumerate(file, 2):
            try:
                at_ms, kind, name, data = json.loads(line)
            except (ValueError, TypeError) as error:
                raise BusError("damaged recording", f"{path}:{number}: {error}") from error
            if kind == "full":
                raise BusError("the recording is not whole",
                               f"{path}: it reached its largest size")
            if not kind.startswith("raw "):
                yield Entry(int(at_ms), str(kind), str(name), data)
    if kind != "end" and not kind.startswith("raw "):
        raise BusError("the recording is not whole", f"{path}: the run did not come to its end")
