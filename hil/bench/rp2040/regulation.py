"""An element with an emulated RP2040 on the bench: the flashed firmware through regulation.

What is measured on the board is written by a `main.py` of its own beside the unchanged firmware:
it wraps the control tick with two readings of the clock and logs the counts.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from element.protocol.wire import Wire
from hil.bench.board_process import Outputs
from hil.fmea.trial import Outcome, Trial
from hil.scenarios.model import ScenarioModel

from .board import PicoBoard
from .littlefs_image import add_files

LOOK_MS = 30_000
# So much longer than elsewhere it takes until power flows: a handshake on this chip.
HANDSHAKE_MS = 12_000
_COUNTS = re.compile(rb"\] work (\[[^]]*\])")
_HEAP = re.compile(rb"heap (\d+) used, (\d+) free")
# Whole milliseconds of work of each tick; the last place counts everything beyond.
MEASURING_MAIN = b"""
import gc, sys, time
sys.path.insert(0, "a")
from element import agent
import slots
work = [0] * 60
tick = agent.Agent.tick
looked = 0
held = -1
def timed_tick(self, now, dt_ms):
    global looked, held
    if held >= 0:
        # what made this tick late was the look behind the one before
        self.late_ms_max = held
        held = -1
    began = time.ticks_us()
    tick(self, now, dt_ms)
    work[min(time.ticks_diff(time.ticks_us(), began) // 1000, 59)] += 1
    if time.ticks_diff(now, looked) > %d:
        looked = now
        gc.collect()
        # not logged: the journal would keep it
        print("[0] heap %%d used, %%d free" %% (gc.mem_alloc(), gc.mem_free()))
        print("[0] work %%s" %% work)
        held = self.late_ms_max
agent.Agent.tick = timed_tick
slots.start()
""" % LOOK_MS


class TalkingPico(PicoBoard):
    """An emulated Pico whose console text is kept."""

    text = b""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._wire = Wire()

    def receive(self) -> Outputs | None:
        """Return the outputs of the last exchange and keep the text among them."""
        answer = super().receive()
        data = answer.link_tx if answer is not None else b""
        for start in range(0, len(data), 64):
            self._wire.feed(data[start:start + 64])
            self.text += bytes(self._wire.text)
            self._wire.text = bytearray()
        return answer


@dataclass
class Regulation:
    """What a run showed. work_ms_count: how many ticks took so many whole ms of work.

    late_ms_count: how many telemetries said that their latest tick was so many ms late, from
    when power had begun to flow.
    """

    outcome: Outcome
    restarts: int
    heap_free_bytes: list[int] = field(default_factory=list)
    work_ms_count: list[int] = field(default_factory=list)
    late_ms_count: dict[int, int] = field(default_factory=dict)
    text: str = ""

    def work_ms_at(self, share: float) -> int:
        """Return the whole ms below which that share of the ticks' work lies, rounded up."""
        wanted = share * sum(self.work_ms_count)
        seen = 0
        for work_ms, count in enumerate(self.work_ms_count):
            seen += count
            if seen >= wanted:
                return work_ms + 1
        return len(self.work_ms_count)


def regulate(scenario: ScenarioModel, folder: Path, watch_ms: int, seed: int = 7,
             inject: Callable[[Trial], None] = lambda trial: None,
             main: bytes | None = MEASURING_MAIN) -> Regulation:
    """Run one element for watch_ms of emulated time at power; inject a fault before them.

    main: what the board starts in place of the firmware's main.py; None for that one itself.
    """
    trial = Trial(scenario, seed, folder)
    spec = trial.rig.board.spec
    spec.flash.mkdir(parents=True, exist_ok=True)
    board = TalkingPico(spec)
    result = Regulation(Outcome(), 0)
    try:
        board.install()
        if main is not None:
            add_files(board.pico.flash, {"main.py": main})
        trial.rig.board = board

        def begin(one: Trial) -> None:
            one.aggregator.inventory.views()[0].late_ms_counts.clear()
            inject(one)

        def end(one: Trial) -> None:
            result.late_ms_count = dict(one.aggregator.inventory.views()[0].late_ms_counts)

        result.outcome = trial.run(begin, HANDSHAKE_MS, watch_ms, end)
    finally:
        board.close()
    result.restarts = board.restart_count
    result.text = board.text.decode("ascii", "replace")
    result.heap_free_bytes = [int(free) for _, free in _HEAP.findall(board.text)]
    counts = _COUNTS.findall(board.text)
    result.work_ms_count = json.loads(counts[-1]) if counts else []
    return result

