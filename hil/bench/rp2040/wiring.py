"""Which pin of the board is what: its own board.py is the table, read here once for both sides."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from element.protocol.errors import BusError

from .pico import Inputs, State

ADC_PIN_FIRST = 26
ADC_COUNT = 4
ADC_RAW_MAX = 4095
ADC_FULL_UV = 3_300_000
# the chip's own sensor at about 27 degC. Ref: RP2040 data sheet, 4.9.5
TEMPERATURE_RAW = 876
DUTY_PERMILLE_MAX = 1000


def load_board(path: Path) -> ModuleType:
    """Return a board's board.py as a module. Raises BusError when it cannot be read."""
    spec = importlib.util.spec_from_file_location(f"_board_{path.parent.name}", path)
    if spec is None or spec.loader is None or not path.exists():
        raise BusError("no such board", str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Wiring:
    """The board's pins on the bench: plant values in, plant commands out."""

    board: ModuleType

    def _raw(self, uv: int) -> int:
        return max(0, min(ADC_RAW_MAX, (uv * ADC_RAW_MAX + ADC_FULL_UV // 2) // ADC_FULL_UV))

    def inputs(self, sense_ma: int, dc_link_mv: int, interlock_ok: bool) -> Inputs:
        """Return the board's inputs: pack current (positive discharge), DC link (-1: none).

        A closed interlock loop pulls its pin to ground; open, the board's pull-up shows.
        """
        board = self.board
        adc = [0] * ADC_COUNT
        sense_uv = board.SENSE_ZERO_MV * 1000 + sense_ma * board.SENSE_UV_PER_A // 1000
        adc[board.SENSE_ADC - ADC_PIN_FIRST] = self._raw(sense_uv)
        if board.DC_LINK_ADC is not None and dc_link_mv >= 0:
            uv = dc_link_mv * 1000 // board.DC_LINK_RATIO
            adc[board.DC_LINK_ADC - ADC_PIN_FIRST] = self._raw(uv)
        pins = {board.INTERLOCK: False} if interlock_ok else {}
        return Inputs(pins, (adc[0], adc[1], adc[2], adc[3], TEMPERATURE_RAW))

    def put(self, inputs: Inputs, bms: bytes, link: bytes, stage: bytes) -> None:
        """Put bytes for the board on the lines that its board.py names."""
        lines = {0: b"", 1: b""}
        lines[self.board.BMS_UART] = bms
        if self.board.LINK == "usb":
            inputs.usb = link
            lines[self.board.STAGE_UART] += stage
        else:
            lines[self.board.LINK_UART] += link
        inputs.uart0, inputs.uart1 = lines[0], lines[1]

    def sent(self, state: State) -> tuple[bytes, bytes, bytes]:
        """Return what the board sent to BMS, panel and power stage."""
        lines = {0: state.uart0, 1: state.uart1}
        bms = lines[self.board.BMS_UART]
        if self.board.LINK == "usb":
            return bms, state.usb, lines[self.board.STAGE_UART]
        return bms, lines[self.board.LINK_UART], b""

    def enable(self, state: State) -> bool:
        """Return the enable line; a pin that drives nothing is pulled down."""
        return state.pin(self.board.ENABLE) is True

    def precharge(self, state: State) -> bool:
        """Return the pre-charge line."""
        return self.board.PRECHARGE is not None and state.pin(self.board.PRECHARGE) is True

    def duty_permille(self, state: State) -> int:
        """Return the signed duty of the two PWM pins, positive = discharge."""
        board = self.board
        if board.PWM_DISCHARGE is None:
            return 0
        duty = state.duty(board.PWM_DISCHARGE) - state.duty(board.PWM_CHARGE)
        return max(-DUTY_PERMILLE_MAX, min(DUTY_PERMILLE_MAX, round(duty * DUTY_PERMILLE_MAX)))
