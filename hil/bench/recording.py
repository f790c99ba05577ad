"""What a run leaves behind second by second: target, metered response, every element."""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from host_tools.aggregator import Aggregator

from .rig import Rig
from .site import Site

ROW_MS = 1000


@dataclass
class ElementTrace:
    """One element's seconds: what the panel asked, what the plant truly delivered."""

    asked_w: list[float] = field(default_factory=list)
    power_w: list[float] = field(default_factory=list)
    soc_pct: list[float] = field(default_factory=list)
    energy_j: list[float] = field(default_factory=list)


@dataclass
class Recording:
    """The rows of a run. Row k covers the second from k to k + 1 after the start."""

    phase: list[str] = field(default_factory=list)
    target_w: list[float] = field(default_factory=list)
    response_w: list[float] = field(default_factory=list)
    load_w: list[float] = field(default_factory=list)
    shortfall_w: list[float] = field(default_factory=list)
    elements: dict[str, ElementTrace] = field(default_factory=dict)
    # The most that a row closed behind its whole second of the run's clock.
    late_ms_max: int = 0

    def rows(self, name: str) -> NDArray[np.int64]:
        """Return the indexes of the rows of a phase."""
        return np.flatnonzero(np.array(self.phase) == name)

    def write_csv(self, path: Path) -> None:
        """Write one row a second, powers in W, SoC in percent, time in s at the row's start.

        What is not known (NaN) is an empty cell; a row without a response is not written.
        """
        names = list(self.elements)
        header = ["t_s", "phase", "target_w", "response_w", "load_w", "shortfall_w"]
        for name in names:
            header += [f"{name}_asked_w", f"{name}_power_w", f"{name}_soc_pct"]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for row, phase in enumerate(self.phase):
                if math.isnan(self.response_w[row]):
                    continue
                cells = [str(row), phase, _cell(self.target_w[row]), _cell(self.response_w[row]),
                         _cell(self.load_w[row]), _cell(self.shortfall_w[row])]
                for name in names:
                    trace = self.elements[name]
                    cells += [_cell(trace.asked_w[row]), _cell(trace.power_w[row]),
                              _cell(trace.soc_pct[row], 2)]
                writer.writerow(cells)


def _cell(value: float, decimals: int = 1) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"


class Sampler:
    """Read the meter every second and close a row.

    The metered mean of the last second is also what the aggregator's loop works with, through
    `response_mw`: one meter, one reading, two readers.
    """

    def __init__(self, site: Site, aggregator: Aggregator) -> None:
        self.recording = Recording(elements={rig.name: ElementTrace() for rig in site.rigs})
        self.baseline_w = 0.0
        self._site = site
        self._aggregator = aggregator
        self._window_mw: int | None = None
        self._sampled_ms = 0
        self._energy_j = {rig.name: 0.0 for rig in site.rigs}

    def response_mw(self) -> int | None:
        """Return the last second's metered export relative to the baseline, mW."""
        if self._window_mw is None:
            return None
        return self._window_mw + round(self.baseline_w * 1000)

    def set_baseline(self, seconds: int) -> None:
        """Declare the mean load of the last seconds as the baseline; elements were at zero."""
        self.baseline_w -= float(np.mean(self.recording.response_w[-seconds:]))

    def sample(self, now_ms: int, phase: str, target_w: float) -> None:
        """Close the row that ends at now_ms; phase and target_w were in force during it."""
        dt_ms = now_ms - self._sampled_ms
        due_ms = ROW_MS * (len(self.recording.phase) + 1)  # a row that was left out counts here
        self.recording.late_ms_max = max(self.recording.late_ms_max, now_ms - due_ms)
        total_j = 0.0
        for rig in self._site.rigs:
            rig.plant.advance(now_ms)
            total_j += rig.plant.energy_pcc_j - self._energy_j[rig.name]
        load_w, self._window_mw = self._site.read_meter(self._sampled_ms, now_ms, total_j)
        self._sampled_ms = now_ms
        self._close_row(phase, target_w, load_w, dt_ms)

    def _close_row(self, phase: str, target_w: float, load_w: float, dt_ms: int) -> None:
        recording = self.recording
        assert self._window_mw is not None  # the meter has just been read
        split = self._aggregator.last_split
        recording.phase.append(phase)
        recording.target_w.append(target_w)
        recording.response_w.append(self._window_mw / 1000 + self.baseline_w)
        recording.load_w.append(load_w)
        recording.shortfall_w.append(split.shortfall_mw / 1000 if split else 0.0)
        for rig in self._site.rigs:
            self._element_row(rig, recording.elements[rig.name], dt_ms)

    def _element_row(self, rig: Rig, trace: ElementTrace, dt_ms: int) -> None:
        element_id = self._aggregator.ports[rig.name].element_id
        split = self._aggregator.last_split
        asked_mw = split.parts_mw.get(element_id, 0) if split and element_id else 0
        energy_j = rig.plant.energy_pcc_j
        trace.asked_w.append(asked_mw / 1000)
        trace.power_w.append((energy_j - self._energy_j[rig.name]) * 1000 / dt_ms)
        trace.soc_pct.append(rig.plant.pack.soc * 100)
        trace.energy_j.append(energy_j)
        self._energy_j[rig.name] = energy_j
