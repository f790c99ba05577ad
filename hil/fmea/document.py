"""Write docs/fmea.md from what the trials measured and from the tests that show the rest."""

import re
from pathlib import Path

from hil.fmea.bench import PHASES_MS, Verdict
from hil.fmea.shown import SHOWN

TEST = "tests/hil/test_fmea.py"
_HEAD = f"""# Failure modes and effects of one element

Made by `make fmea`; do not edit. Every single fault: how the element notices, how long until power
and current are below 1 % of rated, the state it is in then, and the test that shows it. The first
table is measured on the virtual bench (simulated pack, stage and BMS; real firmware, real
MicroPython, real bytes) at {len(PHASES_MS)} moments of the tick, of the polls and of the power,
worst one shown. The second lists what tests of the firmware's parts show, without a bench.

Figures to reach: 2000 ms for any fault, 300 ms for the interlock, one control tick (100 ms) for
over-current. A row with a longer limit says from when it counts.
"""


def _cell(text: str) -> str:
    return text.replace("|", "/")


def measured_rows(verdicts: list[Verdict]) -> list[str]:
    """Return the rows of the measured table."""
    rows = ["| fault | where | detected by | reported | safe after, ms | limit, ms | then | test "
            "|", "|---|---|---|---|---|---|---|---|"]
    for one in verdicts:
        fault = one.fault
        after = "rides through" if fault.rides else str(one.safe_ms)
        limit = "" if fault.rides else str(fault.limit_ms)
        cells = (fault.what, f"{fault.part} ({fault.kind}, {fault.bms})", fault.detected,
                 one.reported, after, limit, fault.state, f"`{TEST}[{fault.name}]`")
        rows.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return rows


def shown_rows() -> list[str]:
    """Return the rows that tests of the parts show."""
    rows = ["| fault | detected by | then | test |", "|---|---|---|---|"]
    for row in SHOWN:
        rows.append(f"| {row.what} | {row.detected} | {row.state} | `{row.test}` |")
    return rows


def document(verdicts: list[Verdict]) -> str:
    """Return docs/fmea.md."""
    return "\n".join([_HEAD, "## On the bench", "", *measured_rows(verdicts), "",
                      "## In the parts", "", *shown_rows(), ""])


def read_times(text: str) -> dict[str, int]:
    """Return the milliseconds of each measured row of a document, by fault name."""
    out: dict[str, int] = {}
    for line in text.splitlines():
        found = re.search(r"\| (\d+) \| \d+ \|.*test_fmea\.py\[([a-z0-9-]+)\]", line)
        if found:
            out[found.group(2)] = int(found.group(1))
    return out


def write(verdicts: list[Verdict], path: Path) -> None:
    """Write the document to path."""
    path.write_text(document(verdicts), encoding="utf-8")
