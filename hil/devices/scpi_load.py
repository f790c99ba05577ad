"""Emulate an electronic load that speaks SCPI: text in, text out, protections of its own.

Ref: SCPI-1999: IEEE 488.2 common commands, the error queue and its numbers.
"""

from collections import deque

from .endpoint import Session

LINE_SIZE_MAX = 1024
ERRORS_MAX = 16
UNDEFINED = '-113,"Undefined header"'
BAD_NUMBER = '-104,"Data type error"'
OUT_OF_RANGE = '-222,"Data out of range"'
NO_ERROR = '0,"No error"'
QUEUE_FULL = '-350,"Queue overflow"'
# What the hardware can do at most, A, V, W; protections begin there.
RATED = {"CURR": 30.0, "VOLT": 150.0, "POW": 3000.0}


class EmulatedLoad:
    """One load. `power_w` is what it draws; a lower protection than that switches it off."""

    def __init__(self, serial: str = "L-0001") -> None:
        self.protections = dict(RATED)
        self.input_on = False
        self.mode = "CURR"
        self.levels = dict.fromkeys(RATED, 0.0)
        self.on_without_protection_count = 0
        self._protected: set[str] = set()
        self._serial = serial
        self._errors: deque[str] = deque()

    @property
    def power_w(self) -> float:
        """The power that it draws now, W."""
        return self.levels["POW"] if self.input_on and self.mode == "POW" else 0.0

    def session(self) -> Session:
        """Return what answers on one line."""
        held = b""

        def reply(data: bytes) -> bytes:
            nonlocal held
            *lines, held = (held + data).split(b"\n")
            held = held[-LINE_SIZE_MAX:]
            said = [self.command(line.decode("ascii", "replace").strip()) for line in lines]
            return b"".join(one.encode() + b"\n" for one in said if one is not None)

        return reply

    def command(self, line: str) -> str | None:
        """Do one command; returns the answer to a question, None where there is none."""
        word, _, argument = line.upper().partition(" ")
        fixed = {"*IDN?": f"Cellwall,Bench load,{self._serial},1.0",
                 "INP?": str(int(self.input_on)), "FUNC?": self.mode,
                 "MEAS:POW?": f"{self.power_w:.3f}"}
        if word in fixed:
            return fixed[word]
        if word == "SYST:ERR?":
            return self._errors.popleft() if self._errors else NO_ERROR
        if word == "*CLS":
            self._errors.clear()
        elif word in ("INP", "FUNC"):
            self._switch(word, argument)
        else:
            return self._level(word, argument)
        return None

    def _switch(self, word: str, argument: str) -> None:
        if word == "FUNC" and argument in RATED:
            self.mode = argument
        elif word == "INP" and argument in ("ON", "1", "OFF", "0"):
            self.input_on = argument in ("ON", "1")
            if self.input_on and len(self._protected) < len(RATED):
                self.on_without_protection_count += 1
        else:
            self._fail(OUT_OF_RANGE)

    def _level(self, word: str, argument: str) -> str | None:
        """Set or tell a level or a protection."""
        name, _, part = word.removesuffix("?").partition(":")
        if name not in RATED or part not in ("", "PROT"):
            self._fail(UNDEFINED)
            return None
        values = self.protections if part else self.levels
        if word.endswith("?"):
            return f"{values[name]:.3f}"
        try:
            value = float(argument)
        except ValueError:
            self._fail(BAD_NUMBER)
            return None
        if not 0 <= value <= (RATED[name] if part else self.protections[name]):
            self._fail(OUT_OF_RANGE)
            return None
        values[name] = value
        if part:
            self._protected.add(name)
            if self.levels[name] > value:
                self.input_on = False
        return None

    def _fail(self, error: str) -> None:
        if len(self._errors) < ERRORS_MAX:
            self._errors.append(error)
        else:
            self._errors[-1] = QUEUE_FULL
