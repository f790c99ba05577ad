"""Put figures into words, the same way in every file of a report."""

from typing import Any

# The unit is the end of a field's name (STYLE, names and units).
_UNITS = {"pct": " %", "ms": " ms", "s": " s", "w": " W", "mwh": " mWh", "kwh": " kWh"}
MISSING = "n/a"


def number(value: float | None, decimals: int = 3) -> str:
    """Return a number without useless zeros, 'n/a' for None."""
    if value is None:
        return MISSING
    text = f"{value:.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def fixed(value: float | None, decimals: int = 2) -> str:
    """Return a number for a column: always as many decimals, 'n/a' for None."""
    if value is None:
        return MISSING
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def unit_of(name: str) -> str:
    """Return the unit that a figure's name ends with, with its space, '' when it has none."""
    name = name.removesuffix("_max").removesuffix("_min")  # the qualifier comes after the unit
    ending = name.rpartition(".")[2].rpartition("_")
    return _UNITS.get(ending[2], "") if ending[1] else ""


def allowed(limit: dict[str, Any]) -> str:
    """Return what a limit allows, e.g. 'at most 2 %'."""
    word = "at most" if limit["kind"] == "max" else "at least"
    return f"{word} {number(limit['limit'])}{unit_of(limit['name'])}"


def where_of(event: dict[str, Any]) -> str:
    """Return where an event happens: an element, a zone, or the whole building."""
    if event["element"] is not None:
        return str(event["element"])
    return "building" if event["zone"] is None else f"zone {event['zone']}"


def minutes(seconds: float) -> str:
    """Return a time of the run as minutes:seconds, e.g. 16:00."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"
