"""Emulate a Daly smart BMS on its UART or RS-485 (protocol A5), without I/O.

Vendor sign: 30000 + 0.1 A counts, above is discharge, as everywhere here.
"""

from collections.abc import Callable
from random import Random

from hil.plant.pack import Pack

from . import daly_frames as frames
from .daly_frames import Request, RequestParser, build_frame
from .device import (
    MASK_CHARGE_OFF,
    MASK_DISCHARGE_OFF,
    BMSDevice,
    Dialect,
    Setup,
)
from .measurement import Values
from .protection import ProtectionLimits

BAUD = 9600
# From the write of a request to its decoded reply took 122 ms in the log of esphome/esphome
# issue 12445, 28 of them on the wire and up to 16 in that host's loop.
PROCESSING_MS = (20, 90)
ADDRESS_PC = 0x40
ADDRESSES_OF_FIRST_BOARD = (0x20, 0x40, 0x80)
BOARDS_COUNT_MAX = 16
CELLS_COUNT_MAX = 48
NTCS_COUNT_MAX = 16
CODE_LENGTH_MAX = 35
OUTCOME_IGNORED = -1
OUTCOME_READ = 0
_SWITCHES = {
    frames.ID_SET_CHARGE_FET: MASK_CHARGE_OFF,
    frames.ID_SET_DISCHARGE_FET: MASK_DISCHARGE_OFF,
}


class DalyEmulator(BMSDevice[Request]):
    """Behave like one Daly BMS wired to one pack; see BMSDevice.

    Requests to another board, with a wrong sum or of an unknown id are not answered at all.
    """

    def __init__(
        self,
        pack: Pack,
        rng: Random,
        series_count: int,
        ntc_count: int = 2,
        capacity_ah: float = 100.0,
        current_of: Callable[[], float] | None = None,
        start_closed: bool = False,
        limits: ProtectionLimits | None = None,
        code: str = "CELLWALL-DALY-16S",
        start_ms: int = 0,
        *,
        soc_drift_pct_per_month: float = 0.0,
        soc_error: float = 0.0,
        board: int = 1,
        all_frames: bool = False,
        frame_from: int = 1,
        reuse_buffer: bool = True,
    ) -> None:
        """Power the BMS on. current_of returns the true pack current, positive = discharge.

        board: its number on the bus, 1..16, address 40 + board - 1. all_frames: 0x95 and 0x96
        bring 16 and 3 frames whatever the pack has, as the Bluetooth module does (ref:
        python-daly-bms). frame_from: number of the first frame, 1 in every capture, 0 in the
        vendor's text. reuse_buffer: see daly_frames. Raises ValueError when series_count is
        not the pack's, or something does not fit its field.
        """
        setup = Setup(
            series_count, ntc_count, capacity_ah, current_of, start_closed, limits, start_ms,
            soc_drift_pct_per_month, soc_error,
        )
        setup.check(pack, CELLS_COUNT_MAX, NTCS_COUNT_MAX, 4_000_000.0)
        if not 1 <= board <= BOARDS_COUNT_MAX or frame_from not in (0, 1):
            raise ValueError(f"board {board}, frame_from {frame_from}")
        if len(code) > CODE_LENGTH_MAX:
            raise ValueError(f"code of {len(code)} characters")
        self._board = board
        self._code = code.encode("ascii").ljust(CODE_LENGTH_MAX, b" ")
        self._cell_mv_nominal = round(pack.chemistry.nominal_v * 1000.0)
        self._all_frames = all_frames
        self._frame_from = frame_from
        self._buffer = frames.ReplyBuffer(reuse_buffer)
        super().__init__(pack, rng, Dialect(
            BAUD, PROCESSING_MS, RequestParser(), frames.with_wrong_length,
            frames.with_other_address), setup)

    def _is_mine(self, address: int) -> bool:
        if address == ADDRESS_PC + self._board - 1:
            return True
        return self._board == 1 and address in ADDRESSES_OF_FIRST_BOARD

    def _perform(self, request: Request, ready_ms: int) -> int:
        """Return what became of the request; a FET write takes effect at ready_ms."""
        if not self._is_mine(request.address):
            return OUTCOME_IGNORED
        off = _SWITCHES.get(request.data_id)
        if off is None:
            return OUTCOME_READ
        if request.data[0] > 1:
            return OUTCOME_IGNORED
        mask = self._commanded_mask() & ~off
        done = self._command(ready_ms, mask if request.data[0] else mask | off)
        return OUTCOME_READ if done else OUTCOME_IGNORED

    def _encode(self, request: Request, outcome: int, values: Values) -> bytes:
        if outcome == OUTCOME_IGNORED:
            return b""
        reply = b""
        for message in self._messages(request, values):
            data = self._buffer.fill(message)
            reply += build_frame(self._board, request.data_id, data)
        return reply

    def _messages(self, request: Request, values: Values) -> list[bytes]:
        """Return the written part of each frame of the reply; none for an unknown id."""
        data_id = request.data_id
        if data_id in _SWITCHES:
            return [request.data[:1]]
        if data_id == frames.ID_CELLS:
            cells = frames.cells_mv(values)
            count = -(-len(values.cells_v) // frames.CELLS_PER_FRAME)
            count = frames.CELL_FRAMES_MAX if self._all_frames else count
            return self._numbered(cells, 2 * frames.CELLS_PER_FRAME, count)
        if data_id == frames.ID_TEMPERATURES:
            count = -(-len(values.temperatures_c) // frames.TEMPERATURES_PER_FRAME)
            count = frames.TEMPERATURE_FRAMES_MAX if self._all_frames else count
            # Unlike with cells, places without a sensor were zero in every classic capture.
            places = count * frames.TEMPERATURES_PER_FRAME
            sensors = frames.temperatures(values).ljust(places, b"\x00")
            return self._numbered(sensors, frames.TEMPERATURES_PER_FRAME, count)
        if data_id == frames.ID_CODE:
            return self._numbered(self._code, frames.CODE_PER_FRAME, frames.CODE_FRAMES)
        single = self._single(data_id, values)
        return [] if single is None else [single]

    def _numbered(self, items: bytes, size: int, count: int) -> list[bytes]:
        return frames.numbered(items, size, count, self._frame_from)

    def _single(self, data_id: int, values: Values) -> bytes | None:
        if data_id == frames.ID_PACK:
            return frames.pack_data(values)
        if data_id == frames.ID_CELL_RANGE:
            return frames.cell_range_data(values)
        if data_id == frames.ID_TEMPERATURE_RANGE:
            return frames.temperature_range_data(values)
        if data_id == frames.ID_FETS:
            return frames.fet_data(values, values.uptime_ms // 1000)
        if data_id == frames.ID_STATUS:
            return frames.status_data(values)
        if data_id == frames.ID_BALANCE:
            return frames.balance_data(values)
        if data_id == frames.ID_ERRORS:
            return frames.error_data(values.errors)
        if data_id == frames.ID_RATED:
            rated_mah = round(values.full_as / 3.6)
            return rated_mah.to_bytes(4, "big") + self._cell_mv_nominal.to_bytes(4, "big")
        return None
