"""Find a SunSpec map on a line and learn what the setpoint and the measurement need."""

from . import sunspec_map as at
from .modbus import DONE, REFUSED

_REGISTERS = 65536
# After a request without an answer the scan waits for as long: many of its reads are one register
# long, and a late answer to one would be a wrong scale for another.
QUIET_MS = 2000
_INT32_MAX = 0x7FFFFFFF
_INT16_MAX = 0x7FFF
_POWER_MW_MAX = 100_000_000


class Inverter:
    """What is known of one inverter.

    models: the register of each wanted model's ID. rated_mw: its largest active power.
    """

    def __init__(self):
        self.models = {}
        self.name = ""
        self.in_watts = True
        self.w_factor = None
        self.wset_factor = None
        self.soc_factor = None
        self.rated_mw = 0

    def setpoint(self, power_mw: int) -> tuple:
        """Return (raw value, the power in mW that it means) for a setpoint.

        Cut towards zero and to the inverter's rating, so that it is never more than was asked.
        """
        if self.rated_mw:
            power_mw = max(-self.rated_mw, min(self.rated_mw, power_mw))
        power_mw = max(-_POWER_MW_MAX, min(_POWER_MW_MAX, power_mw))
        factor = self.wset_factor
        if self.in_watts:
            raw = max(-_INT32_MAX, min(_INT32_MAX, at.raw_of(power_mw, factor)))
            return raw, at.milli(raw, factor)
        size = abs(power_mw) * 100_000 // self.rated_mw  # thousandths of a percent
        raw = min(_INT16_MAX, at.raw_of(size, factor))
        told_mw = at.milli(raw, factor) * self.rated_mw // 100_000
        return (raw, told_mw) if power_mw >= 0 else (-raw, -told_mw)

    def reverts(self, values, reversion_s: int) -> bool:
        """Return True when the registers from WSET_ENA on say: enabled, and back to 0 W by itself.

        reversion_s: the longest that may last.
        """
        def word(offset: int) -> int:
            return values[offset - at.WSET_ENA]

        if self.in_watts:
            fits = word(at.WSET_MOD) == at.MODE_WATTS
            zero = word(at.WSET_RVRT) == 0 and word(at.WSET_RVRT + 1) == 0
        else:
            fits = word(at.WSET_MOD) == at.MODE_PCT
            zero = word(at.WSET_PCT_RVRT) == 0
        seconds = word(at.WSET_RVRT_TMS) << 16 | word(at.WSET_RVRT_TMS + 1)
        return (fits and zero and word(at.WSET_ENA) == 1 and word(at.WSET_ENA_RVRT) == 1
                and 1 <= seconds <= reversion_s)


async def scan(line, found: Inverter) -> str:
    """Fill found with the inverter on a line; returns "" or what is missing."""
    error = await _walk(line, found)
    if not error:
        for model in (at.MEASURE_AC, at.CONTROLS):
            if model not in found.models:
                return "the inverter has no model %d, or a shorter one" % model
        error = await _learn(line, found)
    return error


async def _read(line, register: int, count: int):
    """Return registers, or None when they were refused or nobody answered."""
    line.exchange.read(register, count)
    ended = await line.transact(quiet_ms=QUIET_MS)
    return line.exchange.values if ended == DONE else None


async def _walk(line, found: Inverter) -> str:
    """Find the marker and follow the chain of models, bounded in models and registers."""
    register = None
    for base in at.BASES:
        line.exchange.read(base, 2)
        ended = await line.transact(quiet_ms=QUIET_MS)
        if ended == DONE and at.is_marker(line.exchange.values):
            register = base + 2
            break
        if ended not in (DONE, REFUSED):
            return "no answer: check power, A/B crossed, baud, address"
    if register is None:
        return "the device answers and has no SunSpec map"
    for _ in range(at.MODELS_MAX):
        head = await _read(line, register, 2)
        if head is None:
            return "the chain of models breaks off at %d" % register
        model, length = head
        if model == at.END:
            return ""
        for wanted, length_min in at.WANTED:
            # of two equal models the first counts
            if model == wanted and length >= length_min and model not in found.models:
                found.models[model] = register
        register += 2 + length
        if register + 2 > _REGISTERS:
            return "the chain of models leaves the map"
    return "more than %d models" % at.MODELS_MAX


async def _learn(line, found: Inverter) -> str:
    """Read names, scale factors and the rating."""
    models = found.models
    if at.COMMON in models:
        for offset in (at.MANUFACTURER, at.PRODUCT, at.SERIAL):
            values = await _read(line, models[at.COMMON] + offset, at.STRING_COUNT)
            if values is not None:
                found.name = (found.name + " " + at.text_of(values)).strip()
    found.w_factor = await _factor(line, models[at.MEASURE_AC] + at.W_SF_701)
    if found.w_factor is None:
        return "model 701 has no scale of power"
    if at.CAPACITY in models:
        factor = await _factor(line, models[at.CAPACITY] + at.W_SF_702)
        for offset in (at.W_MAX, at.W_MAX_RTG):
            values = await _read(line, models[at.CAPACITY] + offset, 1)
            if values is not None and found.rated_mw == 0:
                rated_mw = at.milli(at.uint16(values[0]), factor)
                found.rated_mw = rated_mw if rated_mw is not None else 0
    for model, offset in ((at.BATTERY, at.BATTERY_SOC_SF), (at.STORAGE, at.PCT_SF)):
        if model in models:
            found.soc_factor = await _factor(line, models[model] + offset)
    return await _learn_setpoint(line, found)


async def _learn_setpoint(line, found: Inverter) -> str:
    """Find out whether the setpoint is in watts or, failing that, in percent of the rating."""
    controls = found.models[at.CONTROLS]
    values = await _read(line, controls + at.WSET_ENA, at.WSET_COUNT)
    if values is None:
        return "model 704 cannot be read"
    found.wset_factor = await _factor(line, controls + at.WSET_SF)
    found.in_watts = (at.is_int32(values, at.WSET - at.WSET_ENA)
                      and found.wset_factor is not None)
    if found.in_watts:
        return ""
    found.wset_factor = await _factor(line, controls + at.WSET_PCT_SF)
    if (at.int16(values[at.WSET_PCT - at.WSET_ENA]) is None or found.wset_factor is None
            or found.rated_mw == 0):
        return "model 704 has no setpoint of active power"
    return ""


async def _factor(line, register: int):
    values = await _read(line, register, 1)
    return None if values is None else at.scale_of(values[0])
