"""An emulated Pico with its battery, behind a pseudo-terminal, paced to wall time.

`ServedPico` runs in a thread: the board, an emulated JBD BMS on UART0, a pack and a converter.
Emulated time never runs ahead of wall time; where the emulator is slower than the wall it runs
behind, and no more than CREDIT_MS of that is made up for while the board idles. When the board
resets or its power is cut the port stays open and silent, unlike a real USB device, which goes
away and comes back; programs that open the port again do not notice.
"""

import contextlib
import os
import pty
import select
import threading
import time
import tty
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType

from element.protocol.errors import BusError
from hil.devices.jbd import JBDEmulator
from hil.plant.cell import CHEMISTRIES
from hil.plant.converter import ConverterPlant
from hil.plant.pack import Pack

from .pico import STOP_BYTES, STOP_OUTPUTS, STOP_RESET, Build, Pico, State
from .wiring import Wiring, load_board

BOARD = Path(__file__).resolve().parents[3] / "boards" / "rpi_pico" / "board.py"
BMS_UPDATE_MS = 100
# the plant's and the BMS's own steps: inputs change no more often
STEP_MS = 5
CREDIT_MS = 250
READ_SIZE = 4096
# what the pty and we hold for a program that does not read; then the board's bytes are lost
HELD_SIZE_MAX = 1 << 20
RX_SPEED = 8
SENT_TAIL_SIZE = 16384
JOIN_S_MAX = 150.0


@dataclass(frozen=True)
class Battery:
    """The modelled element behind the board."""

    chemistry: str = "LFP"
    series_count: int = 16
    capacity_ah: float = 100.0
    rating_w: float = 2500.0
    soc: float = 0.5
    seed: int = 1


class Element:
    """Pack, converter and BMS of one served board."""

    def __init__(self, battery: Battery) -> None:
        rng = Random(battery.seed)
        self.pack = Pack(CHEMISTRIES[battery.chemistry], battery.series_count,
                         battery.capacity_ah, rng, soc=battery.soc)
        self.bms = JBDEmulator(self.pack, rng, battery.series_count,
                               capacity_ah=battery.capacity_ah, start_closed=True)
        self.plant = ConverterPlant(self.pack, self.bms, rng, rating_w=battery.rating_w)
        self.interlock_ok = True
        self._updated_ms = 0

    def advance(self, now_ms: int) -> None:
        """Bring everything to now_ms."""
        self.plant.advance(now_ms)
        if now_ms - self._updated_ms >= BMS_UPDATE_MS:
            self._updated_ms = now_ms
            self.bms.update(now_ms)

    def take(self, now_ms: int) -> bytes:
        """Return the bytes that have left the BMS."""
        due_ms = self.bms.due_ms()
        return b"" if due_ms is None or due_ms > now_ms else self.bms.take(now_ms)


