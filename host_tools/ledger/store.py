"""The panel's ledger: every statement received or made, in one SQL database.

SQLite in a file by default; the tables are plain SQL through SQLAlchemy Core, so that another
engine is another URL.
"""

from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from element.protocol import schema

_META = sa.MetaData()

STATEMENTS = sa.Table(
    "statements", _META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Integer, nullable=False),
    sa.Column("signer", sa.LargeBinary(8), nullable=False),
    sa.Column("counter", sa.BigInteger, nullable=False),
    sa.Column("interval_number", sa.Integer, nullable=True),
    sa.Column("received_unix_ms", sa.BigInteger, nullable=False),
    sa.Column("statement", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("kind", "signer", "counter"),
)


class Ledger:
    """Append-only: statements go in, are given their interval once, and are read back."""

    def __init__(self, url: str = "sqlite://") -> None:
        """url: an SQLAlchemy database URL; the default is a private one in memory."""
        self._engine = sa.create_engine(url)
        _META.create_all(self._engine)
        self._connection = self._engine.connect()

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
        for kind, signer, counter in members:
            self._connection.execute(table.update().where(
                table.c.kind == kind, table.c.signer == signer, table.c.counter == counter,
            ).values(interval_number=interval_number))
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

    def close(self) -> None:
        """Make everything durable and close."""
        self._connection.commit()
        self._connection.close()
        self._engine.dispose()
