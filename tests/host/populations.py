"""Populations for property tests: anything that elements could say and credentials could hold."""

from typing import Any

from hypothesis import strategies as st

from element.protocol import codes
from host_tools.envelope.policy import EVERYBODY, RULES, Among, Policy
from host_tools.envelope.population import Population, Row

POWER = st.integers(0, 10_000_000)
NOW_MS = 1_000_000


@st.composite
def rows(draw: Any) -> Row:
    """Return one element: regulated or on/off, in any state."""
    nameplate = draw(POWER)
    step = nameplate if draw(st.booleans()) else 0
    return Row(
        discharge_mw=step if step and draw(st.booleans()) else draw(st.integers(0, nameplate)),
        charge_mw=step if step and draw(st.booleans()) else draw(st.integers(0, nameplate)),
        discharge_mwh=draw(st.sampled_from([0, 10, 1000, 10_000_000])),
        charge_mwh=draw(st.sampled_from([0, 10, 1000, 10_000_000])),
        instructed_mw=draw(st.integers(-nameplate, nameplate)),
        soc_bp=draw(st.integers(0, 10000)), soh_bp=draw(st.integers(1, 10000)),
        step_mw=step, on_ms_min=draw(st.sampled_from([0, 3000])),
        off_ms_min=draw(st.sampled_from([0, 2000])),
        services=draw(st.sampled_from([0x3F, codes.SERVICE_REGULATION, 0])),
        response_ms=draw(st.sampled_from([100, 1000, 5000, 60_000])),
        ramp_mw_per_s=draw(st.sampled_from([1_000_000_000, 1_000_000, 10_000])),
        phase=draw(st.sampled_from([0, 0, 1, 2, 3])), priority=draw(st.integers(0, 2)),
        place=draw(st.integers(0, 2)),
        wear=draw(st.integers(1, 90_000)), nameplate_discharge_mw=nameplate,
        nameplate_charge_mw=nameplate, nameplate_mwh=10_000_000)


@st.composite
def populations(draw: Any, size_max: int = 12) -> Population:
    """Return a population whose on/off elements have run or rested for a while."""
    elements = draw(st.lists(rows(), max_size=size_max))
    population = Population({bytes([at]) * 8: row for at, row in enumerate(elements)})
    for at in range(len(population)):
        if population.column("step_mw")[at]:
            population.column("level")[at] = draw(st.sampled_from([-1, 0, 0, 1]))
            population.column("since_ms")[at] = NOW_MS - draw(
                st.sampled_from([0, 1500, 2999, 3500, 10_000]))
    return population


POLICIES = st.builds(
    Policy, rule=st.sampled_from(RULES), partial=st.booleans(),
    headroom_bp=st.sampled_from([0, 1000, 10000]),
    reserve_mwh=st.sampled_from([0, 5000, 10_000_000]),
    deadband_mw=st.sampled_from([0, 50_000]),
    phase_spread_bp=st.sampled_from([0, 2000, 10000]),
    source_mohm=st.sampled_from([0, 50, 100_000]),
    wear_rise_bp=st.sampled_from([0, 10000]))

AMONG = st.one_of(st.just(EVERYBODY), st.builds(
    Among, st.one_of(st.none(), st.frozensets(st.integers(0, 2))),
    st.sampled_from([0, 5000, 9000])))
