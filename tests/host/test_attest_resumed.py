"""An aggregator that restarts: one chain and one log go on, and a damaged ledger is refused."""

import hashlib
import random
import sqlite3
from itertools import pairwise

import pytest

from element.protocol import schema
from element.protocol.errors import BusError, DecodeError, SignatureError
from hil.benchmarks.attest import INTERVAL_MS, START_MS, make_record
from host_tools.attest import log, merkle
from host_tools.attest.commitment import Committer
from host_tools.attest.log import CHECKPOINT_KIND, IntervalLog
from host_tools.attest.primitives import check_consistency
from host_tools.identity.keys import make_key_pair
from host_tools.ledger.store import Ledger

RNG = random.Random(1)
KEY, OTHER = make_key_pair(RNG.randbytes), make_key_pair(RNG.randbytes)
ELEMENTS = sorted((make_key_pair(RNG.randbytes) for _ in range(2)), key=lambda one: one.key_id)


class Panel:
    """What the aggregator does with its committer and ledger, and nothing else."""

    def __init__(self, path, seen=()) -> None:
        self.ledger = Ledger.at(path)
        self.committer, self.pending = Committer.resumed(KEY, self.ledger, seen)
        self.heads = self.ledger.heads()

    def record(self, sign) -> None:
        """File one record of an element, as it comes from the line."""
        counter, previous = self.heads.get(sign.key_id, (0, bytes(32)))
        leaf = make_record(sign, counter + 1, previous, START_MS + counter * INTERVAL_MS, 1000)
        self.heads[sign.key_id] = counter + 1, hashlib.sha256(leaf.statement).digest()
        assert self.ledger.add(leaf.kind, leaf.element_id, counter + 1, 0, leaf.statement)
        self.pending.append(leaf)

    def commit(self) -> int:
        """Close an interval as the aggregator does; returns its number."""
        statement, fields = self.committer.commit(self.pending, START_MS, START_MS, 0, 0)
        number = fields["number"]
        self.ledger.add(schema.INTERVAL_COMMITMENT, KEY.key_id, number, 0, statement)
        self.ledger.add(CHECKPOINT_KIND, KEY.key_id, number, 0,
                        self.committer.checkpoint(START_MS + number))
        self.ledger.commit(number, [(one.kind, one.element_id, one.fields["counter"])
                                    for one in self.pending])
        self.pending = []
        return number

    def interval(self) -> None:
        """Take a record of each element and commit."""
        for sign in ELEMENTS:
            self.record(sign)
        self.commit()

    def close(self) -> None:
        self.ledger.close()


@pytest.fixture
def path(tmp_path):
    """A ledger of five intervals, closed."""
    panel = Panel(tmp_path / "panel.db")
    for _ in range(5):
        panel.interval()
    panel.close()
    return tmp_path / "panel.db"


def _statements(path, kind: int) -> list[bytes]:
    ledger = Ledger.at(path)
    out = [one for _, one in ledger.of_kind(kind)]
    ledger.close()
    return out


def test_an_empty_ledger_gives_a_new_committer() -> None:
    committer, pending = Committer.resumed(KEY, Ledger())
    assert pending == []
    assert committer.commit([], 1, 2, 0, 0)[0] == Committer(KEY).commit([], 1, 2, 0, 0)[0]


def test_history_goes_on_in_one_chain_and_one_log(path) -> None:
    for _ in range(3):  # three restarts, two intervals each
        panel = Panel(path)
        assert panel.pending == []
        panel.interval()
        panel.interval()
        panel.close()
    commitments = _statements(path, schema.INTERVAL_COMMITMENT)
    checkpoints = _statements(path, CHECKPOINT_KIND)
    kept, keys = IntervalLog(commitments), {KEY.key_id: KEY.public}
    assert len(commitments) == len(checkpoints) == 11
    proofs = {(older, newer): kept.consistency(older, newer)
              for older in range(1, 12) for newer in range(older + 1, 12)}
    assert log.find_equivocation([*commitments, *checkpoints], keys, proofs) == []
    for older in range(1, 6):  # before the first restart, against all after it
        for newer in range(6, 12):
            check_consistency(older, newer, kept.consistency(older, newer),
                              merkle.root(commitments[:older]), merkle.root(commitments[:newer]))
    # byte for byte what it would be without a restart
    never = Panel(path.parent / "never.db")
    for _ in range(11):
        never.interval()
    never.close()
    assert commitments == _statements(path.parent / "never.db", schema.INTERVAL_COMMITMENT)
    for one, after in pairwise(commitments):
        assert hashlib.sha256(one).digest() in after


def test_what_came_and_was_not_committed_waits_for_the_next_interval(path) -> None:
    panel = Panel(path)
    panel.record(ELEMENTS[0])
    panel.ledger.flush()  # then the power goes: nobody closes
    panel = Panel(path)
    assert [one.order for one in panel.pending] == [(ELEMENTS[0].key_id, 6)]
    assert panel.heads[ELEMENTS[0].key_id][0] == 6 and panel.heads[ELEMENTS[1].key_id][0] == 5
    assert panel.commit() == 6
    assert [len(panel.ledger.chained(number)) for number in (5, 6)] == [2, 1]
    assert panel.ledger.chained(None) == []
    panel.close()
    assert Panel(path).pending == []


