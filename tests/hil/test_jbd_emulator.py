"""Check the emulated JBD BMS against frames worked out by hand, its timing and its errors."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.devices.jbd import JBDEmulator
from hil.devices.jbd_frames import RequestParser, build_reply, checksum
from hil.devices.uart_line import FAULT_MODES, SendLine, wire_ms
from hil.plant.cell import LFP
from hil.plant.pack import Imbalance, Pack

READ_BASIC = bytes.fromhex("DD A5 03 00 FF FD 77")
READ_CELLS = bytes.fromhex("DD A5 04 00 FF FC 77")
READ_NAME = bytes.fromhex("DD A5 05 00 FF FB 77")
# E1 + 02 + 00 + mask: E3, E4, E5, E6; 0x10000 minus that is FF1D, FF1C, FF1B, FF1A.
WRITE_BOTH_ON = bytes.fromhex("DD 5A E1 02 00 00 FF 1D 77")
WRITE_CHARGE_OFF = bytes.fromhex("DD 5A E1 02 00 01 FF 1C 77")
WRITE_DISCHARGE_OFF = bytes.fromhex("DD 5A E1 02 00 02 FF 1B 77")
WRITE_BOTH_OFF = bytes.fromhex("DD 5A E1 02 00 03 FF 1A 77")
REPLY_WRITE = bytes.fromhex("DD E1 00 00 00 00 77")
# Status 80 + length 00 sum to 80; 0x10000 - 0x80 = FF80.
REPLY_UNKNOWN = bytes.fromhex("DD 42 80 00 FF 80 77")
TURNS_MAX = 100


class Bench:
    """Hold one emulator, its pack and a clock, and exchange one request at a time."""

    def __init__(self, seed: int = 1, soc: float = 0.5, start_closed: bool = False) -> None:
        """Build a 16-cell, 2-NTC device whose current is self.current_a."""
        rng = Random(seed)
        self.pack = Pack(LFP, 16, 100.0, rng, soc=soc, imbalance=Imbalance(0.0, 0.0, 0.0))
        self.current_a = 0.0
        self.now_ms = 0
        self.bms = JBDEmulator(
            self.pack, rng, 16, current_of=lambda: self.current_a, start_closed=start_closed
        )

    def run(self, duration_ms: int) -> None:
        """Let time pass in steps of 100 ms at most, updating the BMS."""
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + 100)
            self.bms.update(self.now_ms)

    def ask(self, request: bytes, wait_ms: int = 400) -> bytes:
        """Send request and return everything that comes back within wait_ms."""
        self.bms.feed(request, self.now_ms)
        end_ms = self.now_ms + wait_ms
        got = b""
        for _turn in range(TURNS_MAX):
            due_ms = self.bms.due_ms()
            if due_ms is None or due_ms > end_ms:
                break
            self.now_ms = max(self.now_ms, due_ms)
            got += self.bms.take(self.now_ms)
        else:
            raise AssertionError(f"due_ms stays at {due_ms}: a bench would never get on")
        self.now_ms = end_ms
        self.bms.update(self.now_ms)
        return got


def is_good(frame: bytes, register: int) -> bool:
    """Judge a reply as a strict host would, written apart from the emulator's own code."""
    if len(frame) < 7 or frame[0] != 0xDD or frame[1] != register or frame[-1] != 0x77:
        return False
    if frame[2] != 0 or frame[3] != len(frame) - 7:
        return False
    return (sum(frame[2:-3]) + int.from_bytes(frame[-3:-1], "big")) & 0xFFFF == 0


def test_basic_info_layout_and_values() -> None:
    """34 bytes with two NTCs; every field where the register map has it."""
    bench = Bench(start_closed=True)
    bench.current_a = 12.34
    bench.run(1000)
    frame = bench.ask(READ_BASIC)
    assert len(frame) == 34
    assert is_good(frame, 0x03)
    data = frame[4:-3]
    word = [int.from_bytes(data[at : at + 2], "big") for at in range(0, 18, 2)]
    assert word[0] == pytest.approx(bench.pack.voltage_v * 100, abs=4)
    # Discharge is negative on the wire: 0x10000 - 1234, within 0.5 % and 30 mA.
    assert word[1] > 0x8000
    assert 0x10000 - word[1] == pytest.approx(1234, abs=1234 * 0.005 + 3 + 1)
    assert word[2] == pytest.approx(5000, abs=210)
    assert word[3] == 10_000
    assert word[8] == 0
    assert data[19] == pytest.approx(50, abs=3)
    assert data[20] == 0b11
    assert (data[21], data[22]) == (16, 2)
    for at in (23, 25):
        tenth_k = int.from_bytes(data[at : at + 2], "big")
        assert tenth_k == pytest.approx(2731 + 250, abs=11)


