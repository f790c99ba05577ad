"""One virtual board: the real firmware in a MicroPython process, its pins behind a socket.

The frames are those of `element.hal.lockstep`. A board that dies or does not answer has its
outputs forced off at once, as its pins would be, and is started again after BOOT_MS.
"""

import contextlib
import os
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from element.protocol import codes
from element.protocol.errors import BusError

# As in element.hal.header, which only MicroPython can import.
OUT = struct.Struct("<IBhHHH")
IN = struct.Struct("<IiiBHHH")
# A board that is silent for this long of wall time hangs: no tick takes a hundredth of it.
ANSWER_S_MAX = 20.0
HEAP = "1m"
# In a board's flash folder: what it prints.
LOG_FILE = "console.log"
RECEIVE_SIZE = 16384
start_process = subprocess.Popen


@dataclass
class BoardSpec:
    """What a board process needs: its files, its flash folder, its stage, its hardware facts."""

    name: str
    micropython: Path
    firmware: Path
    board: Path
    flash: Path
    stage: str
    bms: str
    unique_id: bytes
    seed: bytes
    slice_ms: int
    heap: str = HEAP


@dataclass
class Outputs:
    """What the board's pins say, and what it sent since the last exchange."""

    wake_ms: int = 0
    enable: bool = False
    fed: bool = False
    reset: bool = False
    duty_permille: int = 0
    precharge: bool = False
    bms_tx: bytes = b""
    link_tx: bytes = b""
    stage_tx: bytes = b""


class BoardProcess:
    """Start, exchange with, and stop one board in either clock."""

    def __init__(self, spec: BoardSpec, port: str) -> None:
        """port: 'lockstep' for virtual time, 'unix' for real time."""
        self.spec = spec
        self.restart_count = 0
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._fd = -1
        self._held = b""

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._channel is not None

    @property
    def channel(self) -> socket.socket:
        """The bench's end of the board's pins."""
        if self._channel is None:
            raise BusError("board is not running", self.spec.name)
        return self._channel

    def start(self, now_ms: int, uart_fds: tuple[int, ...] | None = None,
              reset_cause: int = codes.RESET_POWER_ON) -> None:
        """Start the process. uart_fds: in real time, the board's ends of BMS line, link and,
        where the stage has one, the stage's line.

        reset_cause: what the board's reset register will say.

        Raises BusError when the interpreter cannot be started.
        """
        spec = self.spec
        spec.flash.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        # the kernel's own time-out: Python's would cost a poll for every call
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO,
                        struct.pack("ll", int(ANSWER_S_MAX), 0))
        command = [str(spec.micropython), "-X", f"heapsize={spec.heap}",
                   str(spec.firmware / "main.py"), self._port, spec.stage, spec.bms]
        if uart_fds is not None:
            command += [str(fd) for fd in uart_fds]
        path = f"{spec.firmware}:{spec.board}:.frozen"
        with (spec.flash / LOG_FILE).open("ab") as log:
            try:
                self._process = start_process(
                    command, cwd=spec.flash, stdin=theirs.fileno(), stdout=log, stderr=log,
                    env={"MICROPYPATH": path, "PATH": "/usr/bin:/bin"},
                    pass_fds=uart_fds or (), start_new_session=True)  # Ctrl-C is for the bench
            except OSError as error:
                raise BusError("board cannot start", f"{spec.name}: {error}") from error
            finally:
                theirs.close()
        # a board that died at once is found gone by the first exchange, as after any death
        with contextlib.suppress(OSError):
            ours.sendall(spec.unique_id + spec.seed
                         + struct.pack("<IIB", spec.slice_ms, now_ms, reset_cause))
        self._channel = ours
        self._fd = ours.fileno()
        self._held = b""

    def send(self, now_ms: int, sense_ma: int, dc_link_mv: int, interlock_ok: bool,
             bms_rx: bytes, link_rx: bytes, stage_rx: bytes) -> bool:
        """Send one frame of inputs; False when the board is gone."""
        frame = IN.pack(now_ms, sense_ma, dc_link_mv, interlock_ok, len(bms_rx), len(link_rx),
                        len(stage_rx))
        try:
            if bms_rx or link_rx or stage_rx:
                self.channel.sendall(frame + bms_rx + link_rx + stage_rx)
            else:
                os.write(self._fd, frame)
        except OSError:
            return False
        return True

    def receive(self) -> Outputs | None:
        """Wait for one frame of outputs; None when the board died or does not answer."""
        data = self._held
        size = OUT.size
        while len(data) < size:
            more = self._more()
            if not more:
                return None
            data += more
            if len(data) >= OUT.size:
                fields = OUT.unpack_from(data)
                size = OUT.size + sum(fields[3:])
        wake_ms, bits, duty, bms_size, link_size, stage_size = OUT.unpack_from(data)
        bms_end = OUT.size + bms_size
        link_end = bms_end + link_size
        end = link_end + stage_size
        self._held = data[end:]
        return Outputs(wake_ms, bool(bits & 1), bool(bits & 2), bool(bits & 4), duty,
                       bool(bits & 8), data[OUT.size:bms_end], data[bms_end:link_end],
                       data[link_end:end])

    def _more(self) -> bytes:
        try:
            return os.read(self._fd, RECEIVE_SIZE)
        except OSError:  # a time-out is one too: the board hangs
            return b""

    def last_words(self) -> str:
        """Return the last line of the board's console, and where the rest of it is."""
        path = self.spec.flash / LOG_FILE
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (all of it in {path})"

    def stop(self) -> None:
        """End the process; twice is fine."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
