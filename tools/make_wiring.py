"""Make every board's wiring from its board.py: the table in README.md and the drawing wiring.svg.

`--check` writes nothing and fails when a committed file is not what board.py says. The table
stands between two marks in README.md; the rest of that file is written by people.
"""

import argparse
import runpy
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BOARDS = ("rpi_pico", "rpi_pico_w", "esp32", "esp32c3", "linux")
BEGIN = "<!-- wiring: made by tools/make_wiring.py from board.py -->"
END = "<!-- end of wiring -->"

TITLES = {
    "rpi_pico": "Raspberry Pi Pico", "rpi_pico_w": "Raspberry Pi Pico W",
    "esp32": "ESP32 DevKitC", "esp32c3": "ESP32-C3 DevKitM-1", "linux": "Raspberry Pi 4",
}
# Pin of the header that carries a GPIO. Ref: Raspberry Pi Pico datasheet, 2.1; Raspberry Pi
# documentation, GPIO and the 40-pin header. The ESP32 boards print the GPIO number itself.
PICO_HEADER = {0: 1, 1: 2, 2: 4, 3: 5, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12, 10: 14, 11: 15,
               12: 16, 13: 17, 14: 19, 15: 20, 16: 21, 17: 22, 18: 24, 19: 25, 20: 26, 21: 27,
               22: 29, 26: 31, 27: 32, 28: 34}
PI_HEADER = {2: 3, 3: 5, 4: 7, 14: 8, 15: 10, 17: 11, 18: 12, 27: 13, 22: 15, 23: 16, 24: 18,
             10: 19, 9: 21, 25: 22, 11: 23, 8: 24, 7: 26, 5: 29, 6: 31, 12: 32, 13: 33, 19: 35,
             16: 36, 26: 37, 20: 38, 21: 40}
OUT = "out"
IN = "in"
DOWN = "10 kΩ to GND"


@dataclass(frozen=True)
class Row:
    """One wire: pin is None for one that is no pin of the board's (USB, I2C)."""

    pin: int | None
    signal: str
    direction: str
    pull: str
    note: str
    label: str = ""


@dataclass(frozen=True)
class Part:
    """What wires go to."""

    title: str
    text: str
    rows: tuple[Row, ...]


def load(name: str) -> dict[str, Any]:
    """Return the public names of a board."""
    values = runpy.run_path(str(ROOT / "boards" / name / "board.py"))
    return {key: value for key, value in values.items() if key.isupper() and key[0] != "_"}


def header(board: dict[str, Any], pin: int) -> str:
    """Return how the board names a pin, and its place on the header."""
    name = board["NAME"]
    if name.startswith("rpi_pico"):
        place = PICO_HEADER.get(pin)
        return f"GP{pin} (pin {place})" if place else f"GP{pin} (on the board)"
    if name == "linux":
        return f"GPIO{pin} (pin {PI_HEADER[pin]})"
    return f"IO{pin}"


def label(board: dict[str, Any], row: Row) -> str:
    """Return what the board's end of a wire is called."""
    return row.label if row.pin is None else header(board, row.pin)


def serial(board: dict[str, Any], kind: str) -> tuple[Row, Row]:
    """Return the two wires of a line: each goes to the other's opposite."""
    where = board[f"{kind}_UART"]
    name = where if isinstance(where, str) else f"UART{where}"
    return (Row(board[f"{kind}_TX"], "TX to its RX", OUT, "-", f"{name}, 8N1"),
            Row(board[f"{kind}_RX"], "RX from its TX", IN, "-", "crossed: TX goes to RX"))


def lines(board: dict[str, Any]) -> list[Part]:
    """Return BMS, panel and inverter."""
    out = [Part(f"BMS ({board['BMS']}), {board['BMS_BAUD']} baud",
                "through a digital isolator: its ground is the battery", serial(board, "BMS"))]
    if board["LINK"] == "usb":
        out.append(Part("Panel", "USB cable; the supply of the board as well", (
            Row(None, "USB", "both", "-", "also flashing and maintenance", "USB socket"),)))
    else:
        out.append(Part(f"Panel, {board['LINK_BAUD']} baud",
                        "USB adapter with 3.3 V levels, or RS-485", serial(board, "LINK")))
    if board["STAGE_UART"] is not None:
        shared = board["STAGE_TX"] == board["LINK_TX"]
        needs = 'STAGE = "sunspec"' + (', LINK = "usb"' if shared else "")
        out.append(Part(f"Or: inverter on RS-485, {board['STAGE_BAUD']} baud",
                        f"auto-direction transceiver; with {needs}", serial(board, "STAGE")))
    return out


