"""The emulated board's flash: it survives resets, and power cuts in the middle of anything."""

from collections.abc import Iterator

import pytest

from element.protocol.errors import BusError
from hil.bench.rp2040.littlefs_image import BLOCK_SIZE, OFFSET, add_files, read_files
from hil.bench.rp2040.pico import FlashTiming, Inputs
from tests.hil.rp2040_console import Console, new_console

WRITE = ("for i in range(4):\n"
         "    with open('log', 'a') as f:\n        f.write('x' * 900)\n"
         "    with open('state.new', 'w') as f:\n        f.write('state %d' % i)\n"
         "    import os\n    os.rename('state.new', 'state')\n")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """One emulator process for the module."""
    console = new_console(tmp_path_factory.mktemp("pico"))
    yield console
    console.pico.close()


@pytest.fixture
def console(emulator: Console) -> Console:
    """A board that was just erased and switched on."""
    return emulator.start({"kept": b"kept", "state": b"state -"})


def test_files_go_in_and_out_without_the_board(console: Console) -> None:
    pico = console.pico
    assert console.run("print(open('kept').read())") == "kept"
    console.run("import os\nos.mkdir('d')\nwith open('d/made', 'wb') as f: f.write(bytes(5000))")
    pico.power_off()
    files = read_files(pico.flash)
    assert files == {"kept": b"kept", "state": b"state -", "d/made": bytes(5000)}
    add_files(pico.flash, {"d/e/new": b"1", "kept": b"2"})
    assert console.again().run("print(open('d/e/new').read(), open('kept').read())") == "1 2"


def test_a_fresh_chip_is_formatted_by_the_board_itself(console: Console) -> None:
    pico = console.pico
    pico.power_off()
    with pico.flash.open("r+b") as file:
        file.seek(OFFSET)
        file.write(b"\xff" * (2 * BLOCK_SIZE))
    with pytest.raises(BusError):
        read_files(pico.flash)
    assert console.again().run("import os\nprint(os.listdir())") == "[]"
    pico.power_off()
    assert read_files(pico.flash) == {}


def test_files_survive_every_kind_of_reset(console: Console) -> None:
    pico = console.pico
    console.run("with open('a', 'w') as f: f.write('first')")
    console.send("import machine\nmachine.reset()")
    console.wait(300)
    assert console.enter().run("print(open('a').read())") == "first"
    pico.power_off()
    assert console.again().run("print(open('a').read())") == "first"


def test_the_chip_takes_the_time_of_its_data_sheet(console: Console) -> None:
    state = console.wait(1)
    count, stalled_us, timing = state.flash_count, state.stalled_us, FlashTiming()
    console.run("import rp2\nf = rp2.Flash()\nf.ioctl(6, 300)\nf.writeblocks(300, bytes(512), 0)")
    state = console.wait(1)
    assert state.flash_count - count == 1 + 2
    expected_us = timing.sector_erase_us + 2 * timing.page_program_us
    assert abs(state.stalled_us - stalled_us - expected_us) < 1


def test_programming_only_clears_bits(console: Console) -> None:
    out = console.run(
        "import rp2\nf = rp2.Flash()\nf.ioctl(6, 300)\n"
        "f.writeblocks(300, b'\\xf0' * 256, 0)\nf.writeblocks(300, b'\\x3c' * 256, 0)\n"
        "b = bytearray(4)\nf.readblocks(300, b, 0)\nprint(b)")
    assert out == repr(bytearray(b"0000"))


def cut(console: Console, count: int, phase: str) -> bool:
    """Work on files with the power cut at the count-th operation; False when it never came."""
    pico = console.pico
    pico.cut_power_at(count, phase)
    console.send(WRITE)
    state = pico.advance(pico.now_us + 20_000_000, Inputs())
    pico.power_off()
    return state.reason == "power lost"


def check(console: Console) -> None:
    """The file system mounts on both sides, and holds old or new and nothing else."""
    files = read_files(console.pico.flash)
    assert files["kept"] == b"kept"
    assert files["state"].startswith(b"state ") and len(files["state"]) == 7
    assert set(files.get("log", b"x")) <= {ord("x")} and len(files.get("log", b"")) % 900 == 0
    out = console.again().run("print(open('kept').read(), open('state').read()[:5])")
    assert out == "kept state"


@pytest.mark.parametrize("phase", ["before", "middle", "after"])
def test_a_power_cut_in_a_write_leaves_a_file_system(console: Console, phase: str) -> None:
    cuts = 0
    for count in range(1, 40, 4):
        if not cut(console, count, phase):
            break
        cuts += 1
        check(console)
    assert cuts >= 5


def test_a_torn_page_and_a_torn_sector_are_neither_old_nor_new(console: Console) -> None:
    pico = console.pico
    console.run("import rp2\nf = rp2.Flash()\nf.ioctl(6, 300)")
    pico.cut_power_at(1, "middle")
    console.send("f.writeblocks(300, bytes(256), 0)")
    console.wait(500)
    assert not pico.powered
    at = OFFSET + 300 * BLOCK_SIZE
    page = pico.flash.read_bytes()[at:at + 256]
    assert page[:128] == bytes(128) and page[129:] == b"\xff" * 127
    console.again().run("import rp2\nf = rp2.Flash()\nf.ioctl(6, 300)\n"
                        "for i in range(16): f.writeblocks(300, bytes(256), 256 * i)")
    pico.cut_power_at(1, "middle")
    console.send("f.ioctl(6, 300)")
    console.wait(500)
    sector = pico.flash.read_bytes()[at:at + BLOCK_SIZE]
    assert 0 < sum(byte.bit_count() for byte in sector) < 8 * BLOCK_SIZE


def test_power_is_cut_at_any_moment(console: Console) -> None:
    pico = console.pico
    for wait_ms in (3, 21, 47, 90, 160):
        console.send(WRITE)
        console.wait(wait_ms)
        pico.power_off()
        check(console)
