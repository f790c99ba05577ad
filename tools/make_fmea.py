"""Run every single fault on the bench and write docs/fmea.md. Exit 1 when one misses its limit."""

import sys
import tempfile
from pathlib import Path

from rich.progress import track

from hil.fmea.bench import judge
from hil.fmea.document import write
from hil.fmea.faults import FAULTS


def main() -> int:
    """Run, write, say what is wrong; returns the exit code."""
    path = Path(__file__).resolve().parent.parent / "docs" / "fmea.md"
    verdicts = []
    with tempfile.TemporaryDirectory() as folder:
        for fault in track(FAULTS, description="faults"):
            verdicts.append(judge(fault, Path(folder)))
    write(verdicts, path)
    problems = [f"{one.fault.name}: {problem}" for one in verdicts for problem in one.problems]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(verdicts)} faults, {len(problems)} problems, written to {path}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
