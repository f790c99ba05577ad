"""One emulated Raspberry Pi Pico: the RPI_PICO image in rp2040js, run in lockstep.

The frames are those of `frames.mjs`, which is their contract. Emulated time passes only inside
`advance`, and a run is a function of image, flash, seed and inputs. What the emulator needs is
made by tools/get_rp2040.sh.
"""

import json
import os
import select
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from element.protocol.errors import BusError

FLASH_SIZE = 2 * 1024 * 1024
# the emulator does about half a second of busy emulated time in one of wall time
ANSWER_S_MAX = 120.0
UNIQUE_ID_SIZE = 8
HARNESS = Path(__file__).with_name("harness.mjs")
start_process = subprocess.Popen

_HEADER = struct.Struct("<IB")
_RUN = struct.Struct("<dBBHII5HHIII")
_STATE = struct.Struct("<dddd9IBBBB30B2x" + "HHHBB" * 8 + "III")
# STATE's first fields and its flags, by the name they have in `State`
_NUMBERS = ("time_us", "next_us", "busy_cycles", "stalled_us", "enable_mask", "level_mask",
            "seen_high", "seen_low", "flash_count", "reset_count", "watchdog_left_us",
            "usb_waiting", "clock_hz")
_FLAGS = ("powered", "idle", "watchdog", "usb_ready", "flash_busy", "locked_up")
_POWER_ON, _RUN_KIND, _POWER_OFF, _SET, _STATE_KIND = 1, 2, 3, 4, 16

STOP_OUTPUTS = 1  # return early at the end of a millisecond in which an output changed,
STOP_BYTES = 2  # bytes were sent,
STOP_RESET = 4  # the chip was reset,
STOP_IDLE = 8  # the CPU waits
REASONS = ("target", "outputs", "bytes", "reset", "power lost", "idle")

RESET_NONE = 0
RESET_TIMER = 1
RESET_FORCED = 2
FUNCTION_UART = 2
FUNCTION_PWM = 4
FUNCTION_SIO = 5


@dataclass(frozen=True)
class Build:
    """The products of tools/get_rp2040.sh."""

    folder: Path

    @property
    def image(self) -> Path:
        """The image as it lies in flash from its first byte on."""
        return self.folder / "firmware.bin"

    @property
    def mpy_cross(self) -> Path:
        """The compiler of the image's version."""
        return self.folder / "mpy-cross"

    @classmethod
    def of_checkout(cls) -> "Build":
        """Return the build of the checkout this package runs from. Raises BusError without one."""
        folder = Path(__file__).resolve().parents[3] / "build" / "rp2040"
        if not (folder / "firmware.uf2").exists():
            raise BusError("there is no RP2040 image; next: make rp2040", str(folder))
        return cls(folder)


@dataclass(frozen=True)
class FlashTiming:
    """Typical times of the flash chip in us. Ref: W25Q16JV data sheet, 9.6."""

    sector_erase_us: int = 45_000
    block_erase_us: int = 150_000
    page_program_us: int = 400


@dataclass
class Inputs:
    """What the world does to the board. Pins not in `pins` are driven by their pull resistors.

    pins: level of each pin driven from outside. adc_raw: 0..4095 of ADC0..3 and the temperature
    sensor (876 is about 27 degC). uart0, uart1, usb: bytes that begin to arrive now; UARTs at
    their configured baud rate, USB in packets.
    """

    pins: dict[int, bool] = field(default_factory=dict)
    adc_raw: tuple[int, int, int, int, int] = (0, 0, 0, 0, 876)
    uart0: bytes = b""
    uart1: bytes = b""
    usb: bytes = b""
    usb_plugged: bool = True


@dataclass(frozen=True)
class Slice:
    """The registers of one PWM slice: counter wrap, levels of its two channels, running."""

    top: int
    level_a: int
    level_b: int
    enabled: bool


