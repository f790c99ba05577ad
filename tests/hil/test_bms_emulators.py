"""Check what every emulated BMS owes the bench, for all of them alike."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.devices import daly_frames, jbd_frames, jk_frames, pylontech_frames
from hil.devices.base import EmulatedBMS
from hil.devices.daly import DalyEmulator
from hil.devices.jbd import JBDEmulator
from hil.devices.jk import JKEmulator
from hil.devices.protection import ERROR_CELL_OVERVOLT, ERROR_DISCHARGE_OVERTEMP
from hil.devices.pylontech import PylontechEmulator
from hil.devices.uart_line import FAULT_MODES, LATE_MS, NOISE_SIZE_MAX
from hil.plant.cell import LFP
from hil.plant.pack import Pack

TURNS_MAX = 200
DEVICES: dict[str, Callable[..., Any]] = {
    "jbd": JBDEmulator, "daly": DalyEmulator, "jk": JKEmulator, "pylontech": PylontechEmulator,
}
# One read of live values for each.
READS = {
    "jbd": bytes.fromhex("DD A5 03 00 FF FD 77"),
    "daly": bytes.fromhex("A5 40 90 08 00 00 00 00 00 00 00 00 7D"),
    "jk": bytes.fromhex("4E 57 00 13 00 00 00 00 06 03 00 00 00 00 00 00 68 00 00 01 29"),
    "pylontech": b"~20024642E00202FD33\r",
}
PARSERS: dict[str, Callable[[], Any]] = {
    "jbd": jbd_frames.RequestParser, "daly": daly_frames.RequestParser,
    "jk": jk_frames.RequestParser, "pylontech": pylontech_frames.RequestParser,
}
every_device = pytest.mark.parametrize("kind", list(DEVICES))


class Bench:
    """Hold one emulator, its pack and a clock, and exchange one request at a time."""

    def __init__(self, kind: str, seed: int = 1, soc: float = 0.5, **options: Any) -> None:
        """Build a 16-cell device whose current is self.current_a."""
        rng = Random(seed)
        self.pack = Pack(LFP, 16, 100.0, rng, soc=soc)
        self.current_a = 0.0
        self.now_ms = 0
        options.setdefault("start_closed", True)
        self.bms: EmulatedBMS = DEVICES[kind](
            self.pack, rng, 16, current_of=lambda: self.current_a, **options)
        self.read = READS[kind]

    def run(self, duration_ms: int, step_ms: int = 100) -> None:
        """Let time pass, updating the BMS."""
        for _ in range(duration_ms // step_ms):
            self.now_ms += step_ms
            self.pack.advance(self.now_ms, self.current_a)
            self.bms.update(self.now_ms)

    def ask(self, request: bytes = b"", wait_ms: int = 4000) -> bytes:
        """Send request (the read by default); return what comes back within wait_ms."""
        return b"".join(data for _at_ms, data in self.timed(request or self.read, wait_ms))

    def timed(self, request: bytes, wait_ms: int = 4000) -> list[tuple[int, bytes]]:
        """Send request and return (delay in ms, bytes) for everything that comes back."""
        start_ms = self.now_ms
        self.bms.feed(request, start_ms)
        got = []
        for _turn in range(TURNS_MAX):
            due_ms = self.bms.due_ms()
            if due_ms is None or due_ms > start_ms + wait_ms:
                break
            self.now_ms = max(self.now_ms, due_ms)
            data = self.bms.take(self.now_ms)
            if data:
                got.append((self.now_ms - start_ms, data))
        else:
            raise AssertionError("due_ms stays: a bench would never get on")
        self.now_ms = start_ms + wait_ms
        return got


def is_good(kind: str, reply: bytes) -> bool:
    """Judge the frame of one reply as a strict host would, apart from the emulators' code."""
    if kind == "jbd":
        sums = sum(reply[2:-3]) + int.from_bytes(reply[-3:-1], "big")
        return (len(reply) > 6 and reply[:2] == b"\xdd\x03" and reply[-1] == 0x77
                and reply[3] == len(reply) - 7 and sums & 0xFFFF == 0)
    if kind == "daly":
        return (len(reply) == 13 and reply[:4] == b"\xa5\x01\x90\x08"
                and sum(reply[:-1]) & 0xFF == reply[-1])
    if kind == "jk":
        return (len(reply) > 20 and reply[:2] == b"NW" and reply[4:8] == bytes(4)
                and int.from_bytes(reply[2:4], "big") == len(reply) - 2
                and sum(reply[:-4]) & 0xFFFF == int.from_bytes(reply[-2:], "big"))
    if not reply.startswith(b"~20024600") or not reply.endswith(b"\r") or len(reply) < 18:
        return False
    try:
        count, sums = int(reply[9:13], 16), int(reply[-5:-1], 16)
    except ValueError:
        return False
    check = sum(count >> shift & 0xF for shift in (0, 4, 8, 12))
    return (count & 0xFFF == len(reply) - 18 and check & 0xF == 0
            and sum(reply[1:-5]) + sums & 0xFFFF == 0)


