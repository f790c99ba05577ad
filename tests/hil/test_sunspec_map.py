"""Hold the firmware's offsets and frames against pysunspec2's published models and pymodbus."""

from random import Random
from typing import Any

import pytest
from pymodbus.framer.rtu import FramerRTU
from pymodbus.pdu import DecodePDU
from sunspec2.device import Model

from element.power import modbus
from element.power import sunspec_map as at

POINTS = [
    (1, "Mn", at.MANUFACTURER), (1, "Md", at.PRODUCT), (1, "SN", at.SERIAL),
    (701, "St", at.ST), (701, "InvSt", at.INV_ST), (701, "ConnSt", at.CONN_ST),
    (701, "Alrm", at.ALRM), (701, "W", at.W), (701, "W_SF", at.W_SF_701),
    (702, "WMaxRtg", at.W_MAX_RTG), (702, "WMax", at.W_MAX), (702, "W_SF", at.W_SF_702),
    (703, "ES", at.ES),
    (704, "WSetEna", at.WSET_ENA), (704, "WSetMod", at.WSET_MOD), (704, "WSet", at.WSET),
    (704, "WSetRvrt", at.WSET_RVRT), (704, "WSetPct", at.WSET_PCT),
    (704, "WSetPctRvrt", at.WSET_PCT_RVRT), (704, "WSetEnaRvrt", at.WSET_ENA_RVRT),
    (704, "WSetRvrtTms", at.WSET_RVRT_TMS), (704, "WSetRvrtRem", at.WSET_RVRT_REM),
    (704, "WSet_SF", at.WSET_SF), (704, "WSetPct_SF", at.WSET_PCT_SF),
    (713, "SoC", at.SOC), (713, "Sta", at.STA), (713, "Pct_SF", at.PCT_SF),
    (802, "SoC", at.BATTERY_SOC), (802, "SoC_SF", at.BATTERY_SOC_SF),
]


@pytest.mark.parametrize(("number", "name", "offset"), POINTS)
def test_offsets_are_the_published_ones(number: int, name: str, offset: int) -> None:
    assert Model(number).points[name].offset == offset


def test_types_and_lengths_are_the_published_ones() -> None:
    types = {(number, name): Model(number).points[name].pdef["type"]
             for number, name, _ in POINTS}
    assert types[701, "W"] == "int16" and types[701, "Alrm"] == "bitfield32"
    assert types[704, "WSet"] == types[704, "WSetRvrt"] == "int32"
    assert types[704, "WSetPct"] == "int16" and types[704, "WSetRvrtTms"] == "uint32"
    assert types[702, "WMax"] == types[713, "SoC"] == "uint16"
    for number, length_min in at.WANTED:
        last = max(offset for one, _, offset in POINTS if one == number or number == 802)
        assert last - 1 <= length_min <= Model(number).len - 2 or number == 802
    assert at.WSET_COUNT == at.WSET_RVRT_REM + 2 - at.WSET_ENA
    assert at.MEASURE_COUNT == at.W + 1 - at.ST


def symbols(number: int, name: str) -> dict[str, int]:
    """Return the values of an enumeration by name."""
    return {one["name"]: one["value"] for one in Model(number).points[name].pdef["symbols"]}


def test_enumerations_are_the_published_ones() -> None:
    states = symbols(701, "InvSt")
    ours = {"OFF": at.INV_OFF, "SLEEPING": at.INV_SLEEPING, "STARTING": at.INV_STARTING,
            "RUNNING": at.INV_RUNNING, "THROTTLED": at.INV_THROTTLED,
            "SHUTTING_DOWN": at.INV_SHUTTING_DOWN, "FAULT": at.INV_FAULT,
            "STANDBY": at.INV_STANDBY}
    assert states == ours
    alarms = symbols(701, "Alrm")
    wanted = ("AC_DISCONNECT", "DC_DISCONNECT", "GRID_DISCONNECT", "UNDER_FREQUENCY",
              "AC_UNDER_VOLT")
    assert sum(1 << alarms[name] for name in wanted) == at.ALARMS_OPEN
    assert symbols(704, "WSetMod") == {"W_MAX_PCT": at.MODE_PCT, "WATTS": at.MODE_WATTS}


def test_the_published_sign_is_ours() -> None:
    """Positive is generation in 701, and 704 is negative for charging: nothing to flip."""
    assert "positive for DER generation" in Model(701).points["W"].pdef["desc"]
    assert "negative for charging" in Model(704).points["WSetEna"].pdef["comments"][0]


def judged(value: Any, factor: int) -> Any:
    """Return what pysunspec2 makes of a raw power and its scale factor, in mW."""
    model = Model(701)
    model.points["W_SF"].value = factor
    model.points["W"].value = value
    return model.points["W"].cvalue


def test_scales_agree_with_pysunspec2() -> None:
    rng = Random(3)
    for _ in range(500):
        raw, factor = rng.randint(-32767, 32767), rng.randint(-5, 3)
        ours = at.milli(raw, factor)
        assert ours is not None
        assert ours == pytest.approx(judged(raw, factor) * 1000, abs=1)


def test_words_agree_with_pysunspec2() -> None:
    model = Model(704)
    for value in (0, 1, -1, 2500, -2500, 2**31 - 1, -2**31 + 1):
        model.points["WSet"].value = value
        data = model.points["WSet"].get_mb()
        assert at.words_of(value) == (data[0] << 8 | data[1], data[2] << 8 | data[3])
    for point in ("WSet", "WSetPct"):
        blank = Model(704).points[point].get_mb()
        words = [blank[index] << 8 | blank[index + 1] for index in range(0, len(blank), 2)]
        unset = not at.is_int32(words, 0) if len(words) == 2 else at.int16(words[0]) is None
        assert unset
    assert at.int16(0x8000) is None and Model(701).points["W"].get_mb() == b"\x80\x00"
    assert Model(702).points["WMax"].get_mb() == b"\xff\xff"
    model = Model(1)
    model.points["Mn"].value = "Cellwall"
    data = model.points["Mn"].get_mb()
    assert at.text_of([data[index] << 8 | data[index + 1] for index in range(0, 32, 2)]) \
        == "Cellwall"


def test_requests_are_what_pymodbus_decodes() -> None:
    framer = FramerRTU(DecodePDU(True))
    rng = Random(5)
    for _ in range(300):
        exchange = modbus.Exchange(rng.randint(1, 247))
        register = rng.randint(0, 65000)
        values = [rng.randint(0, 65535) for _ in range(rng.randint(1, 20))]
        exchange.read(register, len(values))
        _, request = framer.handleFrame(exchange.request, 0, 0)
        assert request is not None and request.function_code == 3
        assert (request.address, request.count) == (register, len(values))
        exchange.write(register, values)
        _, request = framer.handleFrame(exchange.request, 0, 0)
        assert request is not None and request.function_code == 16
        assert (request.address, list(request.registers)) == (register, values)
        exchange.write_one(register, values[0])
        _, request = framer.handleFrame(exchange.request, 0, 0)
        assert request is not None and request.function_code == 6
        assert (request.address, list(request.registers)) == (register, values[:1])
        body = exchange.request[:-2]
        assert FramerRTU.compute_CRC(body).to_bytes(2, "little") == modbus.crc16(
            body, len(body)).to_bytes(2, "big")