def test_charge_current_is_positive_on_the_wire() -> None:
    """20 A of charge reads about +2000 counts."""
    bench = Bench(start_closed=True)
    bench.current_a = -20.0
    bench.run(500)
    assert int.from_bytes(bench.ask(READ_BASIC)[6:8], "big") == pytest.approx(2000, abs=14)


def test_cells_name_and_unknown_register() -> None:
    """Sixteen cells in mV; a name; an error reply, checksum by hand."""
    bench = Bench()
    frame = bench.ask(READ_CELLS)
    assert is_good(frame, 0x04)
    cells_mv = [int.from_bytes(frame[at : at + 2], "big") for at in range(4, 36, 2)]
    truth_mv = [volts * 1000 for volts in bench.pack.cell_voltages_v()]
    assert len(frame) == 39
    assert cells_mv == pytest.approx(truth_mv, abs=2.6)
    name = bench.ask(READ_NAME)
    assert is_good(name, 0x05)
    assert name[4:-3] == b"CELLWALL-JBD-16S"
    assert bench.ask(bytes.fromhex("DD A5 42 00 FF BE 77")) == REPLY_UNKNOWN


def test_mosfet_write_switches_after_its_delay() -> None:
    """The reply is exact, the FETs follow 20 ms after processing, never before."""
    bench = Bench()
    assert (bench.bms.fet_charge, bench.bms.fet_discharge) == (False, False)
    assert bench.ask(WRITE_BOTH_ON) == REPLY_WRITE
    assert (bench.bms.fet_charge, bench.bms.fet_discharge) == (True, True)
    sent_ms = bench.now_ms
    bench.bms.feed(WRITE_CHARGE_OFF, sent_ms)
    changed_ms = None
    for now_ms in range(sent_ms, sent_ms + 100):
        bench.bms.update(now_ms)
        if not bench.bms.fet_charge and changed_ms is None:
            changed_ms = now_ms
    assert bench.bms.fet_discharge
    assert changed_ms is not None
    # 9 bytes are 10 ms, then 5..20 ms of processing, then 20 ms of switching.
    assert 10 + 5 + 20 <= changed_ms - sent_ms <= 10 + 20 + 20
    bench.now_ms = sent_ms + 100
    assert bench.bms.take(bench.now_ms) == REPLY_WRITE
    assert bench.ask(READ_BASIC)[24] == 0b10
    bench.ask(WRITE_DISCHARGE_OFF)
    assert (bench.bms.fet_charge, bench.bms.fet_discharge) == (True, False)
    bench.ask(WRITE_BOTH_OFF)
    assert (bench.bms.fet_charge, bench.bms.fet_discharge) == (False, False)


def test_fet_instant_is_announced_and_exact_with_rare_calls() -> None:
    """A bench that only follows due_ms sees the FET move at its exact instant."""
    bench = Bench()
    bench.bms.feed(WRITE_BOTH_ON, 0)
    instants = []
    for _turn in range(TURNS_MAX):
        due_ms = bench.bms.due_ms()
        if due_ms is None:
            break
        bench.bms.take(due_ms)
        if bench.bms.fet_charge:
            instants.append(due_ms)
    assert bench.bms.due_ms() is None
    assert 35 <= instants[0] <= 50


def test_software_lock_bit_follows_the_mask() -> None:
    """Bit 12 is set while 0xE1 holds a FET off, and clear with both released."""
    bench = Bench()
    assert bench.ask(READ_BASIC)[20:22] == b"\x10\x00"
    bench.ask(WRITE_BOTH_ON)
    assert bench.ask(READ_BASIC)[20:22] == b"\x00\x00"


@pytest.mark.parametrize(
    ("body", "good"),
    [
        ("E1 01 00", False),
        ("E1 02 00 04", False),
        ("E1 02 01 00", False),
        ("00 02 56 78", True),
        ("00 02 56 79", False),
        ("01 02 00 00", True),
        ("01 02 28 28", True),
        ("01 02 12 34", False),
        ("10 02 00 01", False),
    ],
)
def test_writes_are_checked(body: str, good: bool) -> None:
    """Only complete, known writes are answered with 00; the FETs stay put for the rest."""
    bench = Bench()
    payload = bytes.fromhex(body)
    reply = bench.ask(b"\xdd\x5a" + payload + checksum(payload) + b"\x77")
    assert reply == build_reply(payload[0], 0x00 if good else 0x80)
    assert bench.bms.fet_charge is False
    assert bench.bms.factory_mode is (good and payload[0] == 0)


