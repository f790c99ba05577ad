"""The boards: the same names, pins that exist, ratings that fit, documents that are true."""

import ast
import re
import runpy
import sys
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest

from element.bms.choose import make_protocol
from element.control import SENSE_MA_MAX
from element.hal.analog import BROKEN_MA, CurrentSense
from element.protocol import codes
from hil.bench.rig import WATCHDOG_MS as BENCH_WATCHDOG_MS
from tools import make_wiring

ROOT = Path(__file__).resolve().parents[2]
REAL = list(make_wiring.BOARDS)
NAMES = [*REAL, "virtual"]
PROCESS_ONLY = {"BMS_FD", "LINK_FD", "STAGE_FD"}
# Any of these types may stand for a name: a pin is a number, on Linux an input is a path, and
# what a board has not is None.
KINDS: dict[str, tuple[type, ...]] = {
    "BMS_UART": (int, str), "LINK_UART": (int, str), "STAGE_UART": (int, str),
    "SENSE_ADC": (int, str), "DC_LINK_ADC": (int, str), "DEVICES": (dict,), "NETWORK": (dict,),
    "DC_LINK": (bool,),
    **dict.fromkeys(("NAME", "PORT", "STAGE", "BMS", "LINK"), (str,)),
}
PINS = ("BMS_TX", "BMS_RX", "LINK_TX", "LINK_RX", "STAGE_TX", "STAGE_RX", "ENABLE", "PRECHARGE",
        "PWM_DISCHARGE", "PWM_CHARGE", "HEARTBEAT", "STATUS_LED", "INTERLOCK", "SENSE_ADC",
        "DC_LINK_ADC")
MAY_BE_NONE = {*PINS, "BMS_UART", "LINK_UART", "STAGE_UART"}
# Pins a board may use, and those with an analogue input. Ref: Pico datasheet 2.1; ESP32 datasheet
# 2.2 and 2.4 (6 to 11 are the flash); ESP32-C3 datasheet 2.3 and 2.6; BCM2711 peripherals 5.
ALLOWED = {
    "rpi_pico": {*range(23), 25, 26, 27, 28}, "rpi_pico_w": {*range(23), 26, 27, 28},
    "esp32": {2, 4, 13, 16, 17, 18, 19, 21, 22, 23, 25, 26, 27, 32, 33, 34, 35, 36, 39},
    "esp32c3": {0, 1, 3, 4, 5, 6, 7, 8, 10}, "linux": set(range(2, 28)),
}
ANALOGUE = {"rpi_pico": {26, 27, 28}, "rpi_pico_w": {26, 27, 28},
            "esp32": {32, 33, 34, 35, 36, 39}, "esp32c3": {0, 1, 2, 3, 4}}
# Outputs that move at boot, choose the boot mode, or are pulled up at reset, drive no power.
UNQUIET = {"rpi_pico": set(), "rpi_pico_w": set(), "linux": set(range(9)),
           "esp32": {0, 1, 2, 3, 5, 12, 14, 15}, "esp32c3": {2, 8, 9, 18, 19, 20, 21}}
FULL_SCALE_MV = {"rp2": 3300, "esp32": 2450, "linux": 4096}
# MicroPython 1.25, ports/rp2/machine_wdt.c; bcm2835_wdt.c; a task watchdog takes any.
WATCHDOG_MS_MAX = {"rp2": 8388, "esp32": 60_000, "linux": 15_000}


def load(name: str) -> dict[str, Any]:
    """Return a board's public names; the virtual one reads the command line."""
    if name != "virtual":
        return make_wiring.load(name)
    before = sys.argv
    sys.argv = ["main.py", "lockstep", "converter", "jbd"]
    try:
        values = runpy.run_path(str(ROOT / "boards" / "virtual" / "board.py"))
    finally:
        sys.argv = before
    return {key: value for key, value in values.items() if key.isupper() and key[0] != "_"}


