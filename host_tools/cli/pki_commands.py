"""`cellwall pki`: the building's own authority: roots, credentials, revocations."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from element.protocol import schema
from element.protocol.errors import BusError
from host_tools.cli.board_commands import AsJson, SiteFolder, site_of
from host_tools.identity.credentials import PARTIES
from host_tools.identity.keys import key_id
from host_tools.identity.keystore import KeyStore, Pkcs11Keys
from host_tools.identity.pki import Issued, Pki
from host_tools.identity.revocation import REASON_NAMES, REASONS
from host_tools.identity.roots import NEVER, ROLES
from host_tools.identity.site import TRUST_FILE

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall pki init\n\n"
    "cellwall pki issue roof-panel --party alarm\n\n"
    "cellwall pki revoke a7062b --reason key-compromised\n\n"
    "cellwall pki rotate life_safety\n\n"
    "CELLWALL_PIN=1234 cellwall pki show --pkcs11 /usr/lib/softhsm/libsofthsm2.so --token site"
)
DAY_S = 86_400
app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", epilog=EXAMPLES,
                  help="Roots, credentials and revocations of a building.")

Module = Annotated[Path | None, typer.Option(
    "--pkcs11", metavar="MODULE", help="Library of the token that has the private keys.")]
Token = Annotated[str, typer.Option(help="Label of the token.")]
Subject = Annotated[str, typer.Argument(
    metavar="SUBJECT", help="Begin of a key id, or a party's name.")]
Days = Annotated[int | None, typer.Option(min=1, max=36500, help="Days it is valid from now.")]


def pki_of(site: Path | None, module: Path | None, token: str) -> Pki:
    """Return the authority in a site's folder, its keys in files or on a token."""
    where = site_of(site)
    keys: KeyStore = where.keys
    if module is not None:
        pin = os.environ.get("CELLWALL_PIN") or typer.prompt("PIN", hide_input=True, err=True)
        keys = Pkcs11Keys(module, token, pin)
    return Pki(where.folder, keys, lambda: int(time.time()))


def _choice(value: str, known: dict[str, int], name: str) -> int:
    if value not in known:
        raise typer.BadParameter(f"{value}; there are {', '.join(known)}", param_hint=name)
    return known[value]


def _day(unix_s: int) -> str:
    return "-" if unix_s >= NEVER else datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d")


def _print_issued(one: Issued, as_json: bool) -> None:
    fields = {"subject": one.subject, "kind": _kind(one), "expires": _day(
        one.claims["expires_unix_s"]), "credential": one.credential.hex()}
    if as_json:
        typer.echo(json.dumps(fields, indent=1))
    else:
        Console(highlight=False).print(
            f"{fields['kind']} {one.subject}: valid until {fields['expires']}")


def _kind(one: Issued) -> str:
    if one.kind == schema.CREDENTIAL:
        return "element"
    return {code: name for name, code in PARTIES.items()}[one.claims["party"]]


@app.command(epilog=EXAMPLES)
def init(site: SiteFolder = None, pkcs11: Module = None, token: Token = "cellwall",
         as_json: AsJson = False) -> None:
    """Make the four roots, each with the key that will follow it; existing ones stay."""
    pki = pki_of(site, pkcs11, token)
    roots = pki.init()
    shown = {role: key_id(root.current.key).hex() for role, root in roots.by_role.items()}
    if as_json:
        typer.echo(json.dumps(shown, indent=1))
        return
    console = Console(highlight=False, soft_wrap=True)
    for role, number in shown.items():
        console.print(f"{role:12}{number}")
    console.print(f"public: {pki.folder / 'roots'}")
    if pkcs11 is None:
        console.print(f"private: {pki.folder / 'keys'}; keep the *.next.pem elsewhere: with them, "
                      "and only with them, a lost or stolen root is replaced")


@app.command(epilog=EXAMPLES)
def issue(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the party and of its keys.")],
    party: Annotated[str, typer.Option(help=f"One of {', '.join(PARTIES)}.")],
    days: Days = 365,
    site: SiteFolder = None, pkcs11: Module = None, token: Token = "cellwall",
    as_json: AsJson = False,
) -> None:
    """Make a party's keys and its credential. Elements get theirs by `cellwall enrol`."""
    _choice(party, PARTIES, "--party")
    _print_issued(pki_of(site, pkcs11, token).issue_party(name, party, (days or 365) * DAY_S),
                  as_json)


@app.command(epilog=EXAMPLES)
def renew(subject: Subject, days: Days = None, site: SiteFolder = None, pkcs11: Module = None,
          token: Token = "cellwall", as_json: AsJson = False) -> None:
    """Issue a credential anew: same keys, same rights, a new time."""
    _print_issued(pki_of(site, pkcs11, token).renew(
        subject, None if days is None else days * DAY_S), as_json)


