"""Instructions to the building, on the medium before anything is done for them.

Each has one number for ever, which is the dispatch id of its setpoints, and a key of whoever sent
it: the same key is the same instruction, however often it comes. A restart goes on with what is
in force, under the same number; what has ended is never begun again.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from element.protocol.errors import RangeError
from host_tools.ledger.store import METADATA, Ledger, translated

ACCEPTED = "accepted"
REFUSED = "refused"
DONE = "done"
CANCELLED = "cancelled"
SUPERSEDED = "superseded"
KEY_SIZE_MAX = 64

DISPATCHES = sa.Table(
    "dispatches", METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(KEY_SIZE_MAX), nullable=False, unique=True),
    sa.Column("source", sa.String(32), nullable=False),
    sa.Column("power_mw", sa.BigInteger, nullable=False),
    sa.Column("service", sa.Integer, nullable=False),
    sa.Column("start_unix_ms", sa.BigInteger, nullable=False),
    sa.Column("end_unix_ms", sa.BigInteger, nullable=False),
    sa.Column("partial", sa.Boolean, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("admitted_mw", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("received_unix_ms", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True)
class Dispatch:
    """One instruction. power_mw: positive discharges. id: 0 before it has one."""

    key: str
    source: str
    power_mw: int
    service: int
    start_unix_ms: int
    end_unix_ms: int
    partial: bool
    state: str
    admitted_mw: int
    reason: str
    received_unix_ms: int
    id: int = 0

    @property
    def shortfall_mw(self) -> int:
        """What was asked and not admitted, non-negative."""
        return abs(self.power_mw - self.admitted_mw)

    def asks_like(self, other: "Dispatch") -> bool:
        """Return True when both ask for the same."""
        return (self.power_mw, self.service, self.start_unix_ms, self.end_unix_ms,
                self.partial) == (other.power_mw, other.service, other.start_unix_ms,
                                  other.end_unix_ms, other.partial)


class Dispatches:
    """The table of instructions in a building's ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._connection = ledger.connection
        with translated("create"):
            DISPATCHES.create(self._connection, checkfirst=True)
            ledger.flush()

    def add(self, dispatch: Dispatch) -> Dispatch:
        """File an instruction and return it with its number; durable when this returns.

        One whose key is known is returned as it was. Raises RangeError when the key is known and
        asks for something else, BusError when the database fails.
        """
        known = self.find(dispatch.key)
        if known is not None:
            if not known.asks_like(dispatch):
                raise RangeError("key of another instruction", dispatch.key)
            return known
        fields = asdict(dispatch)
        del fields["id"]
        with translated("write"):
            result = self._connection.execute(DISPATCHES.insert().values(**fields))
            key = result.inserted_primary_key
            self._ledger.flush()
        assert key is not None
        return Dispatch(**fields, id=int(key[0]))

    def find(self, key: str) -> Dispatch | None:
        """Return the instruction with a key."""
        return next(self._read(DISPATCHES.c.key == key), None)

    def get(self, number: int) -> Dispatch | None:
        """Return the instruction with a number."""
        return next(self._read(DISPATCHES.c.id == number), None)

    def open(self) -> list[Dispatch]:
        """Return those that are accepted and have not ended, the newest last."""
        return list(self._read(DISPATCHES.c.state == ACCEPTED))

    def newest(self, count: int) -> list[Dispatch]:
        """Return the newest of all, the newest first."""
        query = sa.select(DISPATCHES).order_by(DISPATCHES.c.id.desc()).limit(count)
        with translated("read"):
            return [_of_row(row) for row in self._connection.execute(query)]

    def end(self, number: int, state: str, end_unix_ms: int | None = None) -> None:
        """Say how one has ended, and when if that was not known before; durable when this returns.
        """
        values: dict[str, Any] = {"state": state}
        if end_unix_ms is not None:
            values["end_unix_ms"] = end_unix_ms
        with translated("write"):
            self._connection.execute(DISPATCHES.update().where(
                DISPATCHES.c.id == number, DISPATCHES.c.state == ACCEPTED).values(**values))
            self._ledger.flush()

    def _read(self, condition: Any) -> Iterator[Dispatch]:
        query = sa.select(DISPATCHES).where(condition).order_by(DISPATCHES.c.id)
        with translated("read"):
            rows = self._connection.execute(query).all()
        return iter([_of_row(row) for row in rows])


def services_of(ledger: Ledger) -> dict[int, tuple[int, str, str]]:
    """Return (service, source, key) of every instruction by number; none without a table."""
    with translated("read"):
        if not sa.inspect(ledger.connection).has_table(DISPATCHES.name):
            return {}
        columns = DISPATCHES.c
        return {int(row.id): (int(row.service), str(row.source), str(row.key)) for row in
                ledger.connection.execute(sa.select(
                    columns.id, columns.service, columns.source, columns.key))}


def _of_row(row: Any) -> Dispatch:
    return Dispatch(**row._mapping)
