"""What must outlive a reset or a power cut: the latch, the envelopes' use, the SoC. On flash.

A file that cannot be read is taken for the worst it could have held: a latch for a trip, the
envelopes for used up. A latch that cannot be written holds power off (`storage_ok`).
"""

import os
from binascii import crc32

from .protocol import cbor, codes
from .protocol.errors import DecodeError

_LATCH_FILE = "latch.cbor"
# Written in turn, in place: one of them is always whole, and no rename is needed. On littlefs
# that is one commit of 2 ms in place of three, which now and then take 140.
_USAGE_FILES = ("usage.0", "usage.1")
# What ended the task that ended the last life: text, its end when it is long.
FAILURE_FILE = "failure"
FAILURE_SIZE_MAX = 600
# What the flash did not take is written again after this time.
RETRY_MS = 5000
# Use of the envelopes is written this often; what ran since is assumed to have run at full power.
USAGE_PERIOD_MS = 300_000
# No SoC and no temperature that was ever kept is larger.
_VALUE_MAX = 1_000_000


def write_file(path: str, data: bytes) -> None:
    """Write a whole file or leave the old one: the rename is the only visible step."""
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.rename(path + ".new", path)


def read_file(path: str):
    """Return the bytes of a file, or None when there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        if error.errno == 2:
            return None
        raise


def array_of(data: bytes, count: int, kind) -> list:
    """Return the items of a CBOR array of exactly count, all of one type: int or bytes.

    Raises DecodeError for anything else; a bool is no int.
    """
    parts = cbor.decode(data)
    if not isinstance(parts, list) or len(parts) != count:
        raise DecodeError("array", None)
    for part in parts:
        if type(part) is not kind:
            raise DecodeError("item", None)
    return parts


class Keeper:
    """The element's memory over a reset: loads at boot, writes when something has changed."""

    def __init__(self, hal, interlock, worker, log):
        self._hal = hal
        self._interlock = interlock
        self._worker = worker
        self._log = log
        self._control = None
        self.latched = codes.TRIP_NONE  # the cause that the flash and the chain know of
        self._order_saved = 0
        self.boot_count = 0
        self._latch_unsaved = False
        self._usage_unsaved = False
        self._retry_at = 0
        self._usage_at = hal.ticks_ms()
        self._usage_due = False
        self._usage_number = 0
        self._latch_due = False

    @property
    def storage_ok(self) -> bool:
        """False while the flash has not taken the latch, or the use of the envelopes."""
        return not (self._latch_unsaved or self._usage_unsaved)

    def load_latch(self) -> None:
        """Restore the latch and count this boot; a file that cannot be read may hold a trip."""
        data = read_file(_LATCH_FILE)
        if data is not None:
            interlock = self._interlock
            try:
                cause, value, limit, index, number, boots = latch_from_bytes(data)
                self.latched = cause  # it has been attested
            except DecodeError:
                cause, value, limit, index, number, boots = codes.TRIP_SELF_TEST, 0, 0, -1, 0, 0
            interlock.order_number = self._order_saved = number
            self.boot_count = boots
            if cause != codes.TRIP_NONE:
                from .protocol import texts

                interlock.trip(cause, value, limit, None if index < 0 else index)
                self._log("still tripped: " + texts.cause_text(
                    cause, value, limit, interlock.index))
        self.boot_count = min(self.boot_count + 1, 0x7FFFFFFF)
        # the first trip must not be the one that finds out that the flash cannot be written
        self.save_latch()

    def save_latch(self) -> None:
        """Write the latch to flash; one that is not taken holds power off until it is."""
        interlock = self._interlock
        index = -1 if interlock.index is None else interlock.index
        try:
            write_file(_LATCH_FILE, cbor.encode(
                [interlock.cause, interlock.value, interlock.limit, index,
                 interlock.order_number, self.boot_count]))
        except (OSError, MemoryError) as error:
            self._latch_unsaved = True
            self._failed("latch", error)
            return
        self._latch_unsaved = False

    def _failed(self, what: str, error) -> None:
        self._log("%s not written: error %s" % (
            what, "memory" if isinstance(error, MemoryError) else error.errno))
        self._retry_at = self._hal.ticks_add(self._hal.ticks_ms(), RETRY_MS)

    def save_failure(self, words: str) -> None:
        """Keep what ended a task for the console after the restart, where the flash takes it."""
        try:
            write_file(FAILURE_FILE, words.encode()[-FAILURE_SIZE_MAX:])
        except (OSError, MemoryError) as error:
            self._failed("failure", error)

    def load_usage(self, control) -> None:
        """Go on where the envelopes and the SoC were; control has just got its profile."""
        self._control = control
        profile = control.profile
        found = [_usage_of(path) for path in _USAGE_FILES]
        if found[0] is None and found[1] is None:
            self.save_usage()
            return
        newest = 0 if (found[0] or [-1])[0] >= (found[1] or [-1])[0] else 1
        kept = found[newest] or []
        self._usage_number = kept[0] if kept else 0
        power_mw = max(profile.power_mw_discharge_max, profile.power_mw_charge_max)
        unsaved_mwh = power_mw // 1000 * (USAGE_PERIOD_MS // 1000) // 3600 * 1000
        if found[1 - newest] == []:
            unsaved_mwh *= 2  # the other one was being written when the power went
        if kept:
            control.usage.restore(kept[1:7], unsaved_mwh)
            control.estimator.restore(kept[7:], unsaved_mwh // max(1, profile.mwh_per_bp))
        else:
            self._log("use of the envelopes unreadable: counted as used up")
            control.usage.exhaust()
        # or a second cut would find the older numbers again
        self.save_usage()

    def save_usage(self) -> None:
        """Write the use of the envelopes and the SoC."""
        control = self._control
        if control is None:
            return
        number = self._usage_number + 1
        data = cbor.encode([number] + control.usage.snapshot() + control.estimator.snapshot())
        try:
            with open(_USAGE_FILES[number & 1], "wb") as file:
                file.write(data + crc32(data).to_bytes(4, "little"))
            self._usage_number = number
        except (OSError, MemoryError) as error:
            self._usage_unsaved = True
            self._failed("usage", error)
            return
        self._usage_unsaved = False

    def _save(self) -> None:
        """Write what is due; called by the worker between two slices of anything."""
        if self._usage_due:
            self._usage_due = False
            self.save_usage()
        if self._latch_due:
            self._latch_due = False
            self.save_latch()

    def _write_latch(self) -> None:
        self._latch_due = True
        self._worker.urgent(self._save)

    def tick(self, now: int):
        """Look for what has changed. Returns the event of a changed latch, else None.

        The event is (cause, value, limit, index, released).
        """
        interlock = self._interlock
        hal = self._hal
        if hal.ticks_diff(now, self._usage_at) >= USAGE_PERIOD_MS:
            self._usage_at = now
            self._usage_due = True
            self._worker.urgent(self._save)
        if interlock.cause != self.latched:
            released = interlock.cause == codes.TRIP_NONE
            cause = self.latched if released else interlock.cause
            self.latched = interlock.cause
            self._order_saved = interlock.order_number
            self._write_latch()
            return cause, interlock.value, interlock.limit, interlock.index, released
        if interlock.order_number != self._order_saved:
            self._order_saved = interlock.order_number
            self._write_latch()
        elif not self.storage_ok and hal.ticks_diff(now, self._retry_at) >= 0:
            self._retry_at = hal.ticks_add(now, RETRY_MS)
            self._usage_due = True
            self._write_latch()
        return None


def _usage_of(path: str):
    """Return [number, and the 10 values] of a usage file, None without one, [] for a torn one."""
    try:
        data = read_file(path)
    except OSError:
        return []
    if data is None:
        return None
    try:
        kept = array_of(data[:-4], 11, int)
        for value in kept[3:]:
            if not -_VALUE_MAX <= value <= _VALUE_MAX:
                return []
    except DecodeError:
        return []
    whole = crc32(data[:-4]).to_bytes(4, "little") == data[-4:]
    return kept if whole and 0 < kept[0] else []


def latch_from_bytes(data: bytes) -> list:
    """Return [cause, value, limit, index, order_number, boot_count]. Raises DecodeError.

    index is -1 for none.
    """
    parts = array_of(data, 6, int)
    if not 0 <= parts[0] <= 255 or not -1 <= parts[3] <= 255 or parts[4] < 0 or parts[5] < 0:
        raise DecodeError("latch", parts[0])
    return parts