class ServedPico:
    """A board that programs reach through `port`, and tests through methods."""

    def __init__(self, flash: Path, build: Build | None = None, board: Path = BOARD,
                 battery: Battery | None = None, seed: int = 1, log: Path | None = None) -> None:
        """flash: the file behind the flash chip; made, without files, when it is not there.

        log: where the emulator's complaints go; nowhere by default.
        """
        self.pico = Pico(build or Build.of_checkout(), flash, seed=seed, log=log,
                         rx_speed=RX_SPEED)
        self.wiring = Wiring(load_board(board))
        self.element = Element(battery or Battery())
        self.lock = threading.RLock()
        self.lost_count = 0
        self.sent_tail = b""  # the latest SENT_TAIL_SIZE bytes that the board sent to the port
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)  # held open: a program that leaves must not end the line
        os.set_blocking(self._ours, False)
        self.port = os.ttyname(self._theirs)
        self._held = b""
        self._from_host = b""
        self._zero_s = 0.0  # the wall's time at the chip's zero, moved by what is given up
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="served-pico", daemon=True)

    def __enter__(self) -> "ServedPico":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Switch the board on and begin to serve."""
        self.pico.power_on()
        self._zero_s = time.monotonic()
        self._thread.start()

    def close(self) -> None:
        """Stop serving, end the emulator, close the port; twice is fine."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S_MAX)
        self.pico.close()
        for fd in (self._ours, self._theirs):
            with contextlib.suppress(OSError):
                os.close(fd)

    @property
    def state(self) -> State:
        """The latest state of the board. Raises BusError when the emulator has failed."""
        self.check()
        state = self.pico.state
        if state is None:
            raise BusError("the board is not served", self.port)
        return state

    def check(self) -> None:
        """Raise what has ended the serving thread, if anything has."""
        if self._error is not None:
            raise BusError("the served board failed", str(self._error)) from self._error

    def cut_power(self) -> None:
        """Cut the board's power now."""
        with self.lock:
            self.pico.power_off()

    def power_on(self) -> None:
        """Give the board power again."""
        with self.lock:
            self.pico.power_on()

    def wait(self, seconds: float) -> None:
        """Let wall time pass; raises when the emulator fails meanwhile."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.check()
            time.sleep(min(0.05, max(0.0, end_s - time.monotonic())))

    @property
    def behind_s(self) -> float:
        """How far emulated time is behind the wall, in s; what was given up does not count."""
        return time.monotonic() - self._zero_s - self.pico.now_us / 1e6

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with self.lock:
                    idle_s = self._step()
                if idle_s > 0:
                    # sleep until a step is due, or the program at the port sends or reads
                    writers = [self._ours] if self._held else []
                    select.select([self._ours], writers, [], idle_s)
        except (BusError, OSError, ValueError) as error:
            self._error = error

    def _step(self) -> float:
        """Run up to STEP_MS, never ahead of the wall; return how long there is nothing to do."""
        pico = self.pico
        self._serve_port()
        behind_s = self.behind_s
        if behind_s * 1000 < (1 if self._from_host else STEP_MS):
            return STEP_MS / 1000 - behind_s
        self._zero_s += max(0.0, behind_s - CREDIT_MS / 1000)
        now_ms = int(pico.now_us / 1000)
        element = self.element
        element.advance(now_ms)
        plant = element.plant
        inputs = self.wiring.inputs(plant.sense_ma(), plant.dc_link_mv(), element.interlock_ok)
        self.wiring.put(inputs, element.take(now_ms), self._from_host, b"")
        self._from_host = b""
        state = pico.advance((now_ms + min(STEP_MS, int(behind_s * 1000))) * 1000.0, inputs,
                             STOP_BYTES | STOP_OUTPUTS | STOP_RESET)
        self._apply(state)
        return 0.0

    def _apply(self, state: State) -> None:
        """Take the board's outputs: pins to the stage, bytes to the BMS and the port."""
        wiring = self.wiring
        now_ms = int(state.time_us / 1000)
        self.element.advance(now_ms)
        self.element.plant.set_outputs(wiring.enable(state), wiring.duty_permille(state),
                                       wiring.precharge(state))
        bms, link, _ = wiring.sent(state)
        if bms:
            self.element.bms.feed(bms, now_ms)
        if link:
            self.sent_tail = (self.sent_tail + link)[-SENT_TAIL_SIZE:]
        if len(self._held) + len(link) > HELD_SIZE_MAX:
            self.lost_count += len(link)
        else:
            self._held += link

    def _serve_port(self) -> None:
        """Move what can be moved between the board and the program at the port."""
        if self._held:
            with contextlib.suppress(BlockingIOError):
                self._held = self._held[os.write(self._ours, self._held):]
        state = self.pico.state
        if state is not None and state.usb_waiting > READ_SIZE:
            return  # the cable is full: let the program wait, as it would
        with contextlib.suppress(BlockingIOError):
            self._from_host += os.read(self._ours, READ_SIZE)
