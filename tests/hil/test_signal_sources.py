"""Check Signal, ramps and the CSV loader with good, odd and broken files."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.signals import csv_source
from hil.signals.csv_source import SignalError, csv_columns, load_csv, parse_signal_spec
from hil.signals.ramps import ramp_signal
from hil.signals.signal import Signal

GOOD = ",2016-04-12,2016-04-13\n64800,-19.0,50\n64804,-100,0.25\n64808,100.0,-1e1\n"


def write(tmp_path: Path, content: str | bytes) -> Path:
    """Write content to a file and return its path."""
    path = tmp_path / "signal.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_signal_holds_its_values() -> None:
    """Each value lasts its step, the last one for ever, and there is nothing before 0."""
    signal = Signal(4000, [0.0, 0.5, -1.0], "test")
    assert [signal.at(ms) for ms in (0, 3999, 4000, 8000, 11_999, 99_999)] == [
        0.0,
        0.0,
        0.5,
        -1.0,
        -1.0,
        -1.0,
    ]
    assert signal.duration_ms == 12_000
    with pytest.raises(ValueError, match="-1 ms"):
        signal.at(-1)


@pytest.mark.parametrize(
    ("step_ms", "values"),
    [(0, [0.0]), (4000, []), (4000, [1.001]), (4000, [float("nan")]), (1, [0.0, -1.5])],
)
def test_signal_refuses_nonsense(step_ms: int, values: list[float]) -> None:
    """No empty, endless, infinite or over-full signals."""
    with pytest.raises(ValueError, match=r"step_ms|value"):
        Signal(step_ms, values, "bad")


def test_ramp_visits_its_corners() -> None:
    """Up a sixth, hold a sixth, down two, hold, back; mean zero; equal slopes."""
    signal = ramp_signal(361 * 4000, peak=0.8)
    values = signal.values
    assert len(values) == 361
    corners = [values[index] for index in (0, 60, 120, 180, 240, 300, 360)]
    assert corners == pytest.approx([0.0, 0.8, 0.8, 0.0, -0.8, -0.8, 0.0], abs=1e-12)
    assert sum(values) == pytest.approx(0.0, abs=1e-9)
    slopes = [abs(b - a) for a, b in itertools.pairwise(values)]
    assert max(slopes) == pytest.approx(0.8 / 60)
    assert signal.step_ms == 4000


@pytest.mark.parametrize(("duration_ms", "peak"), [(47_999, 1.0), (60_000, 0.0), (60_000, 1.1)])
def test_ramp_refuses_nonsense(duration_ms: int, peak: float) -> None:
    """Too short for its corners, or no peak, or more than full power."""
    with pytest.raises(ValueError, match=r"peak|steps"):
        ramp_signal(duration_ms, peak)


def test_good_file_with_and_without_column(tmp_path: Path) -> None:
    """First column by default, any by name; percent becomes a fraction."""
    path = write(tmp_path, GOOD)
    signal = load_csv(path)
    assert (signal.step_ms, signal.values) == (4000, [-0.19, -1.0, 1.0])
    assert signal.name == "signal.csv:2016-04-12"
    assert load_csv(str(path), "2016-04-13").values == [0.5, 0.0025, -0.1]
    assert load_csv(path, unit_pct=200.0).values == [-0.095, -0.5, 0.5]
    assert csv_columns(path) == ["2016-04-12", "2016-04-13"]


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace("\n", "\r\n"),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.encode("utf-16"),
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD + "\n\n,,\n",
        GOOD.replace("64804,", ' "64804" ,').replace(' "64804" ', '"64804"'),
        GOOD.rstrip("\n"),
    ],
    ids=["crlf", "bom", "utf16", "semicolon", "tab", "blank_end", "quoted", "no_last_newline"],
)
def test_odd_but_readable_files(tmp_path: Path, content: str | bytes) -> None:
    """Encodings, separators and line ends that spreadsheets write."""
    assert load_csv(write(tmp_path, content)).values == [-0.19, -1.0, 1.0]


BROKEN: dict[str, tuple[str | bytes, int | None, str | None, str]] = {
    "empty": ("", None, None, "empty"),
    "only_bom": (b"\xef\xbb\xbf\r\n", None, None, "empty"),
    "only_blanks": (b" ,,\t\x0b\n\r\n", None, None, "empty"),
    "only_header": (",a\n", None, None, "0 rows"),
    "one_row": (",a\n0,1\n", None, None, "1 rows"),
    "no_header": ("0,1\n4,2\n8,3\n", 1, None, "numbers"),
    "one_column": ("t\n0\n4\n", 1, None, "one column"),
    "gap_cell": (",a\n0,1\n4,\n8,2\n", 3, "a", "empty"),
    "short_row": (",a\n0,1\n4\n8,2\n", 3, "a", "empty"),
    "nan": (",a\n0,1\n4,NaN\n", 3, "a", "not a value"),
    "infinite": (",a\n0,1\n4,-inf\n", 3, "a", "not a value"),
    "text": (",a\n0,1\n4,off\n", 3, "a", "not a number"),
    "decimal_comma": ("t;a\n0;1\n4;1,5\n", 3, "a", "decimal point"),
    "text_time": ("t,a\n0,1\n18:00,2\n", 3, "t", "not a number"),
    "nan_time": ("t,a\n0,1\nnan,2\n", 3, "t", "not a value"),
    "unsorted": ("t,a\n0,1\n4,2\n8,3\n6,4\n", 5, "t", "backwards"),
    "duplicate": ("t,a\n0,1\n4,2\n4,3\n", 4, "t", "twice"),
    "duplicate_first": ("t,a\n4,1\n4,2\n", 3, "t", "twice"),
    "missing_rows": ("t,a\n0,1\n4,2\n16,3\n", 4, "t", "2 rows are missing"),
    "irregular": ("t,a\n0,1\n4,2\n9,3\n", 4, "t", "step of 5000 ms"),
    "thirty_hertz": ("t,a\n0,1\n.0333,2\n.0667,3\n.1,3\n.1333,3\n.1667,3\n.2,3\n", 7, "t", "off"),
    "one_ms_gap": ("t,a\n0,1\n0.001,2\n0.003,3\n", 4, "t", "1 rows are missing"),
    "not_seconds": ("t,a\n0,1\n1e306,2\n", 3, "t", "time 1e+306"),
    "utf16_bom_only": (b"\xfe\xff", None, None, "empty"),
    "too_large": (",a\n0,1\n4,100.5\n", 3, "a", "beyond"),
    "too_low": (",a\n0,1\n4,-101\n", 3, "a", "beyond"),
    "blank_row": (",a\n0,1\n\n4,2\n", 3, None, "blank row"),
    "bad_utf8": (b",a\n0,1\n4,\xff\n", 3, None, "UTF-8"),
    "open_quote": (',a\n0,1\n4,"2\n', None, None, "quotes"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_say_where_and_what_to_do(tmp_path: Path, case: str) -> None:
    """File, spreadsheet row, column and an action, for each fault."""
    content, row, column, words = BROKEN[case]
    path = write(tmp_path, content)
    with pytest.raises(SignalError) as caught:
        load_csv(path)
    error = caught.value
    assert words in str(error)
    assert str(path) in str(error)
    assert error.action.endswith(".")
    assert error.action in error.diagnostics()
    if row is not None:
        assert error.row == row
        assert f"row {row}" in str(error)
    if column is not None:
        assert error.column == column


def test_missing_and_ambiguous_columns(tmp_path: Path) -> None:
    """The message lists what there is; the time column is no signal."""
    with pytest.raises(SignalError, match=r"2016-04-12, 2016-04-13") as caught:
        load_csv(write(tmp_path, GOOD), "2016-04-14")
    assert caught.value.column == "2016-04-14"
    with pytest.raises(SignalError, match="more than once"):
        load_csv(write(tmp_path, "t,a,a\n0,1,2\n4,1,2\n"), "a")
    with pytest.raises(SignalError, match="no such column"):
        load_csv(write(tmp_path, "t,a\n0,1\n4,1\n"), "t")
    with pytest.raises(SignalError, match=r"\(12 in all\)"):
        header = "t," + ",".join(f"c{index}" for index in range(12))
        load_csv(write(tmp_path, header + "\n"), "x")


def test_missing_file_directory_and_size_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system refuses and what is too large becomes a SignalError as well."""
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(SignalError, match="cannot be read"):
            load_csv(path)
    path = write(tmp_path, GOOD)
    monkeypatch.setattr(csv_source, "FILE_BYTES_MAX", 10)
    with pytest.raises(SignalError, match="more than 10"):
        load_csv(path)
    monkeypatch.undo()
    monkeypatch.setattr(csv_source, "ROWS_MAX", 3)
    with pytest.raises(SignalError, match="more than 3 rows"):
        load_csv(path)


