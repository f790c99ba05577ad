"""Enumerations of the contract: numbers on the wire, names for people.

Each group is a set of public integers and one tuple of names whose index is the number.
"""

# Why an element refused a setpoint (Ack.reason).
REASON_NONE = 0
REASON_POWER = 1
REASON_CURRENT = 2
REASON_SOC_LOW = 3
REASON_SOC_HIGH = 4
REASON_CELL_LOW = 5
REASON_CELL_HIGH = 6
REASON_COLD = 7
REASON_HOT = 8
REASON_RAMP = 9
REASON_LEASE = 10
REASON_STALE = 11
REASON_TRIPPED = 12
REASON_SEQUENCE = 13
REASON_NOT_ENROLLED = 14
REASON_CLOCK = 15
REASON_SERVICE = 16
REASON_BMS = 17
REASON_STORAGE = 18
REASON_NAMES = (
    "none", "power", "current", "soc low", "soc high", "cell low", "cell high", "too cold",
    "too hot", "ramp", "lease", "stale reading", "tripped", "sequence", "not enrolled",
    "clock not set", "service class", "bms protection", "flash",
)

# What latched the interlock (SafetyEvent.cause, Telemetry.trip_cause). The first one is kept.
TRIP_NONE = 0
TRIP_FIRE = 1
TRIP_OPERATOR = 2
TRIP_INPUT = 3
TRIP_OVER_CURRENT = 4
TRIP_CELL_LOW = 5
TRIP_CELL_HIGH = 6
TRIP_TEMPERATURE = 7
TRIP_NOT_ACTUATED = 8
TRIP_TASK_FAILED = 9
TRIP_SELF_TEST = 10
TRIP_NAMES = (
    "none", "fire alarm", "operator", "interlock input", "over-current", "cell under-voltage",
    "cell over-voltage", "temperature", "not actuated", "task failed", "self-test",
)

# Why the power stage is held at zero although nothing is latched (Telemetry.inhibits, a bit set).
INHIBIT_NOT_ENROLLED = 1
INHIBIT_STALE = 2
INHIBIT_LEASE = 4
INHIBIT_LIMIT = 8
INHIBIT_BMS = 16
INHIBIT_CLOCK = 32
INHIBIT_STORAGE = 64
INHIBIT_NAMES = (
    (1, "not enrolled"), (2, "stale reading"), (4, "no live lease"), (8, "at a limit"),
    (16, "bms protection"), (32, "clock not set"), (64, "flash not written"),
)

# What the element is doing (Telemetry.state). UNKNOWN is a state and never a target.
STATE_UNKNOWN = 0
STATE_UNENROLLED = 1
STATE_IDLE = 2
STATE_ACTIVE = 3
STATE_INHIBITED = 4
STATE_TRIPPED = 5
STATE_NAMES = ("unknown", "unenrolled", "idle", "active", "inhibited", "tripped")

# What kind of power stage an element has (Profile.kind).
KIND_CONVERTER = 1
KIND_BMS_FETS = 2
KIND_NAMES = ("unknown", "converter", "bms_fets")

# Service classes, a bit set in the profile and one bit in a setpoint.
SERVICE_REGULATION = 1
SERVICE_ENERGY = 2
SERVICE_TEST = 4

# Quality flags of an execution record, a bit set; 0 is a clean interval.
QUALITY_STALE = 1
QUALITY_LEASE_EXPIRED = 2
QUALITY_TRIPPED = 4
QUALITY_CLOCK_STEPPED = 8
QUALITY_PARTIAL = 16
QUALITY_REFUSED = 32


def name_of(names: tuple, number: int) -> str:
    """Return names[number], or 'code N' for a number this version does not know."""
    if 0 <= number < len(names):
        return names[number]
    return "code %d" % number