@every_device
def test_a_read_is_answered_in_time_with_a_good_frame(kind: str) -> None:
    """Every device answers, not at once, and within a second."""
    (delay_ms, reply), *rest = Bench(kind).timed(READS[kind])
    assert not rest
    assert is_good(kind, reply)
    assert 5 < delay_ms < 1000


@every_device
def test_silence_neither_hears_nor_answers_but_still_guards(kind: str) -> None:
    """A cut cable gives nothing; the protections open the FETs all the same."""
    bench = Bench(kind)
    bench.bms.silent = True
    assert bench.ask() == b""
    bench.pack.temperature_c = bench.pack.ambient_c = 70.0
    bench.run(3000)
    assert not bench.bms.fet_charge
    assert not bench.bms.fet_discharge
    assert bench.bms.error_bits & ERROR_DISCHARGE_OVERTEMP
    bench.bms.silent = False
    assert is_good(kind, bench.ask())


@every_device
def test_protections_open_one_fet_and_release_it(kind: str) -> None:
    """Over-charged, the charge FET opens after its delay and closes again after rest."""
    bench = Bench(kind, soc=0.97)
    bench.current_a = -40.0
    for _ in range(12_000):
        bench.run(100)
        if not bench.bms.fet_charge:
            break
    assert bench.bms.error_bits & ERROR_CELL_OVERVOLT
    assert not bench.bms.fet_charge
    assert bench.bms.fet_discharge
    bench.current_a = 30.0
    bench.run(60_000)
    assert bench.bms.error_bits & ERROR_CELL_OVERVOLT == 0
    assert bench.bms.fet_charge


@every_device
def test_soc_is_counted_by_the_device_and_can_be_wrong(kind: str) -> None:
    """An hour of 10 A is 10 %; an offset and a drift add to it; the pack does not care."""
    good, off, drifting = (
        Bench(kind), Bench(kind, soc_error=-0.2), Bench(kind, soc_drift_pct_per_month=72.0))
    for bench in (good, off, drifting):
        bench.current_a = 10.0
        bench.bms.update(0)
        bench.run(3_600_000, 1000)
    assert good.bms.soc == pytest.approx(0.40, abs=0.022)
    assert off.bms.soc == pytest.approx(good.bms.soc - 0.2, abs=1e-9)
    # 72 % in 720 hours is 0.1 % in one.
    assert drifting.bms.soc - good.bms.soc == pytest.approx(0.001, abs=1e-6)
    assert good.pack.soc == off.pack.soc == drifting.pack.soc


