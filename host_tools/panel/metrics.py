"""Prometheus metrics, read from the service when they are asked for."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from element.protocol import codes
from host_tools.envelope.capability import SERVICE_NAMES
from host_tools.panel.service import Service, unix_ms


class _Reading(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield every metric. Units are Prometheus's base units: W, Wh, s."""
        now_ms = unix_ms()
        aggregator, building = self._service.aggregator, self._service.building
        views = aggregator.inventory.views()
        capability = aggregator.capability(now_ms)
        power = GaugeMetricFamily("cellwall_capability_watts", "Power that can be dispatched now",
                                  labels=["service", "direction"])
        energy = GaugeMetricFamily("cellwall_capability_watt_hours", "Energy to be dispatched",
                                   labels=["service", "direction"])
        for number, one in capability.by_service.items():
            for name, side in (("discharge", one.discharge), ("charge", one.charge)):
                power.add_metric([SERVICE_NAMES[number], name], side.power_mw / 1000)
                energy.add_metric([SERVICE_NAMES[number], name], side.energy_mwh / 1000)
        yield power
        yield energy
        last = aggregator.last_split
        for name, text, value in (
            ("asked_watts", "Power asked of the elements", last.asked_mw / 1000 if last else 0),
            ("admitted_watts", "Power admitted", last.admitted_mw / 1000 if last else 0),
            ("realized_watts", "Power that the elements report", sum(
                view.telemetry["power_mw"] for view in views
                if view.telemetry and view.fresh(now_ms)) / 1000),
            ("elements", "Elements known", len(views)),
            ("elements_counted", "Elements that may be planned with", aggregator.fleet.counted),
            ("elements_tripped", "Elements whose interlock is latched", sum(
                1 for view in views
                if view.telemetry and view.telemetry["state"] == codes.STATE_TRIPPED)),
            ("circuits_open", "Elements that do not answer", sum(
                1 for view in views if not view.circuit.is_closed)),
            ("zones_in_alarm", "Zones in alarm", len(aggregator.alarms.all())),
            ("quarantined", "Identities and lines in quarantine",
             len(aggregator.quarantine.entries())),
            ("discovery_age_seconds", "Age of the oldest confirmation",
             building.discovery.age_ms(views, now_ms) / 1000),
            ("discovery_stale", "1 while discovery is stale",
             int(building.discovery.is_stale(views, now_ms))),
            ("lines_down", "Lines that are not open",
             len(self._service.line_errors())),
        ):
            yield GaugeMetricFamily(f"cellwall_{name}", text, value)
        counters = aggregator.counters
        for name, text, value in (
            ("statements_verified", "Statements of elements that verified", counters.verified),
            ("statements_failed", "Statements that did not verify", counters.failed),
            ("statement_gaps", "Gaps in elements' chains", counters.gaps),
            ("setpoints_refused", "Setpoints that elements refused", counters.refused),
            ("turns", "Turns in which setpoints were sent", counters.dispatches),
        ):
            yield CounterMetricFamily(f"cellwall_{name}", text, value)


def render(service: Service) -> bytes:
    """Return the text format."""
    registry = CollectorRegistry()
    registry.register(_Reading(service))
    return generate_latest(registry)