@dataclass(frozen=True)
class State:
    """What the board does, and what it sent since the last state.

    Times in us since the first power-on. next_us: when a waiting CPU wakes by itself, -1 for
    never. seen_high, seen_low: masks of pins driven so at any moment since the last state.
    """

    time_us: float
    next_us: float
    busy_cycles: float
    stalled_us: float
    enable_mask: int
    level_mask: int
    seen_high: int
    seen_low: int
    flash_count: int
    reset_count: int
    watchdog_left_us: int
    usb_waiting: int
    clock_hz: int
    reason: str
    powered: bool
    idle: bool
    watchdog: bool
    usb_ready: bool
    flash_busy: bool
    locked_up: bool
    reset_reason: int
    functions: tuple[int, ...]
    slices: tuple[Slice, ...]
    uart0: bytes
    uart1: bytes
    usb: bytes

    def pin(self, number: int) -> bool | None:
        """Return the level a plain output pin drives, None when it drives none."""
        if not self.enable_mask >> number & 1 or self.functions[number] == FUNCTION_PWM:
            return None
        return bool(self.level_mask >> number & 1)

    def duty(self, number: int) -> float:
        """Return the share of time a PWM pin is high, 0..1; 0 when it is no running PWM output."""
        if self.functions[number] != FUNCTION_PWM:
            return float(bool(self.pin(number)))
        unit = self.slices[(number >> 1) & 7]
        if not unit.enabled:
            return 0.0
        level = unit.level_b if number & 1 else unit.level_a
        return min(1.0, level / (unit.top + 1))


def decode_state(payload: bytes) -> State:
    """Return the state in a STATE frame's payload."""
    fields: tuple[Any, ...] = _STATE.unpack_from(payload)
    flags = fields[14]
    slices: list[Slice] = []
    for at in range(47, 87, 5):
        top, level_a, level_b, enabled = fields[at:at + 4]
        slices.append(Slice(top, level_a, level_b, bool(enabled)))
    lines: list[bytes] = []
    at = _STATE.size
    for size in fields[87:90]:
        lines.append(payload[at:at + size])
        at += size
    numbers: dict[str, Any] = dict(zip(_NUMBERS, fields, strict=False))
    bits: dict[str, Any] = {name: bool(flags >> bit & 1) for bit, name in enumerate(_FLAGS)}
    return State(**numbers, **bits, reason=REASONS[fields[13]], reset_reason=fields[15],
                 functions=fields[17:47], slices=tuple(slices), uart0=lines[0], uart1=lines[1],
                 usb=lines[2])


