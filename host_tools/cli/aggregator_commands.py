"""`cellwall aggregator`: check a site's configuration, run the service, make tokens."""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from element.protocol.errors import Error
from host_tools.provision.stopped import StoppedError
from host_tools.yaml_model import FileError

app = typer.Typer(no_args_is_help=True, help="The building's aggregator in the panel.")
ROLES = ("read", "dispatch", "life-safety", "admin")
_EXAMPLES_CHECK = (
    "[bold]Examples[/]\n\n"
    "cellwall aggregator check site.yaml\n\n"
    "cellwall aggregator check --schema > site.schema.json (for an editor)"
)
_EXAMPLES_RUN = (
    "[bold]Examples[/]\n\n"
    "cellwall aggregator run site.yaml\n\n"
    "cellwall aggregator run site.yaml --log json 2>> panel.log"
)
_EXAMPLES_PARENT = (
    "[bold]Examples[/] (three steps; the two files are carried by hand)\n\n"
    "cellwall aggregator parent-request floor/site.yaml -o floor.request\n\n"
    "cellwall aggregator admit floor.request --site building/site --line tcp:192.0.2.7:8490 "
    "--zone 3 --tenant north -o floor.grant\n\n"
    "cellwall aggregator parent-grant floor/site.yaml floor.grant"
)
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Config = Annotated[Path, typer.Argument(help="The site's configuration, a YAML file.",
                                        envvar="CELLWALL_SITE_YAML")]


