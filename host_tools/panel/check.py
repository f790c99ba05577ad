"""Read and check a site.yaml: keys, ranges, and what they refer to. Errors name file and line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from element.protocol.errors import BusError
from host_tools.identity.site import Site, default_folder
from host_tools.links.bus_link import SCHEME, port_and_baud
from host_tools.panel.config import PARTS, SiteConfig
from host_tools.yaml_model import FileError, line_of, load_model


@dataclass(frozen=True)
class Loaded:
    """A configuration, where it stands, and the site's folder of keys and elements."""

    path: Path
    config: SiteConfig
    document: Any
    site: Site

    def at(self, path: Path) -> Path:
        """Return a path of the file as seen from here."""
        expanded = path.expanduser()
        return expanded if expanded.is_absolute() else self.path.parent / expanded

    @property
    def ledger_url(self) -> str:
        """The database's URL, a relative file of SQLite's being beside the configuration."""
        url = sa.make_url(self.config.ledger)
        if url.get_backend_name() == "sqlite" and url.database:
            url = url.set(database=str(self.at(Path(url.database))))
        return url.render_as_string(hide_password=False)


def load_site(path: Path) -> Loaded:
    """Return a checked configuration. Raises FileError with the line of the first mistake."""
    config, document = load_model(path, SiteConfig, "a site", PARTS)
    site = Site(default_folder())
    if config.site is not None:
        folder = config.site.expanduser()
        site = Site(folder if folder.is_absolute() else path.parent / folder)
    loaded = Loaded(path, config, document, site)
    for location, problem in _wrong(loaded):
        raise FileError(path, line_of(document, location), problem)
    return loaded


def _wrong(loaded: Loaded) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Yield (where, what) of everything that does not fit together."""
    config = loaded.config
    seen: dict[str, int] = {}
    for at, line in enumerate(config.lines):
        if line.line in seen:
            yield ("lines", at, "line"), f"{line.line} is named twice"
        seen[line.line] = at
        if line.line.startswith(SCHEME):
            try:
                port_and_baud(line.line)
            except BusError as error:
                yield ("lines", at, "line"), str(error.value).replace("\n ", ";")
    if not config.lines and config.broker is None and config.parent is None:
        yield (), "no line to any element: name some under lines, or a broker"
    yield from _wrong_elements(loaded)
    for at, one in enumerate(config.interlock.inputs):
        if not loaded.at(one.path).exists():
            yield ("interlock", "inputs", at, "path"), \
                f"{one.path} is not there; an input that cannot be read is an alarm"
    for role, named in config.api.token_files.items():
        where: tuple[int | str, ...] = ("api", "token_files", role)
        file = loaded.at(named)
        if not file.is_file():
            yield where, f"{file} is not there; next: cellwall aggregator token {role} > {file}"
        elif file.stat().st_mode & 0o077:
            yield where, f"{file} can be read by others; next: chmod 600 {file}"
        elif len(file.read_text(encoding="utf-8").strip()) < 32:
            yield where, f"{file} holds less than 32 characters"
    if config.policy.reserve_kwh and config.policy.headroom_pct >= 100:
        yield ("policy", "headroom_pct"), "nothing is left to dispatch"
    try:
        sa.make_url(config.ledger)
    except sa.exc.ArgumentError:
        yield ("ledger",), "not a database URL, as in sqlite:///aggregator.db or " \
                           "postgresql+pg8000://user@host/cellwall"


def _wrong_elements(loaded: Loaded) -> Iterator[tuple[tuple[int | str, ...], str]]:
    config = loaded.config
    if not loaded.site.exists:
        yield ("site",), f"{loaded.site.folder} has no keys; next: cellwall enrol makes them"
        return
    try:
        known = [one.element_id for one in loaded.site.elements()]
    except BusError as error:
        yield ("site",), f"{error.code}: {error.value}"
        return
    named: dict[str, int] = {}
    for at, element in enumerate(config.elements):
        found = [one for one in known if one.startswith(element.id)]
        if len(found) != 1:
            yield ("elements", at, "id"), (
                f"{len(found)} elements begin with {element.id}; the site has "
                + (", ".join(one[:8] for one in known[:8]) or "none"))
        elif found[0] in named:
            yield ("elements", at, "id"), f"{found[0]} is named twice"
        else:
            named[found[0]] = at
