"""What boards printed, on the run's one clock."""

import csv
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hil.bench.console import Said, said_by, write_console
from host_tools.links.text_lines import TEXT_SIZE_MAX, TextLines

LOG = """\
words before anything
bench: tick 108651000 is 0 ms
[108651444] enrolled in zone 1
Traceback (most recent call last):
[108655000] going
bench: tick 900 is 9000 ms
[1900] after a restart, with ticks of its own

"""


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_each_start_gives_a_log_its_clock(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    path.write_text(LOG, encoding="utf-8")
    assert said_by("wall", path) == [
        Said(None, "wall", "words before anything"), Said(0, "wall", "start"),
        Said(444, "wall", "enrolled in zone 1"),
        Said(444, "wall", "Traceback (most recent call last):"), Said(4000, "wall", "going"),
        Said(9000, "wall", "start"), Said(10000, "wall", "after a restart, with ticks of its own")]
    assert said_by("wall", tmp_path / "none") == []


def test_a_log_without_a_clock_has_no_times(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    path.write_bytes(b"[12] said\n\xff\n")
    assert said_by("wall", path) == [Said(None, "wall", "[12] said"),
                                     Said(None, "wall", "\ufffd")]


def test_lines_of_all_boards_are_in_the_order_of_time(tmp_path: Path) -> None:
    write_console(tmp_path, [Said(None, "a", "?"), Said(10, "a", "one, two"),
                             Said(10, "a", "three"), Said(5, "b", 'a "word"')])
    assert _rows(tmp_path / "console.csv") == [
        ["t_s", "element", "text"], ["", "a", "?"], ["0.005", "b", 'a "word"'],
        ["0.010", "a", "one, two"], ["0.010", "a", "three"]]


@given(st.lists(st.text("ab [1]\t", min_size=1).filter(str.strip), max_size=5),
       st.lists(st.integers(0, 60), max_size=9), st.sampled_from(["\r", "\n", "\r\n"]))
def test_lines_come_out_whole_in_whatever_pieces_they_come(
        lines: list[str], cuts: list[int], end: str) -> None:
    data = "".join(line + end for line in lines).encode()
    taken, out, at = TextLines(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        out += taken.take(data[at:max(at, cut)])
        at = max(at, cut)
    assert out == [clean for line in lines if (clean := line.replace("\t", ""))]


def test_a_line_without_an_end_stays_bounded() -> None:
    taken = TextLines()
    for _ in range(100):
        assert taken.take(b"x" * 4000) == []
    (line,) = taken.take(b"y\r")
    assert len(line) == TEXT_SIZE_MAX - 1 and line.endswith("xy")
