"""Names of the contract's numbers, and safety events in words: for people, logs and reports.

A board loads this module when it has something to say, and not before. The index of a name is
its number; of a set of bits there are (bit, name) pairs.
"""

from . import codes

# Why an element refused a setpoint: codes.REASON_*.
REASON_NAMES = (
    "none", "power", "current", "soc low", "soc high", "cell low", "cell high", "too cold",
    "too hot", "ramp", "lease", "stale reading", "tripped", "sequence", "not enrolled",
    "clock not set", "service class", "bms protection", "flash", "backup reserve", "energy",
    "thermal envelope", "mechanical envelope", "cycles a day", "response class",
    "an owner's limit", "monitor only", "maintenance",
)
# What latched the interlock: codes.TRIP_*.
TRIP_NAMES = (
    "none", "fire alarm", "operator", "interlock input", "over-current", "cell under-voltage",
    "cell over-voltage", "temperature", "not actuated", "task failed", "self-test",
    "current measurements disagree", "watchdog", "power stage",
)
# Safety events that latched nothing, from codes.NOTICE_BOOT on.
NOTICE_NAMES = (
    "boot", "records given up", "SoC in doubt", "torn tail on flash", "maintenance",
    "firmware updated", "firmware rolled back", "zone set",
)
# Why the board started: codes.RESET_*.
RESET_NAMES = ("unknown", "power on", "watchdog", "software", "brown-out")
# Why power is held at zero: codes.INHIBIT_*.
INHIBIT_NAMES = (
    (1, "not enrolled"), (2, "stale reading"), (4, "no live lease"), (8, "at a limit"),
    (16, "bms protection"), (32, "clock not set"), (64, "flash not written"),
    (128, "monitor only"), (256, "maintenance"),
)
# What the element is doing: codes.STATE_*.
STATE_NAMES = ("unknown", "unenrolled", "idle", "active", "inhibited", "tripped")
# What else telemetry says: codes.FLAG_*.
FLAG_NAMES = (
    (1, "SoC in doubt"), (2, "SoC from rest voltage"), (4, "balancing"), (8, "monitor only"),
)

# Units of a trip's value and limit, for people; what is not here is a bare number.
_UNITS = {codes.TRIP_OVER_CURRENT: "mA", codes.TRIP_CELL_LOW: "mV", codes.TRIP_CELL_HIGH: "mV",
          codes.TRIP_TEMPERATURE: "mdegC", codes.TRIP_SENSE: "mA"}


def cause_text(cause: int, value: int, limit: int, index) -> str:
    """Return a safety event in words: the cause, which cell or thermometer, value and limit."""
    if cause >= codes.NOTICE_BOOT:
        return _notice_text(cause, value, limit)
    text = cause_name(cause)
    unit = _UNITS.get(cause, "")
    if index is not None:
        text += ", %s %d" % ("sensor" if cause == codes.TRIP_TEMPERATURE else "cell", index + 1)
    if value or limit:
        text += ": %d %s, limit %d %s" % (value, unit, limit, unit)
    return text.replace(" ,", ",").rstrip()


def _notice_text(cause: int, value: int, limit: int) -> str:
    """Return what latched nothing in words; what value and limit are is said at codes.NOTICE_*."""
    if cause == codes.NOTICE_BOOT:
        return "boot %d, by %s" % (limit, name_of(RESET_NAMES, value))
    if cause == codes.NOTICE_GAP:
        return "%d records given up over %d s" % (value, limit)
    if cause == codes.NOTICE_SOC:
        return "SoC in doubt: %d bp by the BMS, %d bp by our own count" % (value, limit)
    if cause == codes.NOTICE_MAINTENANCE:
        return "maintenance " + name_of(("ended", "begun", "goes on in the REPL"), value)
    if cause == codes.NOTICE_ZONE:
        return "zone set to %d, it was %d" % (value, limit)
    return "%s: %d" % (cause_name(cause), value)


def cause_name(cause: int) -> str:
    """Return the name of a SafetyEvent's cause: a trip or a notice."""
    if cause >= codes.NOTICE_BOOT:
        return name_of(NOTICE_NAMES, cause - codes.NOTICE_BOOT)
    return name_of(TRIP_NAMES, cause)


def name_of(names: tuple, number: int) -> str:
    """Return names[number], or 'code N' for a number this version does not know."""
    if 0 <= number < len(names):
        return names[number]
    return "code %d" % number
