"""The service in the panel: one event loop with lines, inputs, the building and its API."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from element.protocol import codes
from element.protocol.errors import BusError
from host_tools.aggregator import Aggregator
from host_tools.envelope.policy import Among
from host_tools.identity import admission
from host_tools.inventory.discovery import Discovery
from host_tools.inventory.elements import Placement
from host_tools.ledger.dispatches import Dispatch
from host_tools.ledger.store import Ledger
from host_tools.links.bus_link import SCHEME
from host_tools.panel.building import Building, Event
from host_tools.panel.buses import Bus
from host_tools.panel.check import Loaded
from host_tools.panel.inputs import Input, Points
from host_tools.panel.lines import Line, Lines
from host_tools.panel.parent import ParentEnd
from host_tools.panel.parent_line import ParentLine
from host_tools.support.controller import Support
from host_tools.support.modes import Nominal

# After a request to stop, elements get this long to hear that they are to be at zero.
STOP_S = 1.0
IDLE_S_MAX = 0.1
# Nothing of the inventory has changed for so long: it stays.
SETTLE_MS = 10_000


def unix_ms() -> int:
    """Return the time of day."""
    return time.time_ns() // 1_000_000


class Service:
    """One panel. log(kind, fields) gets every event; it must not wait."""

    def __init__(self, loaded: Loaded, log: Callable[..., None]) -> None:
        """Raises BusError for a database or keys that cannot be used."""
        config = loaded.config
        self.loaded = loaded
        self.started_ms = unix_ms()
        self.interrupted = False
        self._settled = (0, 0)  # (version of the inventory, when it will have settled)
        self.listeners: set[asyncio.Queue[Event]] = set()
        self._log = log
        self._wake = asyncio.Event()
        self.ledger = Ledger(loaded.ledger_url)
        keyring = loaded.site.keyring()
        self.responders = config.support.responders(one.place for one in config.elements)
        placements = self._placements(list(keyring.known))
        policy = config.policy
        self.aggregator = Aggregator(
            loaded.site.authorities(), self.ledger, os.urandom, None,
            config.record_interval_s * 1000, policy=policy.policy(), keyring=keyring,
            placement_of=lambda one: placements.get(one, Placement()),
            lease_ms=config.lease_ms, ride_through_ms=config.discovery.ride_through_s * 1000)
        self.aggregator.fleet.chemistries = policy.chemistries()
        found = config.discovery
        self.building = Building(
            self.aggregator,
            Discovery(found.full_period_s * 1000, found.delta_period_s * 1000,
                      found.answer_s * 1000, found.at_dispatch_count_max), self._on_event)
        self.lines = Lines(self._on_data, self._on_line)
        self.buses = [
            Bus(line.line, self.aggregator, self._on_line, self._on_jabber, self._wake_if_due)
            for line in config.lines if line.line.startswith(SCHEME)]
        self.building.before_alarm = self._hurry
        for line in config.lines:
            if not line.line.startswith(SCHEME):
                self._add_line(line.line)
        if config.broker is not None:
            ids = sorted(one.hex() for one in keyring.known)
            for name in self.lines.add_broker(config.broker, ids):
                self._add_port(name)
        self.parent: ParentEnd | None = None
        self.parent_line: ParentLine | None = None
        self._open_parent()
        self.support = self._support()
        self.points = Points(config.interlock.points, self.building, self._quiet)
        self.turned_ms = self.started_ms
        self.inputs = [Input(one, loaded.at(one.path)) for one in config.interlock.inputs]
        watched = {one.model.zone for one in self.inputs} | {
            one.zone for one in config.interlock.points}
        for alarm in self.aggregator.alarms.all():
            if alarm.zone not in watched:  # its input is not in the configuration any more
                self.aggregator.alarms.quiet(alarm.zone)

    def _open_parent(self) -> None:
        """Take up the grant of the aggregator above, if there is to be one."""
        parent = self.loaded.config.parent
        if parent is None:
            return
        grant = admission.kept_grant(self.loaded.at(parent.folder))
        if grant is None:
            self.building.tell("parent", unix_ms(), error="no grant yet; next: "
                               "cellwall aggregator parent-request, then parent-grant")
            return
        self.parent_line = line = ParentLine(parent.listen, self._on_parent_data,
                                             self._on_parent_state)
        site = self.loaded.site
        self.parent = ParentEnd(
            self.building, site.authorities().aggregator, admission.agree_key(site), grant,
            line.send, os.urandom, now_ms=self.started_ms)

    def _placements(self, known: list[bytes]) -> dict[bytes, Placement]:
        """Return what the configuration says of elements, by id."""
        out = {}
        for element in self.loaded.config.elements:
            placement = Placement(element.phase, element.priority,
                                  self.responders.number(element.place),
                                  round(element.backup_kwh * 1_000_000))
            for element_id in known:
                if element_id.hex().startswith(element.id):
                    out[element_id] = placement
        return out

    def _add_line(self, name: str) -> None:
        self.lines.add(name)
        self._add_port(name)

    def _add_port(self, name: str) -> None:
        self.aggregator.add_port(name, lambda data: self.lines.send(name, data))

    def _support(self) -> Support:
        """Return the grid support that the configuration asks for."""
        model, building = self.loaded.config.support, self.building

        def lend(source: str, power_mw: int, service: int, now_ms: int, end_ms: int,
                 among: Among) -> Dispatch:
            return building.lend(f"{source}:{now_ms}", source, power_mw, service, now_ms, end_ms,
                                 among)

        limit_kw = model.demand_limit_kw
        return Support(
            model.shape(), round(model.power_kw * 1_000_000),
            Nominal(model.nominal_hz * 1000, round(model.nominal_v * 1000)),
            None if limit_kw is None else round(limit_kw * 1_000_000),
            lend, building.extend, building.finish, building.tell, model.lead_ms, self.responders,
            model.is_armed)

    def line_errors(self) -> dict[str, str]:
        """Return why lines are not open, by name."""
        every: list[Line | Bus] = [*self.lines.lines.values(), *self.buses]
        return {one.name: one.error for one in every if one.error}

    def step_support(self, now_ms: int) -> None:
        """Find the mode and lend what it asks for."""
        if self.support.curve is None:
            return
        realized_mw = sum(view.telemetry["power_mw"] for view in
                          self.aggregator.inventory.views()
                          if view.telemetry is not None and view.fresh(now_ms))
        capability = self.aggregator.capability(now_ms)[codes.SERVICE_FREQUENCY]
        self.support.step(now_ms, realized_mw, capability.discharge.power_mw,
                          bool(self.aggregator.alarms.all()))

    def wake(self) -> None:
        """Take a turn now."""
        self._wake.set()

    # what comes in

    def _on_data(self, name: str, data: bytes) -> None:
        self.aggregator.receive(name, data, unix_ms())
        if self.building.due_ms <= unix_ms():
            self._wake.set()

    def _on_line(self, name: str, error: str) -> None:
        self.building.tell("line", unix_ms(), line=name, error=error)

    def _on_parent_data(self, data: bytes) -> None:
        if self.parent is not None:
            self.parent.receive(data, unix_ms())
            self._wake.set()

    def _on_parent_state(self, peer: str, error: str) -> None:
        self.building.tell("parent", unix_ms(), peer=peer, error=error)

    def _wake_if_due(self) -> None:
        if self.building.due_ms <= unix_ms():
            self._wake.set()

    def _hurry(self, now_ms: int) -> None:
        for bus in self.buses:
            bus.hurry(now_ms)

    def _on_jabber(self, element_id: bytes, why: str) -> None:
        self.building.tell("jabber", unix_ms(), element=element_id.hex(), why=why)

    def _on_event(self, event: Event) -> None:
        self._log(event.kind, **event.fields)
        for queue in self.listeners:
            # a listener that does not read loses events, and sees it by their numbers
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(event)

    # the loop

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM or SIGINT, then bring the elements to zero."""
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number, stopped)
        tasks: list[asyncio.Task[None]] = [loop.create_task(one) for one in (
            self.lines.run(), self._turns(), self._watch_inputs(),
            *(bus.run() for bus in self.buses),
            *((self.parent_line.run(),) if self.parent_line is not None else ()))]
        waiter: asyncio.Task[Any] = loop.create_task(stopped.wait())
        notify("READY=1")
        ready()
        self.building.tell("started", unix_ms(), elements=len(self.loaded.site.elements()),
                           lines=len(self.loaded.config.lines))
        try:
            waiting: list[asyncio.Task[Any]] = [waiter, *tasks]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            notify("STOPPING=1")
            for task in tasks:
                if task.done():  # a part that has failed ends the whole: systemd starts it anew
                    task.result()
            self.building.tell("stopping", unix_ms())
            self.aggregator.stop(unix_ms())
            await asyncio.sleep(STOP_S)
        finally:
            for task in (waiter, *tasks):
                task.cancel()
            await asyncio.gather(waiter, *tasks, return_exceptions=True)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            self.ledger.close()

    def _stop(self, number: int, stopped: asyncio.Event) -> None:
        """Begin to stop, by hand (Ctrl-C) or by systemd."""
        self.interrupted = number == signal.SIGINT
        stopped.set()

    async def _turns(self) -> None:
        """Let the building take its turns when they are due."""
        while True:
            now_ms = unix_ms()
            self.step_support(now_ms)
            self.building.step(now_ms)
            due_ms = self.building.due_ms
            if self.parent is not None:
                self.parent.step(now_ms)
                due_ms = min(due_ms, self.parent.due_ms)
            self.turned_ms = now_ms
            self._settle(now_ms)
            notify("WATCHDOG=1")
            wait_s = min(max(0, due_ms - unix_ms()) / 1000, IDLE_S_MAX)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(wait_s, 0.001))

    def _settle(self, now_ms: int) -> None:
        """Take the population out of the collector's way once it has stopped to change.

        What is known of ten thousand elements is looked through by every full collection, which
        would then be a tenth of all the work, and never garbage.
        """
        version = self.aggregator.inventory.version
        if version != self._settled[0]:
            self._settled = (version, now_ms + SETTLE_MS)
        elif self._settled[1] and now_ms >= self._settled[1]:
            self._settled = (version, 0)
            gc.freeze()

    async def _watch_inputs(self) -> None:
        """Look at the alarm inputs, so often that a contact is never missed for long."""
        while True:
            for one in self.inputs:
                if one.look():
                    if one.is_on:
                        self.building.alarm(one.model.zone, unix_ms(), one.model.name,
                                            input_on=True)
                        self._wake.set()
                    else:
                        self._quiet(one.model.zone, unix_ms())
            await asyncio.sleep(self.loaded.config.interlock.poll_ms / 1000)

    def _quiet(self, zone: int, now_ms: int) -> None:
        """Take note that an input of a zone is quiet, unless another one of it is still on."""
        on = self.points.is_active(zone) or any(
            one.is_on for one in self.inputs if one.model.zone == zone)
        if not on and self.aggregator.alarms.in_alarm(zone):
            self.building.quiet(zone, now_ms)


def notify(message: str) -> None:
    """Tell systemd something, where it has started us (sd_notify(3)); a datagram, or nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect("\0" + address[1:] if address[0] == "@" else address)
        sender.send(message.encode())


def open_service(loaded: Loaded, log: Callable[..., Any]) -> Service:
    """Return a service that is ready to run. Raises BusError."""
    if not loaded.site.exists:
        raise BusError("no site keys", f"{loaded.site.folder}\n  next: cellwall enrol makes them")
    return Service(loaded, log)
