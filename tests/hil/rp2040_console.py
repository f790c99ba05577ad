"""What the tests of the emulated board share: one emulator, a clean flash, the board's REPL."""

from pathlib import Path

from hil.bench.rp2040.littlefs_image import make_flash
from hil.bench.rp2040.pico import Build, Inputs, Pico, State
from hil.bench.rp2040.repl import RawREPL

COMMAND_S_MAX = 30.0


class Console:
    """A board that answers at its REPL, from a flash that holds only what the test put there."""

    def __init__(self, pico: Pico) -> None:
        self.pico = pico
        self.inputs = Inputs()
        self._repl = RawREPL(pico, self.inputs)

    def start(self, files: dict[str, bytes] | None = None) -> "Console":
        """Erase the board, put files on it, switch it on and wait for the REPL."""
        self.pico.power_off()
        make_flash(self.pico.flash, self.pico.build.image, files or {})
        return self.again()

    def again(self) -> "Console":
        """Switch the board on as it is, and wait for the REPL."""
        self.pico.power_on()
        return self.enter()

    def enter(self) -> "Console":
        """Wait for the REPL of a board that has just started."""
        self._repl = RawREPL(self.pico, self.inputs)
        self._repl.enter()
        return self

    def run(self, code: str, emulated_s_max: float = COMMAND_S_MAX) -> str:
        """Run code and return what it printed, without the last line's end."""
        return self._repl.execute(code, emulated_s_max).strip()

    def wait(self, duration_ms: float, **inputs: bytes) -> State:
        """Let emulated time pass, bytes arriving at its beginning."""
        now = self.inputs
        return self.pico.advance(self.pico.now_us + duration_ms * 1000,
                                 Inputs(now.pins, now.adc_raw, **inputs))

    def send(self, code: str) -> State:
        """Hand over code for the raw REPL and do not wait for its end."""
        return self.pico.advance(self.pico.now_us + 1000, Inputs(
            self.inputs.pins, self.inputs.adc_raw, usb=code.encode() + b"\x04"))


def new_console(folder: Path, seed: int = 1) -> Console:
    """Return the console of a new board whose files are under folder."""
    return Console(Pico(Build.of_checkout(), folder / "flash.bin", seed=seed,
                        log=folder / "emulator.log"))
