"""The tables of statements that an element meets once in a while: who it is, what an update is.

An element loads this module at its boot, for its credential, and lets it go. See schema.py.
"""

from . import schema
from .schema import BOOL, BYTES, ENERGY, INT, INT32, INTS, MAP, POWER, TEXT, TIME, U32

# COSE_Key (RFC 9052 7) of an EC2 P-256 public key: labels 1 kty, -1 crv, -2 x, -3 y.
COSE_KEY = (
    (1, "kty", INT, 2, 2),
    (-1, "crv", INT, 1, 1),
    (-2, "x", BYTES, 32, 32),
    (-3, "y", BYTES, 32, 32),
)
CNF = ((1, "cose_key", MAP, COSE_KEY, 0),)

# The admissibility profile inside a credential: limits that no message can widen.
PROFILE = (
    (1, "kind", INT, 1, 5),
    (2, "power_mw_discharge_max", INT, 0, POWER),
    (3, "power_mw_charge_max", INT, 0, POWER),
    (4, "current_ma_discharge_max", INT, 0, 1_000_000),
    (5, "current_ma_charge_max", INT, 0, 1_000_000),
    (6, "soc_bp_min", INT, 0, 10000),
    (7, "soc_bp_max", INT, 0, 10000),
    (8, "cell_mv_min", INT, 500, 5000),
    (9, "cell_mv_max", INT, 500, 5000),
    (10, "temperature_mdegc_discharge_min", INT, -40000, 100000),
    (11, "temperature_mdegc_discharge_max", INT, -40000, 100000),
    (12, "ramp_mw_per_s", INT, 1, POWER),
    (13, "lease_ms_max", INT, 100, 60000),
    (14, "reading_age_ms_max", INT, 100, 2000),
    (15, "energy_mwh_rated", INT, 1, ENERGY),
    (16, "step_mw", INT, 0, POWER),
    (17, "on_ms_min", INT, 0, 3_600_000),
    (18, "off_ms_min", INT, 0, 3_600_000),
    (19, "services", INT, 0, 0xFFFF),
    (20, "chemistry", TEXT, 1, 16),
    (21, "role", TEXT, 1, 16),
    (22, "temperature_mdegc_charge_min", INT, -40000, 100000),
    (23, "temperature_mdegc_charge_max", INT, -40000, 100000),
    # soc_bp, share of the largest power in bp, soc_bp, share...: linear between, flat beyond
    (24, "discharge_bp_at_soc", INTS, 0, 10000),
    (25, "charge_bp_at_soc", INTS, 0, 10000),
    (26, "capacity_mah", INT, 1, 10_000_000),
    (27, "reserve_soc_bp", INT, 0, 10000),
    (28, "response_ms", INT, 1, 600_000),
    # the envelopes of an element in a wall or a column; a window of 0 is no envelope
    (29, "thermal_window_s", INT, 0, 86400),
    (30, "thermal_mwh_max", INT, 0, 1_000_000_000),
    (31, "thermal_rise_mdegc_max", INT, 0, 100_000),
    (32, "swing_window_s", INT, 0, 604_800),
    (33, "swing_bp_max", INT, 0, 10000),
    (34, "day_cycles_milli_max", INT, 0, 100_000),  # thousandths of a full cycle; 0 is no limit
    (35, "monitor_only", BOOL, 0, 1),
)

# CWT claims (RFC 8392) 1 iss, 2 sub, 4 exp, 5 nbf, 6 iat, 8 cnf (RFC 8747); the private claims
# lie below -65536 (RFC 8392 9.1: private use).
_CREDENTIAL = (
    (1, "issuer", TEXT, 1, 64),
    (2, "subject", TEXT, 16, 16),
    (4, "expires_unix_s", INT, 0, U32),
    (5, "not_before_unix_s", INT, 0, U32),
    (6, "issued_unix_s", INT, 0, U32),
    (8, "cnf", MAP, CNF, 0),
    (-70001, "agree_key", MAP, COSE_KEY, 0),
    (-70002, "profile", MAP, PROFILE, 0),
    (-70003, "zone", INT, 0, 0xFFFF),
    (-70004, "tenant", TEXT, 0, 32),
    (-70005, "manufacturer", TEXT, 0, 32),
)

TABLES = {
    schema.CREDENTIAL: _CREDENTIAL,
    schema.INTERVAL_COMMITMENT: (
        (1, "aggregator_id", BYTES, 8, 8),
        (2, "number", INT, 1, U32),
        (3, "previous_hash", BYTES, 32, 32),
        (4, "root", BYTES, 32, 32),
        (5, "leaf_count", INT, 0, 1_000_000),
        (6, "start_unix_ms", INT, 0, TIME),
        (7, "end_unix_ms", INT, 0, TIME),
        (8, "instructed_mwh", INT, -(2**53), 2**53),
        (9, "realized_mwh", INT, -(2**53), 2**53),
        (10, "shortfall_mwh", INT, 0, 2**53),
        (11, "missing_count", INT, 0, 1_000_000),
        (12, "flagged_count", INT, 0, 1_000_000),
    ),
    schema.ENROL_REQUEST: (
        (1, "element_id", BYTES, 8, 8),
        (2, "challenge", BYTES, 8, 32),
        (3, "sign_key", MAP, COSE_KEY, 0),
        (4, "agree_key", MAP, COSE_KEY, 0),
        (5, "hardware_id", BYTES, 1, 16),
        (6, "board", TEXT, 1, 32),
        (7, "firmware", TEXT, 1, 32),
    ),
    schema.FIRMWARE_MANIFEST: (
        (1, "number", INT, 1, INT32),
        (2, "version", TEXT, 1, 32),
        (3, "format", INT, 0, 0xFF),  # of the compiled code: sys.implementation._mpy & 0xFF
        (4, "list_size", INT, 1, 16384),
        (5, "list_sha256", BYTES, 32, 32),
    ),
}

STATEMENT_KINDS = tuple(sorted(schema.STATEMENT_TYP))
MESSAGE_KINDS = schema.SESSION_KINDS + schema.LINK_KINDS