def test_reply_timing_at_9600_baud() -> None:
    """34 bytes are 35.4 ms: nothing complete before, byte by byte, all of it at due."""
    for seed in range(30):
        bench = Bench(seed)
        bench.bms.feed(READ_BASIC, 0)
        due_ms = bench.bms.due_ms()
        assert due_ms is not None
        # Request 7 bytes: 7.3 -> 8 ms; processing 5..20; reply 35.4 -> 36 ms.
        assert 8 + 5 + 36 <= due_ms <= 8 + 20 + 36
        start_ms = due_ms - 36
        assert bench.bms.take(start_ms + 1) == b""
        assert bench.bms.take(start_ms + 2) == b"\xdd"
        middle = bench.bms.take(start_ms + 20)
        assert len(middle) == 19 - 1
        assert len(bench.bms.take(due_ms)) == 34 - 19
        assert bench.bms.due_ms() is None


def test_line_is_busy_until_the_last_byte() -> None:
    """A second chunk waits for the first; a full queue drops and counts."""
    line = SendLine(9600)
    assert wire_ms(96, 9600) == 100
    assert line.send(0, bytes(96)) == 100
    assert line.send(50, b"x") == 102
    assert line.take(100) == bytes(96)
    assert line.due_ms() == 102
    assert line.take(101) == b""
    assert line.take(102) == b"x"
    for _ in range(70):
        line.send(0, b"y")
    assert line.dropped_count == 6
    with pytest.raises(ValueError, match="nothing"):
        line.send(0, b"")


def test_bad_frames_are_ignored_and_counted() -> None:
    """A wrong checksum, noise and a wrong end cost one count each and no answer."""
    bench = Bench()
    wrong_sum = bytes.fromhex("DD A5 03 00 FF FE 77")
    assert bench.ask(wrong_sum) == b""
    assert bench.bms.bad_frames_count >= 1
    before = bench.bms.bad_frames_count
    assert is_good(bench.ask(b"\x00\x11\xdd\x42" + READ_BASIC), 0x03)
    assert bench.bms.bad_frames_count > before


def test_request_in_pieces_and_forgotten_halves() -> None:
    """Pieces within the pause are joined; a stale half is forgotten and does not poison."""
    bench = Bench()
    bench.bms.feed(READ_BASIC[:3], 0)
    bench.bms.feed(READ_BASIC[3:], 50)
    assert bench.bms.due_ms() is not None
    bench.now_ms = 500
    bench.bms.take(500)
    bench.bms.feed(READ_BASIC[:3], 1000)
    bench.now_ms = 1300
    assert is_good(bench.ask(READ_CELLS), 0x04)
    assert bench.bms.bad_frames_count == 1


def test_two_requests_at_once_are_answered_in_order() -> None:
    """The BMS has one processor: replies do not overlap or swap."""
    bench = Bench()
    got = bench.ask(READ_BASIC + READ_CELLS)
    assert is_good(got[:34], 0x03)
    assert is_good(got[34:], 0x04)


def test_silent_cable_neither_hears_nor_answers() -> None:
    """A write during silence has no effect later."""
    bench = Bench()
    bench.bms.silent = True
    assert bench.ask(WRITE_BOTH_ON) == b""
    bench.bms.silent = False
    bench.run(1000)
    assert bench.bms.fet_charge is False
    assert bench.ask(READ_CELLS) != b""


def collect(mode: str, probability: float, seed: int = 3) -> tuple[list[bytes], Bench]:
    """Return what 60 basic reads bring with one fault mode."""
    bench = Bench(seed)
    bench.bms.fault_mode = mode
    bench.bms.fault_probability = probability
    return [bench.ask(READ_BASIC) for _ in range(60)], bench


