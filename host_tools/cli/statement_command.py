"""`cellwall statement`: what a tenant's elements did in a month, every record verified."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from element.protocol.errors import BusError, DecodeError, RangeError
from host_tools.attest.primitives import Refused
from host_tools.attest.standing import Trust
from host_tools.identity.site import default_folder
from host_tools.ledger.dispatches import services_of
from host_tools.ledger.store import Ledger
from host_tools.settlement.evidence import Service, Source
from host_tools.settlement.tenants import Statement, month_unix_ms, ranges, statement

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall statement --tenant north --month 2026-11 --config site.yaml\n\n"
    "cellwall statement --tenant north --month 2026-11 --ledger floor-1.db --ledger floor-2.db "
    "--trust floor-1/site --trust floor-2/site --zone-name Europe/Berlin --csv -o north.csv\n\n"
    "cellwall statement --tenant north --month 2026-11 --ledger postgresql+pg8000://user@host/cw "
    "--json"
)
KWH_MWH = 1_000_000
_CSV = ("ledger", "element_id", "chemistry", "manufacturer", "dispatch_id", "service", "source",
        "key")


def _url(ledger: str) -> str:
    """Return a database's URL; a file has to be there. Raises BusError for one that is not."""
    if "://" in ledger:
        url = sa.make_url(ledger)
        if url.get_backend_name() != "sqlite" or not url.database:
            return ledger
        path = Path(url.database)
    else:
        path = Path(ledger)
        ledger = f"sqlite:///{path}"
    if not path.is_file():
        raise BusError("no such ledger", f"{path}\n  next: name a panel's database with --ledger")
    return ledger


def read_source(ledger: str) -> Source:
    """Return what a ledger holds. Raises BusError."""
    opened = Ledger(_url(ledger))
    try:
        entries = [(kind, number, one) for kind, _, _, number, one in opened.statements()]
        known = {number: Service(*one) for number, one in services_of(opened).items()}
    finally:
        opened.close()
    # a password is nobody's business
    name = sa.make_url(ledger).render_as_string() if "://" in ledger else ledger
    return Source(name, entries, known)


def _text(said: Statement, month: str, zone: str) -> str:
    """Return a statement for people."""
    total = said.total
    out = [f"Tenant {said.tenant}, {month} ({zone})", "",
           f"{'element':16}  {'out kWh':>14} {'in kWh':>14} {'short %':>8} {'records':>8} "
           f"{'flagged':>8} {'missing':>8}"]
    rows = [*sorted(said.elements.items()), ("total", total)]
    out += [f"{name:16}  {_kwh(one.out_mwh):>14} {_kwh(one.in_mwh):>14} "
            f"{one.shortfall_bp / 100:>8.2f} {one.record_count:>8} {one.flagged_count:>8} "
            f"{one.missing_count:>8}" for name, one in rows]
    out += ["", "By dispatch"]
    out += [f"  {one.element_id} dispatch {one.dispatch_id} {one.service or '-'} "
            f"{one.source or '-'}: out {_kwh(one.sums.out_mwh)}, in {_kwh(one.sums.in_mwh)} kWh; "
            f"records {ranges(one.counters)}, intervals {ranges(one.intervals)} of {one.ledger}"
            for one in said.lines]
    out += ["", "By chemistry and manufacturer"]
    out += [f"  {one.chemistry}, {one.manufacturer or 'not named'}: {one.element_count} elements, "
            f"{_kwh(one.sums.throughput_mwh)} kWh through, "
            f"{one.cycles_milli / 1000:.3f} full cycles, "
            f"{one.sums.flagged_ms // 1000} s flagged" for one in said.groups]
    if said.aggregates:
        out += ["", f"Aggregates of {said.tenant}, whose elements are credited from their own "
                    f"ledgers: {', '.join(said.aggregates)}"]
    if said.pending_count:
        out += ["", f"{said.pending_count} records are not in a closed interval yet"]
    if said.rejected:
        out += ["", f"Not credited: {len(said.rejected)}"]
        out += [f"  {one.element_id or '?'} record {one.counter} of {one.ledger}: {one.why}"
                for one in said.rejected]
    return "\n".join(out) + "\n"


def _kwh(energy_mwh: int) -> str:
    """Return an energy in kWh with every digit that it has."""
    return f"{energy_mwh // KWH_MWH}.{energy_mwh % KWH_MWH:06d}"


def _csv(said: Statement) -> str:
    """Return one row a line of the statement, in mWh and ms."""
    out = io.StringIO()
    names = [*_CSV, *asdict(said.total), "counters", "intervals"]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for one in said.lines:
        writer.writerow({name: getattr(one, name) for name in _CSV} | asdict(one.sums) | {
            "counters": ranges(one.counters), "intervals": ranges(one.intervals)})
    return out.getvalue()


def _where(config: Path | None, ledgers: list[str], trusted: list[Path]
           ) -> tuple[list[str], list[Path]]:
    """Return ledgers and folders of roots: those that are named, else the site's."""
    if config is not None:
        from host_tools.panel.check import load_site

        loaded = load_site(config)
        return ledgers or [loaded.ledger_url], trusted or [loaded.site.folder]
    if not ledgers:
        raise typer.BadParameter("name a ledger, or the site's configuration with --config",
                                 param_hint="--ledger")
    return ledgers, trusted or [default_folder()]


def statement_command(
    tenant: Annotated[str, typer.Option(help="The tenant, as credentials name it.")],
    month: Annotated[str, typer.Option(help="The month: YYYY-MM.")],
    ledgers: Annotated[list[str] | None, typer.Option(
        "--ledger", help="An SQLite file or database URL; several: a floor each.")] = None,
    trusted: Annotated[list[Path] | None, typer.Option(
        "--trust", help="Roots to believe, of every site that is asked.")] = None,
    config: Annotated[Path | None, typer.Option(
        "--config", envvar="CELLWALL_SITE_YAML", help="The site's configuration, which names "
                                                      "ledger and roots.")] = None,
    zone_name: Annotated[str, typer.Option(
        "--zone-name", help="The time zone in which the month is one.")] = "UTC",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One row an element and dispatch.")
                      ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file, not stdout.")] = None,
) -> None:
    """Say what a tenant's elements did in a month, out of records that are verified.

    Exit 1 when nothing is to be credited, or when a record that looks like the
    tenant's does not hold; it is listed, and not credited.
    """
    if as_json and as_csv:
        raise typer.BadParameter("one of --json and --csv", param_hint="--csv")
    try:
        start_ms, end_ms = month_unix_ms(month, zone_name)
    except RangeError as error:
        raise typer.BadParameter(f"{error.value}", param_hint="--month, --zone-name") from error
    where, roots = _where(config, ledgers or [], trusted or [])
    try:
        believed = [Trust.load(folder) for folder in roots]
    except (Refused, OSError) as error:
        raise DecodeError("roots", f"{error}\n  next: name a site's folder with --trust") \
            from error
    said = statement([read_source(one) for one in where], believed, tenant, start_ms, end_ms)
    text = json.dumps(said.as_dict(), indent=1) + "\n" if as_json else \
        _csv(said) if as_csv else _text(said, month, zone_name)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
    if said.rejected or not said.total.record_count:
        for_what = f"{len(said.rejected)} statements are not credited" if said.rejected \
            else f"no record of {tenant} in {month}"
        typer.echo(for_what, err=True)
        raise typer.Exit(1)
