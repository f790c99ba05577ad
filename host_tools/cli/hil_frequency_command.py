"""`cellwall hil frequency`: a frequency-response product on the bench, steps or a trace."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from host_tools.cli.hil_arguments import check_clock, scenario_of
from host_tools.cli.safe_stop import safe_stop

if TYPE_CHECKING:
    from hil.frequency.products import Product
    from hil.frequency.traces import Trace
    from hil.scenarios.model import ScenarioModel

EXIT_FAILED = 1

FREQUENCY_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall hil frequency\n\n"
    "cellwall hil frequency --product fcr --clock real\n\n"
    "cellwall hil frequency --product droop --trace event.csv:Bus1.F --json"
)


def hil_frequency(
    product: Annotated[
        str, typer.Option(help="dynamic-containment, dynamic-moderation, dynamic-regulation, fcr, "
                          "fcr-gb or droop (60 Hz).")] = "dynamic-containment",
    trace: Annotated[
        str | None, typer.Option(
            metavar="FILE.csv[:COLUMN]|generated", help="Instead of the step test: a CSV of "
            "seconds and Hz, or `generated`.")] = None,
    minutes: Annotated[
        float, typer.Option(min=0.5, max=1440, help="Length of a generated trace.")] = 10,
    scenario: Annotated[
        str, typer.Option(help="Whose elements respond: a scenario's name or file.",
                          metavar="SCENARIO")] = "regulated",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 1,
    clock: Annotated[
        str, typer.Option(metavar="[virtual|real]", help="As in `cellwall hil run`.")] = "virtual",
    out: Annotated[
        Path | None, typer.Option(help="Folder; default build/frequency/PRODUCT-SEED.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print frequency.json on stdout.")] = False,
) -> None:
    """Measure start, full delivery, overshoot and settling against a product's limits.

    The elements run the real firmware, the panel its own support controller. The frequency meter
    is a model, stated in the results, and its latency is part of the times.

    Exit 0 when every limit is met, 1 when one is missed, 3 when the bench fails, 4 after Ctrl-C.
    """
    from hil.bench.session import find_micropython
    from hil.bench.site import Paths
    from hil.frequency.bench import FrequencyBench
    from hil.frequency.files import write

    check_clock(clock)
    chosen, loaded = _product(product), _elements(scenario)
    wanted = _trace(trace, chosen, seed, round(minutes * 60_000))
    paths = Paths.of_checkout(find_micropython())
    folder = out or Path("build") / "frequency" / f"{chosen.name}-{seed}"
    console = Console(stderr=True, highlight=False)
    bench = FrequencyBench(loaded, chosen, wanted, folder, seed, clock)
    with safe_stop(bench.stop, console), \
            console.status(f"{wanted.name}: {wanted.duration_ms // 1000} s") as status:
        response = bench.run(lambda done_s, total_s: status.update(
            f"{wanted.name}: {done_s} of {total_s} s"))
    fields = write(response, folder, paths)
    if as_json:
        typer.echo(json.dumps(fields, indent=1))
    else:
        _show(fields, folder, Console(highlight=False))
    if not fields["passed"]:
        raise typer.Exit(EXIT_FAILED)


def _product(name: str) -> "Product":
    """Return a product by name. Raises BadParameter listing them."""
    from hil.frequency.products import PRODUCTS

    if name not in PRODUCTS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(PRODUCTS)}",
                                 param_hint="--product")
    return PRODUCTS[name]


def _elements(scenario: str) -> "ScenarioModel":
    """Return a scenario whose elements can respond. Raises BadParameter."""
    loaded = scenario_of(scenario, "--scenario")
    if not any(one.kind in ("converter", "sunspec") for one in loaded.elements):
        raise typer.BadParameter("none of its elements can modulate", param_hint="--scenario")
    return loaded


def _trace(spec: str | None, product: "Product", seed: int, duration_ms: int) -> "Trace":
    """Return the step test, a generated or a measured trace. Raises BadParameter."""
    from hil.frequency.traces import generated_trace, load_trace, step_trace
    from hil.signals.csv_source import SignalError, parse_signal_spec

    if spec is None:
        return step_trace(product)
    if spec == "generated":
        return generated_trace(seed, duration_ms)
    try:
        return load_trace(*parse_signal_spec(spec), product.nominal_mhz)
    except SignalError as error:
        raise typer.BadParameter(error.diagnostics(), param_hint="--trace") from error


def _show(fields: dict[str, Any], folder: Path, console: Console) -> None:
    """Print verdict, limits with margins, steps."""
    console.print(f"{'PASSED' if fields['passed'] else 'FAILED'}  {fields['product']}, "
                  f"{fields['trace']}, {fields['clock']} time", style="bold")
    console.print(f"SIMULATION: modelled packs, stages and meter; real firmware. "
                  f"{fields['contract_w']:.0f} W contracted. {fields['meter']}.")
    if fields["limits"]:
        table = Table("limit", "worst", "limit", "margin", "met")
        for one in fields["limits"]:
            value = "never" if one["value"] is None else f"{one['value']:g}"
            margin = "" if one["margin"] is None else f"{one['margin']:g}"
            table.add_row(one["name"], value, f"{one['limit']:g}", margin,
                          "yes" if one["met"] else "NO")
        console.print(table)
        table = Table("step, mHz", "asked, W", "start, ms", "full, ms", "over, %", "settled, ms")
        for one in fields["steps"]:
            table.add_row(f"{one['deviation_mhz']:+d}", f"{one['asked_w']:.0f}", *(
                "never" if one[key] is None else f"{one[key]:g}"
                for key in ("start_ms", "full_ms", "overshoot_pct", "settled_ms")))
        console.print(table)
    tracking = fields["tracking"]
    if tracking["e1_pct"] is not None:
        console.print(f"20 Hz record: e1 {tracking['e1_pct']:.2f} % against the curve of the "
                      f"moment, {tracking['within_pct']:.2f} % of samples within the band")
    console.print(f"clock error of the record: {fields['clock_error_ms']:g} ms")
    console.print(f"results: {folder}", soft_wrap=True)
