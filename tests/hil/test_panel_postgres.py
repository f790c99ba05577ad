"""The same panel on a real PostgreSQL: the ledger's rules, and a kill while it dispatches."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from element.protocol import schema
from element.protocol.errors import BusError, RangeError
from hil.bench.panel import AfterKills, killed_at_random
from host_tools.ledger.dispatches import ACCEPTED, DONE, Dispatch, Dispatches
from host_tools.ledger.store import Ledger

from .panel_process import house, until
from .postgres_server import Postgres

KW = 1_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One server for the module."""
    one = Postgres(tmp_path_factory.mktemp("postgres"))
    yield one
    one.stop()


def emptied(server: Postgres) -> str:
    """Return the URL of a server's database, which holds nothing any more."""
    ledger = Ledger(server.url)
    for table in ("statements", "state", "dispatches"):
        ledger.connection.exec_driver_sql(f"drop table if exists {table}")
    ledger.flush()
    ledger.close()
    return server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, server: Postgres) -> str:
    """An empty ledger's URL, of each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return emptied(server)


def instruction(key: str, power_mw: int = KW) -> Dispatch:
    """Return an instruction as it comes."""
    return Dispatch(key, "api", power_mw, 1, 1000, 2000, True, ACCEPTED, power_mw, "", 900)


def test_statements_are_kept_once_and_given_back_in_order(url: str) -> None:
    ledger = Ledger(url)
    for counter in (2, 1, 2, 3):
        ledger.put(schema.EXECUTION_RECORD, b"a" * 8, counter, 5, b"%d" % counter)
    assert not ledger.add(schema.SAFETY_EVENT, b"a" * 8, 3, 5, b"other")
    ledger.commit(7, [(schema.EXECUTION_RECORD, b"a" * 8, 1)])
    ledger.keep("x", b"1")
    ledger.keep("x", b"\x00\xff")
    ledger.close()
    again = Ledger(url)
    assert [(counter, number, statement) for _, _, counter, number, statement
            in again.statements()] == [(1, 7, b"1"), (2, None, b"2"), (3, None, b"3")]
    assert again.kept("x") == b"\x00\xff" and again.kept("y") is None
    assert again.last_interval() == 7
    assert again.heads()[b"a" * 8][0] == 3
    again.close()


def test_instructions_have_one_number_for_ever(url: str) -> None:
    ledger = Ledger(url)
    dispatches = Dispatches(ledger)
    first, second = dispatches.add(instruction("a")), dispatches.add(instruction("b", -KW))
    assert dispatches.add(instruction("a")) == first and second.id == first.id + 1
    with pytest.raises(RangeError):
        dispatches.add(instruction("a", 5))
    dispatches.end(second.id, DONE)
    ledger.close()
    ledger = Ledger(url)
    dispatches = Dispatches(ledger)
    assert dispatches.open() == [first]
    dispatches.end(first.id, DONE)
    assert dispatches.add(instruction("c")).id > second.id
    assert [one.key for one in dispatches.newest(2)] == ["c", "b"]
    ledger.close()


def test_what_was_not_flushed_is_not_there_after_a_kill(url: str) -> None:
    ledger = Ledger(url)
    ledger.put(schema.EXECUTION_RECORD, b"a" * 8, 1, 5, b"kept")
    ledger.flush()
    ledger.put(schema.EXECUTION_RECORD, b"a" * 8, 2, 5, b"lost")
    ledger.connection.invalidate()  # the connection is gone, as after SIGKILL
    other = Ledger(url)
    assert other.heads()[b"a" * 8][0] == 1
    other.close()


def test_a_server_that_is_gone_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(BusError):
        Ledger("postgresql+pg8000://cellwall@127.0.0.1:9/cellwall")
    with pytest.raises(BusError):
        Ledger("mysql://somewhere/else")


def test_a_panel_on_postgresql_killed_while_it_dispatches(server: Postgres, tmp_path: Path
                                                          ) -> None:
    with house(tmp_path, 2, ledger=emptied(server)) as (elements, panel):
        keys = killed_at_random(panel, 1, 5)
        panel.kill()
        until(lambda: elements.power_mw == 0, 10)
        assert AfterKills.judge(elements, server.url, keys) == AfterKills(0, 0, 0)
