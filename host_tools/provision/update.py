"""Update an element over its link: signed by the issuer, resumable, undone when it fails.

The element decides: it verifies the manifest, takes files while no power flows, and keeps the new
firmware only when its control loop proves healthy (element/update.py, element/trial.py).
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from element.protocol import schema
from element.protocol.errors import BusError
from host_tools import codec
from host_tools.identity.keys import KeyPair
from host_tools.identity.site import Site
from host_tools.provision.build import Firmware, sha256_hex
from host_tools.provision.cable import Cable, RefusedError
from host_tools.provision.stopped import stoppable

# A begin verifies a signature, empties a slot, and hashes what is there: 8 s on an RP2040.
ANSWER_S_MAX = 20.0
TRIES_MAX = 5
# The element restarts, runs its trial (60 s at most), and may restart twice to go back.
TRIAL_S_MAX = 180.0
WAIT_AT_POWER_S = 2.0
POWER_FLOWS = "power flows"
BUSY = "busy"
# What the element says of a number that is not newer.
SAME = "this version runs already"
OLDER = "older than what runs"
# What Ctrl-C leaves behind, and what to do then.
AS_BEFORE = "the element runs the firmware it had"
GO_ON = "update again: it goes on where it stopped"
ON_TRIAL = "the element tries the new firmware, and keeps the old one unless that proves healthy"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Updated:
    """What an update did. sent_bytes: without what the element already had.

    updated: False when the element runs this firmware already.
    """

    element_id: str
    version_before: str
    version: str
    sent_bytes: int
    seconds: float
    updated: bool = True


def manifest_parts(firmware: Firmware) -> list[bytes]:
    """Return what an update sends: the list of files, then the files in its order."""
    names = sorted(firmware.package)
    lines = [f"{sha256_hex(firmware.package[name])} {len(firmware.package[name])} {name}\n"
             for name in names]
    return ["".join(lines).encode(), *(firmware.package[name] for name in names)]


def signed_manifest(firmware: Firmware, issuer: KeyPair) -> bytes:
    """Return the issuer's COSE_Sign1 over what the update is."""
    listed = manifest_parts(firmware)[0]
    return codec.sign1(
        issuer.private, schema.STATEMENT_TYP[schema.FIRMWARE_MANIFEST], issuer.key_id,
        codec.encode_statement(schema.FIRMWARE_MANIFEST, {
            "number": firmware.number, "version": firmware.version, "format": firmware.format,
            "list_size": len(listed), "list_sha256": hashlib.sha256(listed).digest()}))