@every_device
def test_counted_soc_stays_between_empty_and_full(kind: str) -> None:
    """Errors of any size end at the ends of the counter."""
    assert Bench(kind, soc_error=1.0).bms.soc == 1.0
    bench = Bench(kind, soc_error=-1.0, soc_drift_pct_per_month=-50.0)
    bench.run(10_000)
    assert bench.bms.soc == 0.0
    with pytest.raises(ValueError, match="soc_error"):
        Bench(kind, soc_error=1.5)


def damaged(kind: str, mode: str, seed: int = 3) -> tuple[list[bytes], bytes, Bench]:
    """Return 40 replies in one fault mode, one clean reply of the same values, and the bench.

    The device's measuring is held still, so that its replies differ by the fault alone.
    """
    bench = Bench(kind, seed)
    bench.bms._measured.advance = lambda dt_ms: None  # type: ignore[attr-defined]
    clean = bench.ask()
    bench.bms.fault_mode, bench.bms.fault_probability = mode, 1.0
    return [bench.ask() for _ in range(40)], clean, bench


@every_device
@pytest.mark.parametrize("mode", FAULT_MODES)
def test_every_fault_mode_does_what_it_says(kind: str, mode: str) -> None:
    """Each mode is told apart by its bytes; values do not change during the test."""
    replies, clean, bench = damaged(kind, mode)
    size = len(clean)
    assert bench.bms.faults.hit_count == 40
    if mode == "drop":
        assert all(len(reply) == size - 1 and not is_good(kind, reply) for reply in replies)
    elif mode == "flip":
        off = [bin(int.from_bytes(one, "big") ^ int.from_bytes(clean, "big")) for one in replies]
        assert all(bits.count("1") == 1 for bits in off)
    elif mode in ("split", "late", "stuck"):
        assert all(reply == clean for reply in replies)
    elif mode == "wrong_length":
        assert all(len(reply) == size and reply != clean for reply in replies)
        assert not any(is_good(kind, reply) for reply in replies)
    elif mode == "echo":
        assert all(reply == bench.read + clean for reply in replies)
    elif mode == "merge":
        assert replies == [b"", clean + clean] * 20
    elif mode == "other_address":
        assert all(len(reply) == size and reply != clean for reply in replies)
        assert not any(is_good(kind, reply) for reply in replies)
    else:
        assert all(reply.endswith(clean) for reply in replies)
        assert {len(reply) - size for reply in replies} <= set(range(1, NOISE_SIZE_MAX + 1))
        assert len({reply[:-size] for reply in replies}) > 30


@every_device
def test_a_lying_length_and_another_address_have_a_fitting_checksum(kind: str) -> None:
    """Only the length or the sender gives these replies away, never the checksum."""
    def sums_fit(reply: bytes) -> bool:
        if kind == "jbd":
            return sum(reply[2:-3]) + int.from_bytes(reply[-3:-1], "big") & 0xFFFF == 0
        if kind == "daly":
            return sum(reply[:-1]) & 0xFF == reply[-1]
        if kind == "jk":
            return sum(reply[:-4]) & 0xFFFF == int.from_bytes(reply[-2:], "big")
        return sum(reply[1:-5]) + int(reply[-5:-1], 16) & 0xFFFF == 0

    for mode in ("wrong_length", "other_address"):
        assert all(sums_fit(reply) for reply in damaged(kind, mode)[0])


@every_device
def test_late_replies_come_300_to_1500_ms_later(kind: str) -> None:
    """The pause is added to the usual time; nothing of the reply comes before it."""
    usual_ms = max(Bench(kind, seed).timed(READS[kind])[0][0] for seed in range(20))
    delays_ms = []
    for seed in range(20):
        bench = Bench(kind, seed)
        bench.bms.fault_mode, bench.bms.fault_probability = "late", 1.0
        delays_ms.append(bench.timed(READS[kind])[0][0])
    assert LATE_MS[0] < min(delays_ms)
    assert max(delays_ms) <= LATE_MS[1] + usual_ms
    assert len(set(delays_ms)) > 10


