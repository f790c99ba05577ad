"""Release the trip of one element with the site's life-safety key, over its cable.

A latch opens for a signed order that names the element and the cause, is newer than any before,
and only when the element itself sees that the cause is gone; see element.interlock.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from element.protocol import codes, schema
from element.protocol.errors import BusError
from host_tools.identity.site import Site
from host_tools.interlock.panel import ReleaseDesk
from host_tools.provision.cable import Cable

# A telemetry a second; the order's signature takes an RP2040 two seconds between its ticks.
TELEMETRY_S_MAX = 5.0
RELEASE_S_MAX = 15.0
REFUSED = "release refused"
LATCHED = "latched: "


@dataclass(frozen=True)
class Released:
    """The outcome. cause: what was latched, in words; empty when nothing was."""

    element_id: str
    cause: str
    released: bool


def _words(lines: list[str]) -> str:
    """Return what is latched from the lines of `trips`, empty when that line is not there."""
    return next((line.removeprefix(LATCHED) for line in lines if line.startswith(LATCHED)), "")


def release(port: str, site: Site, confirm: Callable[[str], bool]) -> Released:
    """Release the element at port when confirm(cause in words) says so.

    Raises BusError when the element does not answer, or keeps its trip: why, and what to do.
    """
    authorities = site.authorities()
    with Cable(port, site.keyring()) as cable:
        element_id = cable.session()
        latest: dict[str, Any] = {}

        def take(kind: int, fields: dict[str, Any]) -> None:
            if kind == schema.TELEMETRY:
                latest.update(fields)

        cable.on_message = take
        cable.set_clock()
        if not cable.until(lambda: bool(latest), TELEMETRY_S_MAX):
            raise BusError("the element tells nothing of its state", port)
        cause = latest["trip_cause"]
        if cause == codes.TRIP_NONE:
            return Released(element_id.hex(), "", False)
        words = _words(cable.ask("trips", lambda lines: bool(_words(lines))))
        if not confirm(words):
            return Released(element_id.hex(), words, False)
        order = ReleaseDesk(authorities.life_safety).order(
            element_id, cause, time.time_ns() // 1_000_000,
            lambda _, statement: site.file_release(statement))
        cable.log.clear()
        cable.send(schema.RELEASE, {"order": order})
        cable.until(lambda: latest["trip_cause"] == codes.TRIP_NONE
                    or any(REFUSED in line for line in cable.log), RELEASE_S_MAX)
        if latest["trip_cause"] != codes.TRIP_NONE:
            raise BusError("the element keeps its trip", f"{words}; held by "
                           f"{cable.status()['held by']}\n  next: end what caused it (console: "
                           "status, cells), then release again")
    return Released(element_id.hex(), words, True)
