"""`cellwall bms`: read a BMS at the end of a cable or over Bluetooth, without a board."""

import asyncio
import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from element.bms import FAMILIES
from element.bms.choose import make_protocol
from element.bms.protocol import BMSProtocol
from element.protocol.errors import BusError
from host_tools.bms.daly_ble import DalyBLEProtocol
from host_tools.bms.line import BLE_CHARACTERISTICS, BLELine, Line, SerialLine
from host_tools.bms.reader import BMSReader, Snapshot

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall bms read /dev/serial/by-id/usb-FTDI_FT232R-if00-port0\n\n"
    "cellwall bms read /dev/ttyUSB0 --family daly --count 1 --json\n\n"
    "cellwall bms read ble:A4:C1:38:12:34:56 --family jbd"
)
BLE_PREFIX = "ble:"

app = typer.Typer(no_args_is_help=True, help="Read a battery management system directly.")


async def _open(where: str, family: str) -> tuple[Line, BMSProtocol]:
    if where.startswith(BLE_PREFIX):
        if family not in BLE_CHARACTERISTICS:
            raise typer.BadParameter(
                f"over Bluetooth: {', '.join(BLE_CHARACTERISTICS)}; {family} has a wire only",
                param_hint="--family")
        protocol = DalyBLEProtocol() if family == "daly" else make_protocol(family)
        return await BLELine.connect(where[len(BLE_PREFIX):], family), protocol
    protocol = make_protocol(family)
    return SerialLine(where, protocol.baud), protocol


async def _find(where: str, families: tuple[str, ...]) -> tuple[Line, BMSReader, Snapshot]:
    """Return the first family that answers. Raises BusError with every family's reason."""
    reasons: list[str] = []
    for family in families:
        line, protocol = await _open(where, family)
        reader = BMSReader(protocol, line)
        snapshot = await reader.read()
        if reader.quality.good:
            return line, reader, snapshot
        await line.close()
        reasons.append(f"{family}: {snapshot.problems[0]}")
    raise BusError("no BMS answers", f"{where}\n  " + "\n  ".join(reasons))


def _table(where: str, reader: BMSReader, snapshot: Snapshot) -> Table:
    """Return one look at a BMS as a table that fits 80 columns."""
    got = snapshot.fields
    table = Table(title=f"{got['family']} {got['model']} at {where}", title_justify="left",
                  show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    if "pack_mv" in got:
        table.add_row("pack", f"{got['pack_mv'] / 1000:.2f} V  {got['current_ma'] / 1000:+.2f} A  "
                              f"{got['power_mw'] / 1000:+.0f} W (+ is discharge)")
        full = f" of {got['full_mah'] / 1000:.1f}" if got["full_mah"] else ""
        table.add_row("charge", f"{got['soc_bp'] / 100:.1f} %  "
                                f"{got['remaining_mah'] / 1000:.1f}{full} Ah, "
                                f"{got['cycle_count']} cycles")
        table.add_row("temperature", f"{got['temperature_mdegc_min'] / 1000:.1f} to "
                                     f"{got['temperature_mdegc_max'] / 1000:.1f} °C")
        table.add_row("FETs", f"charge {'closed' if got['fet_charge'] else 'open'}, "
                              f"discharge {'closed' if got['fet_discharge'] else 'open'}")
        table.add_row("alarms", ", ".join(got["error_names"]) or "none")
    if "cell_mv" in got:
        low, high = got["cell_index_min"], got["cell_index_max"]
        cells = got["cell_mv"]
        table.add_row("cells", " ".join(str(value) for value in cells) + " mV")
        table.add_row("spread", f"cell {low + 1} {cells[low]} to cell {high + 1} {cells[high]} mV"
                                f" = {cells[high] - cells[low]} mV")
        balancing = ", ".join(str(index + 1) for index in got["balancing"])
        table.add_row("balancing", balancing or "none")
    quality = reader.quality
    table.add_row("line", f"{quality.good} good, {quality.no_answer} without answer, "
                          f"{quality.refused} refused, {quality.implausible} implausible")
    for problem in snapshot.problems:
        table.add_row("[red]problem[/]", problem)
    return table


def _line_of(reader: BMSReader, snapshot: Snapshot) -> str:
    return json.dumps({"at_unix_ms": int(time.time() * 1000), **snapshot.fields,
                       "problems": snapshot.problems, "line": asdict(reader.quality)})


async def _run(where: str, families: tuple[str, ...], count: int, period_s: float,
               as_json: bool) -> bool:
    """Read count times (0: until Ctrl-C); True when the last look was whole."""
    line, reader, snapshot = await _find(where, families)
    done = 1
    try:
        if as_json:
            typer.echo(_line_of(reader, snapshot))
        with Live(console=Console(stderr=as_json), refresh_per_second=4,
                  transient=as_json) as live:
            while True:
                if not as_json:
                    live.update(_table(where, reader, snapshot), refresh=True)
                if count and done >= count:
                    return not snapshot.problems
                await asyncio.sleep(period_s)
                snapshot = await reader.read()
                done += 1
                if as_json:
                    typer.echo(_line_of(reader, snapshot))
    finally:
        await line.close()


@app.command("read", epilog=EXAMPLES, no_args_is_help=True)
def read(
    where: Annotated[
        str, typer.Argument(metavar="PORT|ble:ADDRESS", help="Serial port or Bluetooth address.")],
    family: Annotated[
        str, typer.Option("--family", help=f"{', '.join(FAMILIES)} or auto: ask each in turn.",
                          envvar="CELLWALL_BMS_FAMILY")] = "auto",
    count: Annotated[
        int, typer.Option("--count", min=0, help="How often; 0 goes on until Ctrl-C.")] = 0,
    period_s: Annotated[
        float, typer.Option("--period-s", min=0.1, max=3600, help="Time between looks.")] = 1.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a look on stdout, in mV, mA, bp; "
                                          "positive current is discharge.")] = False,
) -> None:
    """Show what a BMS says: voltages, current, SoC, cells, alarms, FETs. Writes nothing to it.

    Exit 0 when the last look was whole, 1 when something in it was missing or
    implausible, 3 when nobody answers, 4 after Ctrl-C.
    """
    if family != "auto" and family not in FAMILIES:
        raise typer.BadParameter(f"{family!r} is not one of {', '.join(FAMILIES)}, auto",
                                 param_hint="--family")
    known: Any = BLE_CHARACTERISTICS if where.startswith(BLE_PREFIX) else FAMILIES
    families = tuple(known) if family == "auto" else (family,)
    if not asyncio.run(_run(where, families, count, period_s, as_json)):
        raise typer.Exit(1)
