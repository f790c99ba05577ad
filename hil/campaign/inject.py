"""Let the faults of a schedule happen to a world: each begins, and most of them end."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from element.protocol import codes, schema
from element.protocol.framing import FrameDecoder, encode_frame
from hil.bench.faults import FIRE_POLL_MS
from hil.bench.rig import WATCHDOG_MS, Rig
from hil.bench.site import Site
from hil.bench.virtual import VirtualClock
from hil.campaign.catalogue import CORRUPTIONS, Fault
from hil.campaign.flash import FlashWatch
from hil.campaign.invariants import ALARM_MS_MAX, Watch
from hil.campaign.panel import CampaignPanel
from hil.campaign.slots import Slots, all_of
from hil.campaign.wires import DisturbedWire
from hil.plant.converter import ConverterPlant
from hil.plant.inverter import InverterPlant
from host_tools import codec
from host_tools.interlock.alarms import BUILDING

STRANGER_PERIOD_MS = 100
FRAME_SIZE_MAX = 4096
# An input that opens for less may lie between two ticks.
SEEN_MS_MIN = 250


def wires_of(rig: Rig) -> tuple[DisturbedWire, DisturbedWire]:
    """Return both directions of a campaign rig's line."""
    assert isinstance(rig.to_board, DisturbedWire) and isinstance(rig.to_host, DisturbedWire)
    return rig.to_board, rig.to_host


