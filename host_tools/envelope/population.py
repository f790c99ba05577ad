"""The elements as columns of integers: ten thousand of them in a few array operations.

A row is an element, rows stand in the order of ids, so nothing depends on who was heard first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

# Electrical connection: all three phases alike, or one of them.
THREE_PHASE = 0
PHASES = (1, 2, 3)
# A state of health that nobody has said.
SOH_BP_UNKNOWN = 10000
# An element that has not switched for longer than any minimum time.
LONG_AGO_MS = -(10**15)
# What an on/off element is held beyond its own minimum times, so that these never refuse it.
HOLD_MARGIN_MS = 1000


@dataclass(frozen=True)
class Row:
    """One element. Powers are non-negative, one for each direction.

    The first part is present state, from telemetry: zero while the element may not be planned
    with. The second is what its credential and the site say, for as long as it is here.
    """

    discharge_mw: int = 0
    charge_mw: int = 0
    discharge_mwh: int = 0  # room that its envelopes have
    charge_mwh: int = 0
    instructed_mw: int = 0  # what it says it was told, for its ramp
    soc_bp: int = 5000
    soh_bp: int = SOH_BP_UNKNOWN

    step_mw: int = 0  # 0: regulated; else the one power of an on/off element
    on_ms_min: int = 0
    off_ms_min: int = 0
    services: int = 0
    response_ms: int = 0
    ramp_mw_per_s: int = 1_000_000_000
    phase: int = THREE_PHASE
    priority: int = 0  # of on/off elements: the lower goes first
    zone: int = 0
    place: int = 0  # number of its place in the grid
    wear: int = 1  # cost of a kWh through the pack at small power, in millionths of the currency
    nameplate_discharge_mw: int = 0
    nameplate_charge_mw: int = 0
    nameplate_mwh: int = 0
    backup_mwh: int = 0  # of it, what its owner keeps: no instruction discharges it


STATE_COLUMNS = ("discharge_mw", "charge_mw", "discharge_mwh", "charge_mwh", "instructed_mw",
                 "soc_bp", "soh_bp")
_COLUMNS = (*(one.name for one in fields(Row)), "level", "since_ms")
_AT = {name: at for at, name in enumerate(_COLUMNS)}
_STATE_SIZE = len(STATE_COLUMNS)


class Rows:
    """Columns of some elements; what asks for columns takes these as it takes a population."""

    def __init__(self, table: npt.NDArray[np.int64]) -> None:
        self._table = table

    def column(self, name: str) -> Ints:
        """Return a column. Not to be written to."""
        column: Ints = self._table[_AT[name]]
        return column


class Population(Rows):
    """The elements that may be planned with. `column(name)` is an array, one value an element.

    level and since_ms: what each on/off element was last told, -1 charge, 0 rest, 1 discharge,
    and since when; kept here from one plan to the next by `take`.
    """

    def __init__(self, rows: Mapping[bytes, Row]) -> None:
        self.ids = sorted(rows)
        self._index = {element_id: at for at, element_id in enumerate(self.ids)}
        self._changed: set[int] = set()
        self._pending: dict[int, tuple[int, ...]] = {}
        self._table = np.zeros((len(_COLUMNS), len(self.ids)), dtype=np.int64)
        self._table[_AT["since_ms"]] = LONG_AGO_MS
        if self.ids:
            names = [one.name for one in fields(Row)]
            self._table[:len(names)] = np.array(
                [[getattr(rows[one], name) for name in names] for one in self.ids],
                dtype=np.int64).T

    @cached_property
    def rows_of_group(self) -> list[npt.NDArray[np.intp]]:
        """The rows that are connected three-phase, and to each phase."""
        phase = self.column("phase")
        return [np.flatnonzero(phase == group) for group in (THREE_PHASE, *PHASES)]

    @cached_property
    def has_steps(self) -> bool:
        """True when there is an on/off element."""
        return bool(self.column("step_mw").any())

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, at: Ints) -> "Rows":
        """Return some of the rows."""
        self._settle()
        return Rows(self._table[:, at])

    def changed(self) -> Ints:
        """Return the rows that were set since the last call."""
        self._settle()
        rows = np.array(sorted(self._changed), dtype=np.int64)
        self._changed.clear()
        return rows

    def index(self, element_id: bytes) -> int | None:
        """Return the row of an element."""
        return self._index.get(element_id)

    def set(self, element_id: bytes, state: Iterable[int]) -> None:
        """Take an element's present state, in the order of STATE_COLUMNS."""
        self._pending[self._index[element_id]] = tuple(state)

    def column(self, name: str) -> Ints:
        """Return a column. Not to be written to."""
        if self._pending:
            self._settle()
        return super().column(name)

    def _settle(self) -> None:
        """Write the states that were set, all in one go."""
        if not self._pending:
            return
        at = list(self._pending)
        self._table[:_STATE_SIZE, at] = np.array(list(self._pending.values()), dtype=np.int64).T
        self._changed.update(at)
        self._pending.clear()

    def take(self, levels: Ints, now_ms: int) -> None:
        """Remember what the on/off elements are told from now on."""
        changed = self.column("level") != levels
        self.column("since_ms")[changed] = now_ms
        self.column("level")[:] = levels
        self._changed.update(np.flatnonzero(changed).tolist())

    def replaced(self, rows: Mapping[bytes, Row]) -> "Population":
        """Return a population of other rows in which who stays keeps level and since_ms."""
        new = Population(rows)
        for element_id, at in new._index.items():
            before = self._index.get(element_id)
            if before is not None:
                for name in ("level", "since_ms"):
                    new._table[_AT[name], at] = self._table[_AT[name], before]
        return new

    def row(self, element_id: bytes) -> dict[str, Any]:
        """Return one row by name, for people."""
        at = self._index[element_id]
        return {name: int(self.column(name)[at]) for name in _COLUMNS}
