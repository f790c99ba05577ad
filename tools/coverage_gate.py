"""Run the portable tests with branch coverage of the firmware; some modules must have all of it.

What decides, proves, measures and records (WHOLE) must be at 100 % of lines and branches, the
others are reported. Exit 1 when a test fails or one of WHOLE is below.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRMWARE = "firmware/"
# Modules and rooms of `element`.
WHOLE = ("limits", "interlock", "usage", "windows", "proof", "bms", "power", "ledger")
OTHERS = ("estimator", "keeper", "admission", "telemetry", "control")
# Not run for coverage: thousands of cuts through lines that the other tests of the ledger reach
# too, and under coverage two minutes of them.
LEFT_OUT = ("test_power_cut",)


def module_of(path: str) -> str:
    """Return the dotted name below `element` of a covered file."""
    name = path.removeprefix(FIRMWARE).removesuffix(".py").replace("/", ".")
    return name.removeprefix("element.").removesuffix(".__init__")


def belongs(module: str, rooms: tuple[str, ...]) -> bool:
    """Return True when a module is one of the rooms or lies in one."""
    return any(module == room or module.startswith(room + ".") for room in rooms)


def measure(report: Path) -> int:
    """Run pytest with coverage into a JSON report; return its exit code."""
    command = [sys.executable, "-m", "pytest", "tests/portable", "-n", "2",
               "--cov-branch", "--cov-report", f"json:{report}",
               *(f"--cov=element.{room}" for room in WHOLE + OTHERS),
               *(f"--ignore=tests/portable/{name}.py" for name in LEFT_OUT)]
    environment = {**os.environ, "COVERAGE_FILE": str(report.with_suffix(".data"))}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def judge(files: dict[str, dict]) -> list[str]:
    """Print a line a module; return the names of those that must be whole and are not."""
    below = []
    for path, found in sorted(files.items()):
        summary = found["summary"]
        module = module_of(path)
        missing = summary["missing_lines"] + summary["missing_branches"]
        must = belongs(module, WHOLE)
        if must and missing:
            below.append(module)
        gaps = [f"line {line}" for line in found["missing_lines"]]
        gaps += [f"{start}->{end if end > 0 else 'exit'}"
                 for start, end in found["missing_branches"]]
        print(f"{module:24} {summary['num_statements']:5} lines {summary['num_branches']:4} "
              f"branches {summary['percent_covered']:6.1f} %{'' if must else '  (report only)'}"
              f"{'  missing: ' + ', '.join(gaps[:12]) if gaps else ''}")
    # a module that no test imports is in no report: it must not pass unseen
    seen = [module_of(path) for path in files]
    return below + [room for room in WHOLE if not any(belongs(one, (room,)) for one in seen)]


def main(argv: list[str] | None = None) -> int:
    """Measure and judge; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="judge this report and run nothing")
    arguments = parser.parse_args(argv)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = arguments.json or Path(folder) / "coverage.json"
        if not arguments.json and (code := measure(report)):
            return code
        files = json.loads(report.read_text())["files"]
    below = judge(files)
    print(f"{len(files)} modules, {time.monotonic() - started_s:.0f} s; below 100 %: "
          f"{', '.join(below) or 'none'}")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
