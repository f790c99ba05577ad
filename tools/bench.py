"""Run the project's benchmarks, print their table, write build/bench/results.json.

    python tools/bench.py [--only PATTERN] [--agc FILE.csv] [--list]

--agc gives the regulation benchmark real days to run on, one column a day; without it the
days are generated. Exit 0 when every figure is reached, 1 when one is not.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import hil.benchmarks.aggregator
import hil.benchmarks.attest
import hil.benchmarks.bus
import hil.benchmarks.campaign
import hil.benchmarks.element
import hil.benchmarks.frequency
import hil.benchmarks.handshake
import hil.benchmarks.heap
import hil.benchmarks.host
import hil.benchmarks.panel
import hil.benchmarks.population
import hil.benchmarks.rp2040
import hil.benchmarks.scenarios
import hil.benchmarks.trustder  # noqa: F401  each module registers its benchmarks
from hil.bench.session import find_micropython
from hil.benchmarks.registry import Context, Measure, chosen, machine, write_results

FOLDER = Path("build/bench")


def main() -> int:
    """Run what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Run the project's benchmarks.",
        epilog="Example: python tools/bench.py --only 'es256|verify'")
    parser.add_argument("--only", metavar="PATTERN", help="regular expression on names")
    parser.add_argument("--agc", type=Path, metavar="FILE.csv", help="real regulation days")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    options = parser.parse_args()
    benchmarks = chosen(options.only)
    if options.list:
        print("\n".join(benchmarks))
        return 0
    if not benchmarks:
        print(f"no benchmark matches {options.only!r}; --list names them", file=sys.stderr)
        return 2
    console = Console(stderr=True)
    context = Context(find_micropython(), FOLDER, options.agc)
    measures: list[tuple[str, Measure]] = []
    for name, function in benchmarks.items():
        with console.status(f"measuring {name} ..."):
            measures += [(name, measure) for measure in function(context)]
        console.print(f"{name}: done")
    write_results(measures, FOLDER / "results.json")
    table = Table(title=f"Benchmarks on {machine()}", title_justify="left")
    for column in ("figure", "value", "unit", "reach", "met"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for _, measure in measures:
        met = "" if not measure.reach else "yes" if measure.met else "NO"
        table.add_row(measure.name, f"{measure.value:g}", measure.unit, measure.reach, met)
    Console().print(table)
    return 0 if all(measure.met for _, measure in measures) else 1


if __name__ == "__main__":
    sys.exit(main())