def power_stage(board: dict[str, Any]) -> Part:
    """Return the wires that make power flow."""
    rows = [
        Row(board["ENABLE"], "ENABLE", OUT, DOWN, "high: the gate driver or contactor may work"),
        Row(board["PRECHARGE"], "PRECHARGE", OUT, DOWN, "high: pack to DC link by a resistor"),
        Row(board["PWM_DISCHARGE"], "PWM discharge", OUT, DOWN,
            f"{board['PWM_HZ'] // 1000} kHz; a relay pair's choice"),
        Row(board["PWM_CHARGE"], "PWM charge", OUT, DOWN, "never both above zero"),
    ]
    if board["HEARTBEAT"] is not None:
        rows.append(Row(board["HEARTBEAT"], "HEARTBEAT", OUT, DOWN,
                        "to a one-shot of 0.5 s that gates ENABLE"))
    return Part("Power stage", "driver inputs with Schmitt triggers, active high", tuple(rows))


def inputs(board: dict[str, Any]) -> list[Part]:
    """Return interlock, current sensor and DC link."""
    divided = board["SENSE_ZERO_MV"] < 1600
    sensor = "Hall sensor, ±100 A, 16 mV/A around 1.65 V, 3.3 V supply"
    pull = "20 kΩ to GND" if divided else "100 kΩ to GND"
    series = "10 kΩ" if divided else "1 kΩ"
    note = (f"{board['SENSE_ZERO_MV']} mV at 0 A; more is discharge; {series} in series, 100 nF "
            "at the pin")
    ratio = board["DC_LINK_RATIO"]
    adc = isinstance(board["SENSE_ADC"], str)
    sense: tuple[int | None, str] = (None, "ADS1115 A0") if adc else (board["SENSE_ADC"], "")
    link: tuple[int | None, str] = (None, "ADS1115 A1") if adc else (board["DC_LINK_ADC"], "")
    return [
        Part("Interlock loop", "fire contact, door, emergency stop in series", (
            Row(board["INTERLOCK"], "INTERLOCK", IN, "10 kΩ to 3V3",
                "closed to GND is sound; a broken wire is not"),)),
        Part("Current sensor", sensor, (
            Row(sense[0], "SENSE", IN, pull, note, sense[1]),)),
        Part("DC link", f"divider {10 * (ratio - 1)} kΩ : 10 kΩ (1 : {ratio})", (
            Row(link[0], "DC LINK", IN, "10 kΩ to GND",
                "link behind the pre-charge; 0 V when the wire is broken", link[1]),)),
    ]


def parts(board: dict[str, Any]) -> list[Part]:
    """Return everything that is wired to a board."""
    out = [*lines(board), power_stage(board), *inputs(board)]
    if board["STATUS_LED"] is not None:
        out.append(Part("Status", "lit while the power stage is enabled", (
            Row(board["STATUS_LED"], "LED", OUT, "-",
                "1 kΩ in series, or the one on the board"),)))
    return out


def table(board: dict[str, Any]) -> str:
    """Return the table of a README."""
    out = ["| board | signal | direction | to | pull | note |", "|---|---|---|---|---|---|"]
    for part in parts(board):
        for row in part.rows:
            out.append(f"| {label(board, row)} | {row.signal} | {row.direction} | {part.title} | "
                       f"{row.pull} | {row.note} |")
    return "\n".join(out)


# ---- the drawing ----

WIDTH = 1040
ROW = 40
HEAD = 50
GAP = 18
TOP = 96
BOARD_X, BOARD_W = 40, 220
PART_X, PART_W = 560, 440
INK = "#1b2733"
COLOURS = {OUT: "#b3470b", IN: "#14598c", "both": "#4a3f8f"}


def text(x: float, y: float, size: int, content: str, extra: str = "") -> str:
    """Return a text element."""
    return f'<text x="{x}" y="{y}" font-size="{size}" {extra}>{escape(content)}</text>'


def arrow(x: int, y: int, leftward: bool, colour: str) -> str:
    """Return an arrow head with its point at x."""
    back = x + 10 if leftward else x - 10
    return f'<path d="M{x} {y} L{back} {y - 5} L{back} {y + 5} Z" fill="{colour}"/>'


