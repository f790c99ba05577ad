"""The panel's ledger: every statement received or made, in one SQL database.

SQLite in a file by default; the tables are plain SQL through SQLAlchemy Core, so that another
engine is another URL.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from element.protocol import schema
from element.protocol.errors import BusError

METADATA = sa.MetaData()
# Statements that wait to be written together.
QUEUE_MAX = 1000

STATEMENTS = sa.Table(
    "statements", METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Integer, nullable=False),
    sa.Column("signer", sa.LargeBinary(8), nullable=False),
    sa.Column("counter", sa.BigInteger, nullable=False),
    sa.Column("interval_number", sa.Integer, nullable=True),
    sa.Column("received_unix_ms", sa.BigInteger, nullable=False),
    sa.Column("statement", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("kind", "signer", "counter"),
)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise BusError for what the database says."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        why = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise BusError("ledger", f"{what}: {why}") from error


STATE = sa.Table(
    "state", METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)


def _careful(connection: Any, _record: Any) -> None:
    """Make SQLite durable at every commit, and readable meanwhile."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class Ledger:
    """Append-only: statements go in, are given their interval once, and are read back."""

    def __init__(self, url: str = "sqlite://") -> None:
        """url: an SQLAlchemy database URL; the default is a private one in memory.

        Raises BusError for a database that is none or is damaged.
        """
        with translated("the ledger's URL"):
            backend = sa.make_url(url).get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise BusError("ledger", f"{backend}\n  next: use sqlite:///FILE or "
                                     "postgresql+pg8000://USER@HOST/NAME")
        with translated(url):
            self._engine = sa.create_engine(url)
            if self._engine.dialect.name == "sqlite":
                sa.event.listen(self._engine, "connect", _careful)
            METADATA.create_all(self._engine)
            self._only = self._engine.connect()
        insert = sqlite.insert if backend == "sqlite" else postgresql.insert
        self._insert: sa.Insert = insert(STATEMENTS).on_conflict_do_nothing()
        self._queued: list[dict[str, Any]] = []

    @property
    def connection(self) -> sa.Connection:
        """The one connection: what it writes is durable after `flush`."""
        return self._connection

    @property
    def _connection(self) -> sa.Connection:
        """The connection, once everything that was put is written to it."""
        self._write()
        return self._only

    def _write(self) -> None:
        if self._queued:
            queued, self._queued = self._queued, []
            with translated("write"):
                self._only.execute(self._insert, queued)

    def put(self, kind: int, signer: bytes, counter: int, received_unix_ms: int,
            statement: bytes) -> None:
        """Store a statement with the next `flush` or read; one that is there already is kept.

        For those whose sender's chain was checked: `add` also knows that records and events share
        their counters.
        """
        self._queued.append({
            "kind": kind, "signer": signer, "counter": counter,
            "received_unix_ms": received_unix_ms, "statement": statement})
        if len(self._queued) >= QUEUE_MAX:
            self._write()

    @classmethod
    def at(cls, path: Path) -> "Ledger":
        """Return the ledger in an SQLite file."""
        return cls(f"sqlite:///{path}")

    def add(self, kind: int, signer: bytes, counter: int, received_unix_ms: int,
            statement: bytes) -> bool:
        """Store a statement; False when this signer's counter of this kind is there already."""
        table = STATEMENTS
        chained = (schema.EXECUTION_RECORD, schema.SAFETY_EVENT)
        kinds = chained if kind in chained else (kind,)
        known = sa.select(table.c.id).where(
            table.c.kind.in_(kinds), table.c.signer == signer, table.c.counter == counter)
        if self._connection.execute(known).first() is not None:
            return False
        self._connection.execute(table.insert().values(
            kind=kind, signer=signer, counter=counter, received_unix_ms=received_unix_ms,
            statement=statement))
        return True

    def commit(self, interval_number: int, members: list[tuple[int, bytes, int]]) -> None:
        """Give (kind, signer, counter) members their interval and make all of it durable."""
        table = STATEMENTS
        update = table.update().where(
            table.c.kind == sa.bindparam("of_kind"), table.c.signer == sa.bindparam("of_signer"),
            table.c.counter == sa.bindparam("of_counter"),
        ).values(interval_number=interval_number)
        with translated("write"):
            if members:
                self._connection.execute(update, [
                    {"of_kind": kind, "of_signer": signer, "of_counter": counter}
                    for kind, signer, counter in members])
            self._connection.commit()

    def statements(self) -> Iterator[tuple[int, bytes, int, int | None, bytes]]:
        """Yield (kind, signer, counter, interval number, statement) in a fixed order."""
        table = STATEMENTS
        query = sa.select(
            table.c.kind, table.c.signer, table.c.counter, table.c.interval_number,
            table.c.statement,
        ).order_by(table.c.kind, table.c.signer, table.c.counter)
        for row in self._connection.execute(query):
            yield row.kind, row.signer, row.counter, row.interval_number, row.statement

    def of_kind(self, kind: int) -> Iterator[tuple[int, bytes]]:
        """Yield (counter, statement) of one kind in the order of counters.

        Raises BusError when the database can not be read.
        """
        table = STATEMENTS
        query = sa.select(table.c.counter, table.c.statement).where(table.c.kind == kind)
        with translated("read"):
            for row in self._connection.execute(query.order_by(table.c.counter, table.c.id)):
                yield row.counter, row.statement

    def last_of_kind(self, kind: int) -> bytes | None:
        """Return the statement of one kind with the highest counter. Raises BusError."""
        table = STATEMENTS
        with translated("read"):
            row = self._connection.execute(
                sa.select(table.c.statement).where(table.c.kind == kind)
                .order_by(table.c.counter.desc(), table.c.id.desc()).limit(1)).first()
        return None if row is None else bytes(row.statement)

    def newest_of_kind(self, kind: int) -> dict[bytes, bytes]:
        """Return every signer's statement of one kind with the highest counter. BusError."""
        table = STATEMENTS
        newest = sa.select(table.c.signer, sa.func.max(table.c.counter).label("counter")) \
            .where(table.c.kind == kind).group_by(table.c.signer).subquery()
        query = sa.select(table.c.signer, table.c.statement).join(
            newest, sa.and_(table.c.signer == newest.c.signer,
                            table.c.counter == newest.c.counter)).where(table.c.kind == kind)
        with translated("read"):
            return {bytes(row.signer): bytes(row.statement)
                    for row in self._connection.execute(query)}

    def heads(self) -> dict[bytes, tuple[int, bytes]]:
        """Return (counter, SHA-256) of every element's newest record or event, by element id.

        Where its chain goes on after a restart; what comes at or below it is known already.
        Raises BusError when the database can not be read.
        """
        table = STATEMENTS
        chained = table.c.kind.in_((schema.EXECUTION_RECORD, schema.SAFETY_EVENT))
        newest = sa.select(table.c.signer, sa.func.max(table.c.counter).label("counter")) \
            .where(chained).group_by(table.c.signer).subquery()
        query = sa.select(table.c.signer, table.c.counter, table.c.statement).join(
            newest, sa.and_(table.c.signer == newest.c.signer,
                            table.c.counter == newest.c.counter)).where(chained)
        with translated("read"):
            return {row.signer: (row.counter, hashlib.sha256(row.statement).digest())
                    for row in self._connection.execute(query)}

    def chained(self, interval_number: int | None) -> list[tuple[int, bytes]]:
        """Return (kind, statement) of elements' records and events in an interval.

        None: of those that came and are in no interval yet, which are the next one's. In the
        order of signer and counter. Raises BusError when the database can not be read.
        """
        table = STATEMENTS
        query = sa.select(table.c.kind, table.c.statement).where(
            table.c.kind.in_((schema.EXECUTION_RECORD, schema.SAFETY_EVENT)),
            table.c.interval_number == interval_number if interval_number is not None
            else table.c.interval_number.is_(None))
        with translated("read"):
            return [(row.kind, row.statement) for row in self._connection.execute(
                query.order_by(table.c.signer, table.c.counter))]

    def last_interval(self) -> int:
        """Return the highest interval that a statement was given, 0 for none. Raises BusError."""
        with translated("read"):
            return int(self._connection.execute(
                sa.select(sa.func.max(STATEMENTS.c.interval_number))).scalar() or 0)

    def keep(self, name: str, value: bytes) -> None:
        """Remember a value under a name in place of the one before; durable when this returns."""
        with translated("write"):
            self._connection.execute(STATE.delete().where(STATE.c.name == name))
            self._connection.execute(STATE.insert().values(name=name, value=value))
            self._connection.commit()

    def kept(self, name: str) -> bytes | None:
        """Return what was kept under a name. Raises BusError."""
        with translated("read"):
            row = self._connection.execute(
                sa.select(STATE.c.value).where(STATE.c.name == name)).first()
        return None if row is None else bytes(row.value)

    def flush(self) -> None:
        """Make what was added durable: what is acknowledged to its sender has to be."""
        with translated("write"):
            self._connection.commit()

    def close(self) -> None:
        """Make everything durable and close."""
        self._connection.commit()
        self._connection.close()
        self._engine.dispose()
