"""All outputs of a rig: off in every way out, and on in one order only.

`arm` comes before `on`. `hard_stop` may be called from anywhere, any time, more than once: the
watchdog relay first, because it ends everything, then the rest side by side, each with its own
deadline, whatever became of the others.
"""

import threading
import time
from collections.abc import Callable

from element.protocol.errors import BusError
from hil.instruments.base import Output
from hil.rig.equipment import Equipment, limits_of

STOP_S_MAX = 5.0
# The watchdog is fed for as long as whoever runs the rig shows that he still turns.
HEARTBEAT_S_MAX = 2.0


class Feeder:
    """Feed the watchdog from a thread of its own, while `beat` is called often enough."""

    def __init__(self, equipment: Equipment, lost: Callable[[BusError | None], None]) -> None:
        """lost(error): a feed failed; lost(None): one succeeded."""
        self._watchdog = equipment.watchdog
        self._lost = lost
        self._beat_s = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to feed."""
        self.beat()
        self._thread.start()

    def beat(self) -> None:
        """Show that the run still turns."""
        self._beat_s = time.monotonic()

    def stop(self) -> None:
        """Feed no more; returns at once, a feed that is under way ends by its deadline."""
        self._end.set()

    def join(self, limit_s: float) -> None:
        """Wait for a feed that is under way."""
        if self._thread.is_alive():
            self._thread.join(limit_s)

    def _run(self) -> None:
        period_s = self._watchdog.hold_s / 4
        while not self._end.wait(period_s):
            if time.monotonic() - self._beat_s > HEARTBEAT_S_MAX:
                continue  # whoever runs the rig hangs: let the relay open
            try:
                self._watchdog.feed()
                self._lost(None)
            except BusError as error:
                self._lost(error)


class Outputs:
    """The outputs of one run."""

    def __init__(self, equipment: Equipment, lost: Callable[[BusError | None], None],
                 say: Callable[[str], None]) -> None:
        self._equipment = equipment
        self._say = say
        self._lock = threading.RLock()
        self._stopped = False
        self.feeder = Feeder(equipment, lost)
        self.armed = False

    def load_limits(self) -> None:
        """Load every protection, all outputs being off. Raises BusError."""
        for model in self._equipment.rig.loads:
            self._equipment.loads[model.name].protect(limits_of(model))
        for switch in self._equipment.switches.values():
            switch.make_safe()

    def arm(self) -> None:
        """Close the watchdog relay and keep feeding it. Raises BusError."""
        with self._lock:
            if self._stopped:
                raise BusError("the rig was stopped", "before its watchdog relay was closed")
            self.armed = True
            self._equipment.watchdog.feed()
            self.feeder.start()

    def on(self, powers_w: dict[str, float]) -> None:
        """Switch on the supply of every place, then the loads. Raises BusError."""
        with self._lock:
            if self._stopped or not self.armed:
                raise BusError("outputs stay off", "the watchdog relay is not armed")
            for place in self._equipment.rig.places:
                if place.power is not None:
                    self._equipment.switches[place.power].set(True)
            for name, power_w in powers_w.items():
                if power_w > 0:
                    self._equipment.loads[name].set_power(power_w)
                    self._equipment.loads[name].input_on(True)

    def switch(self, name: str, on: bool) -> None:
        """Move a switch during the run. Raises BusError.

        It takes no lock: a hard stop waits for nobody. One that comes meanwhile finds the switch
        off in the end, whichever of the two the switch heard last.
        """
        if self._stopped:
            raise BusError("the rig was stopped", f"switch {name} stays off")
        switch = self._equipment.switches[name]
        try:
            switch.set(on)
        finally:
            if self._stopped:
                switch.make_safe()

    def hard_stop(self, why: str) -> list[str]:
        """Switch everything off now; returns what could not be confirmed, by name."""
        with self._lock:
            if self._stopped:
                return []
            self._stopped = True
            self._say(f"outputs off: {why}")
            self.feeder.stop()
            problems: list[str] = []
            watchdog = self._equipment.watchdog
            _side_by_side([watchdog], problems)
            self.feeder.join(STOP_S_MAX)
            # a feed that was under way may have closed it again
            _side_by_side([watchdog, *self._equipment.loads.values(),
                           *self._equipment.switches.values()], problems)
            return list(dict.fromkeys(problems))


def _side_by_side(outputs: list[Output], problems: list[str]) -> None:
    """Make outputs safe at the same time; whatever does not confirm it is added to problems."""
    confirmed: set[str] = set()
    said: dict[str, str] = {}

    def off(one: Output) -> None:
        try:
            one.make_safe()
            confirmed.add(one.name)
        except BusError as error:
            said[one.name] = str(error.value).splitlines()[0]

    threads = [threading.Thread(target=off, args=(one,), daemon=True) for one in outputs]
    for thread in threads:
        thread.start()
    end_s = time.monotonic() + STOP_S_MAX
    for thread in threads:
        thread.join(max(0.0, end_s - time.monotonic()))
    for one in outputs:
        if one.name not in confirmed:
            problems.append(f"{one.kind} {one.name}: "
                            + said.get(one.name, f"not confirmed in {STOP_S_MAX:g} s"))