def test_what_was_not_flushed_is_gone_whole(path) -> None:
    panel = Panel(path)
    panel.record(ELEMENTS[0])
    statement, fields = panel.committer.commit(panel.pending, START_MS, START_MS, 0, 0)
    panel.ledger.add(schema.INTERVAL_COMMITMENT, KEY.key_id, fields["number"], 0, statement)
    panel.ledger._connection.rollback()  # the power goes inside the transaction
    panel.close()
    again = Panel(path)
    assert again.pending == [] and again.commit() == 6


def _sql(path, *commands: str, values=()) -> None:
    connection = sqlite3.connect(path)
    for command in commands:
        connection.execute(command, values)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(("command", "error", "code"), [
    ("delete from statements where kind = 5 and counter = 5", DecodeError, "commitment missing"),
    ("delete from statements where kind = 5 and counter = 3", DecodeError, "commitment missing"),
    ("delete from statements where kind = 5", DecodeError, "commitment missing"),
    ("delete from statements where kind in (3, 5)", DecodeError, "shorter than its checkpoint"),
    ("delete from statements where kind != 64 and (interval_number = 5 or counter = 5)",
     DecodeError, "shorter than its checkpoint"),
    ("delete from statements where kind = 64", DecodeError, "no checkpoint"),
    ("delete from statements where kind = 3 and counter = 5 and signer in "
     "(select min(signer) from statements where kind = 3)", DecodeError, "records missing"),
    ("update statements set interval_number = null where counter = 5", DecodeError,
     "records missing"),
    ("update statements set interval_number = 6 where kind = 3 and counter = 5", DecodeError,
     "commitment missing"),
    ("update statements set counter = 9 where kind = 5 and counter = 3", DecodeError,
     "commitment missing"),
    ("update statements set statement = (select statement from statements where kind = 5 and "
     "counter = 4) where kind = 5 and counter = 5", SignatureError, "under another number"),
    ("update statements set statement = x'd284' where kind = 5 and counter = 3", DecodeError,
     "commitment altered"),
    ("update statements set statement = (select statement from statements where kind = 64 and "
     "counter = 4) where kind = 64 and counter = 5", None, ""),
    ("update statements set statement = (select statement from statements where kind = 5 and "
     "counter = 4) where kind = 64 and counter = 5", SignatureError, "checkpoint"),
])
def test_a_ledger_that_lost_something_is_refused_by_name(path, command, error, code) -> None:
    _sql(path, command)
    if error is None:  # an older checkpoint in the place of the newest contradicts nothing
        Panel(path).close()
        return
    with pytest.raises(error, match=code):
        Panel(path)


@pytest.mark.parametrize(("kind", "counter"), [(5, 5), (5, 4), (5, 1), (64, 5), (3, 5)])
def test_every_altered_byte_of_the_tail_is_refused(path, kind, counter) -> None:
    ledger = sqlite3.connect(path)
    (row, statement), = ledger.execute(
        "select id, statement from statements where kind = ? and counter = ? order by signer "
        "limit 1", (kind, counter)).fetchall()
    for position in range(0, len(statement), 3):
        changed = bytearray(statement)
        changed[position] ^= 0x10
        ledger.execute("update statements set statement = ? where id = ?", (bytes(changed), row))
        ledger.commit()
        with pytest.raises((DecodeError, SignatureError)):
            Panel(path)
    ledger.execute("update statements set statement = ? where id = ?", (statement, row))
    ledger.commit()
    ledger.close()
    Panel(path).close()


def test_a_ledger_put_back_to_an_earlier_day_is_found_by_a_kept_checkpoint(path) -> None:
    before = path.read_bytes()
    kept = _statements(path, CHECKPOINT_KIND)
    panel = Panel(path, kept)
    panel.interval()
    panel.close()
    newest = _statements(path, CHECKPOINT_KIND)[-1]
    path.write_bytes(before)
    with pytest.raises(DecodeError, match="shorter than its checkpoint"):
        Panel(path, [newest])
    # without it the same number is signed twice: the two statements are evidence
    panel = Panel(path)
    panel.record(ELEMENTS[1])
    panel.commit()
    other = Panel(path).committer.checkpoint(START_MS + 6)
    with pytest.raises(SignatureError, match="checkpoint does not match"):
        Panel(path, [newest])
    found = log.find_equivocation([newest, other], {KEY.key_id: KEY.public})
    assert [one.name for one in found] == [log.SAME_SIZE]


def test_another_aggregators_ledger_or_checkpoint_is_refused(path) -> None:
    with pytest.raises(SignatureError, match="checkpoint: signer"):
        Committer.resumed(OTHER, Ledger.at(path))
    _sql(path, "delete from statements where kind = 64")
    with pytest.raises(SignatureError, match="of another aggregator"):
        Committer.resumed(OTHER, Ledger.at(path))
    foreign = log.sign_checkpoint(OTHER, 1, bytes(32), 0)
    with pytest.raises(SignatureError, match="checkpoint: signer"):
        Committer.resumed(KEY, Ledger(), [foreign])


def test_a_file_that_is_no_ledger_is_said_so(path, tmp_path) -> None:
    (tmp_path / "junk.db").write_bytes(b"junk" * 1000)
    with pytest.raises(BusError, match="not a database"):
        Ledger.at(tmp_path / "junk.db")
    data = bytearray(path.read_bytes())
    data[4096:8192] = bytes(4096)  # the first page of the table
    path.write_bytes(data)
    with pytest.raises((BusError, DecodeError)):
        Panel(path)
