"""How much each element, each phase and the building may carry, in one direction. Pure.

Dispatch and capability both ask here, so what is advertised can be dispatched.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from element.protocol import codes
from host_tools.envelope.policy import EVERYBODY, PHASE_MW_MIN, Among, Instruction, Policy
from host_tools.envelope.population import (
    HOLD_MARGIN_MS,
    PHASES,
    THREE_PHASE,
    Ints,
    Population,
    Rows,
)

GROUPS = (THREE_PHASE, *PHASES)
# Why less than what was asked can be admitted: the first ceiling, in this order, that is below it.
BY_POWER = "power"  # what the elements are ready for, in this class of service
BY_ENVELOPE = "envelope"  # energy: depth of discharge, thermal, mechanical and cycling envelopes
BY_PHASE = "phase balance"
BY_HEADROOM = "headroom"
BY_RESERVE = "reserve"
BY_RAMP = "ramp"
# A total is split over the phases in whole mW.
ROUNDING_MW = 2
_ANY_MW = 1 << 60


@dataclass(frozen=True)
class Ceilings:
    """One direction. caps_mw: of each element. groups_mw: of each of GROUPS, in total.

    ladder: (reason, building's ceiling once that reason is counted), never rising.
    """

    sign: int
    caps_mw: Ints
    groups_mw: tuple[int, ...]
    ladder: tuple[tuple[str, int], ...]

    @property
    def total_mw(self) -> int:
        """What the building may carry."""
        return self.ladder[-1][1]

    def reason(self, size_mw: int) -> str:
        """Return which ceiling is below a power, "" when none is."""
        for reason, ceiling_mw in self.ladder:
            if size_mw > ceiling_mw:
                return reason
        return ""


def response_ms_max(service: int) -> int:
    """Return in how many ms an element must respond to take part in all classes of a service."""
    return min((limit for known, limit in codes.SERVICE_RESPONSE_MS if service & known),
               default=0)


def eligible(population: Population, service: int, among: Among = EVERYBODY
             ) -> npt.NDArray[np.bool_]:
    """Return who is credentialed, and fast enough, for every class of a service, and among them
    that may take part."""
    services, response = population.column("services"), population.column("response_ms")
    able = (services & service == service) & (response <= response_ms_max(service))
    if among.places is not None:
        able &= np.isin(population.column("place"), sorted(among.places))
    if among.soh_bp_min:
        able &= population.column("soh_bp") >= among.soh_bp_min
    return able


def power_from_energy_mw(energy_mwh: Ints, duration_ms: int) -> Ints:
    """Return the power that an energy lasts for, rounded down; part of a second counts whole."""
    return energy_mwh * 3600 // seconds(duration_ms)


def seconds(duration_ms: int) -> int:
    """Return a duration in s, rounded up, at least one."""
    return max(1, -(-duration_ms // 1000))


def ceilings(population: Population, policy: Policy, sign: int, asked: Instruction) -> Ceilings:
    """Return what may be carried in a direction for an instruction's duration, whatever its power.

    sign: 1 discharge, -1 charge.
    """
    duration_ms = asked.duration_ms
    ready = np.where(eligible(population, asked.service, asked.among),
                     able_mw(population, sign, asked.lease_ms, asked.now_ms), 0)
    room = population.column(f"{way_of(sign)}_mwh")
    caps = capped_mw(population, ready, room, duration_ms)
    groups = _groups_mw(population, caps)
    room_mwh = int(room[ready > 0].sum()) if sign > 0 and policy.reserve_mwh else 0
    return Ceilings(sign, caps, balanced_mw(groups, policy),
                    ladder_of(int(ready.sum()), groups, policy, sign, room_mwh, duration_ms))


def way_of(sign: int) -> str:
    """Return the begin of the names of a direction's columns."""
    return "discharge" if sign > 0 else "charge"


def able_mw(population: Rows, sign: int, lease_ms: int, now_ms: int) -> Ints:
    """Return the power that each element can be at within a lease, whatever the service."""
    able = np.minimum(population.column(f"{way_of(sign)}_mw"),
                      _reach_mw(population, sign, lease_ms))
    step = population.column("step_mw")
    if not step.any():
        return able
    return np.where(step > 0, _steps_mw(population, able, sign, now_ms), able)


def capped_mw(population: Rows, ready: Ints, room: Ints, duration_ms: int) -> Ints:
    """Return ready powers as far as the envelopes' room carries them for duration_ms."""
    caps = np.minimum(ready, power_from_energy_mw(room, duration_ms))
    step = population.column("step_mw")
    return np.where(caps < step, 0, caps) if step.any() else caps


def ladder_of(ready_mw: int, groups_mw: tuple[int, ...], policy: Policy, sign: int,
              room_mwh: int, duration_ms: int) -> tuple[tuple[str, int], ...]:
    """Return what is left of a power after each reason. room_mwh: of all elements that are ready.

    groups_mw: the sums of the elements' caps in each of GROUPS.
    """
    ladder = [(BY_POWER, ready_mw), (BY_ENVELOPE, sum(groups_mw)),
              (BY_PHASE, sum(balanced_mw(groups_mw, policy)))]
    ladder.append((BY_HEADROOM, ladder[-1][1] * (10000 - policy.headroom_bp) // 10000))
    total_mw = ladder[-1][1]
    if sign > 0 and policy.reserve_mwh:
        spare_mwh = max(0, room_mwh - policy.reserve_mwh)
        total_mw = min(total_mw, spare_mwh * 3600 // seconds(duration_ms))
    ladder.append((BY_RESERVE, total_mw))
    return tuple(ladder)


def _reach_mw(population: Rows, sign: int, lease_ms: int) -> Ints:
    """Return how far each element's own ramp lets it come within a lease."""
    # as limits.ramp_reach_mw on the element, which refuses what it cannot reach
    reach = population.column("ramp_mw_per_s") // 10 * (lease_ms // 10) // 10
    return np.maximum(0, population.column("instructed_mw") * sign + reach)


def _steps_mw(population: Rows, ready: Ints, sign: int, now_ms: int) -> Ints:
    """Return the one power of each on/off element, 0 where it is not to be had now."""
    step, level = population.column("step_mw"), population.column("level")
    held = (level != sign) & (now_ms - population.column("since_ms")
                              < population.column("off_ms_min") + HOLD_MARGIN_MS)
    # one that runs the other way has to stop, and rest, first
    return np.where((ready >= step) & ~held & (level != -sign), step, 0)


def _groups_mw(population: Population, caps: Ints) -> tuple[int, ...]:
    """Return the sums of each of GROUPS. Exact below 2**53, which is beyond any population."""
    sums = np.bincount(population.column("phase"), caps, len(GROUPS))
    return tuple(int(one) for one in sums)


def balanced_mw(groups_mw: tuple[int, ...], policy: Policy) -> tuple[int, ...]:
    """Return the ceilings of the groups with which every share of them keeps the phase limits.

    All single-phase elements of a building share each total in proportion to these ceilings, so
    it is enough that the ceilings themselves keep within the limits. A site without single-phase
    elements has nothing to balance.
    """
    three, *phases = groups_mw
    if not any(phases):
        return groups_mw
    least = min(phases)
    most = least + max(PHASE_MW_MIN, most_spread_mw(least, policy))
    return (three, *(min(most, one) for one in phases))


def most_spread_mw(least_mw: int, policy: Policy) -> int:
    """Return by how much the most loaded phase may be above the least loaded one.

    With x the most: x - least <= spread * x. The largest deviation from the mean of three is at
    most two thirds of their range.
    """
    spread_mw = _ANY_MW
    if policy.phase_spread_bp < 10000:
        spread_mw = least_mw * policy.phase_spread_bp // (10000 - policy.phase_spread_bp)
    unbalance_mw = policy.unbalance_mw
    return spread_mw if unbalance_mw is None else min(spread_mw, unbalance_mw * 3 // 2)


def phase_error(parts_mw: tuple[int, int, int], policy: Policy) -> str:
    """Return which limit the powers of the three phases violate, "" for none. Any sign."""
    high, low = max(parts_mw), min(parts_mw)
    if high - low <= PHASE_MW_MIN:
        return ""
    largest = max(abs(high), abs(low))
    if (high - low - ROUNDING_MW) * 10000 > largest * policy.phase_spread_bp:
        return BY_PHASE
    mean_3 = sum(parts_mw)
    limit_mw = policy.unbalance_mw
    if limit_mw is not None and any(abs(3 * one - mean_3) > 3 * (limit_mw + ROUNDING_MW)
                                    for one in parts_mw):
        return "voltage unbalance"
    return ""