@every_device
def test_stuck_freezes_values_at_the_moment_it_is_set(kind: str) -> None:
    """Voltage, current and SoC stay while the truth moves; good frames; over when cleared."""
    bench = Bench(kind)
    bench.current_a = 20.0
    bench.run(1000)
    before = bench.ask()
    bench.bms.fault_probability = 1.0
    bench.bms.fault_mode = "stuck"
    bench.current_a = -35.0
    bench.run(600_000, 1000)
    bench.bms.fault_mode = "stuck"
    assert bench.ask() == before
    bench.bms.fault_mode = None
    after = bench.ask()
    assert is_good(kind, after)
    assert after != before


@every_device
def test_nonsense_faults_are_refused(kind: str) -> None:
    """Unknown modes and probabilities raise and change nothing."""
    bms = Bench(kind).bms
    with pytest.raises(ValueError, match="fault mode"):
        bms.fault_mode = "melt"
    with pytest.raises(ValueError, match="probability"):
        bms.fault_probability = -0.1
    assert bms.fault_mode is None
    assert bms.fault_probability == 0.0


@every_device
def test_same_seed_same_bytes(kind: str) -> None:
    """A run is a function of its seed, faults and all."""
    def run(seed: int) -> list[tuple[int, bytes]]:
        bench = Bench(kind, seed)
        out = []
        for mode in FAULT_MODES:
            bench.bms.fault_mode, bench.bms.fault_probability = mode, 0.5
            for _ in range(10):
                out += bench.timed(READS[kind])
        return out

    assert run(5) == run(5)
    assert run(5) != run(6)


@every_device
def test_counts_must_fit(kind: str) -> None:
    """A cell count that is not the pack's is refused."""
    pack = Pack(LFP, 16, 100.0, Random(1))
    with pytest.raises(ValueError, match="series_count"):
        DEVICES[kind](pack, Random(1), 15)
    with pytest.raises(ValueError, match="capacity_ah"):
        DEVICES[kind](pack, Random(1), 16, capacity_ah=0.0)


@every_device
@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.one_of(st.binary(max_size=300), st.sampled_from(list(READS.values()))),
                    max_size=10),
    gaps_ms=st.lists(st.integers(0, 400), min_size=10, max_size=10),
    mode=st.sampled_from([None, *FAULT_MODES]),
)
def test_any_bytes_never_raise_and_a_good_request_still_works(
    kind: str, pieces: list[bytes], gaps_ms: list[int], mode: str | None
) -> None:
    """Whatever comes before, a pause and a clean request bring a clean reply."""
    bench = Bench(kind)
    bench.bms.fault_mode, bench.bms.fault_probability = mode, 0.5
    for piece, gap_ms in zip(pieces, gaps_ms, strict=False):
        bench.bms.feed(piece, bench.now_ms)
        bench.now_ms += gap_ms
        bench.bms.take(bench.now_ms)
    bench.bms.fault_mode = None
    bench.run(6000)
    bench.bms.take(bench.now_ms)
    bench.ask()
    assert is_good(kind, bench.ask())


@every_device
@settings(max_examples=100, deadline=None)
@given(stream=st.binary(max_size=400), size=st.integers(1, 50))
def test_parsers_do_not_depend_on_chunking_and_are_bounded(
    kind: str, stream: bytes, size: int
) -> None:
    """Cut anywhere, the same requests are found; a good one behind anything is among them."""
    stream += READS[kind] + stream[:20] + bytes(70) + READS[kind]
    whole, cut = PARSERS[kind](), PARSERS[kind]()
    expected = whole.feed(stream, 0, 0)
    found = []
    for at in range(0, len(stream), size):
        found += cut.feed(stream[at : at + size], 0, 0)
    assert found == expected
    flood = PARSERS[kind]()
    flood.feed(READS[kind][:4] * 5000, 0, 0)
    held = [value for value in vars(flood).values() if isinstance(value, bytearray)]
    assert sum(len(value) for value in held) <= 300