@app.command("check", epilog=_EXAMPLES_CHECK)
def check(
    config: Annotated[Path | None, typer.Argument(help="The site's configuration.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Check a configuration: every key, range and reference; errors name file and line."""
    from host_tools.panel.check import load_site
    from host_tools.panel.config import SiteConfig

    if schema:
        typer.echo(json.dumps(SiteConfig.model_json_schema(), indent=1))
        return
    if config is None:
        raise typer.BadParameter("name the configuration", param_hint="CONFIG")
    try:
        loaded = load_site(config)
    except FileError as error:
        if as_json:
            typer.echo(json.dumps({"file": str(error.path), "line": error.line,
                                   "error": error.problem}))
        else:
            Console(stderr=True, highlight=False).print(f"{error}", soft_wrap=True, markup=False)
        raise typer.Exit(1) from error
    facts = {"name": loaded.config.name, "lines": len(loaded.config.lines),
             "elements": len(loaded.site.elements()), "rule": loaded.config.policy.rule,
             "ledger": loaded.config.ledger.split("@")[-1]}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    Console(highlight=False).print(
        f"{config}: good. {facts['name']}: {facts['elements']} elements enrolled, "
        f"{facts['lines']} lines, rule {facts['rule']}, ledger {facts['ledger']}")


@app.command("run", epilog=_EXAMPLES_RUN, no_args_is_help=True)
def run(
    config: Config,
    log: Annotated[str, typer.Option(
        help="json, text, or auto: text on a terminal.")] = "auto",
) -> None:
    """Run the aggregator until Ctrl-C or SIGTERM; the elements go to zero before it ends."""
    from host_tools.panel.api import serve
    from host_tools.panel.check import load_site
    from host_tools.panel.logs import logger
    from host_tools.panel.service import open_service

    if log not in ("auto", "json", "text"):
        raise typer.BadParameter("json, text or auto", param_hint="--log")
    try:
        loaded = load_site(config)
    except FileError as error:
        raise Error("the configuration is not good", f"{error}\n  next: cellwall aggregator "
                                                     f"check {config}") from error
    out = logger({"json": True, "text": False}.get(log))
    service = open_service(loaded, out.info)
    asyncio.run(serve(service))
    if service.interrupted:
        raise StoppedError("the elements were told to be at zero",
                           f"cellwall aggregator run {config} goes on where it was")


@app.command("token", epilog="[bold]Example[/]\n\n(umask 077; cellwall aggregator token dispatch "
                             "> dispatch.token)")
def token(role: Annotated[str, typer.Argument(help="read, dispatch, life-safety or admin")]
          ) -> None:
    """Print a new token for a role of the API; keep it in a file that only the panel reads."""
    if role not in ROLES:
        raise typer.BadParameter(", ".join(ROLES), param_hint="ROLE")
    typer.echo(f"{role}-{secrets.token_urlsafe(32)}")


def _loaded(config: Path) -> Any:
    """Return a checked configuration. Raises Error naming file and line."""
    from host_tools.panel.check import load_site

    try:
        return load_site(config)
    except FileError as error:
        raise Error("the configuration is not good", f"{error}\n  next: cellwall aggregator "
                                                     f"check {config}") from error


def _say(facts: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        Console(highlight=False).print(text, soft_wrap=True, markup=False)


@app.command("parent-request", epilog=_EXAMPLES_PARENT, no_args_is_help=True)
def parent_request(
    config: Config,
    out: Annotated[Path, typer.Option("--out", "-o", help="The request to write.")],
    as_json: Json = False,
) -> None:
    """Ask to be an element of the aggregator above: a signed file with sums of its elements."""
    from host_tools.identity import admission

    loaded = _loaded(config)
    request = admission.request(loaded.site, loaded.config.name)
    out.write_bytes(request.data)
    profile = request.profile
    facts = {"request": str(out), "aggregator": request.element_id.hex(),
             "power_mw_discharge_max": profile["power_mw_discharge_max"],
             "power_mw_charge_max": profile["power_mw_charge_max"],
             "energy_mwh": profile["energy_mwh_rated"], "levels": request.levels}
    _say(facts, f"{out}: {facts['aggregator']}, {profile['power_mw_discharge_max'] / 1e6:g} kW, "
                f"{profile['energy_mwh_rated'] / 1e6:g} kWh\n  next: carry it to the parent's "
                f"panel: cellwall aggregator admit {out.name}", as_json)


@app.command("admit", epilog=_EXAMPLES_PARENT, no_args_is_help=True)
def admit(
    request: Annotated[Path, typer.Argument(help="The file of parent-request.")],
    line: Annotated[str, typer.Option(help="Where it listens: tcp:HOST:PORT.")],
    zone: Annotated[int, typer.Option(min=1, max=65535, help="Its zone in this site.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The grant to write.")],
    site: Annotated[Path | None, typer.Option(
        "--site", envvar="CELLWALL_SITE", help="The parent's site folder.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose it is.")] = "",
    power_kw: Annotated[float | None, typer.Option(
        help="Most power; what was asked for unless given.")] = None,
    energy_kwh: Annotated[float | None, typer.Option(help="Most energy, likewise.")] = None,
    as_json: Json = False,
) -> None:
    """Admit an aggregator as an element of this site: credential and roots, in one file.

    Compare the aggregator's id with what parent-request has printed there.
    """
    from host_tools.identity import admission
    from host_tools.identity.site import Site, default_folder

    if not line.startswith("tcp:"):
        raise typer.BadParameter("tcp:HOST:PORT", param_hint="--line")
    admitted = admission.admit_into(
        Site(site or default_folder()), request.read_bytes(), line, zone, tenant,
        None if power_kw is None else round(power_kw * 1_000_000),
        None if energy_kwh is None else round(energy_kwh * 1_000_000))
    out.write_bytes(admitted.grant)
    facts = {"grant": str(out), "aggregator": admitted.element_id.hex(),
             "name": admitted.name, "line": line, "zone": zone, "tenant": tenant}
    _say(facts, f"{out}: {admitted.name} is {facts['aggregator']}, zone {zone}\n  next: name "
                f"{line} under lines in this site's site.yaml, and carry the grant back: "
                f"cellwall aggregator parent-grant site.yaml {out.name}", as_json)


@app.command("parent-grant", epilog=_EXAMPLES_PARENT, no_args_is_help=True)
def parent_grant(
    config: Config,
    grant: Annotated[Path, typer.Argument(help="The file of admit.")],
    as_json: Json = False,
) -> None:
    """Take up the parent's grant; the service uses it from its next start on."""
    from host_tools.identity import admission

    loaded = _loaded(config)
    parent = loaded.config.parent
    if parent is None:
        raise Error("no parent in the configuration", f"{config}\n  next: write parent: and "
                                                      "listen: HOST:PORT into it")
    path, claims = admission.keep_grant(loaded.site, grant.read_bytes(), loaded.at(parent.folder))
    facts = {"grant": str(path), "issuer": claims["issuer"], "zone": claims["zone"],
             "tenant": claims["tenant"], "expires_unix_s": claims["expires_unix_s"]}
    _say(facts, f"{path}: credentialed by {claims['issuer']}, zone {claims['zone']}\n  next: "
                f"cellwall aggregator run {config}", as_json)
