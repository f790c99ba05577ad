"""The boards of a rig: who they are, enrolled with the rig's site, and their lines in a run."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from element.protocol import codes
from element.protocol.errors import BusError
from hil.bench.site import profile_of
from hil.rig.load import Seat, check_profile
from hil.rig.model import PlaceModel
from host_tools.identity.site import Site
from host_tools.links.base import Link
from host_tools.links.open_line import open_line
from host_tools.provision.cable import Cable
from host_tools.provision.enrol import enrol

REOPEN_S = 0.1
TENANT = "rig"


@dataclass(frozen=True)
class BoardIdentity:
    """What a board says of itself. element_id is '' before it is enrolled; trip, in words, is ''
    when nothing is latched.
    """

    board: str
    firmware: str
    hardware: str
    element_id: str
    enrolled: bool
    boot_count: int | None
    round_trip_ms: int
    trip: str


def identify(place: PlaceModel) -> BoardIdentity:
    """Ask the board at a place who it is, over its console. Raises BusError for another one."""
    with Cable(place.port) as cable:
        cable.status()  # the first one waits for the line to be quiet
        began_s = time.monotonic()
        status = cable.status()
        took_ms = round((time.monotonic() - began_s) * 1000)
    board, _, firmware = status["board"].partition(", firmware ")
    boots = status.get("boot", "").partition(",")[0]
    found = BoardIdentity(
        board, firmware, status["hardware"], status["element"],
        status["enrolled"] != "no", int(boots) if boots.isdigit() else None, took_ms,
        "" if (trip := status.get("trip", "none")) == "none" else trip)
    if place.match is not None and not found.element_id.startswith(place.match):
        raise BusError("another board", f"place {place.name}: element {found.element_id}, not "
                       f"{place.match}\n  next: swap the cables, or change `match` in rig.yaml")
    if place.board is not None and found.board != place.board:
        raise BusError("another board", f"place {place.name}: {found.board}, not {place.board}"
                       "\n  next: flash it, or change `board` in rig.yaml")
    return found


def check_latch(place: PlaceModel, found: BoardIdentity, site: Site) -> None:
    """Check that a board holds no trip: it would stay at zero all through a run.

    Whoever has found and ended its cause releases it, never a run by itself. Raises BusError.
    """
    if found.trip:
        raise BusError("the element holds a trip", (
            f"place {place.name}: {found.trip}\n"
            "  next: find and end its cause (cellwall console: trips), then\n"
            f"        cellwall release {place.port} --site {site.folder}"))


def enrol_seat(seat: Seat, site: Site, say: Callable[[str], None]) -> None:
    """Enrol the board at a place with what the scenario asks for. Raises BusError."""
    profile = profile_of(seat.model)
    profile["services"] |= codes.SERVICE_TEST  # for the doctor
    check_profile(seat, profile)
    enrol(seat.place.port, site, profile, seat.zone, TENANT,
          lambda text: say(f"{seat.place.name}: {text}"), "")


def check_credential(seat: Seat, element_id: str, site: Site) -> None:
    """Check that a board's credential is for this seat. Raises BusError, RangeError."""
    enrolled = site.keyring().known.get(bytes.fromhex(element_id))
    if enrolled is None:
        raise BusError("a stranger's board", f"place {seat.place.name}: element {element_id} is "
                       f"enrolled elsewhere\n  next: name its site's folder as `site` in "
                       "rig.yaml, or erase the board")
    profile = enrolled.claims["profile"]
    check_profile(seat, profile)
    wanted = profile_of(seat.model)
    asked = [("kind", profile["kind"] == wanted["kind"]),
             ("zone", enrolled.claims["zone"] == seat.zone),
             ("power", profile["power_mw_discharge_max"] >= wanted["power_mw_discharge_max"]
              and profile["power_mw_charge_max"] >= wanted["power_mw_charge_max"])]
    wrong = [name for name, fits in asked if not fits]
    if wrong:
        said = {"kind": f"is a {codes.KIND_NAMES[profile['kind']]}, not a {seat.model.kind}",
                "zone": f"is in zone {enrolled.claims['zone']}, not {seat.zone}",
                "power": f"may deliver {profile['power_mw_discharge_max'] / 1000:g} W, and the "
                         f"scenario asks {seat.model.rating_w:g} W"}
        raise BusError("the element does not fit the scenario", "place "
                       f"{seat.place.name}: it {'; it '.join(said[name] for name in wrong)}\n"
                       "  next: change the scenario, or erase the board: it is enrolled anew")


class BoardLine:
    """A board's line in a run: opened anew by itself, and cut on purpose."""

    def __init__(self, place: PlaceModel) -> None:
        self.place = place
        self.cut = False
        self._link: Link | None = None
        self._tried_s = 0.0

    def open(self) -> None:
        """Open the line. Raises BusError."""
        self._link = open_line(self.place.port)

    @property
    def is_open(self) -> bool:
        """True while the port is there."""
        return self._link is not None and self._link.fileno() >= 0

    def fileno(self) -> int:
        """Return a descriptor to wait on, -1 for none."""
        return -1 if self._link is None or self.cut else self._link.fileno()

    def set_cut(self, cut: bool) -> None:
        """Close the port on purpose, or open it again."""
        self.cut = cut
        if cut:
            self.close()

    def send(self, data: bytes) -> None:
        """Send, or lose what a line that is gone cannot take."""
        if not self.cut and self._link is not None and self._link.fileno() >= 0:
            self._link.send(data)

    def receive(self) -> bytes:
        """Return what has come; tries to open a port that is gone a few times a second."""
        if self.cut:
            return b""
        if not self.is_open:
            now_s = time.monotonic()
            if now_s - self._tried_s < REOPEN_S:
                return b""
            self._tried_s = now_s
            self.close()
            try:
                self.open()
            except BusError:
                return b""
        assert self._link is not None
        return self._link.receive()

    def close(self) -> None:
        """Give the port up."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
