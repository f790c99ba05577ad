"""What the service knows, as the API's replies. Reads only."""

import hashlib

from element.protocol import codes, texts
from host_tools.envelope.capability import HORIZONS_MS, SERVICE_NAMES
from host_tools.envelope.capability import Direction as Side
from host_tools.inventory.elements import ElementView
from host_tools.ledger.dispatches import Dispatch
from host_tools.panel import api_models as out
from host_tools.panel.service import Service

# The loop has not turned for this long: something blocks it.
TURN_MS_MAX = 5000


def dispatch_reply(one: Dispatch) -> out.DispatchReply:
    """Return an instruction."""
    return out.DispatchReply(
        id=one.id, key=one.key.split(":", 1)[-1], source=one.source, state=one.state,
        power_mw=one.power_mw, admitted_mw=one.admitted_mw, shortfall_mw=one.shortfall_mw,
        reason=one.reason, service=SERVICE_NAMES.get(one.service, str(one.service)),
        start_unix_ms=one.start_unix_ms, end_unix_ms=one.end_unix_ms, partial=one.partial,
        received_unix_ms=one.received_unix_ms)


def _direction(side: Side) -> out.Direction:
    return out.Direction(
        power_mw=side.power_mw, energy_mwh=side.energy_mwh,
        sustained_mw={str(ms // 1000): power_mw for ms, power_mw in
                      zip(HORIZONS_MS, side.sustained_mw, strict=True)},
        expected_mw=side.expected_mw, expected_mwh=side.expected_mwh)


def capability_reply(service: Service, now_ms: int) -> out.CapabilityReply:
    """Return what the building can do now, expected and current values side by side."""
    building, aggregator = service.building, service.aggregator
    views = aggregator.inventory.views()
    capability = aggregator.capability(now_ms)
    return out.CapabilityReply(
        at_unix_ms=now_ms, stale=building.discovery.is_stale(views, now_ms),
        age_ms=building.discovery.age_ms(views, now_ms), elements_known=len(views),
        elements_counted=aggregator.fleet.counted,
        zones_in_alarm=[one.zone for one in aggregator.alarms.all()],
        services={
            SERVICE_NAMES[number]: out.ServiceCapability(
                discharge=_direction(one.discharge), charge=_direction(one.charge),
                response_ms=one.response_ms, element_count=one.element_count)
            for number, one in capability.by_service.items()})


def element_reply(service: Service, view: ElementView, now_ms: int) -> out.ElementReply:
    """Return one element."""
    told = view.telemetry
    announced = view.announcement
    trip = told["trip_cause"] if told else 0
    missing = 0 if announced is None else max(0, announced["counter"] - view.last_counter)
    return out.ElementReply(
        id=view.element_id.hex(), line=service.aggregator.line_of(view), zone=view.zone,
        tenant=view.tenant, chemistry=view.profile["chemistry"], role=view.profile["role"],
        phase=view.placement.phase, backup_mwh=view.placement.backup_mwh,
        place=service.responders.places[view.placement.place],
        state=texts.name_of(texts.STATE_NAMES, told["state"] if told else codes.STATE_UNKNOWN),
        hold=view.hold, circuit=view.circuit.state, circuit_why=view.circuit.why,
        answer_ms=view.circuit.answer_ms_mean, late_link=view.circuit.is_late,
        announced=view.announced,
        telemetry_age_ms=now_ms - view.telemetry_at_ms if told else None,
        power_mw=told["power_mw"] if told else None,
        instructed_mw=told["instructed_mw"] if told else None,
        soc_bp=told["soc_bp"] if told else None, soh_bp=view.soh_bp,
        trip=texts.name_of(texts.TRIP_NAMES, trip) if trip else None,
        last_counter=view.last_counter, missing_statements=missing)


def inventory_reply(service: Service, now_ms: int) -> out.InventoryReply:
    """Return who is here."""
    building = service.building
    views = service.aggregator.inventory.views()
    delta = building.last_delta
    return out.InventoryReply(
        sha256=hashlib.sha256(building.inventory_document).hexdigest(),
        elements=building.inventory, added=list(delta.added), removed=list(delta.removed),
        changed={name: list(keys) for name, keys in delta.changed.items()},
        full_rounds=building.discovery.full_count,
        stale=building.discovery.is_stale(views, now_ms),
        age_ms=building.discovery.age_ms(views, now_ms))


def alarm_replies(service: Service) -> list[out.AlarmReply]:
    """Return the zones in alarm."""
    return [out.AlarmReply(zone=one.zone, source=one.source, since_unix_ms=one.since_ms,
                           input_on=one.input_on)
            for one in service.aggregator.alarms.all()]


def health_reply(service: Service, now_ms: int) -> out.HealthReply:
    """Return whether the service is well, and what is not."""
    problems = []
    late_ms = now_ms - service.turned_ms
    if late_ms > TURN_MS_MAX:
        problems.append(f"the last turn was {late_ms} ms ago")
    problems += [f"line {name}: {error}" for name, error in service.line_errors().items()]
    views = service.aggregator.inventory.views()
    if service.building.discovery.is_stale(views, now_ms):
        problems.append("discovery is stale")
    problems += [f"{one.what} in quarantine: {one.why}"
                 for one in service.aggregator.quarantine.entries()]
    status = "failing" if late_ms > TURN_MS_MAX else "degraded" if problems else "good"
    return out.HealthReply(status=status, problems=problems[:100],
                           uptime_s=(now_ms - service.started_ms) // 1000)


def support_reply(service: Service, now_ms: int) -> out.SupportReply:
    """Return the mode of grid support and where a black start stands."""
    support, aggregator = service.support, service.aggregator
    start, measured = support.black_start, support.measured
    step = start.step
    return out.SupportReply(
        mode=support.mode.name, since_unix_ms=support.mode.since_ms, why=support.mode.why,
        curve=support.curve.name if support.curve else None, required_mw=support.required_mw,
        responders=aggregator.fleet.count(codes.SERVICE_FREQUENCY, support.among),
        measurement_age_ms=now_ms - measured.at_ms if measured else None,
        black_start=start.state, black_start_step=step.name if step else "",
        black_start_asks=f"{step.by}: {step.what}" if step else "", black_start_why=start.why)