class Update:
    """One update on one open cable."""

    def __init__(self, cable: Cable, firmware: Firmware, issuer: KeyPair,
                 progress: Progress, tries_max: int = TRIES_MAX) -> None:
        self._cable = cable
        self._tries_max = tries_max
        self._firmware = firmware
        self._parts = manifest_parts(firmware)
        self._manifest = signed_manifest(firmware, issuer)
        self._progress = progress
        self._answer: dict[str, Any] | None = None
        self.sent_bytes = 0
        cable.on_message = self._on_message

    def _on_message(self, kind: int, fields: dict[str, Any]) -> None:
        if kind == schema.UPDATE_ANSWER:
            self._answer = fields

    def _ask(self, operation: int, index: int = 0, offset: int = 0,
             data: bytes = b"") -> dict[str, Any]:
        """Send a message and return its answer; a lost one is asked for again.

        Raises BusError when the element does not answer, or refuses for another reason than that
        power flows or that it knows better where to go on.
        """
        for _ in range(self._tries_max):
            self._answer = None
            if not self._cable.element.has_session:
                self._cable.session()
            self._cable.send(schema.UPDATE, {
                "operation": operation, "index": index, "offset": offset, "data": data})
            if not self._cable.until(lambda: self._answer is not None, ANSWER_S_MAX):
                continue
            answer = self._answer
            assert answer is not None
            if answer["code"] == BUSY:  # it still verifies or hashes; its answer comes
                self._answer = None
                self._cable.until(lambda: self._answer is not None, ANSWER_S_MAX)
                answer = self._answer or answer
            if answer["code"] in ("", "out of order", "nothing is missing"):
                return answer
            if answer["code"] == BUSY:
                continue
            if answer["code"] != POWER_FLOWS:
                raise RefusedError("the element refuses the update", str(answer["code"]))
            self._progress(0, 1, "waiting: the element is at power")
            self._cable.until(lambda: False, WAIT_AT_POWER_S)
        if self._answer is not None:
            raise BusError("the element refuses the update", "it stayed at power\n  next: set it "
                           "to zero first (console: maintenance), then update")
        raise BusError("no answer to the update", self._cable.name)

    def send(self) -> None:
        """Bring every file onto the element and commit; it restarts afterwards."""
        total = sum(map(len, self._parts))
        place = self._ask(schema.UPDATE_BEGIN, data=self._manifest)
        while place["index"] < len(self._parts):
            index, offset = place["index"], place["offset"]
            done = sum(map(len, self._parts[:index])) + offset
            self._progress(done, total, f"file {index} of {len(self._parts) - 1}")
            data = self._parts[index][offset:offset + schema.UPDATE_DATA_SIZE_MAX]
            if not data:
                raise BusError("the element asks for what is not there", f"{index} {offset}")
            place = self._ask(schema.UPDATE_DATA, index, offset, data)
            self.sent_bytes += len(data)
        self._progress(total, total, "committing")
        self._ask(schema.UPDATE_COMMIT)

    def wait_for_trial(self) -> str:
        """Wait until the element runs this firmware for good; returns the version it says.

        Raises BusError when it went back to the one before, or does not come back.
        """
        end = time.monotonic() + TRIAL_S_MAX
        wanted = f"firmware {self._firmware.version}"
        seen_new = False
        while time.monotonic() < end:
            try:
                status = self._cable.status(limit_s=2.0)
            except BusError:
                self._progress(1, 1, "the element restarts")
                continue
            says = status.get("board", "").rpartition(", ")[2]
            slot = status.get("slot", "")
            if says == wanted:
                seen_new = True
                if "trial" not in slot:
                    return says
            elif says and (seen_new or "rolled back" in slot):
                raise BusError("the element went back to the firmware it had", says)
            self._progress(1, 1, "on trial: the control loop must prove healthy")
            self._cable.until(lambda: False, 1.0)
        raise BusError("the element does not come back with the new firmware", self._cable.name)


def update(port: str, site: Site, firmware: Firmware, progress: Progress,
           tries_max: int = TRIES_MAX) -> Updated:
    """Update the element at port. Raises BusError, saying why, when it refuses or goes back.

    tries_max: how often a message without an answer is sent. Raises StoppedError, saying what
    runs now, after Ctrl-C.
    """
    began = time.monotonic()
    issuer = site.authorities().issuer
    with stoppable(AS_BEFORE, GO_ON), Cable(port, site.keyring()) as cable:
        board, _, before = cable.status().get("board", "").partition(", firmware ")
        if board != firmware.board:
            raise BusError("another board", f"this is {board}, the firmware is for "
                           f"{firmware.board}\n  next: --board {board}")
        element_id = cable.session()
        one = Update(cable, firmware, issuer, progress, tries_max)
        try:
            one.send()
        except RefusedError as error:
            if error.value == SAME:
                return Updated(element_id.hex(), before, before, 0,
                               round(time.monotonic() - began, 1), False)
            if error.value == OLDER:
                raise _older(before, firmware.version) from error
            raise
        with stoppable(ON_TRIAL, f"cellwall console {port} -c status (board, slot)"):
            cable.until(lambda: False, 1.0)
            one.wait_for_trial()
    return Updated(element_id.hex(), before, firmware.version, one.sent_bytes,
                   round(time.monotonic() - began, 1))


def _older(runs: str, version: str) -> RefusedError:
    return RefusedError(OLDER, f"{runs} runs, this is {version}\n  next: --checkout names a newer "
                        "one; back to an older one goes with cellwall flash, at the cable")
