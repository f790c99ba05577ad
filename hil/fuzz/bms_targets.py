"""Fuzz what an element hears from its BMS: the same checks for every family.

As in `targets`, each function takes any bytes and returns True if something in them was
accepted. The valid inputs to start from are what the emulated devices answer.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from element.bms.base import CELLS_MAX, Reading
from element.bms.choose import make_protocol
from element.bms.protocol import BMSProtocol
from element.protocol.errors import DecodeError
from hil.devices import BMS_FAMILIES, daly_frames, jbd_frames, jk_frames, pylontech_frames
from hil.plant.cell import CHEMISTRIES
from hil.plant.pack import Pack

from .defect import DefectError

FRAMES_MAX = 1000
NTC_MAX = 16  # a Daly names up to sixteen
_FIELDS = ("pack_mv", "current_ma", "soc_bp", "remaining_mah", "full_mah", "cycle_count",
           "errors", "protecting", "fets", "balancing", "cell_count", "ntc_count",
           "temperature_mdegc_min", "temperature_mdegc_max", "cell_mv_min", "cell_mv_max",
           "cell_mv_sum", "cell_index_min", "cell_index_max", "ntc_index_min", "ntc_index_max",
           "current_ma_discharge_bms", "current_ma_charge_bms", "soh_bp")


def kinds_of(protocol: BMSProtocol) -> list[int]:
    """Return every kind of request that a family's driver sends in its polls."""
    return [kind for _, kinds, _ in protocol.groups for kind in kinds]


def _answers(family: str, series_count: int, soc: float, seed: int) -> list[bytes]:
    """Return what an emulated device says to each group of requests."""
    pack = Pack(CHEMISTRIES["LFP"], series_count, 100.0, Random(seed), soc=soc)
    device = BMS_FAMILIES[family](pack, Random(seed), series_count, capacity_ah=100.0)
    protocol = make_protocol(family)
    out: list[bytes] = []
    now_ms = 0
    for _, kinds, _ in protocol.groups:
        answers = b""
        for kind in kinds:
            device.feed(protocol.request(kind), now_ms)
            now_ms += 5000
            answers += device.take(now_ms)
        out.append(answers)
    return out


def bms_corpus(family: str) -> list[bytes]:
    """Return valid streams of a family: single answers, several, and one behind noise."""
    out: list[bytes] = []
    for seed, (series_count, soc) in enumerate(((16, 0.5), (4, 0.05), (15, 0.95), (8, 0.3))):
        answers = _answers(family, series_count, soc, seed)
        out += answers
        out.append(b"".join(answers))
        out.append(b"\x77\x00\xff" + answers[0])
    return out


def _jbd_fits(data: bytes) -> list[bytes]:
    return [jbd_frames.build_reply(register, jbd_frames.STATUS_GOOD, data[4:-3][:120])
            for register in (3, 4, 5)]


def _daly_fits(data: bytes) -> list[bytes]:
    body = (data[4:12] + bytes(8))[:8]
    return [daly_frames.build_frame(1, kind, body) for kind in (0x90, 0x92, 0x93, 0x94, 0x98)]


def _jk_fits(data: bytes) -> list[bytes]:
    return [jk_frames.build_frame(bytes(4), 6, data[11:-9][:250])]