def wire(board: dict[str, Any], row: Row, y: int) -> list[str]:
    """Return one wire from the board's edge to the part's, with its names and its pull."""
    colour = COLOURS[row.direction]
    start, end = BOARD_X + BOARD_W, PART_X
    out = [f'<line x1="{start}" y1="{y}" x2="{end}" y2="{y}" stroke="{colour}" '
           'stroke-width="2.5"/>']
    if row.direction in (OUT, "both"):
        out.append(arrow(end, y, False, colour))
    if row.direction in (IN, "both"):
        out.append(arrow(start, y, True, colour))
    out.append(text(BOARD_X + BOARD_W - 10, y + 5, 14, label(board, row),
                    'text-anchor="end" font-weight="600"'))
    out.append(text(start + 18, y - 7, 13, row.signal, f'fill="{colour}" font-weight="600"'))
    if row.pull != "-":
        x = start + 150
        out.append(f'<rect x="{x}" y="{y + 5}" width="26" height="9" fill="#fff" '
                   f'stroke="{INK}" stroke-width="1.3"/>')
        out.append(f'<path d="M{x - 6} {y} V{y + 9.5} H{x}" fill="none" stroke="{INK}" '
                   'stroke-width="1.3"/>')
        out.append(text(x + 32, y + 15, 11, row.pull))
    out.append(text(PART_X + 14, y + 5, 12, row.note))
    return out


def drawing(board: dict[str, Any]) -> str:
    """Return the SVG of a board: the board on the left, what it is wired to on the right."""
    body: list[str] = []
    y = TOP
    for part in parts(board):
        height = HEAD + ROW * len(part.rows)
        body.append(f'<rect x="{PART_X}" y="{y}" width="{PART_W}" height="{height}" rx="6" '
                    f'fill="#fff" stroke="{INK}" stroke-width="1.5"/>')
        body.append(text(PART_X + 14, y + 20, 15, part.title, 'font-weight="700"'))
        body.append(text(PART_X + 14, y + 37, 12, part.text, 'fill="#51606e"'))
        for index, row in enumerate(part.rows):
            body += wire(board, row, y + HEAD + ROW * index + ROW // 2 - 2)
        y += height + GAP
    title = f"Wiring of the {TITLES[board['NAME']]}"
    names = ", ".join(f"{row.signal} on {label(board, row)}"
                      for part in parts(board) for row in part.rows)
    frame = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 30}" '
        f'width="{WIDTH}" height="{y + 30}" role="img" aria-labelledby="title desc" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" fill="{INK}">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(names)}.</desc>',
        f'<rect width="{WIDTH}" height="{y + 30}" fill="#f7f9fb"/>',
        text(BOARD_X, 42, 22, title, 'font-weight="700"'),
        text(BOARD_X, 66, 13, "Brown: the board drives. Blue: the board listens. All grounds "
             "joined but the BMS's, which is behind its isolator. Logic is 3.3 V."),
        f'<rect x="{BOARD_X}" y="{TOP}" width="{BOARD_W}" height="{y - TOP - GAP}" rx="8" '
        f'fill="#dfeee4" stroke="{INK}" stroke-width="1.5"/>',
        text(BOARD_X + 14, TOP + 24, 15, TITLES[board["NAME"]], 'font-weight="700"'),
    ]
    foot = text(BOARD_X, y + 14, 12, "Every output has its pull-down at the power stage's end: "
                "between reset and program, and with the board unplugged, nothing conducts.")
    return "\n".join([*frame, *body, foot, "</svg>"]) + "\n"


def updated(readme: str, content: str) -> str:
    """Return a README with a new table between its marks. Raises ValueError without marks."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


def main(argv: list[str] | None = None) -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    arguments = parser.parse_args(argv)
    wrong = []
    for name in BOARDS:
        board = load(name)
        folder = ROOT / "boards" / name
        readme = (folder / "README.md").read_text(encoding="utf-8")
        for path, content in ((folder / "wiring.svg", drawing(board)),
                              (folder / "README.md", updated(readme, table(board)))):
            if path.exists() and path.read_text(encoding="utf-8") == content:
                continue
            wrong.append(str(path.relative_to(ROOT)))
            if not arguments.check:
                path.write_text(content, encoding="utf-8")
    for path_name in wrong:
        print(f"{path_name}: {'differs' if arguments.check else 'written'}")
    return 1 if wrong and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
