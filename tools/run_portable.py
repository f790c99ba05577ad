"""Run the portable tests under MicroPython, one process a file.

Every tests/portable/test_*.py, or the files named. The last line is `N passed, N failed`; exit 1
on any failure, or when a file has no tests: an empty file passes nothing.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "portable"
RUNNER = ROOT / "tests" / "portable_runner.py"
HEAP = "4m"
FILE_S_MAX = 300


def run_file(micropython: Path, path: Path) -> tuple[int, int, str]:
    """Return (passed, failed, output) of one test file; a crash or a hang is a failure."""
    environment = {
        "MICROPYPATH": os.pathsep.join((str(ROOT / "firmware"), str(path.parent), ".frozen")),
        "PATH": os.environ.get("PATH", os.defpath),
    }
    command = [str(micropython), "-X", f"heapsize={HEAP}", str(RUNNER), path.stem]
    try:
        result = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=FILE_S_MAX,
            check=False)
    except subprocess.TimeoutExpired:
        return 0, 1, f"no end after {FILE_S_MAX} s"
    lines = result.stdout.rstrip().splitlines()
    words = lines[-1].split() if lines else []
    if len(words) != 3 or words[0] != "RESULT":
        return 0, 1, f"{result.stdout}\nended with code {result.returncode} and no result"
    passed, failed = int(words[1]), int(words[2])
    if passed + failed == 0:
        return 0, 1, "no tests in this file"
    if failed == 0 and result.returncode != 0:
        return passed, 1, f"{result.stdout}\nended with code {result.returncode}"
    return passed, failed, "\n".join(lines[:-1])


def main(argv: list[str] | None = None) -> int:
    """Run the files and print what failed; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--micropython", type=Path, required=True, help="the unix port's binary")
    parser.add_argument("files", nargs="*", type=Path, help="default: all of tests/portable")
    arguments = parser.parse_args(argv)
    micropython = arguments.micropython.absolute()
    files = arguments.files or sorted(FOLDER.glob("test_*.py"))
    if not files:
        print("there are no portable tests", file=sys.stderr)
        return 2
    passed_sum = failed_sum = 0
    for path in files:
        started_s = time.monotonic()
        passed, failed, output = run_file(micropython, path.absolute())
        passed_sum += passed
        failed_sum += failed
        taken_s = time.monotonic() - started_s
        print(f"{path.stem}: {passed} passed, {failed} failed, {taken_s:.1f} s")
        if failed:
            print(output)
    print(f"{passed_sum} passed, {failed_sum} failed")
    return 1 if failed_sum else 0


if __name__ == "__main__":
    sys.exit(main())
