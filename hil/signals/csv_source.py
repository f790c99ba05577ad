"""Load a reference signal from a CSV file, and say exactly what is wrong when it is.

Layout, as in the SynAS files of LBNL: row 1 names the columns; the first column is the time
in seconds, every other column a signal in percent of the maximum.
"""

import csv
import io
from collections.abc import Iterator
from math import isfinite
from pathlib import Path

from .signal import Signal

FILE_BYTES_MAX = 64 * 1024 * 1024
ROWS_MAX = 1_000_000
TIME_TOLERANCE_MS = 1
TIME_S_MAX = 1e10  # Unix time in seconds passes, in milliseconds of today does not.
COLUMNS_SHOWN_MAX = 8


class SignalError(ValueError):
    """Report a signal that cannot be used: where, what, and what to do about it.

    row is counted from 1, as a spreadsheet shows it; row and column are None where the
    trouble has no such place.
    """

    def __init__(
        self,
        file: str,
        problem: str,
        action: str,
        row: int | None = None,
        column: str | None = None,
    ) -> None:
        """Keep the fields and compose one readable line."""
        place = file
        if row is not None:
            place += f", row {row}"
        if column is not None:
            place += f", column {column!r}"
        super().__init__(f"{place}: {problem}. {action}")
        self.file = file
        self.problem = problem
        self.action = action
        self.row = row
        self.column = column

    def diagnostics(self) -> str:
        """Return what happened and what to try next, on two lines."""
        return f"{self.args[0].removesuffix(self.action).rstrip()}\nTry: {self.action}"


def parse_signal_spec(spec: str) -> tuple[Path, str | None]:
    """Split "FILE.csv:COLUMN" into path and column; without a column it is None.

    The split is at the first ".csv:", in any case, so paths and columns may hold colons.
    Raises SignalError for anything that does not name a .csv file.
    """
    at = spec.lower().find(".csv:")
    if at < 0:
        path, column = spec, None
    else:
        path, column = spec[: at + 4], spec[at + 5 :]
    if not path.lower().endswith(".csv") or path.lower() == ".csv":
        raise SignalError(spec, "not a CSV file", "Give FILE.csv or FILE.csv:COLUMN.")
    if column == "":
        raise SignalError(spec, "the column name is empty", "Give FILE.csv:COLUMN.")
    return Path(path), column


def csv_columns(path: Path | str) -> list[str]:
    """Return the names of the signal columns, without the time. Raises SignalError."""
    file = str(path)
    header = header_of(file, rows_of(file, read_text(Path(path))))
    _find_column(file, header, None)
    return header[1:]


def load_csv(path: Path | str, column: str | None = None, unit_pct: float = 100.0) -> Signal:
    """Return the signal in one column (None: the first after the time).

    unit_pct is the value in the file that means full power. Raises SignalError for every
    fault of the file, and ValueError when unit_pct is not above 0.
    """
    if not unit_pct > 0.0 or not isfinite(unit_pct):
        raise ValueError(f"unit_pct {unit_pct} must be above 0")
    file = str(path)
    rows = rows_of(file, read_text(Path(path)))
    header = header_of(file, rows)
    index = _find_column(file, header, column)
    name = header[index] or f"column {index + 1}"
    times_ms: list[int] = []
    values: list[float] = []
    for row, cells in rows:
        time_s = number_in(file, row, header[0] or "time", cells, 0)
        if abs(time_s) > TIME_S_MAX:
            raise SignalError(file, f"time {time_s:g} s", "Give seconds.", row, header[0])
        times_ms.append(round(time_s * 1000.0))
        _check_time(file, row, header[0] or "time", times_ms)
        value = number_in(file, row, name, cells, index)
        if abs(value) > unit_pct:
            raise SignalError(
                file,
                f"{value:g} is beyond +-{unit_pct:g}",
                "Scale the column, or give the unit that means full power.",
                row,
                name,
            )
        values.append(value / unit_pct)
    if len(values) < 2:
        raise SignalError(
            file, f"{len(values)} rows of data", "Give at least two rows below the header."
        )
    return Signal(times_ms[1] - times_ms[0], values, f"{Path(path).name}:{name}")


