"""Check the JBD emulator's captured frames, counts, balancing, password and Bluetooth gate."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hil.devices.jbd import JBDEmulator
from hil.devices.jbd_access import (
    AUTH_APP_KEY,
    AUTH_RANDOM,
    BLEGate,
    PasswordLock,
    auth_frame,
    mask,
    notifications,
)
from hil.devices.jbd_frames import basic_data, build_reply, cell_data, checksum
from hil.devices.measurement import Values
from hil.plant.cell import LFP
from hil.plant.pack import Imbalance, Pack

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "bms" / "jbd.json").read_text(encoding="utf-8"))
READ_BASIC = bytes.fromhex("DD A5 03 00 FF FD 77")
READ_CELLS = bytes.fromhex("DD A5 04 00 FF FC 77")
READ_NAME = bytes.fromhex("DD A5 05 00 FF FB 77")
FACTORY_ENTER = bytes.fromhex("DD 5A 00 02 56 78 FF 30 77")
WRITE_BOTH_OFF = bytes.fromhex("DD 5A E1 02 00 03 FF 1A 77")


def make(series_count: int = 16, soc: float = 0.5, imbalance: Imbalance | None = None,
         **options: Any) -> JBDEmulator:
    """Return a device on a pack of series_count cells."""
    rng = Random(1)
    pack = Pack(LFP, series_count, 100.0, rng, soc=soc, imbalance=imbalance)
    options.setdefault("start_closed", True)
    return JBDEmulator(pack, rng, series_count, **options)


def ask(bms: JBDEmulator, request: bytes, at_ms: int = 0) -> bytes:
    """Send one request and return everything that comes back within a second."""
    bms.feed(request, at_ms)
    return bms.take(at_ms + 1000)


def write(register: int, data: bytes) -> bytes:
    """Return a write request."""
    body = bytes((register, len(data))) + data
    return b"\xdd\x5a" + body + checksum(body) + b"\x77"


def captured(name: str) -> bytes:
    """Return a captured reply."""
    (one,) = (entry for entry in VECTORS["exchanges"] if entry["name"] == name)
    return bytes.fromhex(one["reply"])


def test_captured_replies_are_reproduced_byte_for_byte() -> None:
    """A 4S with three NTCs, a 16S without any on the bench, the vendor's 15S example."""
    values = Values((3.909, 3.901, 3.895, 3.901), 0.0, (22.4, 22.3, 21.7), 4.98 * 3600,
                    5 * 3600.0, 0, fet_charge=True, fet_discharge=True)
    # It shows 100 % at 4.98 of 5.00 Ah, as ours would; and 15.60 V for 15.606.
    data = bytearray(basic_data(values, version=0x80, date=0x2C7C))
    assert data[:2] == b"\x06\x19"
    data[1] = 0x18
    assert build_reply(3, 0, bytes(data)) == captured("basic_sp04s034")
    assert build_reply(4, 0, cell_data(values)) == captured("cells_sp04s034")
    bms = make(name="JBD-SP04S034-L4S-200A-B-U")
    assert ask(bms, READ_NAME) == captured("name_sp04s034")
    empty = Values((0.0,) * 16, 0.0, (), 0.0, 100 * 3600.0, 0, fet_charge=True)
    assert build_reply(3, 0, basic_data(empty, date=0x2C50)) == captured("basic_no_ntc")
    example = Values((58.88 / 15,) * 15, 0.0, (20.3, 21.5), 7.2 * 3600, 10 * 3600.0, 0,
                     fet_charge=True, fet_discharge=True)
    data = basic_data(example, version=0x10, date=0x2078)
    assert build_reply(3, 0, data) == captured("basic_15s")


@pytest.mark.parametrize("series_count", [1, 2, 15, 17, 24, 32])
@pytest.mark.parametrize("ntc_count", [0, 1, 8])
def test_any_number_of_cells_and_sensors(series_count: int, ntc_count: int) -> None:
    """Frames grow with the counts they announce; the checksum covers them."""
    bms = make(series_count, ntc_count=ntc_count)
    basic, cells = ask(bms, READ_BASIC), ask(bms, READ_CELLS, 2000)
    assert (basic[4 + 21], basic[4 + 22]) == (series_count, ntc_count)
    assert basic[3] == 23 + 2 * ntc_count == len(basic) - 7
    assert cells[3] == 2 * series_count == len(cells) - 7
    for frame in (basic, cells):
        assert checksum(frame[2:-3]) == frame[-3:-1]


def test_balance_bits_count_from_cell_1_and_go_on_in_the_second_word() -> None:
    """Bit 0 of the first word is cell 1, bit 0 of the second is cell 17."""
    values = Values((3.5,) * 20, 0.0, (), 1.0, 1.0, 0, balancing=1 << 19 | 1 << 16 | 1 << 2)
    assert basic_data(values)[12:16] == bytes.fromhex("00 04 00 09")


def test_high_cells_are_balanced_near_the_top_only() -> None:
    """Nothing at half charge; above the threshold those beyond the band, never the lowest."""
    wide = Imbalance(0.0, 0.01, 0.0)
    assert make(imbalance=wide).values().balancing == 0
    bms = make(soc=0.995, imbalance=wide)
    cells_v, balancing = bms.values().cells_v, bms.values().balancing
    assert balancing
    assert not balancing >> cells_v.index(min(cells_v)) & 1
    assert balancing >> cells_v.index(max(cells_v)) & 1
    assert ask(bms, READ_BASIC)[16:20] == (balancing & 0xFFFF).to_bytes(2, "big") + bytes(2)
    busy = make(soc=0.995, imbalance=wide, current_of=lambda: 20.0)
    assert busy.values().balancing == 0


