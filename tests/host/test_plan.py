"""Dispatch: nothing outside any envelope, exact sums, no order effects, for any population."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from element.protocol import codes
from host_tools.dispatch.plan import Plan, dispatch
from host_tools.envelope import ceilings as ceil
from host_tools.envelope.capability import (
    HORIZONS_MS,
    NOW_MS,
    SERVICES,
    CapabilityBook,
)
from host_tools.envelope.policy import RULES, Among, Instruction, Policy
from host_tools.envelope.population import HOLD_MARGIN_MS, Population, Row

from . import populations as pop

POWERS = st.one_of(st.integers(-60_000_000, 60_000_000), st.integers(-5000, 5000))
SERVICE = st.sampled_from([codes.SERVICE_REGULATION, codes.SERVICE_ENERGY,
                           codes.SERVICE_FREQUENCY,
                           codes.SERVICE_REGULATION | codes.SERVICE_ENERGY])
DURATION = st.sampled_from([2000, 60_000, 3_600_000])


def check_envelopes(population: Population, policy: Policy, instruction: Instruction,
                    plan: Plan) -> None:
    """Assert that a plan keeps every limit, each computed here by plain arithmetic."""
    column = population.column
    seconds = max(1, -(-instruction.duration_ms // 1000))
    for at, part in enumerate(plan.parts_mw.tolist()):
        if not part:
            continue
        way = "discharge" if part > 0 else "charge"
        size, step = abs(part), int(column("step_mw")[at])
        full = step or size
        services, response = int(column("services")[at]), int(column("response_ms")[at])
        assert services & instruction.service == instruction.service
        among = instruction.among
        assert among.places is None or column("place")[at] in among.places
        assert column("soh_bp")[at] >= among.soh_bp_min
        for service, limit_ms in codes.SERVICE_RESPONSE_MS:
            assert not (service & instruction.service) or response <= limit_ms
        assert size <= full <= column(f"{way}_mw")[at]
        # the element's own rule: energy of the whole duration within every envelope's room
        assert full * seconds <= int(column(f"{way}_mwh")[at]) * 3600
        reach = int(column("ramp_mw_per_s")[at]) // 10 * (instruction.lease_ms // 10) // 10
        sign, told = (1 if part > 0 else -1), int(column("instructed_mw")[at])
        assert abs(part - told) <= reach or size <= told * sign
        if step and column("level")[at] != sign:
            rested = instruction.now_ms - int(column("since_ms")[at])
            assert rested >= column("off_ms_min")[at] + HOLD_MARGIN_MS
            assert column("level")[at] == 0
    phases = tuple(int(plan.parts_mw[column("phase") == one].sum()) for one in (1, 2, 3))
    assert ceil.phase_error(phases, policy) == "", phases
    total = plan.admitted_mw
    able = sum(int(v) for v in np.where(
        ceil.eligible(population, instruction.service, instruction.among),
        column("discharge_mw" if total > 0 else "charge_mw"), 0))
    assert abs(total) <= able * (10000 - policy.headroom_bp) // 10000
    if total > 0 and policy.reserve_mwh:
        room = int(np.where(ceil.eligible(population, instruction.service, instruction.among),
                            column("discharge_mwh"), 0).sum())
        assert total * seconds <= max(0, room - policy.reserve_mwh) * 3600


@settings(max_examples=250, deadline=None)
@given(pop.populations(), pop.POLICIES, POWERS, SERVICE, DURATION, pop.AMONG,
       st.sampled_from(["", *RULES]))
def test_no_plan_leaves_an_envelope_and_every_sum_is_exact(
    population: Population, policy: Policy, power_mw: int, service: int, duration_ms: int,
    among: Among, rule: str,
) -> None:
    instruction = Instruction(power_mw, service, duration_ms, now_ms=pop.NOW_MS, among=among,
                              rule=rule)
    plan = dispatch(population, policy, instruction)
    assert int(plan.parts_mw.sum()) == plan.admitted_mw
    check_envelopes(population, policy, instruction, plan)
    assert plan.shortfall_mw == abs(power_mw - plan.admitted_mw)
    # never silently: what is not admitted has its reason
    assert plan.admitted_mw == power_mw or plan.limited_by
    assert abs(plan.admitted_mw) <= abs(power_mw) or not plan.shortfall_mw
    if plan.limited_by and not policy.partial and plan.limited_by != (ceil.BY_RAMP,):
        assert plan.refused and not plan.parts_mw.any()
    levels = np.sign(plan.parts_mw) * (population.column("step_mw") > 0)
    assert (plan.levels == levels).all()


@settings(max_examples=120, deadline=None)
@given(pop.populations(), pop.POLICIES, DURATION, SERVICE)
def test_capability_is_what_can_be_dispatched_and_no_more(
    population: Population, policy: Policy, duration_ms: int, service: int,
) -> None:
    book = CapabilityBook(population, policy)
    capability = book.compute(pop.NOW_MS)
    for one in SERVICES:
        for sign, side in ((1, capability[one].discharge), (-1, capability[one].charge)):
            for horizon_ms, advertised in zip((NOW_MS, *HORIZONS_MS),
                                              (side.power_mw, *side.sustained_mw), strict=True):
                instruction = Instruction(sign * advertised, one, horizon_ms,
                                          previous_mw=sign * advertised, now_ms=pop.NOW_MS,
                                          partial=False)
                plan = dispatch(population, policy, instruction)
                assert plan.admitted_mw == sign * advertised and not plan.refused
                more = dispatch(population, policy, Instruction(
                    sign * (advertised + 1), one, horizon_ms,
                    previous_mw=sign * (advertised + 1), now_ms=pop.NOW_MS, partial=True))
                assert abs(more.admitted_mw) <= advertised + (1 if policy.deadband_mw else 0)
    # it follows changes of single rows exactly as if it were computed anew
    if len(population):
        population.set(population.ids[0], (7, 8, 10_000, 10_000, 0, 5000, 9000))
        again = CapabilityBook(population, policy)
        assert book.compute(pop.NOW_MS + 500) == again.compute(pop.NOW_MS + 500)


@settings(max_examples=100, deadline=None)
@given(st.lists(pop.rows(), min_size=1, max_size=8), pop.POLICIES, POWERS, st.randoms())
def test_the_order_of_arrival_changes_nothing(
    rows: list[Row], policy: Policy, power_mw: int, random: Any,
) -> None:
    named = [(bytes([at]) * 8, row) for at, row in enumerate(rows)]
    instruction = Instruction(power_mw, now_ms=pop.NOW_MS)
    first = dispatch(Population(dict(named)), policy, instruction)
    random.shuffle(named)
    shuffled = Population(dict(named))
    for element_id, row in named:  # and so does the order of the last words
        shuffled.set(element_id, (row.discharge_mw, row.charge_mw, row.discharge_mwh,
                                  row.charge_mwh, row.instructed_mw, row.soc_bp, row.soh_bp))
    second = dispatch(shuffled, policy, instruction)
    assert first.parts_mw.tolist() == second.parts_mw.tolist()
    assert (first.cursor, first.limited_by) == (second.cursor, second.limited_by)


def regulated(count: int, **changes: Any) -> dict[bytes, Row]:
    """Return equal elements of 1 kW."""
    fields: dict[str, Any] = {
        "discharge_mw": 1_000_000, "charge_mw": 1_000_000, "discharge_mwh": 10**7,
        "charge_mwh": 10**7, "services": 0x3F, "response_ms": 100,
        "nameplate_discharge_mw": 1_000_000, "nameplate_charge_mw": 1_000_000} | changes
    return {bytes([at]) * 8: Row(**fields) for at in range(count)}


def test_round_robin_takes_turns_from_instruction_to_instruction() -> None:
    population = Population(regulated(4))
    cursor, used = b"", []
    for _ in range(4):
        plan = dispatch(population, Policy("round_robin"),
                        Instruction(1_500_000, cursor=cursor))
        used.append(np.flatnonzero(plan.parts_mw).tolist())
        cursor = plan.cursor
    assert used == [[0, 1], [2, 3], [0, 1], [2, 3]]


def test_each_rule_prefers_what_it_says() -> None:
    ids = [bytes([at]) * 8 for at in range(2)]
    base = regulated(1)[bytes(8)]

    def pair(**second: Any) -> Population:
        return Population({ids[0]: base, ids[1]: Row(**(base.__dict__ | second))})

    parts = {}
    for rule, second in (("soh_weighted", {"soh_bp": 5000}),
                         ("soc_balancing", {"discharge_mwh": 5 * 10**6}),
                         ("economic", {"wear": 3}), ("proportional", {"soh_bp": 5000})):
        plan = dispatch(pair(**second), Policy(rule), Instruction(900_000))
        parts[rule] = (plan.parts_mw / 1000).round().astype(int).tolist()
    assert parts["soh_weighted"] == [600, 300]
    assert parts["soc_balancing"] == [600, 300]
    assert parts["economic"] == [900, 0]
    assert parts["proportional"] == [450, 450]


def test_fast_frequency_response_is_ramped_and_says_so() -> None:
    population = Population(regulated(10))
    plan = dispatch(population, Policy(), Instruction(
        10_000_000, codes.SERVICE_FREQUENCY, previous_mw=0, dt_ms=500))
    assert plan.admitted_mw == 1_500_000 and plan.limited_by == (ceil.BY_RAMP,)
    assert dispatch(population, Policy(), Instruction(10_000_000)).admitted_mw == 10_000_000


def test_a_small_change_within_the_dead_band_is_none() -> None:
    population = Population(regulated(10))
    policy = Policy(deadband_mw=50_000)
    for asked, admitted in ((1_050_000, 1_000_000), (1_050_001, 1_050_001), (0, 0)):
        plan = dispatch(population, policy, Instruction(asked, previous_mw=1_000_000))
        assert plan.admitted_mw == admitted


def test_a_structural_envelope_is_refused_whole_with_its_shortfall_or_admitted_in_part() -> None:
    # a column whose swing has room for 100 Wh: an hour of 1 kW is out of the question
    population = Population(regulated(1, discharge_mwh=100_000))
    hour = Instruction(1_000_000, codes.SERVICE_ENERGY, 3_600_000)
    refused = dispatch(population, Policy(partial=False), hour)
    assert refused.refused and refused.admitted_mw == 0 and refused.shortfall_mw == 1_000_000
    assert refused.limited_by == (ceil.BY_ENVELOPE,)
    part = dispatch(population, Policy(partial=True), hour)
    assert part.admitted_mw == 100_000 and part.shortfall_mw == 900_000 and not part.refused


def test_phases_stay_balanced_or_the_shortfall_is_stated() -> None:
    rows = regulated(9)
    rows = {one: Row(**(row.__dict__ | {"phase": 1 if at < 6 else 2 if at < 8 else 3}))
            for at, (one, row) in enumerate(rows.items())}
    population = Population(rows)
    plan = dispatch(population, Policy(), Instruction(9_000_000))
    # 1 kW on the weakest phase allows 1.25 kW on the others
    assert plan.admitted_mw == 3_500_000 and plan.limited_by == (ceil.BY_PHASE,)
    assert dispatch(population, Policy(phase_spread_bp=10000),
                    Instruction(9_000_000)).admitted_mw == 9_000_000


def test_on_off_elements_run_whole_steps_and_hold_their_times() -> None:
    rows = regulated(2) | {
        bytes([9 + at]) * 8: Row(**(regulated(1)[bytes(8)].__dict__ | {
            "step_mw": 1_000_000, "on_ms_min": 3000, "off_ms_min": 2000, "soc_bp": 4000 + at}))
        for at in range(4)}
    population = Population(rows)
    now_ms = pop.NOW_MS
    plan = dispatch(population, Policy(), Instruction(3_300_000, now_ms=now_ms))
    assert plan.admitted_mw == 3_300_000
    steps = plan.parts_mw[2:].tolist()
    assert sorted(steps) == [0, 0, 1_000_000, 1_000_000] and steps[3] == 1_000_000
    population.take(plan.levels, now_ms)
    # a little less a second later: those that have just switched go on
    plan = dispatch(population, Policy(), Instruction(1_000_000, now_ms=now_ms + 1000))
    assert plan.parts_mw[2:].tolist() == steps and plan.admitted_mw == 1_000_000
    population.take(plan.levels, now_ms + 1000)
    plan = dispatch(population, Policy(), Instruction(1_000_000, now_ms=now_ms + 5000))
    assert sorted(plan.parts_mw[2:].tolist()) == [0, 0, 0, 1_000_000]


@pytest.mark.parametrize("rule", RULES)
def test_an_empty_population_admits_nothing_and_says_why(rule: str) -> None:
    plan = dispatch(Population({}), Policy(rule), Instruction(1000))
    assert plan.admitted_mw == 0 and plan.limited_by == (ceil.BY_POWER,)
