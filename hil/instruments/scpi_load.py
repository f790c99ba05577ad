"""An electronic load that speaks SCPI over TCP or a serial port.

Each command is followed by `SYST:ERR?`, so that one which the load did not take is known at once.
Ref: SCPI-1999; the subsystem names are those that loads of several makers share.
"""

import contextlib

import serial

from .base import Identity, Setup
from .electronic_load import ElectronicLoad, LoadLimits

LINE_SIZE_MAX = 1024
# A load rounds what it is told to its own steps.
READ_BACK_SHARE = 0.01


class SCPILoad(ElectronicLoad):
    """One load. address: HOST:PORT, or a serial port's name."""

    def __init__(self, setup: Setup, baud: int = 9600) -> None:
        super().__init__(setup)
        _, colon, port = setup.address.rpartition(":")
        tcp = colon and port.isdecimal() and "/" not in setup.address
        self._url = f"socket://{setup.address}" if tcp else setup.address
        self._baud = baud
        self._line: serial.SerialBase | None = None

    def identify(self) -> Identity:
        parts = [one.strip() for one in self._ask("*IDN?").split(",")]
        if len(parts) < 4:
            raise self.wrong(f"*IDN? is answered by {','.join(parts)!r}")
        return Identity(*parts[:4])

    def protect(self, limits: LoadLimits) -> None:
        self._tell("*CLS")
        self.make_safe()
        for word, value in (("CURR", limits.current_a), ("VOLT", limits.voltage_v),
                            ("POW", limits.power_w)):
            self._tell(f"{word}:PROT {value:g}")
            said = self._number(f"{word}:PROT?")
            if abs(said - value) > READ_BACK_SHARE * value:
                raise self.wrong(f"{word}:PROT was set to {value:g} and reads {said:g}")

    def set_power(self, power_w: float) -> None:
        self._tell("FUNC POW")
        self._tell(f"POW {power_w:g}")

    def input_on(self, on: bool) -> None:
        self._tell(f"INP {'ON' if on else 'OFF'}")
        if (self._ask("INP?").strip() in ("1", "ON")) != on:
            raise self.wrong(f"its input does not go {'on' if on else 'off'}")

    def make_safe(self) -> None:
        self.input_on(False)

    def measure_w(self) -> float:
        return self._number("MEAS:POW?")

    def close(self) -> None:
        with self.lock:
            line, self._line = self._line, None
            if line is not None:
                with contextlib.suppress(serial.SerialException, OSError):
                    line.close()

    def _tell(self, command: str) -> None:
        """Send a command and see that the load took it. Raises BusError."""
        with self.lock:
            self._send(command)
            said = self._ask("SYST:ERR?")
        code = said.partition(",")[0].strip().lstrip("+")
        if code != "0":
            raise self.wrong(f"{command} is answered by {said}")

    def _number(self, question: str) -> float:
        said = self._ask(question)
        try:
            return float(said)
        except ValueError as error:
            raise self.wrong(f"{question} is answered by {said!r}") from error

    def _ask(self, question: str) -> str:
        with self.lock:
            line = self._send(question)
            try:
                raw = line.read_until(b"\n", LINE_SIZE_MAX)
            except (serial.SerialException, OSError) as error:
                self.close()
                raise self.gone(error) from error
            if not raw.endswith(b"\n"):
                self.close()  # whatever still comes must not answer the next question
                raise self.gone(f"no answer to {question} in {self.setup.timeout_s:g} s")
            said = raw.decode("ascii", "replace").strip()
            self.tap(self.name, "rx", said)
        return said

    def _send(self, text: str) -> serial.SerialBase:
        try:
            if self._line is None:
                self._line = serial.serial_for_url(
                    self._url, baudrate=self._baud, timeout=self.setup.timeout_s,
                    write_timeout=self.setup.timeout_s)
            self.tap(self.name, "tx", text)
            self._line.write(text.encode("ascii") + b"\n")
        except (serial.SerialException, OSError, ValueError) as error:
            self.close()
            raise self.gone(error) from error
        return self._line