def test_a_name_has_31_characters_at_most() -> None:
    """As the vendor's text has it."""
    assert ask(make(name="x" * 31), READ_NAME)[3] == 31
    with pytest.raises(ValueError, match="name"):
        make(name="x" * 32)


def test_captured_password_exchange_and_its_absence() -> None:
    """Refused with 0x81 until the password was used; 0x80 from firmware that has none."""
    table = VECTORS["password"]
    bms = make(password=bytes.fromhex(table["password"]))
    for number, (request, reply) in enumerate(table["exchanges"]):
        assert bms.factory_mode is False
        assert ask(bms, bytes.fromhex(request), 2000 * number) == bytes.fromhex(reply)
    assert bms.factory_mode
    ((request, reply),) = VECTORS["no_password"]["exchanges"]
    assert ask(make(), bytes.fromhex(request)) == bytes.fromhex(reply)


def test_a_password_can_be_wrong_changed_and_cleared() -> None:
    """Reads never need it; the FETs need it only when built so."""
    bms = make(password=b"222222")
    assert ask(bms, write(6, b"\x06111111"))[2] == 0x81
    assert len(ask(bms, READ_BASIC, 2000)) == 34
    assert ask(bms, WRITE_BOTH_OFF, 4000)[2] == 0
    assert ask(bms, write(7, b"\x0c222222333333"), 6000)[2] == 0
    assert ask(bms, write(6, b"\x06333333"), 8000)[2] == 0
    assert ask(bms, FACTORY_ENTER, 10_000)[2] == 0
    guarded = make(password=b"222222", password_guards_fets=True)
    assert ask(guarded, WRITE_BOTH_OFF)[2] == 0x81
    guarded.update(1000)
    assert guarded.fet_charge
    assert ask(guarded, write(9, b"\x06J1B2D4"), 2000)[2] == 0
    assert ask(guarded, WRITE_BOTH_OFF, 4000)[2] == 0
    assert not guarded.fet_charge
    assert ask(guarded, write(7, b"\x0c222222333333"), 6000)[2] == 0x80
    with pytest.raises(ValueError, match="password"):
        PasswordLock(b"12345")


class _Fixed(Random):
    """Draw one known number."""

    value = 0

    def randrange(self, *_args: Any) -> int:  # type: ignore[override]
        """Return the known number."""
        return self.value


def gate(random_byte: int, **options: Any) -> BLEGate:
    """Return a gate of the captured device whose random byte is known."""
    rng, table = _Fixed(), VECTORS["bluetooth"]
    rng.value = random_byte
    options.setdefault("pin", bytes.fromhex(table["pin"]))
    return BLEGate(rng, bytes.fromhex(table["mac"]), **options)


def test_captured_bluetooth_handshake_opens_the_way() -> None:
    """Byte for byte; before its end reads are met with silence, then answered."""
    table = VECTORS["bluetooth"]
    bms = make(ble=gate(int(table["random"], 16)))
    at_ms = 0
    for request, reply in table["exchanges"]:
        assert ask(bms, READ_BASIC, at_ms) == b""
        assert ask(bms, bytes.fromhex(request), at_ms + 2000) == bytes.fromhex(reply)
        at_ms += 4000
    assert len(ask(bms, READ_BASIC, at_ms)) == 34
    assert [len(part) for part in notifications(bytes(34))] == [20, 14]


def test_a_wrong_pin_is_refused_as_captured_and_order_matters() -> None:
    """The same MAC and random byte as in the capture of a wrong password."""
    table = VECTORS["bluetooth"]["wrong"]
    bms = make(ble=gate(int(table["random"], 16)))
    request, reply = bytes.fromhex(table["request"]), bytes.fromhex(table["reply"])
    assert ask(bms, request) == reply
    ask(bms, auth_frame(AUTH_APP_KEY, b"000000"), 2000)
    ask(bms, auth_frame(AUTH_RANDOM), 4000)
    assert ask(bms, request, 6000) == reply
    assert ask(bms, READ_BASIC, 8000) == b""
    assert ask(bms, auth_frame(AUTH_APP_KEY, b"111111"), 10_000) == auth_frame(0x15, b"\x01")
    assert mask(b"000000", bytes.fromhex("A4C137042DBE"), 0x62) == request[4:-1]


def test_without_a_pin_the_app_key_is_enough() -> None:
    """Answer 02 means that there is no password."""
    bms = make(ble=gate(0, pin=None))
    assert ask(bms, auth_frame(AUTH_APP_KEY, b"000000")) == auth_frame(0x15, b"\x02")
    assert len(ask(bms, READ_BASIC, 2000)) == 34


def test_an_unpaired_link_hears_its_own_words() -> None:
    """The newer module echoes every write until the link is paired with a passkey."""
    ble = gate(0, needs_pairing=True)
    bms = make(ble=ble)
    assert ask(bms, READ_BASIC) == READ_BASIC
    assert ask(bms, WRITE_BOTH_OFF, 2000) == WRITE_BOTH_OFF
    bms.update(4000)
    assert bms.fet_charge
    ble.paired = True
    assert len(ask(bms, READ_BASIC, 6000)) == 34


def test_damaged_handshakes_are_ignored() -> None:
    """Short, too long, with a wrong sum or an unknown command: nothing comes back."""
    bms = make(ble=gate(0))
    good = auth_frame(AUTH_RANDOM)
    for number, data in enumerate(
        (good[:4], good + b"\x00", good[:-1] + b"\x00", auth_frame(0x77), b"\xff\xaa\x18\xff\x00")
    ):
        assert ask(bms, data, 2000 * number) == b""
    with pytest.raises(ValueError, match="mac"):
        BLEGate(Random(1), b"12345")