@dataclass
class Injector:
    """One world and its faults. `hits` counts what really happened, by kind."""

    site: Site
    clock: VirtualClock
    panel: CampaignPanel
    watch: Watch
    rng: Random
    hits: dict[str, int] = field(default_factory=dict)
    cuts: dict[str, tuple[FlashWatch, float]] = field(default_factory=dict)
    slots: Slots = field(default_factory=Slots)

    def schedule(self, faults: tuple[Fault, ...]) -> None:
        """Have every fault begin and end when it is due."""
        for fault in faults:
            self.clock.call_at(fault.at_ms, partial(self._begin, fault))

    def _begin(self, fault: Fault) -> None:
        self.hits[fault.kind] = self.hits.get(fault.kind, 0) + 1
        undo = getattr(self, f"_{fault.kind}")(fault)
        if fault.element is not None:
            faults = self.watch.states[fault.element].faults
            over = self.slots.while_any(
                f"{fault.element}/{fault.kind}", partial(faults.add, fault.kind),
                partial(faults.discard, fault.kind))
            undo = over if undo is None else all_of(undo, over)
        self.clock.call_at(fault.end_ms, partial(self._end, fault, undo))

    def _end(self, fault: Fault, undo: Callable[[], None] | None) -> None:
        if undo is not None:
            undo()
        if fault.element is not None:
            self.watch.states[fault.element].lied_ms = self.clock.now_ms

    def _rig(self, fault: Fault) -> Rig:
        return self.site.rig(str(fault.element))

    # the BMS and its line

    def _bms_silent(self, fault: Fault) -> Callable[[], None]:
        return self.slots.until_end(self._rig(fault).bms, "silent", True)

    def _damage(self, fault: Fault, mode: str, share: float) -> Callable[[], None]:
        bms = self._rig(fault).bms
        return all_of(self.slots.until_end(bms, "fault_mode", mode),
                      self.slots.until_end(bms, "fault_probability", share))

    def _bms_late(self, fault: Fault) -> Callable[[], None]:
        return self._damage(fault, "late", 1.0)

    def _bms_corrupt(self, fault: Fault) -> Callable[[], None]:
        index, share = divmod(fault.value, 10.0)
        return self._damage(fault, CORRUPTIONS[int(index) % len(CORRUPTIONS)], min(1.0, share))

    def _bms_stuck(self, fault: Fault) -> Callable[[], None]:
        return self._damage(fault, "stuck", 1.0)

    def _bms_soc_lie(self, fault: Fault) -> Callable[[], None]:
        return self.slots.until_end(self._rig(fault).bms, "soc_lie", fault.value)

    # sensor, FETs, stage

    def _sensor_frozen(self, fault: Fault) -> Callable[[], None]:
        return self.slots.until_end(self._rig(fault).plant, "sense_frozen", True)

    def _sensor_offset(self, fault: Fault) -> Callable[[], None]:
        return self.slots.until_end(self._rig(fault).plant, "sense_shift_ma", round(fault.value))

    def _fets_welded(self, fault: Fault) -> Callable[[], None]:
        return self.slots.until_end(self._rig(fault).bms, "fets_stuck", True)

    def _fets_dead(self, fault: Fault) -> Callable[[], None]:
        return self.slots.until_end(self._rig(fault).bms, "fets_forced_open", True)

    def _gain_error(self, fault: Fault) -> Callable[[], None]:
        plant = self._rig(fault).plant
        assert isinstance(plant, ConverterPlant | InverterPlant)  # as the catalogue says
        return self.slots.until_end(plant, "gain",
                                    self.slots.rest(plant, "gain") * fault.value)

    def _stage_dead(self, fault: Fault) -> Callable[[], None]:
        return self.slots.until_end(self._rig(fault).plant, "dead", True)

    def _contacts_welded(self, fault: Fault) -> Callable[[], None]:
        return self.slots.until_end(self._rig(fault).plant, "welded", True)

    # the line to the panel

    def _link_lost(self, fault: Fault) -> Callable[[], None]:
        rig = self._rig(fault)
        return self.slots.while_any(f"link/{rig.name}", partial(rig.set_link_cut, True),
                                    partial(rig.set_link_cut, False))

    def _on_wires(self, fault: Fault, name: str, value: float) -> Callable[[], None]:
        return all_of(*(self.slots.until_end(wire, name, value)
                        for wire in wires_of(self._rig(fault))))

    def _link_delay(self, fault: Fault) -> Callable[[], None]:
        return self._on_wires(fault, "delay_ms", round(fault.value))

    def _link_duplicates(self, fault: Fault) -> Callable[[], None]:
        return self._on_wires(fault, "duplicates", fault.value)

    def _link_reorders(self, fault: Fault) -> Callable[[], None]:
        return self._on_wires(fault, "reorders", fault.value)

    def _link_corrupts(self, fault: Fault) -> Callable[[], None]:
        return self._on_wires(fault, "corrupts", fault.value)

    def _stale(self, fault: Fault) -> Callable[[], None]:
        wires = wires_of(self._rig(fault))
        return self._held(list(wires))

    def _held(self, wires: list[DisturbedWire]) -> Callable[[], None]:
        return all_of(*(
            self.slots.while_any(f"held/{id(wire)}", partial(self._hold, wire, True),
                                 partial(self._hold, wire, False)) for wire in wires))

    def _hold(self, wire: DisturbedWire, holding: bool) -> None:
        wire.hold(holding, self.clock.now_ms)

    def _broker_gone(self, fault: Fault) -> Callable[[], None]:
        return self._held([wire for rig in self.site.rigs for wire in wires_of(rig)])

    # the board

    def _board_reset(self, fault: Fault) -> None:
        self._power_off(self._rig(fault))

    def _power_off(self, rig: Rig) -> None:
        if rig.restart_at_ms is None:
            rig.advance(self.clock.now_ms)
            rig.power_off(self.clock.now_ms)

    def _brown_out(self, fault: Fault) -> None:
        rig = self._rig(fault)
        if rig.restart_at_ms is None:
            rig.hung = True
        # what its pins do until the watchdog bites is nobody's doing
        self.watch.states[rig.name].hung_until_ms = self.clock.now_ms + WATCHDOG_MS

    def _power_cut_in_write(self, fault: Fault) -> Callable[[], None]:
        rig = self._rig(fault)
        cut = self.cuts[rig.name] = (FlashWatch(rig.board.spec.flash), fault.value)

        def undo() -> None:
            if self.cuts.get(rig.name) is cut:
                del self.cuts[rig.name]

        return undo

    def look_for_cut(self, rig: Rig) -> None:
        """Cut a board's power when it has just written and a cut is due."""
        watch, share = self.cuts[rig.name]
        if watch.tear(share) is not None:
            del self.cuts[rig.name]
            self.hits["torn"] = self.hits.get("torn", 0) + 1
            # power went before the write was over: what came after it in this slice never was
            wires_of(rig)[1].retract(self.clock.now_ms)
            self._power_off(rig)

    def _input_open(self, fault: Fault) -> Callable[[], None]:
        rig = self._rig(fault)
        if fault.duration_ms >= SEEN_MS_MIN and rig.restart_at_ms is None and not rig.hung:
            self.watch.must_be_off(rig.name, fault.at_ms + ALARM_MS_MAX, "its input had opened")
        return self.slots.until_end(rig, "interlock_ok", False)

    # strangers on the line

    def _strangers(self, fault: Fault, frame: Callable[[DisturbedWire], bytes]
                   ) -> Callable[[], None]:
        wires = wires_of(self._rig(fault))

        def speak() -> None:
            now_ms = self.clock.now_ms
            if now_ms >= fault.end_ms:
                return
            for wire in wires:
                wire.inject(frame(wire), now_ms + 1)
            self.clock.call_at(now_ms + STRANGER_PERIOD_MS, speak)

        speak()
        return lambda: None

    def _replayed(self, fault: Fault) -> Callable[[], None]:
        return self._strangers(fault, lambda wire: self.rng.choice(wire.kept)
                               if wire.kept else b"")

    def _forged(self, fault: Fault) -> Callable[[], None]:
        return self._strangers(fault, self._forgery)

    def _forgery(self, wire: DisturbedWire) -> bytes:
        """Return a frame that a stranger can make: plain, garbage, or a genuine one changed."""
        rng, choice = self.rng, self.rng.randrange(4)
        if choice == 0:
            return encode_frame(rng.randbytes(rng.randint(1, 120)))
        if choice == 1:
            return encode_frame(codec.encode_message(schema.SETPOINT, {
                "dispatch_id": 1, "sequence": rng.randrange(1, 1 << 30), "power_mw": 400_000,
                "service": codes.SERVICE_REGULATION, "start_unix_ms": self.clock.unix_ms,
                "lease_ms": 5000}))
        if choice == 2 or not wire.kept:
            return encode_frame(codec.encode_message(schema.WHO, {
                "host_nonce": rng.randbytes(16)}))
        return self._changed(rng.choice(wire.kept))

    def _changed(self, frame: bytes) -> bytes:
        """Return a recorded frame with a bit of its content flipped and its checksum made to fit.
        """
        payloads = [bytes(one) for one in FrameDecoder(FRAME_SIZE_MAX).feed(frame)]
        if not payloads or not payloads[0]:
            return frame
        content = bytearray(payloads[0])
        content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
        return encode_frame(bytes(content))

    # the building

    def _clock_step(self, fault: Fault) -> Callable[[], None]:
        self.panel.clock_step_ms += round(fault.value)

        def undo() -> None:
            self.panel.clock_step_ms -= round(fault.value)

        return undo

    def _panel_killed(self, fault: Fault) -> Callable[[], None]:
        return self.slots.while_any("panel", self.panel.kill,
                                    lambda: self.panel.revive(self.clock.unix_ms))

    def _disk_full(self, fault: Fault) -> Callable[[], None]:
        return self.slots.while_any("disk", partial(self.panel.set_disk_full, True),
                                    partial(self.panel.set_disk_full, False))

    def _fire_alarm(self, fault: Fault) -> None:
        self.clock.call_at(self.clock.now_ms + FIRE_POLL_MS, partial(self._alarm, fault))

    def _alarm(self, fault: Fault) -> None:
        """Tell the panel; who has a session on an undisturbed line must be off in time."""
        panel = self.panel
        aggregator = panel.aggregator
        if aggregator is None:
            return  # a dead panel tells nobody: leases end by themselves
        zone = int(fault.value)
        for rig in self.site.rigs:
            if zone in (BUILDING, rig.zone) and self._is_reachable(rig):
                by_ms = fault.at_ms + ALARM_MS_MAX + 2 * wires_of(rig)[0].latency_ms
                self.watch.must_be_off(rig.name, by_ms, "fire alarm")
        aggregator.fire_alarm(zone, self.clock.unix_ms + panel.clock_step_ms)

    def _is_reachable(self, rig: Rig) -> bool:
        aggregator = self.panel.aggregator
        disturbances = {"link_lost", "link_delay", "link_reorders", "link_corrupts", "stale"}
        port = None if aggregator is None else aggregator.ports.get(rig.name)
        wire = wires_of(rig)[0]
        return (port is not None and port.has_session and rig.restart_at_ms is None
                and not rig.hung and not wire.holding
                and not self.watch.states[rig.name].faults & disturbances)

    def _release(self, fault: Fault) -> None:
        aggregator = self.panel.aggregator
        if aggregator is not None:
            aggregator.release(self.clock.unix_ms + self.panel.clock_step_ms)
