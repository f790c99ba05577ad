"""Enumerations of the contract: the numbers on the wire. Their names for people: texts.py."""

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
REASON_RESERVE = 19
REASON_ENERGY = 20
REASON_THERMAL = 21
REASON_SWING = 22
REASON_CYCLES = 23
REASON_RESPONSE = 24
REASON_OWNER = 25
REASON_MONITOR = 26
REASON_MAINTENANCE = 27

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
TRIP_SENSE = 11
TRIP_WATCHDOG = 12
TRIP_STAGE = 13
# A SafetyEvent whose cause is one of these latched nothing: it is a notice, kept in the chain.
NOTICE_BOOT = 64  # value: why (RESET_*), limit: how many boots so far
# value: statements given up for want of room, in addition to those that an earlier notice told
# of; limit: seconds from the first one's beginning to the last one's end
NOTICE_GAP = 65
NOTICE_SOC = 66  # value: the BMS's SoC in bp, limit: the element's own estimate
NOTICE_TORN = 67  # value: torn tails that the boot found on flash, limit: 0
NOTICE_MAINTENANCE = 68  # value: 1 begun, 0 ended, 2 the REPL is next; limit: 0
NOTICE_UPDATE = 69  # value: the number of the firmware that has proven itself, limit: 0
NOTICE_ROLLBACK = 70  # value: the number of the firmware that is back, limit: 0
NOTICE_ZONE = 71  # value: the zone to which the element listens as well, limit: the one before

# Why the board started (NOTICE_BOOT).
RESET_UNKNOWN = 0
RESET_POWER_ON = 1
RESET_WATCHDOG = 2
RESET_SOFTWARE = 3
RESET_BROWN_OUT = 4

# Why the power stage is held at zero although nothing is latched (Telemetry.inhibits, a bit set).
INHIBIT_NOT_ENROLLED = 1
INHIBIT_STALE = 2
INHIBIT_LEASE = 4
INHIBIT_LIMIT = 8
INHIBIT_BMS = 16
INHIBIT_CLOCK = 32
INHIBIT_STORAGE = 64
INHIBIT_MONITOR = 128
INHIBIT_MAINTENANCE = 256

# What the element is doing (Telemetry.state). UNKNOWN is a state and never a target.
STATE_UNKNOWN = 0
STATE_UNENROLLED = 1
STATE_IDLE = 2
STATE_ACTIVE = 3
STATE_INHIBITED = 4
STATE_TRIPPED = 5

# What kind of power stage an element has (Profile.kind).
KIND_CONVERTER = 1
KIND_BMS_FETS = 2
KIND_RELAY = 3
KIND_SUNSPEC = 4
KIND_AGGREGATE = 5  # a floor or a building, to what stands above it; no board has it
KIND_NAMES = ("unknown", "converter", "bms_fets", "relay", "sunspec", "aggregate")

# Service classes, a bit set in the profile and one bit in a setpoint.
SERVICE_REGULATION = 1
SERVICE_ENERGY = 2
SERVICE_TEST = 4
SERVICE_FREQUENCY = 8
SERVICE_BACKUP = 16
SERVICE_CAPACITY = 32
# (class, time in ms in which an element must have followed a setpoint of it); an element that
# is credentialed as slower does not take it.
SERVICE_RESPONSE_MS = (
    (SERVICE_FREQUENCY, 1000), (SERVICE_BACKUP, 2000), (SERVICE_REGULATION, 4000),
    (SERVICE_ENERGY, 60_000), (SERVICE_TEST, 600_000), (SERVICE_CAPACITY, 600_000),
)

# What a party is that speaks to elements: only an aggregator dispatches; every one may trip.
PARTY_AGGREGATOR = 1
PARTY_ALARM = 2
PARTY_METER = 3

# Quality flags of an execution record, a bit set; 0 is a clean interval.
QUALITY_STALE = 1
QUALITY_LEASE_EXPIRED = 2
QUALITY_TRIPPED = 4
QUALITY_CLOCK_STEPPED = 8
QUALITY_PARTIAL = 16
QUALITY_REFUSED = 32
QUALITY_SOC_DOUBT = 64

# What else there is to know (Telemetry.flags, a bit set).
FLAG_SOC_DOUBT = 1
FLAG_SOC_AT_REST = 2
FLAG_BALANCING = 4
FLAG_MONITOR = 8
FLAG_DISCOVERY_STALE = 16  # of an aggregate: its population was not confirmed in time