def test_every_fault_mode_does_what_it_says() -> None:
    """Each mode is told apart by its bytes; a good host can refuse all but split.

    test_bms_emulators.py checks every mode for every device.
    """
    for mode in ("drop", "flip", "split", "wrong_length", "echo", "merge"):
        replies, bench = collect(mode, 1.0)
        assert bench.bms.faults.hit_count == 60
        if mode == "drop":
            assert all(len(reply) == 33 and not is_good(reply, 3) for reply in replies)
        elif mode == "flip":
            assert all(len(reply) == 34 and not is_good(reply, 3) for reply in replies)
        elif mode == "split":
            assert all(is_good(reply, 3) for reply in replies)
        elif mode == "wrong_length":
            assert all(len(reply) == 34 and reply[3] != 27 for reply in replies)
            assert not any(is_good(reply, 3) for reply in replies)
        elif mode == "echo":
            assert all(reply[:7] == READ_BASIC for reply in replies)
            assert all(is_good(reply[7:], 3) for reply in replies)
        else:
            assert [len(reply) for reply in replies] == [0, 68] * 30
            assert all(is_good(reply[34:], 3) for reply in replies[1::2])


def test_split_leaves_a_pause() -> None:
    """Between the two parts lie 20..100 ms in which nothing arrives."""
    for seed in range(20):
        bench = Bench(seed)
        bench.bms.fault_mode, bench.bms.fault_probability = "split", 1.0
        bench.bms.feed(READ_BASIC, 0)
        first_ms = bench.bms.due_ms()
        assert first_ms is not None
        first = bench.bms.take(first_ms)
        assert 0 < len(first) < 34
        assert bench.bms.take(first_ms + 20) == b""
        last_ms = bench.bms.due_ms()
        assert last_ms is not None
        assert 20 <= last_ms - first_ms - wire_ms(34 - len(first), 9600) <= 100
        assert is_good(first + bench.bms.take(last_ms), 3)


def test_fault_probability_is_kept_and_zero_means_none() -> None:
    """At 0.3 about a third is damaged; at 0 nothing; nonsense is refused."""
    replies, bench = collect("flip", 0.3)
    bad = sum(not is_good(reply, 3) for reply in replies)
    assert bad == bench.bms.faults.hit_count
    assert 8 <= bad <= 30
    replies, _ = collect("flip", 0.0)
    assert all(is_good(reply, 3) for reply in replies)
    with pytest.raises(ValueError, match="fault mode"):
        bench.bms.fault_mode = "melt"
    with pytest.raises(ValueError, match="probability"):
        bench.bms.fault_probability = 1.5


def test_same_seed_same_bytes() -> None:
    """A run is a function of its seed."""
    assert collect("flip", 0.5, seed=11)[0] == collect("flip", 0.5, seed=11)[0]
    assert collect("flip", 0.5, seed=11)[0] != collect("flip", 0.5, seed=12)[0]


def test_construction_is_checked() -> None:
    """The counts must fit the pack and the frame."""
    pack = Pack(LFP, 16, 100.0, Random(1))
    for series_count, ntc_count, capacity_ah in ((15, 2, 100.0), (16, 9, 100.0), (16, 2, 0.0)):
        with pytest.raises(ValueError, match="count"):
            JBDEmulator(pack, Random(1), series_count, ntc_count, capacity_ah)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from([READ_BASIC, READ_CELLS, WRITE_BOTH_ON, WRITE_BOTH_OFF]),
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 400), min_size=12, max_size=12),
    st.sampled_from([None, *FAULT_MODES]),
)
def test_any_bytes_never_raise_and_a_good_request_still_works(
    pieces: list[bytes], gaps_ms: list[int], mode: str | None
) -> None:
    """Whatever comes before, a pause and a clean request bring a clean reply."""
    bench = Bench()
    bench.bms.fault_mode, bench.bms.fault_probability = mode, 0.5
    for piece, gap_ms in zip(pieces, gaps_ms, strict=False):
        bench.bms.feed(piece, bench.now_ms)
        bench.now_ms += gap_ms
        bench.bms.take(bench.now_ms)
    bench.bms.fault_mode = None
    bench.run(3000)
    bench.bms.take(bench.now_ms)
    bench.ask(READ_BASIC)
    assert is_good(bench.ask(READ_CELLS), 0x04)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_parser_result_does_not_depend_on_chunking(stream: bytes, size: int) -> None:
    """Cut anywhere, the same requests are found."""
    stream += READ_BASIC + stream[:20] + WRITE_BOTH_ON
    whole, cut = RequestParser(), RequestParser()
    expected = whole.feed(stream, 0, 0)
    found = []
    for at in range(0, len(stream), size):
        found += cut.feed(stream[at : at + size], 0, 0)
    assert found == expected