@pytest.mark.parametrize("unit_pct", [0.0, -1.0, float("nan"), float("inf")])
def test_unit_must_be_positive(tmp_path: Path, unit_pct: float) -> None:
    """A wrong unit is the caller's mistake."""
    with pytest.raises(ValueError, match="unit_pct"):
        load_csv(write(tmp_path, GOOD), unit_pct=unit_pct)


@pytest.mark.parametrize(
    ("spec", "path", "column"),
    [
        ("a.csv", "a.csv", None),
        ("a.csv:2016-04-12", "a.csv", "2016-04-12"),
        ("dir/A.CSV:18:00", "dir/A.CSV", "18:00"),
        ("C:/x.csv:b", "C:/x.csv", "b"),
    ],
)
def test_spec_is_split(spec: str, path: str, column: str | None) -> None:
    """Colons may occur on both sides."""
    assert parse_signal_spec(spec) == (Path(path), column)


@pytest.mark.parametrize("spec", ["", "a.txt", "a.csv:", ".csv", "a.csvx:b"])
def test_bad_spec_is_refused(spec: str) -> None:
    """What names no CSV file, or an empty column, is a SignalError."""
    with pytest.raises(SignalError):
        parse_signal_spec(spec)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='0123456789.,;-\n\r"eEnaif\t ', max_size=200).map(str.encode),
    )
)
def test_any_bytes_load_or_raise_signal_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Nothing but a valid signal or a SignalError comes out."""
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(content)
    try:
        signal = load_csv(path)
    except SignalError as error:
        assert error.action
    else:
        assert len(signal.values) >= 2
        assert all(abs(value) <= 1.0 for value in signal.values)