@app.command(epilog=EXAMPLES)
def revoke(
    subject: Subject,
    reason: Annotated[str, typer.Option(help=f"One of {', '.join(REASONS)}.")] = "unspecified",
    since: Annotated[datetime | None, typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        help="UTC; what it signed since then is void. Now unless given.")] = None,
    site: SiteFolder = None, pkcs11: Module = None, token: Token = "cellwall",
    as_json: AsJson = False,
) -> None:
    """Put a key on its root's revocation list, and sign the list anew."""
    code = _choice(reason, REASONS, "--reason")
    at_s = None if since is None else int(since.replace(tzinfo=UTC).timestamp())
    pki = pki_of(site, pkcs11, token)
    found = pki.revoke(subject, code, at_s)
    fields = {"subject": found.key_id.hex(), "since_unix_s": found.at_unix_s,
              "reason": REASON_NAMES.get(found.reason, str(found.reason))}
    if as_json:
        typer.echo(json.dumps(fields, indent=1))
        return
    Console(highlight=False, soft_wrap=True).print(
        f"revoked {fields['subject']} since {_day(found.at_unix_s)}: {fields['reason']}\n"
        f"the lists: {pki.folder / 'revocations'}")


@app.command(epilog=EXAMPLES)
def rotate(
    role: Annotated[str, typer.Argument(metavar="ROLE", help=f"One of {', '.join(ROLES)}.")],
    since: Annotated[datetime | None, typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        help="UTC; what the old key signed since then is void. Now unless given.")] = None,
    site: SiteFolder = None, pkcs11: Module = None, token: Token = "cellwall",
    as_json: AsJson = False,
) -> None:
    """Let a root's promised key take over, from now on; what was signed before stays good.

    What the root has issued is signed anew. Elements are told when they are next spoken to: each
    knows the promise, so nobody has to visit them.
    """
    _choice(role, ROLES, "ROLE")
    pki = pki_of(site, pkcs11, token)
    before = key_id(pki.roots()[role].current.key).hex()
    statement = pki.rotate(role, None if since is None
                           else int(since.replace(tzinfo=UTC).timestamp()))
    after = key_id(pki.roots()[role].current.key).hex()
    where = site_of(site)
    if where.exists:
        where.authorities().trust_root.save(where.folder / TRUST_FILE)
    if as_json:
        typer.echo(json.dumps({"role": role, "before": before, "after": after,
                               "statement": statement.hex()}, indent=1))
        return
    Console(highlight=False, soft_wrap=True).print(
        f"{role}: {before} -> {after}\npublic: {pki.folder / 'roots'}")


@app.command(epilog=EXAMPLES)
def show(site: SiteFolder = None, as_json: AsJson = False) -> None:
    """List roots, credentials and revocation lists; needs no private key."""
    where = site_of(site)
    pki = Pki(where.folder, where.keys, lambda: int(time.time()))
    if not pki.exists:
        raise BusError("no roots", f"{where.folder / 'roots'}\n  next: cellwall pki init")
    content = _content(pki, int(time.time()))
    if as_json:
        typer.echo(json.dumps(content, indent=1))
        return
    console = Console(highlight=False)
    for title, rows in content.items():
        table = Table(title=title, title_justify="left")
        for column in rows[0] if rows else ():
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        console.print(table if rows else f"{title}: none")


def _content(pki: Pki, now_s: int) -> dict[str, list[dict[str, Any]]]:
    """Return what `show` shows: a list of rows by title."""
    believed = pki.trust()
    roots = [{"root": role, "key": key_id(one.key).hex(), "number": one.number,
              "from": _day(one.from_unix_s), "until": _day(one.until_unix_s)}
             for role, root in believed.roots.by_role.items() for one in root.keys]
    issued = []
    for one in pki.issued():
        claims = one.claims
        revoked = believed.revocations[one.role].find(bytes.fromhex(one.subject))
        state = "expired" if claims["expires_unix_s"] < now_s else "valid"
        issued.append({
            "subject": one.subject, "kind": _kind(one),
            "name": claims.get("name") or claims.get("tenant", ""),
            "zone": claims.get("zone", ""), "expires": _day(claims["expires_unix_s"]),
            "state": "revoked" if revoked else state})
    lists = [{"list": role, "number": one.number, "revoked": len(one.entries),
              "issued": _day(one.issued_unix_s), "next due": _day(one.next_unix_s),
              "state": "stale" if one.is_stale(now_s) else "good"}
             for role, one in believed.revocations.items() if one.number]
    return {"roots": roots, "credentials": issued, "revocation lists": lists}
