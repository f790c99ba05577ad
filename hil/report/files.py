"""Names of a run's files, and how they are written: whole or not at all."""

import os
from pathlib import Path

RESULTS_FILE = "results.json"
JUNIT_FILE = "junit.xml"
PAGE_FILE = "report.html"


def write_whole(path: Path, data: str | bytes) -> None:
    """Write a file beside its place and move it there: nobody reads half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