def _pylontech_fits(data: bytes) -> list[bytes]:
    text = bytes(byte for byte in data[13:-5] if byte in b"0123456789ABCDEF")
    info = bytes.fromhex(text[:len(text) // 2 * 2].decode())
    return [pylontech_frames.build_frame(2, 0, info[:120])]


# A damaged reply rarely passes its checksum: fitted with a new one its values reach the decoders.
_FITS = {"jbd": _jbd_fits, "daly": _daly_fits, "jk": _jk_fits, "pylontech": _pylontech_fits}


# What the devices make of a frame's content: a reader that took a damaged one differs from it.
_WHOLE: dict[str, Callable[[bytes], bool]] = {
    "jbd": lambda frame: frame[-3:-1] == jbd_frames.checksum(frame[2:-3]),
    "daly": lambda frame: frame == daly_frames.build_frame(frame[1], frame[2], frame[4:-1]),
    # the upper half of the checksum is reserved
    "jk": lambda frame: frame[-2:] == jk_frames.checksum(frame[:-4])[2:],
    "pylontech": lambda frame: frame[-5:-1] == pylontech_frames.checksum(frame[1:-5]),
}


def _frames_of(protocol: BMSProtocol, pieces: list[bytes]) -> list[bytes]:
    """Return every frame that a protocol cuts out of the pieces."""
    out: list[bytes] = []
    for piece in pieces:
        frame = protocol.feed(piece)
        while frame is not None:
            if len(out) > FRAMES_MAX:
                raise DefectError("frames without an end")
            out.append(frame)
            frame = protocol.feed(b"")
    return out


def bms_stream(family: str) -> Callable[[bytes], bool]:
    """Return the target of a family: in step again, bounded, nothing implausible taken."""
    probe = max(_answers(family, 16, 0.5, 9), key=len)
    protocol = make_protocol(family)
    kinds = kinds_of(protocol)
    probe_frame = _frames_of(make_protocol(family), [probe])[-1]

    def stream(data: bytes) -> bool:
        protocol.clear()
        size = protocol.backlog_max
        frames = _frames_of(protocol, [data[at:at + size] for at in range(0, len(data), size)])
        if len(data) <= size:
            cut = len(data) // 3
            again = make_protocol(family)
            if _frames_of(again, [data[:cut], data[cut:2 * cut], data[2 * cut:]]) != frames:
                raise DefectError("the cut of the stream changed what came out")
        for frame in _FITS[family](data):
            _decode(protocol, kinds, [frame], Reading())
        if not all(_WHOLE[family](frame) for frame in frames):
            raise DefectError("a frame with a wrong checksum")
        accepted = _decode(protocol, kinds, frames, Reading())
        # a false start may swallow a few good frames, never all of them
        if probe_frame not in _frames_of(protocol, [probe] * 6):
            raise DefectError("out of step after good frames")
        return accepted

    return stream


def _decode(protocol: BMSProtocol, kinds: list[int], frames: list[bytes],
            reading: Reading) -> bool:
    """Decode as the driver does, one kind after the other, each up to its complete answer.

    A refusal changes nothing, and what is accepted is sane.
    """
    accepted = False
    for kind in kinds:
        protocol.clear()
        for frame in frames:
            if not protocol.fits(frame, kind) or protocol.explain(frame, kind):
                continue
            before = _values(reading)
            try:
                complete = protocol.take(frame, kind, reading)
            except DecodeError:
                if _values(reading) != before:
                    raise DefectError("a refused reply changed the reading") from None
                break
            accepted = True
            if complete:
                _check_plausible(reading)
                break
    return accepted


def _values(reading: Reading) -> list[Any]:
    return [getattr(reading, name) for name in _FIELDS] + list(reading.cell_mv)


def _check_plausible(reading: Reading) -> None:
    """Raise DefectError when an accepted value cannot be; 0 is a field not filled so far."""
    good = (
        (reading.pack_mv == 0 or 2000 <= reading.pack_mv <= 200_000)
        and 0 <= reading.soc_bp <= 10_000 and 0 <= reading.cell_count <= CELLS_MAX
        and 0 <= reading.ntc_count <= NTC_MAX and 0 <= reading.fets <= 3
        and -1_000_000 <= reading.current_ma <= 1_000_000
        and -45_000 <= reading.temperature_mdegc_min <= reading.temperature_mdegc_max <= 130_000
        and (reading.cell_mv_max == 0
             or 500 <= reading.cell_mv_min <= reading.cell_mv_max <= 5000)
        and 0 <= reading.cell_index_min < CELLS_MAX and 0 <= reading.cell_index_max < CELLS_MAX
        and reading.current_ma_discharge_bms >= 0 and reading.current_ma_charge_bms >= 0
    )
    if not good:
        raise DefectError("an implausible value was accepted")