def methods(file: str, name: str) -> dict[str, list[str]]:
    """Return the methods of a class and its ancestors in the same room: name to parameters."""
    tree = ast.parse((ROOT / "firmware" / "element" / "hal" / file).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return {node.name: [one.arg for one in node.args.args] for node in found[0].body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("file", "name", "contract"), [
    ("micro.py", "MicroHAL", "HAL"), ("linux.py", "LinuxHAL", "HAL"),
    ("scheduler.py", "BufferedUART", "UART"), ("scheduler.py", "LoopWaiter", "Waiter"),
])
def test_a_port_keeps_the_contract(file, name, contract):
    """Some do not inherit it, to save a board's memory: every method is there, with its names."""
    wanted = methods("base.py", contract)
    ours = methods(file, name)
    for method, parameters in wanted.items():
        inherits = method in ("repl_on", "repl_off", "log") and name == "LinuxHAL"
        bound = method == "kick" and name == "BufferedUART"  # an attribute, bound in __init__
        assert inherits or bound or ours.get(method) == parameters, (method, ours.get(method))


def test_every_folder_is_a_known_board():
    assert {path.name for path in (ROOT / "boards").iterdir() if path.is_dir()
            and not path.name.startswith("__")} == set(NAMES)


def test_all_boards_define_the_same_names_with_the_same_types():
    wanted = set(load("rpi_pico"))
    for name in NAMES:
        board = load(name)
        assert set(board) - PROCESS_ONLY == wanted, name
        for key in wanted:
            value = board[key]
            if value is None:
                assert key in MAY_BE_NONE, (name, key)
            else:
                assert type(value) in KINDS.get(key, (int,)), (name, key, value)


@pytest.mark.parametrize("name", REAL)
def test_what_is_connected_is_known(name):
    board = load(name)
    assert board["NAME"] == name
    assert (ROOT / "firmware" / "element" / "hal" / f"{board['PORT']}.py").is_file()
    assert board["STAGE"] in codes.KIND_NAMES[1:]
    assert board["LINK"] in ("usb", "uart")
    assert make_protocol(board["BMS"]).baud == board["BMS_BAUD"]
    assert board["DC_LINK"] == (board["DC_LINK_ADC"] is not None)
    assert board["LINK"] == "usb" or board["LINK_UART"] is not None


@pytest.mark.parametrize("name", REAL)
def test_pins_exist_and_have_one_use_each(name):
    board = load(name)
    used: dict[int, str] = {}
    for key in PINS:
        pin = board[key]
        if not isinstance(pin, int):
            continue
        assert pin in ALLOWED[name], key
        # panel and inverter may share a line: a board opens one of them
        shared = key.startswith("STAGE_") and pin == board[key.replace("STAGE", "LINK")]
        assert pin not in used or shared, (key, used.get(pin))
        used[pin] = key
    for key in ("SENSE_ADC", "DC_LINK_ADC"):
        if isinstance(board[key], int):
            assert board[key] in ANALOGUE[name]
    for key in ("ENABLE", "PRECHARGE", "PWM_DISCHARGE", "PWM_CHARGE", "HEARTBEAT"):
        assert board[key] not in UNQUIET[name], key
    for key in ("ENABLE", "PRECHARGE", "PWM_DISCHARGE", "PWM_CHARGE", "INTERLOCK", "SENSE_ADC"):
        assert board[key] is not None, key


@pytest.mark.parametrize("name", ["rpi_pico", "rpi_pico_w"])
def test_the_pico_s_pins_reach_their_peripherals(name):
    """Ref: RP2040 datasheet 1.4.3: UART by (pin + 4) & 8, TX every fourth, slice by pin / 2."""
    board = load(name)
    for kind in ("BMS", "LINK", "STAGE"):
        tx, rx = board[f"{kind}_TX"], board[f"{kind}_RX"]
        assert (tx % 4, rx % 4) == (0, 1)
        assert ((tx + 4) & 8) >> 3 == ((rx + 4) & 8) >> 3 == board[f"{kind}_UART"]
    assert board["PWM_DISCHARGE"] % 2 == 0 and board["PWM_CHARGE"] == board["PWM_DISCHARGE"] + 1


@pytest.mark.parametrize("name", REAL)
def test_over_current_of_the_largest_profile_shows_on_the_sensor(name):
    """120 % and 1 A lies inside what the sensor can say; beyond that range it is broken."""
    board = load(name)
    full_mv = FULL_SCALE_MV[board["PORT"]]
    assert 0 < board["SENSE_MV_MIN"] < board["SENSE_ZERO_MV"] < board["SENSE_MV_MAX"] < full_mv
    limit_ma = board["CURRENT_MA_MAX"] * 12 // 10 + 1000
    room_mv = min(board["SENSE_ZERO_MV"] - board["SENSE_MV_MIN"],
                  board["SENSE_MV_MAX"] - board["SENSE_ZERO_MV"])
    assert room_mv * 1_000_000 // abs(board["SENSE_UV_PER_A"]) > limit_ma
    one = type("Board", (), board)
    sense = CurrentSense(one, 1, 1)  # a count is a microvolt
    for sign in (1, -1):
        beyond_uv = limit_ma * board["SENSE_UV_PER_A"] // 1000
        sensed_ma = sense.ma(board["SENSE_ZERO_MV"] * 1000 + sign * beyond_uv)
        assert abs(abs(sensed_ma) - limit_ma) < limit_ma // 100
    # the rails, where a broken wire leaves the pin, are broken and clamp to no smaller value
    assert sense.ma(0) == sense.ma(full_mv * 1000) == BROKEN_MA >= SENSE_MA_MAX
    assert board["DUTY_FULL_MA"] <= board["CURRENT_MA_MAX"]


@pytest.mark.parametrize("name", REAL)
def test_a_full_pack_shows_on_the_dc_link(name):
    board = load(name)
    full_mv = FULL_SCALE_MV[board["PORT"]] * board["DC_LINK_RATIO"]
    assert full_mv > 16 * 3650 * 12 // 10  # 16 LFP cells at their highest, and a fifth


@pytest.mark.parametrize("name", REAL)
def test_the_watchdog_fits_its_chip_and_what_time_to_safe_allows(name):
    board = load(name)
    # several ticks and the longest erase of a flash sector (W25Q16JV: 400 ms) fit in it, and a
    # hung program conducts for no longer than stale data may: 2 s
    assert 1000 <= board["WATCHDOG_MS"] <= min(2000, WATCHDOG_MS_MAX[board["PORT"]])
    assert load("virtual")["WATCHDOG_MS"] == BENCH_WATCHDOG_MS


def test_documents_and_drawings_are_what_board_py_says():
    assert make_wiring.main(["--check"]) == 0


def test_a_difference_is_found(monkeypatch):
    real = make_wiring.load
    monkeypatch.setattr(make_wiring, "load", lambda name: {**real(name), "ENABLE": 28})
    monkeypatch.setattr(make_wiring, "BOARDS", ("rpi_pico",))
    assert make_wiring.main(["--check"]) == 1


@pytest.mark.parametrize("name", REAL)
def test_the_drawing_is_readable_by_machines_and_people(name):
    tree = xml.etree.ElementTree.parse(ROOT / "boards" / name / "wiring.svg")
    space = "{http://www.w3.org/2000/svg}"
    title, desc = tree.getroot().find(f"{space}title"), tree.getroot().find(f"{space}desc")
    assert title is not None and desc is not None and title.text and desc.text
    board = load(name)
    for key in ("ENABLE", "INTERLOCK", "PWM_DISCHARGE", "BMS_TX"):
        assert make_wiring.header(board, board[key]) in desc.text
    # a text runs out of its box when it is too long: 0.62 em a letter of this font at most
    width = float(tree.getroot().attrib["width"])
    for element in tree.getroot().iter(f"{space}text"):
        size = float(element.attrib["font-size"])
        if element.get("text-anchor") == "end":
            continue
        assert float(element.attrib["x"]) + 0.62 * size * len(element.text or "") < width + 60


@pytest.mark.parametrize("name", REAL)
def test_the_readme_says_what_a_builder_needs(name):
    text = (ROOT / "boards" / name / "README.md").read_text(encoding="utf-8")
    for heading in ("## Why these pins", "## What keeps it safe", "## Ratings"):
        assert heading in text
    assert "wiring.svg" in text
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / "boards" / name / link).exists(), link


@pytest.mark.parametrize("name", REAL)
def test_the_manifest_freezes_what_there_is(name):
    """Run with stand-ins for manifestfile.py's functions: every path of ours must exist."""
    folder = ROOT / "boards" / name
    taken: list[Path] = []

    def include(path: str) -> None:
        assert path.startswith(("$(PORT_DIR)/", "$(MPY_DIR)/"))

    def package(package_path: str, base_path: str = ".", opt: int = 0) -> None:
        assert opt == 3
        taken.append(folder / base_path / package_path)

    def module(module_path: str, base_path: str = ".", opt: int = 0) -> None:
        assert opt == 3
        taken.append(folder / base_path / module_path)

    source = (folder / "manifest.py").read_text(encoding="utf-8")
    exec(compile(source, "manifest.py", "exec"),
         {"include": include, "package": package, "module": module})
    assert all(path.exists() for path in taken), taken
    firmware = {path.name for path in (ROOT / "firmware").iterdir()
                if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {path.name for path in taken} == firmware | {"board.py"}
