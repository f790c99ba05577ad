"""`cellwall aggregator`: check a site's configuration, run the service, make tokens."""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Annotated

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
        raise StoppedError("stopped: the elements were told to be at zero",
                           f"cellwall aggregator run {config} goes on where it was")


@app.command("token", epilog="[bold]Example[/]\n\n(umask 077; cellwall aggregator token dispatch "
                             "> dispatch.token)")
def token(role: Annotated[str, typer.Argument(help="read, dispatch, life-safety or admin")]
          ) -> None:
    """Print a new token for a role of the API; keep it in a file that only the panel reads."""
    if role not in ROLES:
        raise typer.BadParameter(", ".join(ROLES), param_hint="ROLE")
    typer.echo(f"{role}-{secrets.token_urlsafe(32)}")
