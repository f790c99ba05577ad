"""Bundles: what they show, what they do not, and every attack on one."""

import random

import cbor2
import pytest
import scitt_cose
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from element.protocol.errors import DecodeError, RangeError
from hil.benchmarks import attest as bench
from hil.benchmarks.attest import LATER_MS, START_MS, make_building, make_credential, make_record
from host_tools import codec
from host_tools.attest import bundle, receipts
from host_tools.attest.bundle import Choice, Holdings
from host_tools.attest.verifier import Refused, Trust, verify_bundle
from host_tools.identity.keys import make_key_pair, public_from_raw
from host_tools.identity.revocation import Revocation, sign_list
from tests.campaign import BIT_STEP

INTERVALS, LEAVES, ELEMENTS = 8, 12, 6


@pytest.fixture(scope="module")
def building():
    return make_building(INTERVALS, LEAVES, 1, ELEMENTS, checkpoints=4)


@pytest.fixture(scope="module")
def holdings(building):
    return Holdings(building.entries)


@pytest.fixture(scope="module")
def small():
    """A bundle of one record, small enough to flip every bit of it."""
    building = make_building(3, 3, 2, 3, checkpoints=3)
    held = Holdings(building.entries)
    entry = Revocation(b"somebody", START_MS // 1000, 3)
    lists = [sign_list(key, 1, (entry,), START_MS // 1000)
             for key in (building.authorities.issuer, building.operator)]
    return building, bundle.build(held, {2: [1]}, building.authorities.aggregator, LATER_MS,
                                  receipts=True, revocations=lists)


def _refusal(data: bytes, trust: Trust) -> str:
    with pytest.raises(Refused) as caught:
        verify_bundle(data, trust)
    return caught.value.code


def _changed(data: bytes, change) -> bytes:
    """Return the bundle after change(list), encoded as our own encoder would."""
    value = cbor2.loads(data)
    return cbor2.dumps(change(value) or value)


# what is shown

@pytest.mark.parametrize("choice", [
    Choice(tenant="north"), Choice(chemistry="NMC"), Choice(role="wall"), Choice(),
    Choice(tenant="south", chemistry="LFP"),
    Choice(from_unix_ms=START_MS + 60000, to_unix_ms=START_MS + 180000)])
def test_a_choice_is_shown_whole_and_alone(building, holdings, choice) -> None:
    data = bundle.build(holdings, holdings.chosen(choice))
    outcome = verify_bundle(data, building.trust)
    wanted = [leaf.statement for interval in holdings.intervals.values()
              for leaf in interval.leaves
              if choice.takes(leaf, holdings.credential_of(leaf)[1])]
    assert wanted and sorted(one.statement for one in outcome.records) == sorted(wanted)
    shown = set(wanted)
    for _, _, statement in building.entries[ELEMENTS:]:
        if statement not in shown and codec.peek(statement)[0] == "cw/record":
            assert statement not in data and codec.peek(statement)[2] not in data
    for element_id in set(outcome.credentials) ^ set(holdings.credentials):
        assert element_id not in data and holdings.credentials[element_id][0][0] not in data


def test_an_element_is_chosen_by_the_beginning_of_its_id(building, holdings) -> None:
    name = building.elements[3].key_id.hex()
    chosen = holdings.chosen(Choice(element=name[:6].upper()))
    outcome = verify_bundle(bundle.build(holdings, chosen), building.trust)
    assert {one.element_id.hex() for one in outcome.records} == {name}
    assert [one.counter for one in outcome.records] == list(range(1, 17))
    assert outcome.checkpoints and outcome.checkpoints[-1][2] == INTERVALS


def test_totals_alone_show_no_record(building, holdings) -> None:
    data = bundle.build(holdings, {number: [] for number in holdings.intervals})
    outcome = verify_bundle(data, building.trust)
    assert outcome.records == [] and outcome.credentials == {}
    assert [one[5] for one in outcome.intervals] == [LEAVES] * INTERVALS


def test_a_key_adds_a_checkpoint_of_now_that_continues_the_first(building) -> None:
    held = Holdings([one for one in building.entries if one[0] != 64])
    chosen = held.chosen(Choice(tenant="north"))
    assert verify_bundle(bundle.build(held, chosen), building.trust).checkpoints == []
    data = bundle.build(held, chosen, building.authorities.aggregator, LATER_MS)
    assert [one[2] for one in verify_bundle(data, building.trust).checkpoints] == [INTERVALS]
    held = Holdings(building.entries)
    shown = verify_bundle(bundle.build(held, {1: [0]}), building.trust).checkpoints
    assert [one[2] for one in shown] == [2, 8]


def test_every_record_maps_to_a_receipt_that_scitt_cose_takes(building, holdings) -> None:
    key = building.authorities.aggregator
    chosen = holdings.chosen(Choice(chemistry="LFP"))
    data = bundle.build(holdings, chosen, key, LATER_MS, receipts=True)
    pem = public_from_raw(key.public).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    pairs = bundle.receipts_of(data)
    assert len(pairs) == sum(map(len, chosen.values()))
    assert verify_bundle(data, building.trust).receipts_signed == len(chosen)
    for statement, receipt in pairs:
        receipts.check_inclusion(receipt, statement, key.public)
        assert scitt_cose.verify_receipt(
            receipt, leaf_entry_hex=statement.hex(), log_public_key_pem=pem).ok
    with pytest.raises(Refused, match="no receipt signature"):
        bundle.receipts_of(bundle.build(holdings, chosen))


def test_a_hundred_of_ten_thousand_fit_into_60_kb() -> None:
    big = make_building(1, 10000, 3)
    held = Holdings(big.entries)
    chosen = {1: sorted(random.Random(7).sample(range(10000), 100))}
    data = bundle.build(held, chosen, big.authorities.aggregator, LATER_MS)
    assert len(data) <= 60_000
    assert len(verify_bundle(data, big.trust).records) == 100


def test_a_hundred_minutes_in_a_row_fit_too_with_both_lists() -> None:
    row = make_building(500, 20, 3)
    lists = [sign_list(key, 1, (), START_MS // 1000)
             for key in (row.authorities.issuer, row.operator)]
    data = bundle.build(Holdings(row.entries), {number: [7] for number in range(201, 301)},
                        row.authorities.aggregator, LATER_MS, revocations=lists)
    assert len(data) <= 60_000
    assert len(verify_bundle(data, row.trust).records) == 100


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_subset_holds_and_is_encoded_one_way(building, holdings, data) -> None:
    indexes = st.sets(st.integers(0, LEAVES - 1), max_size=5).map(sorted)
    chosen = data.draw(st.dictionaries(st.integers(1, INTERVALS), indexes, min_size=1))
    made = bundle.build(holdings, chosen)
    assert made == bundle.build(holdings, dict(reversed(chosen.items())))
    outcome = verify_bundle(made, building.trust)
    assert outcome.shown_counts == {number: len(chosen[number]) for number in sorted(chosen)}
    if made != (cut := made[:data.draw(st.integers(0, len(made) - 1))]):
        _refusal(cut, building.trust)


# attacks on the bytes

def test_every_flipped_bit_is_refused(small) -> None:
    building, data = small
    assert verify_bundle(data, building.trust).records
    for bit in range(0, len(data) * 8, BIT_STEP):
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        _refusal(bytes(changed), building.trust)


def test_every_cut_and_every_appendix_is_refused(small) -> None:
    building, data = small
    for size in range(len(data)):
        _refusal(data[:size], building.trust)
    for more in (b"\0", b"\xf6", data):
        _refusal(data + more, building.trust)


def test_a_second_encoding_is_refused(small) -> None:
    building, data = small
    assert data[:1] == b"\x88" and data[11:12] == b"\x01"
    for other in (b"\x9f" + data[1:] + b"\xff", b"\x98\x08" + data[1:],
                  data[:11] + b"\x18\x01" + data[12:], data[:11] + b"\xf9\x3c\x00" + data[12:],
                  b"\xd9\xd9\xf7" + data):
        assert _refusal(other, building.trust).startswith("cbor")


# every place of a bundle that has a whole statement: its path, its typ
PLACES = {"credential": ((2, 0), "cw/credential"), "party": ((3, 0), "cw/party"),
          "record": ((4, 0, 3, 0), "cw/record"), "checkpoint": ((5, 0, 0), "cw/checkpoint"),
          "revocations": ((7, 0, 0), "cw/revocations")}


def _at(value, path):
    for index in path:
        value = value[index]
    return value


def _put(data: bytes, path, one: bytes) -> bytes:
    value = cbor2.loads(data)
    _at(value, path[:-1])[path[-1]] = one
    return cbor2.dumps(value)


def _signer(building, kid: bytes):
    keys = building.authorities
    return next(one for one in (keys.issuer, building.operator, keys.aggregator,
                                *building.elements) if one.key_id == kid)


def test_commitments_are_told_without_their_header(small) -> None:
    building, data = small
    payload, signature = cbor2.loads(data)[4][0][0]
    kept = [one for kind, _, one in building.entries if kind == 5]
    assert verify_bundle(data, building.trust).signed[0] == kept[1]
    assert codec.peek(kept[1])[2] == payload and kept[1].endswith(signature)
    key = building.authorities.aggregator
    doubled = b"\xad\x01" + cbor2.dumps(key.key_id) + payload[1:]
    protected = cbor2.loads(kept[1][1:])[0]
    for other in (doubled, payload[:1] + b"\x18" + payload[1:]):
        forged = [other, receipts.es256(key, protected, other)]
        assert _refusal(_put(data, (4, 0, 0), forged), building.trust).startswith("cbor")


@pytest.mark.parametrize("place", PLACES)
def test_a_duplicate_label_is_refused_even_when_signed(small, place: str) -> None:
    building, data = small
    path, typ = PLACES[place]
    protected, _, payload, _ = cbor2.loads(_at(cbor2.loads(data), path)[1:])
    key = _signer(building, codec.peek(_at(cbor2.loads(data), path))[1])
    for double in (b"\xa4\x01\x26\x01\x26" + protected[3:],
                   b"\xa4" + protected[1:] + b"\x01\x26"):
        forged = b"\xd2" + cbor2.dumps([double, {}, payload,
                                        receipts.es256(key, double, payload)])
        assert _refusal(_put(data, path, forged), building.trust) == "cbor not deterministic"
    first = bytes([payload[0] + 1]) + payload[1:2] + cbor2.dumps(cbor2.loads(payload)[1])
    forged = codec.sign1(key.private, typ, key.key_id, first + payload[1:])
    assert _refusal(_put(data, path, forged), building.trust).startswith("cbor")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("header", [
    {1: -37, 4: b"k", 16: "t"}, {1: 5, 4: b"k", 16: "t"}, {1: -35, 4: b"k", 16: "t"},
    {1: -7, 16: "t"}, {1: -7, 4: b"k"}, {4: b"k", 16: "t"}, {1: -7, 4: b"k", 5: b"", 16: "t"},
    {1: "ES256", 4: b"k", 16: "t"}])
def test_another_algorithm_or_header_is_refused_even_when_signed(small, header, place) -> None:
    building, data = small
    path, typ = PLACES[place]
    statement = _at(cbor2.loads(data), path)
    key = _signer(building, codec.peek(statement)[1])
    payload = cbor2.loads(statement[1:])[2]
    full = {label: {4: key.key_id, 16: typ}.get(label, value)
            for label, value in header.items()}
    protected = codec.dumps(full)
    forged = b"\xd2" + cbor2.dumps([protected, {}, payload,
                                    receipts.es256(key, protected, payload)])
    assert _refusal(_put(data, path, forged), building.trust) in ("algorithm", f"{typ} header")


@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_deterministic_or_in_the_open_header_is_refused(small, place) -> None:
    building, data = small
    path, typ = PLACES[place]
    parts = cbor2.loads(_at(cbor2.loads(data), path)[1:])
    opened = b"\xd2" + cbor2.dumps([parts[0], {1: -7}, *parts[2:]])
    assert _refusal(_put(data, path, opened), building.trust) == typ
    key = _signer(building, codec.peek(_at(cbor2.loads(data), path))[1])
    size = parts[2][0] - 0xa0
    for longer in (b"\xb8" + bytes([size]) + parts[2][1:], b"\xbf" + parts[2][1:] + b"\xff",
                   parts[2] + b"\0"):
        forged = codec.sign1(key.private, typ, key.key_id, longer)
        assert _refusal(_put(data, path, forged), building.trust).startswith("cbor")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_moved_or_replaced_is_refused(small, data) -> None:
    """Delete, double, swap or replace any one item of the bundle's structure."""
    building, whole = small
    value = cbor2.loads(whole)
    places = [(value, index) for index in range(len(value))]
    for holder, index in places:
        if isinstance(holder[index], list):
            places += [(holder[index], inner) for inner in range(len(holder[index]))]
    holder, index = data.draw(st.sampled_from(places))
    what = data.draw(st.sampled_from(("delete", "double", "swap", "none", "zero", "empty")))
    if what == "delete":
        del holder[index]
    elif what == "double":
        holder.insert(index, holder[index])
    elif what == "swap":
        other = data.draw(st.integers(0, len(holder) - 1))
        holder[index], holder[other] = holder[other], holder[index]
    else:
        holder[index] = {"none": None, "zero": 0, "empty": b""}[what]
    changed = cbor2.dumps(value)
    # leaving out the log, the root's signature or a list leaves a bundle that shows less
    less = [cbor2.loads(whole) for _ in range(4)]
    less[0][5] = None
    less[1][4][0][1] = None
    del less[2][7][0], less[3][7][1]
    if changed != whole and value not in less:
        _refusal(changed, building.trust)


# attacks by who holds keys

def test_strangers_are_not_trusted(building, holdings) -> None:
    data = bundle.build(holdings, {1: [0]}, building.authorities.aggregator, LATER_MS)
    stranger, mine = make_building(1, 1, 99, 1).trust, building.trust
    for role in ("issuer", "operator"):
        roots = {**mine.roots, role: stranger.roots[role]}
        assert _refusal(data, Trust(roots=roots)) == f"signed by no key of the {role}'s root"
        del roots[role]
        assert _refusal(data, Trust(roots=roots)) == f"the {role}'s root is unknown"


def test_bare_keys_serve_a_bench_and_nothing_with_a_credential(building) -> None:
    held, mine = Holdings(building.without_party), building.bare_trust
    data = bundle.build(held, {1: [0]}, building.authorities.aggregator, LATER_MS)
    assert verify_bundle(data, mine).records
    assert _refusal(data, building.trust) == "no party credential of an aggregator"
    stranger = make_building(1, 1, 99, 1).bare_trust
    assert _refusal(data, Trust(stranger.issuers, mine.aggregators)) == \
        "signed by no issuer that is trusted"
    assert "not trusted" in _refusal(data, Trust(mine.issuers, stranger.aggregators))
    # a trusted id with another key behind it
    swapped = {next(iter(mine.issuers)): next(iter(stranger.issuers.values()))}
    assert _refusal(data, Trust(swapped, mine.aggregators)) == "signature"
    # what bare keys can not check is not passed over
    full = bundle.build(Holdings(building.entries), {1: [0]})
    assert _refusal(full, mine) == "party credential unchecked"


def _with_credential(building, holdings, credential) -> bytes:
    data = bundle.build(holdings, {1: [0]})
    return _changed(data, lambda one: one.__setitem__(2, [credential]))


def test_a_swapped_key_and_a_wrong_issuer_are_refused(building, holdings) -> None:
    keys, sign = building.authorities, building.elements[0]
    agree = keys.aggregator_agree.public
    other = make_key_pair(random.Random(5).randbytes)
    for issuer, changes, code in (
        (keys.aggregator, {}, "signed by no key of the issuer's root"),
        (building.operator, {}, "signed by the operator's root and not the issuer's"),
        (other, {}, "signed by no key of the issuer's root"),
        (keys.issuer, {"subject": other.key_id.hex()}, "subject"),
    ):
        made = make_credential(issuer, sign, agree, 0, changes)
        assert _refusal(_with_credential(building, holdings, made), building.trust) == code
    made = make_credential(keys.issuer, other, agree, 0, {})
    assert "not trusted" in _refusal(_with_credential(building, holdings, made), building.trust)
    typ = codec.sign1(keys.issuer.private, "cw/party", keys.issuer.key_id,
                      codec.peek(make_credential(keys.issuer, sign, agree, 0, {}))[2])
    assert _refusal(_with_credential(building, holdings, typ), building.trust) == "typ"


@pytest.mark.parametrize(("changes", "code"), [
    ({"expires_unix_s": START_MS // 1000 + 59 - 120}, "credential expired"),
    ({"expires_unix_s": START_MS // 1000 + 60 - 120}, None),
    ({"not_before_unix_s": START_MS // 1000 + 121}, "credential not yet valid"),
    ({"not_before_unix_s": START_MS // 1000 + 120}, None)])
def test_validity_is_asked_for_the_time_of_the_record(building, holdings, changes, code) -> None:
    keys = building.authorities
    made = make_credential(keys.issuer, building.elements[0], keys.aggregator_agree.public, 0,
                           changes)
    data = _with_credential(building, holdings, made)
    if code is None:
        assert verify_bundle(data, building.trust).records
    else:
        assert _refusal(data, building.trust) == code


def _dishonest(change) -> tuple:
    building = make_building(2, 6, 4, 2, change=change)
    held = Holdings(building.entries)
    for interval in held.intervals.values():
        # the aggregator's own order, not the one that our reader would restore
        given = [one for kind, number, one in building.entries
                 if kind == 3 and number == interval.fields["number"]]
        interval.leaves.sort(key=lambda leaf, given=given: given.index(leaf.statement))
        interval._tree = bench.merkle.Tree([leaf.statement for leaf in interval.leaves])
    return building, held


def _root_over_given_order(monkeypatch) -> None:
    monkeypatch.setattr("host_tools.attest.commitment.sorted", lambda leaves, key: list(leaves),
                        raising=False)


def test_an_aggregator_that_reorders_is_found(monkeypatch) -> None:
    _root_over_given_order(monkeypatch)
    building, held = _dishonest(lambda number, leaves: leaves[::-1])
    assert _refusal(bundle.build(held, {1: [0, 1]}), building.trust) == \
        "leaves out of order in interval"


def test_an_aggregator_that_doubles_a_record_is_found(monkeypatch) -> None:
    _root_over_given_order(monkeypatch)
    building, held = _dishonest(lambda number, leaves: [leaves[0], *leaves])
    assert _refusal(bundle.build(held, {1: [0, 1, 2]}), building.trust) == "counter shown twice"
    # hidden between two shown leaves, it still takes a place that no counter explains
    building, held = _dishonest(lambda number, leaves: [*leaves[:2], leaves[1], *leaves[2:]])
    assert _refusal(bundle.build(held, {1: [0, 3]}), building.trust) == "more leaves than counters"


def test_a_record_in_two_intervals_is_found() -> None:
    kept: list = []

    def carry(number, leaves):
        kept.append(leaves[0])
        return leaves if number == 1 else [*leaves, kept[0]]

    building = make_building(2, 6, 4, 2, change=carry)
    held = Holdings(building.entries)
    assert _refusal(bundle.build(held, {1: [0], 2: [0]}), building.trust) == "counter shown twice"


def test_an_aggregator_that_omits_a_record_leaves_a_gap_that_is_named() -> None:
    from host_tools.attest.words import runs_of
    building = make_building(2, 6, 4, 2, change=lambda number, leaves:
                             leaves[:1] + leaves[2:] if number == 1 else leaves)
    held = Holdings(building.entries)
    outcome = verify_bundle(bundle.build(held, held.chosen(Choice())), building.trust)
    runs = {run.element_id: run for run in runs_of(outcome)}
    first = runs[building.elements[0].key_id]
    assert (first.first, first.last, first.missing) == (1, 6, [(2, 2)])
    assert runs[building.elements[1].key_id].missing == []


def test_an_altered_record_is_found_even_under_a_signed_root() -> None:
    def alter(number, leaves):
        statement = bytearray(leaves[0].statement)
        statement[-1] ^= 1
        return [bench.Leaf(leaves[0].element_id, 3, leaves[0].fields, bytes(statement)),
                *leaves[1:]]

    building = make_building(1, 6, 4, 2, change=alter)
    held = Holdings(building.entries)
    assert _refusal(bundle.build(held, {1: [0]}), building.trust) == "signature"
    assert verify_bundle(bundle.build(held, {1: [1]}), building.trust).records


def test_a_record_of_another_chain_does_not_continue_it(building, holdings) -> None:
    sign = building.elements[0]

    def fork(number, leaves):
        forked = make_record(sign, 2, bytes(32), START_MS, 1_000_000)
        return [leaves[0], forked, *leaves[2:]]

    forked = make_building(1, LEAVES, 1, ELEMENTS, change=fork)
    held = Holdings(forked.entries)
    assert _refusal(bundle.build(held, {1: [0, 1]}), forked.trust) == "chain broken"


def test_false_totals_are_found_when_every_record_is_shown(monkeypatch) -> None:
    monkeypatch.setattr("host_tools.attest.commitment.totals", lambda leaves: (1, 2, 3))
    building = make_building(1, 6, 4, 2)
    held = Holdings(building.entries)
    assert _refusal(bundle.build(held, {1: list(range(6))}), building.trust) == \
        "totals of interval"
    assert verify_bundle(bundle.build(held, {1: [0]}), building.trust).records


def test_a_rewritten_history_is_found(building) -> None:
    other = make_building(INTERVALS, LEAVES, 1, ELEMENTS, checkpoints=4,
                          change=lambda number, leaves: leaves[1:])
    first = next(one for one in building.entries if one[0] == 64)
    entries = [one for one in other.entries if one[0] != 64] + [first]
    held = Holdings(entries)
    with pytest.raises(DecodeError, match="checkpoint"):
        bundle.build(held, {1: [0]}, other.authorities.aggregator, LATER_MS)
    honest = Holdings(other.entries)
    data = bundle.build(honest, {1: [0]})

    def put(one) -> None:
        one[5][0][0] = first[2]

    assert _refusal(_changed(data, put), building.trust) == "history rewritten"


# what cannot be built

def test_nothing_chosen_and_broken_holdings_are_errors(building, holdings) -> None:
    with pytest.raises(RangeError, match="nothing chosen"):
        bundle.build(holdings, {})
    assert holdings.chosen(Choice(tenant="nobody")) == {}
    without = Holdings(building.entries[1:])
    with pytest.raises(DecodeError, match="no credential"):
        without.chosen(Choice())
    moved = [one for one in building.entries if one[0] != 3] + [
        (3, 2, one[2]) for one in building.entries if one[0] == 3]
    with pytest.raises(DecodeError, match="do not match"):
        Holdings(moved).chosen(Choice())
    gap = Holdings([one for one in building.entries if not (one[0] == 5 and one[1] == 4)])
    with pytest.raises(DecodeError, match="commitment missing"):
        bundle.build(gap, {1: [0]})