class Pico:
    """A board that can be switched on and off, run, reset by its watchdog, and cut in two."""

    def __init__(self, build: Build, flash: Path, unique_id: bytes = b"\xe6\x61\x00\x00\x00\0\0\1",
                 seed: int = 1, timing: FlashTiming | None = None, log: Path | None = None,
                 rx_speed: int = 1) -> None:
        """flash: the file behind the flash chip; made, with the image in it, when it is not there.

        log: where the emulator's complaints go; nowhere by default. rx_speed: how many times
        faster than their baud rate UARTs receive; more than 1 for devices that have modelled
        the time on the line themselves and hand over whole chunks at its end.
        """
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: BinaryIO | None = None
        if len(unique_id) != UNIQUE_ID_SIZE:
            raise BusError("unique id size", len(unique_id))
        self.build = build
        self.flash = flash
        self.unique_id = unique_id
        self.seed = seed
        self.timing = timing or FlashTiming()
        self.rx_speed = rx_speed
        self.state: State | None = None
        self.reset_causes: list[int] = []
        self._log = log

    def __enter__(self) -> "Pico":
        return self

    def __del__(self) -> None:
        self.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    @property
    def powered(self) -> bool:
        """True between power_on and power_off, a cut by a fault included."""
        return self.state is not None and self.state.powered

    @property
    def now_us(self) -> float:
        """Emulated time in us since the first power-on."""
        return 0.0 if self.state is None else self.state.time_us

    def power_on(self, usb_plugged: bool = True, reset_reason: int = RESET_NONE) -> State:
        """Switch the board on. reset_reason: what the watchdog's register will say."""
        if not self.flash.exists():
            write_image(self.flash, self.build.image)
        if self._process is None:
            self._start()
        options = {
            "emulator": str(self.build.folder / "node_modules" / "rp2040js"),
            "bootrom": str(self.build.folder / "bootrom.bin"), "flash": str(self.flash),
            "uniqueId": self.unique_id.hex(), "seed": self.seed, "resetReason": reset_reason,
            "plugged": usb_plugged, "sectorEraseUs": self.timing.sector_erase_us,
            "blockEraseUs": self.timing.block_erase_us,
            "pageProgramUs": self.timing.page_program_us, "rxSpeed": self.rx_speed,
        }
        return self._ask(_POWER_ON, json.dumps(options).encode())

    def power_off(self) -> State | None:
        """Cut the power now; a flash operation under way is left half done."""
        if self._process is None:
            return None
        return self._ask(_POWER_OFF, b"")

    def advance(self, until_us: float, inputs: Inputs, stop: int = 0) -> State:
        """Run to until_us with these inputs, or to the first event in stop (STOP_* mask).

        Raises BusError when the emulator is gone, fails or does not answer.
        """
        driven = levels = 0
        for pin, level in inputs.pins.items():
            driven |= 1 << pin
            levels |= level << pin
        head = _RUN.pack(until_us, stop, inputs.usb_plugged, 0, driven, levels, *inputs.adc_raw,
                         0, len(inputs.uart0), len(inputs.uart1), len(inputs.usb))
        before = 0 if self.state is None else self.state.reset_count
        state = self._ask(_RUN_KIND, head + inputs.uart0 + inputs.uart1 + inputs.usb)
        if state.reset_count != before:
            self.reset_causes.append(state.reset_reason)
        return state

    def cut_power_at(self, count: int | None, phase: str = "middle") -> None:
        """Cut the power at the count-th flash operation from now, 1 being the next; None: never.

        phase: 'before', 'middle' (a page half programmed, a sector partly erased) or 'after'.
        """
        if phase not in ("before", "middle", "after"):
            raise BusError("phase of a power cut", phase)
        cut = None if count is None else {"n": count, "phase": phase}
        self._ask(_SET, json.dumps({"cutAt": cut}).encode())

    def set_entropy_stuck(self, stuck: bool) -> None:
        """Make the ring oscillator's random bit a constant, or random again."""
        self._ask(_SET, json.dumps({"stuck": stuck}).encode())

    def close(self) -> None:
        """End the emulator; twice is fine. The flash file stays as it is."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None
        self.state = None

    def last_words(self) -> str:
        """Return the end of what the emulator complained about."""
        if self._log is None or not self._log.exists():
            return "no log was kept"
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (all of it in {self._log})"

    def _start(self) -> None:
        self._errors = open(self._log or os.devnull, "ab")  # noqa: SIM115  closed with the process
        try:
            self._process = start_process(
                [str(self.build.folder / "bin" / "node"), str(HARNESS)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=self._errors, bufsize=0,
                env={"PATH": os.environ.get("PATH", os.defpath)}, start_new_session=True)
        except OSError as error:
            raise BusError("the emulator cannot start; next: make rp2040", str(error)) from error

    def _ask(self, kind: int, payload: bytes) -> State:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise BusError("the board was never switched on", str(self.flash))
        frame = _HEADER.pack(len(payload) + 1, kind) + payload
        try:
            view = memoryview(frame)
            while view:
                view = view[os.write(process.stdin.fileno(), view):]
        except OSError as error:
            raise BusError("the emulator is gone", f"{error}; {self.last_words()}") from error
        deadline_s = time.monotonic() + ANSWER_S_MAX
        size, answer = _HEADER.unpack(self._read(_HEADER.size, deadline_s))
        data = self._read(size - 1, deadline_s)
        if answer != _STATE_KIND:
            raise BusError("the emulator failed", data.decode(errors="replace"))
        self.state = decode_state(data)
        return self.state

    def _read(self, size: int, deadline_s: float) -> bytes:
        process: Any = self._process
        fd = process.stdout.fileno()
        data = b""
        while len(data) < size:
            ready, _, _ = select.select([fd], [], [], max(0.0, deadline_s - time.monotonic()))
            if not ready:
                raise BusError("the emulator does not answer", self.last_words())
            more = os.read(fd, size - len(data))
            if not more:
                raise BusError("the emulator ended", self.last_words())
            data += more
        return data


def write_image(flash: Path, image: Path) -> None:
    """Make a flash file of an erased chip with the image at its beginning."""
    data = image.read_bytes()
    flash.parent.mkdir(parents=True, exist_ok=True)
    flash.write_bytes(data + b"\xff" * (FLASH_SIZE - len(data)))