def read_text(path: Path, bytes_max: int | None = None) -> str:
    """Return the file as text; UTF-8 with or without BOM, and UTF-16 with BOM."""
    file = str(path)
    bytes_max = FILE_BYTES_MAX if bytes_max is None else bytes_max
    try:
        size_bytes = path.stat().st_size
        if size_bytes > bytes_max:
            raise SignalError(
                file,
                f"{size_bytes} bytes, more than {bytes_max}",
                "Cut it to the columns and hours you need.",
            )
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise SignalError(file, f"cannot be read ({reason})", "Check path and rights.") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise SignalError(file, "text is not UTF-8", "Save as CSV UTF-8.", row) from error


def rows_of(file: str, text: str, rows_max: int | None = None
            ) -> Iterator[tuple[int, list[str]]]:
    """Yield (row number from 1, cells); blank rows are allowed at the end only."""
    rows_max = ROWS_MAX if rows_max is None else rows_max
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    blank_row = None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    row = 0
    try:
        for row, cells in enumerate(reader, start=1):
            if row > rows_max:
                raise SignalError(file, f"more than {rows_max} rows", "Cut the file.", row)
            if not any(cell.strip() for cell in cells):
                blank_row = blank_row or row
                continue
            if blank_row is not None:
                raise SignalError(
                    file, "a blank row before more data", "Delete it or fill the gap.", blank_row
                )
            yield row, cells
    except csv.Error as error:
        raise SignalError(
            file, f"not valid CSV ({error})", "Check the quotes.", row + 1
        ) from error


def header_of(file: str, rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    """Take the first row that is not blank, stripped, or raise SignalError for none."""
    for _row, cells in rows:
        return [cell.strip() for cell in cells]
    raise SignalError(file, "the file is empty", "Give a header and at least two rows.")


def _find_column(file: str, header: list[str], column: str | None) -> int:
    """Return the index of the wanted column; index 0 is the time and never a signal."""
    if _isnumber_in(header[0]):
        raise SignalError(
            file, "row 1 holds numbers", "Let row 1 name the columns, time first.", 1
        )
    if len(header) < 2:
        raise SignalError(
            file, "there is only one column", "Give time in seconds, then the signals.", 1
        )
    if column is None:
        return 1
    found = [index for index, name in enumerate(header) if name == column.strip() and index]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(header[1 : 1 + COLUMNS_SHOWN_MAX])
    if len(header) > 1 + COLUMNS_SHOWN_MAX:
        shown += f", ... ({len(header) - 1} in all)"
    problem = "the name occurs more than once" if found else "there is no such column"
    raise SignalError(file, problem, f"Choose one of: {shown}.", 1, column)


def _isnumber_in(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def number_in(file: str, row: int, column: str, cells: list[str], index: int) -> float:
    """Return the number in a cell or raise SignalError for a gap, text, NaN or infinity."""
    text = cells[index].strip() if index < len(cells) else ""
    if not text:
        raise SignalError(file, "the cell is empty", "Fill the gap or cut the rows.", row, column)
    try:
        value = float(text)
    except ValueError as error:
        action = "Put a number there"
        action += ", with a decimal point." if "," in text else "."
        raise SignalError(file, f"{text[:40]!r} is not a number", action, row, column) from error
    if not isfinite(value):
        raise SignalError(file, f"{text} is not a value", "Fill the gap.", row, column)
    return value


def _check_time(file: str, row: int, column: str, times_ms: list[int]) -> None:
    """Raise SignalError unless the newest time is one whole step after the one before."""
    if len(times_ms) < 2:
        return
    gap_ms = times_ms[-1] - times_ms[-2]
    step_ms = times_ms[1] - times_ms[0]
    at_s = times_ms[-1] / 1000.0
    if gap_ms == 0:
        raise SignalError(file, f"time {at_s:g} s occurs twice", "Delete one row.", row, column)
    if gap_ms < 0:
        raise SignalError(
            file, f"time {at_s:g} s runs backwards", "Sort the rows by time.", row, column
        )
    tolerance_ms = min(TIME_TOLERANCE_MS, step_ms // 4)
    drift_ms = times_ms[-1] - times_ms[0] - step_ms * (len(times_ms) - 1)
    if abs(gap_ms - step_ms) > tolerance_ms:
        problem = f"a step of {gap_ms} ms among steps of {step_ms} ms"
        missing, rest = divmod(gap_ms, step_ms)
        if missing > 1 and rest == 0:
            problem = f"{missing - 1} rows are missing before this one"
    elif abs(drift_ms) > tolerance_ms:
        problem = f"time is {drift_ms} ms off the even steps of {step_ms} ms"
    else:
        return
    raise SignalError(
        file, problem, "Give every row at the same step, a whole number of ms.", row, column
    )
