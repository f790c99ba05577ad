"""Where things are in the SunSpec models that we use, and what the raw registers mean.

Offsets count in registers from the model's ID and are those of the published model definitions
(SunSpec Alliance, models/json/model_<n>.json: "size" summed up; 703, 704 and 713 are of the DER
Information Model of 2021). A host test holds every one against them. Power is positive when the
DER generates, in 701 ("positive for DER generation and negative for absorption") and in 704 ("may
be negative for charging"): our own sign, so nothing is flipped.
"""

BASES = (40000, 50000, 0)
MARKER = (0x5375, 0x6E53)  # "SunS"
END = 0xFFFF
MODELS_MAX = 64

COMMON = 1
MEASURE_AC = 701
CAPACITY = 702
ENTER_SERVICE = 703
CONTROLS = 704
STORAGE = 713
BATTERY = 802
# (model, registers that it must at least have after ID and length)
WANTED = ((COMMON, 65), (MEASURE_AC, 115), (CAPACITY, 44), (ENTER_SERVICE, 1), (CONTROLS, 55),
          (STORAGE, 7), (BATTERY, 62))

# model 1
MANUFACTURER, PRODUCT, SERIAL, STRING_COUNT = 2, 18, 50, 16
# model 701: one read from ST takes in state, connection, alarms and power
ST, INV_ST, CONN_ST, ALRM, W, MEASURE_COUNT = 3, 4, 5, 6, 10, 8
W_SF_701 = 116
# model 702
W_MAX_RTG, W_MAX, W_SF_702 = 2, 26, 45
# model 703
ES = 2
# model 704
WSET_ENA, WSET_MOD, WSET, WSET_RVRT, WSET_PCT, WSET_PCT_RVRT = 22, 23, 24, 26, 28, 29
WSET_ENA_RVRT, WSET_RVRT_TMS, WSET_RVRT_REM, WSET_SF, WSET_PCT_SF = 30, 31, 33, 55, 56
WSET_COUNT = 13  # from WSET_ENA to WSET_RVRT_REM's end
# model 713
SOC, STA, PCT_SF = 4, 6, 8
# model 802
BATTERY_SOC, BATTERY_SOC_SF = 11, 56

MODE_PCT, MODE_WATTS = 0, 1

# Inverter states (701 InvSt).
INV_OFF, INV_SLEEPING, INV_STARTING, INV_RUNNING, INV_THROTTLED = 0, 1, 2, 3, 4
INV_SHUTTING_DOWN, INV_FAULT, INV_STANDBY = 5, 6, 7
# Alarms that our own open contactor and open FETs cause: AC_DISCONNECT, DC_DISCONNECT,
# GRID_DISCONNECT, and the under-frequency and under-voltage of a dead line.
ALARMS_OPEN = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 9 | 1 << 11

UINT16_NONE = 0xFFFF
INT16_NONE = 0x8000
_SF_MAX = 10
_MILLI_MAX = 1 << 40


def is_marker(values) -> bool:
    """Return True for the two registers that begin a SunSpec map."""
    return len(values) == 2 and values[0] == MARKER[0] and values[1] == MARKER[1]


def int16(raw: int):
    """Return a signed value, None for the one that means not implemented."""
    if raw == INT16_NONE:
        return None
    return raw - 0x10000 if raw & 0x8000 else raw


def uint16(raw: int):
    """Return an unsigned or enumerated value, None for the one that means not implemented."""
    return None if raw == UINT16_NONE else raw


def is_int32(values, index: int) -> bool:
    """Return True when the int32 at index is implemented."""
    return values[index] != INT16_NONE or values[index + 1] != 0


def scale_of(raw: int):
    """Return a scale factor, -10..10, or None for one that is not implemented or impossible."""
    factor = int16(raw)
    return factor if factor is not None and -_SF_MAX <= factor <= _SF_MAX else None


def milli(value, factor):
    """Return value * 10**factor in thousandths, cut towards zero; None without either."""
    if value is None or factor is None:
        return None
    power = factor + 3
    if power >= 0:
        scaled = value * 10 ** power
    else:
        scaled = -(-value // 10 ** -power) if value < 0 else value // 10 ** -power
    return scaled if -_MILLI_MAX < scaled < _MILLI_MAX else None


def raw_of(value_milli: int, factor: int):
    """Return the raw value of thousandths under a scale factor, cut towards zero."""
    power = factor + 3
    if power <= 0:
        return value_milli * 10 ** -power
    size = abs(value_milli) // 10 ** power
    return -size if value_milli < 0 else size


def words_of(value: int) -> tuple:
    """Return the two registers of an int32. value must lie in -2**31+1..2**31-1."""
    return (value >> 16) & 0xFFFF, value & 0xFFFF


def text_of(values) -> str:
    """Return a string point: printable ASCII up to its first zero."""
    text = ""
    for word in values:
        for byte in (word >> 8, word & 0xFF):
            if byte == 0:
                return text
            text += chr(byte) if 32 <= byte < 127 else "?"
    return text
