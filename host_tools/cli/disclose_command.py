"""`cellwall disclose`: put chosen records, totals or an audit into a bundle for a counterparty."""

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from element.protocol import trust
from element.protocol.errors import DecodeError, Error, RangeError
from host_tools.attest import audit, bundle, policy
from host_tools.attest.archive import ROOTS_FOLDER, STATEMENTS_FILE, TRUST_FILE, read_entries
from host_tools.attest.primitives import Refused
from host_tools.attest.standing import parts_of_file
from host_tools.identity.keys import KeyPair
from host_tools.identity.site import Site
from host_tools.ledger.store import Ledger

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall disclose build/hil/default-1 --tenant north -o north.cbor   (a run of the bench)\n\n"
    "cellwall disclose panel.db --site SITE --element 3f2a --from 2026-01-01 -o one.cbor\n\n"
    "cellwall disclose panel.db --totals -o totals.cbor   (no record leaves)\n\n"
    "cellwall disclose panel.db --audit 12 --sample 300 --site SITE -o audit.cbor\n\n"
    "cellwall verify one.cbor --trust roots/   (what the counterparty does)"
)
_SQLITE = b"SQLite format 3\x00"


def _unix_ms(text: str | None, option: str) -> int | None:
    """Return an ISO 8601 date or time in Unix ms; UTC when it names no zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is no ISO 8601 date or time", param_hint=option) \
            from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def read_source(source: Path) -> list[bundle.Entry]:
    """Return the statements of a run's folder, of its archive, or of an SQLite ledger.

    Raises BadParameter for anything else, DecodeError for a damaged one.
    """
    if source.is_dir():
        inner = source if (source / STATEMENTS_FILE).exists() else source / "statements"
        if not (inner / STATEMENTS_FILE).exists():
            raise typer.BadParameter(f"{source} holds no {STATEMENTS_FILE}",
                                     param_hint="RUN_OR_LEDGER")
        return read_entries(inner / STATEMENTS_FILE)
    if not source.is_file():
        raise typer.BadParameter(f"{source} is no folder and no file", param_hint="RUN_OR_LEDGER")
    with source.open("rb") as file:
        is_ledger = file.read(len(_SQLITE)) == _SQLITE
    if not is_ledger:
        return read_entries(source)
    ledger = Ledger.at(source)
    try:
        return [(kind, number, statement) for kind, _, _, number, statement in ledger.statements()]
    finally:
        ledger.close()


def policy_of(source: Path, site: Path | None, named: Path | None) -> policy.Policy:
    """Return the strictest policy of those beside the source, in the site, and named."""
    places: Iterable[Path | None] = (
        (source if source.is_dir() else source.parent) / policy.POLICY_FILE,
        site / policy.POLICY_FILE if site else None)
    found = [place for place in places if place is not None and place.exists()]
    return policy.strictest(map(policy.Policy.load, [*found, *([named] if named else [])]))


def _refuse(said: policy.Policy, asked: int, what: str, key: KeyPair | None) -> None:
    """Record a refusal and raise the Error that tells of it."""
    refusals = policy.Refusals(Path(said.source).parent / policy.REFUSALS_FILE)
    if key is None:
        raise Error("refused by policy, and not recorded", (
            f"{said.source} allows {policy.LEVEL_NAMES[said.level]}\n"
            "  next: name the site with --site, so that the refusal can be signed and kept"))
    refusals.add(key, time.time_ns() // 1_000_000, asked, said.level, what)
    raise Error("refused by policy", (
        f"{said.source} allows {policy.LEVEL_NAMES[said.level]}; recorded in {refusals.path}\n"
        "  next: --totals discloses aggregates, --audit an audited total where it is allowed"))


def _signing_key(site: Path | None) -> KeyPair | None:
    return Site(site).authorities().aggregator if site else None


def _take_parties(held: bundle.Holdings, source: Path, site: Path | None) -> None:
    """Add the site's credentials of the aggregator to those that the ledger has.

    The ledger keeps what was in force then, the site only the newest. Raises Error when neither
    has any, but for an archive that comes with bare keys: nobody credentials a bench.
    """
    for one in Site(site).pki.issued() if site else ():
        if one.kind == trust.PARTY_CREDENTIAL:
            held.add_credential(one.kind, one.credential)
    known = {one.fields["aggregator_id"] for one in held.intervals.values()}
    missing = sorted(known - set(held.parties))
    inner = source if (source / STATEMENTS_FILE).exists() else source / "statements"
    bench = (inner / TRUST_FILE).exists() and not (inner / ROOTS_FOLDER).exists()
    if missing and not bench:
        raise Error("no party credential of the aggregator", (
            f"{missing[0].hex()}: neither in {source} nor in "
            f"{f'the site {site}' if site else 'a site, for none is named'}\n"
            "  next: name its site with --site; cellwall pki issue aggregator --party aggregator "
            "makes a credential where there is none"))


def _build(held: bundle.Holdings, choice: bundle.Choice, key: KeyPair | None, totals: bool,
           audit_number: int | None, sample: int, challenge: bytes, receipts: bool,
           revocations: list[Path]) -> bytes:
    """Return the bundle that was asked for."""
    now_ms = time.time_ns() // 1_000_000
    parts = [parts_of_file(path.read_bytes(), str(path)) for path in revocations]
    if audit_number is not None:
        if key is None:
            raise typer.BadParameter("an audit is signed: name the site with --site",
                                     param_hint="--audit")
        return audit.build_audit(held, audit_number, sample, key, now_ms, challenge, parts)
    if totals:
        chosen: dict[int, list[int]] = {
            number: [] for number, one in held.intervals.items()
            if one.fields["start_unix_ms"] >= (choice.from_unix_ms or 0)
            and one.fields["end_unix_ms"] <= (choice.to_unix_ms or 1 << 62)}
    else:
        chosen = held.chosen(choice)
    if not chosen:
        raise RangeError("nothing matches", f"{choice.text()}\n  next: ask for less")
    return bundle.build(held, chosen, key, now_ms, receipts, revocations=parts)


def disclose_command(  # one parameter an option
    source: Annotated[Path, typer.Argument(
        metavar="RUN_OR_LEDGER", help="A run's folder, an archive, or the panel's ledger.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The bundle to write.")],
    tenant: Annotated[str | None, typer.Option(help="Elements of this tenant.")] = None,
    element: Annotated[str | None, typer.Option(
        help="The element whose id begins so (hexadecimal).")] = None,
    manufacturer: Annotated[str | None, typer.Option(help="Of this manufacturer.")] = None,
    chemistry: Annotated[str | None, typer.Option(help="Of this chemistry.")] = None,
    role: Annotated[str | None, typer.Option(help="Of this structural role.")] = None,
    since: Annotated[str | None, typer.Option(
        "--from", help="Records from this time on, ISO 8601, UTC.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Records up to this time.")] = None,
    totals: Annotated[bool, typer.Option(
        "--totals", help="Declared totals alone; no record leaves.")] = False,
    audit_number: Annotated[int | None, typer.Option(
        "--audit", help="Audit the total of this interval.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Leaves to show in an audit.")
                      ] = audit.SAMPLE_DEFAULT,
    challenge: Annotated[str, typer.Option(
        help="The counterparty's random bytes for an audit, hexadecimal.")] = "",
    receipts: Annotated[bool, typer.Option(
        "--receipts", help="Sign each root for RFC 9942 receipts (needs --site).")] = False,
    revocations: Annotated[list[Path] | None, typer.Option(
        "--revocations", help="A signed list to enclose; it names every revoked key.")] = None,
    site: Annotated[Path | None, typer.Option(
        "--site", envvar="CELLWALL_SITE", help="The site whose key signs a checkpoint, and "
                                               "which has the aggregator's credential.")] = None,
    policy_file: Annotated[Path | None, typer.Option(
        "--policy", envvar="CELLWALL_POLICY", help="A policy more; the strictest holds.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was written, on stdout.")] = False,
) -> None:
    """Write a bundle that shows chosen records, totals or an audit, and nothing else.

    Without --site the bundle has the checkpoints that the ledger has, and none
    of now. Exit 1 when the policy refuses; the refusal is recorded.
    """
    choice = bundle.Choice(element, tenant, manufacturer, chemistry, role,
                           _unix_ms(since, "--from"), _unix_ms(until, "--to"))
    try:
        challenge_bytes = bytes.fromhex(challenge)
    except ValueError as error:
        raise typer.BadParameter("no hexadecimal", param_hint="--challenge") from error
    if receipts and site is None:
        raise typer.BadParameter("receipts are signed: name the site with --site",
                                 param_hint="--receipts")
    asked = policy.AGGREGATES if totals else \
        policy.AUDITED if audit_number is not None else policy.RECORDS
    said, key = policy_of(source, site, policy_file), _signing_key(site)
    if not said.allows(asked):
        _refuse(said, asked, f"{policy.LEVEL_NAMES[asked]} {choice.text()}", key)
    try:
        held = bundle.Holdings(read_source(source))
        known = {one.fields["aggregator_id"] for one in held.intervals.values()}
        if key is not None and known - {key.key_id}:
            raise typer.BadParameter("its key did not sign these intervals", param_hint="--site")
        _take_parties(held, source, site)
        data = _build(held, choice, key, totals, audit_number, sample, challenge_bytes, receipts,
                      revocations or [])
    except Refused as error:
        raise DecodeError(error.code, error.value) from error
    out.write_bytes(data)
    written = {"bundle": str(out), "size": len(data), "sha256": bundle.fingerprint(data),
               "trust": "roots" if known <= set(held.parties) else "bare keys"}
    typer.echo(json.dumps(written) if as_json
               else f"{out}: {len(data)} bytes, SHA-256 {written['sha256']}")
    if not known <= set(held.parties):
        typer.echo("without a credential of the aggregator: to be checked with the run's "
                   f"{TRUST_FILE} alone", err=True)
