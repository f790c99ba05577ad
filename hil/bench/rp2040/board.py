"""An emulated Pico in the place of a MicroPython process: the bench's board in virtual time.

The bench's clock is in whole milliseconds and asks a board what it does at one of them. The
emulated CPU needs time for its work, so an exchange at `now_ms` first lets the CPU reach that
moment, then gives it the inputs and lets it run for one millisecond. While the CPU is busy the
board asks to be woken every millisecond; while it waits, when its next alarm is due. The real
(emulated) watchdog does the resetting: `fed` is always True, and a reset shows as outputs that
drop, not as `reset`. A power cut by a flash fault shows as a dead board.
"""

from pathlib import Path
from types import ModuleType

from element.protocol import codes
from element.protocol.errors import BusError
from hil.bench.board_process import LOG_FILE, BoardProcess, BoardSpec, Outputs

from .firmware import firmware_files
from .littlefs_image import make_flash
from .pico import (
    RESET_FORCED,
    RESET_NONE,
    RESET_TIMER,
    Build,
    Inputs,
    Pico,
    State,
)
from .wiring import Wiring, load_board

FLASH_NAME = "flash.bin"
RX_SPEED = 8
# The CPU may sleep for longer, but inputs that only an ADC sees should not grow old.
SLEEP_MS_MAX = 100
RESTART_COUNT_MAX = 10
_REASONS = {
    codes.RESET_POWER_ON: RESET_NONE,
    codes.RESET_WATCHDOG: RESET_TIMER,
    codes.RESET_SOFTWARE: RESET_FORCED,
}


class PicoBoard(BoardProcess):
    """Start, exchange with, and stop one emulated Pico. Virtual time only."""

    def __init__(self, spec: BoardSpec, build: Build | None = None,
                 board: Path | None = None) -> None:
        """spec.flash: folder of the flash file; made with the firmware in it when it is missing.

        board: the board.py; boards/rpi_pico beside spec.firmware unless given. spec.stage and
        spec.bms replace what it says.
        """
        super().__init__(spec, "rp2040")
        build = build or Build.of_checkout()
        self.board_path = board or spec.firmware.parent / "boards" / "rpi_pico" / "board.py"
        module = load_board(self.board_path)
        module.STAGE = spec.stage  # type: ignore[attr-defined]
        module.BMS = spec.bms  # type: ignore[attr-defined]
        self.board: ModuleType = module
        self.wiring = Wiring(module)
        self.pico = Pico(build, spec.flash / FLASH_NAME, spec.unique_id,
                         int.from_bytes(spec.seed[:4], "big"), log=spec.flash / LOG_FILE,
                         rx_speed=RX_SPEED)
        self._on = False
        self._offset_ms = 0  # the bench's time at the chip's zero
        self._inputs = Inputs()
        self._answer: Outputs | None = None

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._on

    def install(self) -> None:
        """Make the flash file with image and firmware, as `cellwall flash` leaves a board."""
        spec = self.spec
        files = firmware_files(self.pico.build, spec.firmware.parent, self.board_path.parent.name,
                               {"STAGE": spec.stage, "BMS": spec.bms})
        make_flash(self.pico.flash, self.pico.build.image, files)

    def start(self, now_ms: int, uart_fds: tuple[int, ...] | None = None,
              reset_cause: int = codes.RESET_POWER_ON) -> None:
        """Switch the board on at now_ms. Raises BusError in real time, and without an image."""
        if uart_fds is not None:
            raise BusError("an emulated Pico runs in virtual time only", self.spec.name)
        self.spec.flash.mkdir(parents=True, exist_ok=True)
        if not self.pico.flash.exists():
            self.install()
        # what resets leave in scratch registers the chip itself has kept
        state = self.pico.power_on(reset_reason=_REASONS.get(reset_cause, RESET_NONE))
        self._offset_ms = now_ms - round(state.time_us / 1000)
        self._inputs = Inputs()
        self._on = True
        self._answer = self._outputs(state, now_ms)

    def send(self, now_ms: int, sense_ma: int, dc_link_mv: int, interlock_ok: bool,
             bms_rx: bytes, link_rx: bytes, stage_rx: bytes) -> bool:
        """Run to now_ms, give the inputs, run for a millisecond; False when the board is off."""
        if not self._on or not self.pico.powered:
            return False
        before = self._run(now_ms, self._inputs)
        inputs = self.wiring.inputs(sense_ma, dc_link_mv, interlock_ok)
        self._inputs = Inputs(inputs.pins, inputs.adc_raw)
        self.wiring.put(inputs, bms_rx, link_rx, stage_rx)
        state = self._run(now_ms + 1, inputs) or before
        if state is None or not state.powered:
            self._answer = None
            return True
        answer = self._outputs(state, now_ms)
        if before is not None and before is not state:
            early = self.wiring.sent(before)
            answer.bms_tx = early[0] + answer.bms_tx
            answer.link_tx = early[1] + answer.link_tx
            answer.stage_tx = early[2] + answer.stage_tx
        self._answer = answer
        return True

    def receive(self) -> Outputs | None:
        """Return the outputs of the last exchange; None when the power was cut in it."""
        answer, self._answer = self._answer, None
        return answer

    def last_words(self) -> str:
        """Return the last complaint of the emulator, and where the rest is."""
        return self.pico.last_words()

    def stop(self) -> None:
        """Cut the board's power; twice is fine. The emulator stays for the next start."""
        if self._on:
            self._on = False
            self.pico.power_off()

    def close(self) -> None:
        """End the emulator."""
        self._on = False
        self.pico.close()

    def _run(self, bench_ms: int, inputs: Inputs) -> State | None:
        """Advance to the bench's bench_ms; None when the chip is there already."""
        until_us = (bench_ms - self._offset_ms) * 1000.0
        if until_us <= self.pico.now_us and not (inputs.uart0 or inputs.uart1 or inputs.usb):
            return None
        known = len(self.pico.reset_causes)
        state = self.pico.advance(until_us, inputs)
        fresh = len(self.pico.reset_causes) - known
        self.restart_count += fresh
        if self.restart_count > RESTART_COUNT_MAX:
            raise BusError("board keeps restarting", f"{self.spec.name}: {self.last_words()}")
        return state

    def _outputs(self, state: State, now_ms: int) -> Outputs:
        """Return a state as the bench wants it."""
        wake_ms = now_ms + 1
        if state.idle and not state.usb_waiting:
            wake_ms = now_ms + SLEEP_MS_MAX
            if state.next_us >= 0:
                wake_ms = min(wake_ms, self._offset_ms + int(state.next_us / 1000))
        wiring = self.wiring
        bms, link, stage = wiring.sent(state)
        return Outputs(max(wake_ms, now_ms + 1), wiring.enable(state), True, False,
                       wiring.duty_permille(state), wiring.precharge(state), bms, link, stage)
