"""Check the sealed session: order, replay, forgery, generations of keys, sessions apart."""

from binascii import hexlify, unhexlify

from edhoc_bench import CRYPTO, Handshake

from element.protocol import cbor, cose, edhoc, encrypt0, sealed
from element.protocol.errors import DecodeError, RangeError, SignatureError
from element.protocol.sealed import SealedSession

NAME = b"session1"


def session(exporter, initiator, name=NAME):
    return SealedSession(CRYPTO.seal, CRYPTO.unseal, exporter, name, initiator)


def exporters(prk=b"p" * 32):
    return edhoc.Exporter(CRYPTO.hmac, prk), edhoc.Exporter(CRYPTO.hmac, prk)


def pair(prk=b"p" * 32):
    one, two = exporters(prk)
    return session(one, True), session(two, False)


def raises(error, code, function, *args):
    try:
        function(*args)
    except error as caught:
        assert caught.code == code, caught.code
        return
    raise AssertionError("accepted")


def counters(end):
    return (end.sent, end.accepted, end.malformed, end.forged, end.replayed)


def test_both_ways_after_a_handshake():
    one, two = Handshake().run()
    panel, element = session(one, True), session(two, False)
    for number in range(300):
        payload = b"setpoint %d" % number
        data = panel.protect(payload)
        assert payload not in data and element.unprotect(data) == payload
        assert panel.unprotect(element.protect(b"ack")) == b"ack"
    assert counters(panel) == counters(element) == (300, 300, 0, 0, 0)
    assert element.unprotect(panel.protect(b"")) == b""


def test_the_bytes_are_an_encrypt0_with_the_sequence_as_partial_iv():
    panel, element = pair()
    panel.protect(b"")
    data = panel.protect(b"two")
    protected, header, ciphertext = encrypt0.parse(data)
    assert header == {cose.ALG: 10, cose.KID: NAME + b"\x00", cose.PIV: 2}
    key = exporters()[0].export(32768, NAME, 16)
    iv = exporters()[0].export(32770, NAME, 13)
    nonce = bytes(a ^ b for a, b in zip(iv, unhexlify("01000000000000000000000002")))
    aad = cbor.encode(["Encrypt0", protected, b""])
    assert CRYPTO.unseal(key, nonce, aad, ciphertext) == b"two"
    # the other way: another key, and the direction in the nonce
    _, _, ciphertext = encrypt0.parse(element.protect(b"one"))
    protected = cose.protected_header(10, NAME + b"\x00", None, 1)
    key = exporters()[0].export(32769, NAME, 16)
    nonce = bytes(a ^ b for a, b in zip(iv, unhexlify("01000000000000010000000001")))
    assert CRYPTO.unseal(key, nonce, encrypt0.enc_structure(protected), ciphertext) == b"one"
    # golden bytes: a change here breaks every element in the field
    assert hexlify(data) == GOLDEN, hexlify(data)


GOLDEN = b"d08351a3010a044973657373696f6e3100064102a04b9ebefab062e0224c30712d"


def test_messages_may_overtake_each_other_and_come_once():
    panel, element = pair()
    wire = [panel.protect(b"%d" % number) for number in range(200)]
    for number in (2, 0, 1, 5, 3, 68, 6, 7):
        assert element.unprotect(wire[number]) == b"%d" % number
    for number in (2, 0, 1, 5, 3, 68, 6, 7):
        raises(SignatureError, "session_replay", element.unprotect, wire[number])
    # 63 behind the newest is the last that is known, 64 is too old
    raises(SignatureError, "session_replay", element.unprotect, wire[4])
    assert element.unprotect(wire[199 - 63 - 20]) == b"116"
    assert element.unprotect(wire[199]) == b"199"
    assert element.unprotect(wire[199 - 63]) == b"136"
    raises(SignatureError, "session_replay", element.unprotect, wire[199 - 64])
    raises(SignatureError, "session_replay", element.unprotect, wire[116])
    assert element.replayed == 11 and element.forged == 0


def test_the_window_against_a_set_of_numbers():
    """Hold the window against the plain definition, in a random order."""
    panel, element = pair()
    wire = [panel.protect(b"") for _ in range(400)]
    seen, top, state = set(), 0, 12345
    for _ in range(1500):
        state = (state * 1103515245 + 12345) & 0x3FFFFFFF
        number = min(399, max(0, top + (state >> 8) % 84 - 77))
        expected = number not in seen and number > top - 64
        try:
            element.unprotect(wire[number])
            taken = True
        except SignatureError as error:
            assert error.code == "session_replay"
            taken = False
        assert taken == expected, (number, top)
        if taken:
            seen.add(number)
        top = max(top, number)
    assert element.accepted == len(seen) > 300


def test_every_damaged_byte_is_refused_and_moves_nothing():
    panel, element = pair()
    data = panel.protect(b"a setpoint")
    for index in range(len(data)):
        for bit in range(8):
            bad = bytearray(data)
            bad[index] ^= 1 << bit
            try:
                element.unprotect(bytes(bad))
            except (DecodeError, SignatureError):
                continue
            raise AssertionError((index, bit))
    for size in range(len(data)):
        raises(DecodeError, None, coded, element.unprotect, data[:size])
    raises(DecodeError, None, coded, element.unprotect, data + b"\x00")
    assert element.malformed + element.forged == 9 * len(data) + 1
    assert element.accepted == element.replayed == 0
    assert element.unprotect(data) == b"a setpoint"


def coded(function, *args):
    try:
        return function(*args)
    except DecodeError as error:
        error.code = None
        raise


def test_a_forged_number_does_not_move_the_window():
    panel, element = pair()
    first = panel.protect(b"a")
    _, _, ciphertext = encrypt0.parse(first)
    far = cose.protected_header(10, NAME + b"\x00", None, 0xFFFFFFFF)
    raises(SignatureError, "ccm_tag", element.unprotect, encrypt0.assemble(far, ciphertext))
    assert element.unprotect(first) == b"a"


def test_what_does_not_belong_is_refused():
    panel, element = pair()
    data = panel.protect(b"a")
    # sent back to where it came from
    raises(SignatureError, "ccm_tag", panel.unprotect, data)
    # of another handshake with the same name, and of one with another name
    raises(SignatureError, "ccm_tag", pair(b"q" * 32)[1].unprotect, data)
    other = session(exporters()[1], False, b"session2")
    raises(SignatureError, "session_kid", other.unprotect, data)
    # a generation that does not exist
    protected = cose.protected_header(10, NAME + b"\x01", None, 1)
    raises(SignatureError, "session_kid", element.unprotect,
           encrypt0.assemble(protected, bytes(9)))
    for header in (cose.protected_header(10, None, None, 1),
                   cose.protected_header(10, NAME + b"\x00")):
        raises(DecodeError, "session_header", element.unprotect,
               encrypt0.assemble(header, bytes(9)))
    assert element.unprotect(data) == b"a"


def test_a_reboot_ends_a_session():
    """What was recorded before a restart is refused after it: a handshake makes new keys."""
    one, two = Handshake().run()
    panel, element = session(one, True), session(two, False)
    old = [panel.protect(b"%d" % number) for number in range(3)]
    assert element.unprotect(old[0]) == b"0"
    one, two = Handshake(y=0x5555555).run()
    reborn = session(two, False)
    for data in old:
        raises(SignatureError, "ccm_tag", reborn.unprotect, data)
    assert reborn.unprotect(session(one, True).protect(b"new")) == b"new"


def test_the_last_sequence_number():
    panel, element = pair()
    panel._tx.sequence_sent = 0xFFFFFFFE
    data = panel.protect(b"last")
    assert element.unprotect(data) == b"last"
    raises(RangeError, "sequence", panel.protect, b"one more")
    raises(RangeError, "sequence", panel.protect, b"one more")
    raises(SignatureError, "session_replay", element.unprotect, data)
    assert panel.sent == 1
    # new keys count from the beginning
    panel.update(b"used up", True)
    element.update(b"used up")
    assert element.unprotect(panel.protect(b"again")) == b"again" and element.generation == 1


def test_a_number_is_spent_on_success_only():
    panel, element = pair()
    raises(RangeError, "cbor_size", panel.protect, bytes(4096))
    data = panel.protect(b"a")
    assert encrypt0.parse(data)[1][cose.PIV] == 1 and element.unprotect(data) == b"a"


def test_an_update_loses_nothing_in_flight():
    panel, element = pair()
    early = [element.protect(b"early %d" % number) for number in range(3)]
    down = panel.protect(b"down")
    before = panel.protect(b"update please")
    panel.update(b"context")
    assert panel.update_pending and panel.generation == 0
    raises(RangeError, "session_update_pending", panel.update, b"context")
    panel.retire()  # not now: the peer may still need them
    assert element.unprotect(before) == b"update please"
    element.update(b"context", True)
    assert element.generation == 1 and element.update_pending
    # under way while the keys change, in both directions and out of order
    assert element.unprotect(down) == b"down"
    assert panel.unprotect(early[1]) == b"early 1" and panel.generation == 0
    late = panel.protect(b"still the old keys")
    answer = element.protect(b"done")
    assert encrypt0.parse(answer)[1][cose.KID] == NAME + b"\x01"
    assert panel.unprotect(answer) == b"done"
    assert panel.generation == 1 and not panel.update_pending
    assert panel.unprotect(early[0]) == b"early 0"
    raises(SignatureError, "session_replay", panel.unprotect, early[0])
    new = panel.protect(b"new keys")
    assert element.unprotect(new) == b"new keys" and not element.update_pending
    assert element.unprotect(late) == b"still the old keys"
    raises(SignatureError, "session_replay", element.unprotect, late)
    raises(SignatureError, "session_replay", element.unprotect, new)
    # after 64 messages of the new keys the old ones are gone
    for number in range(63):
        panel.unprotect(element.protect(b"%d" % number))
    raises(SignatureError, "session_kid", panel.unprotect, early[2])
    assert len(panel._rx) == 1 and len(element._rx) == 2
    element.retire()
    assert len(element._rx) == 1
    raises(SignatureError, "session_kid", element.unprotect, down)


def test_many_updates_and_the_last_one():
    panel, element = pair()
    for number in range(255):
        context = b"%d" % number
        panel.update(context)
        element.update(context, True)
        assert panel.unprotect(element.protect(context)) == context
        assert element.unprotect(panel.protect(context)) == context
    assert panel.generation == element.generation == 255
    raises(RangeError, "session_generation", panel.update, b"")
    assert element.unprotect(panel.protect(b"on")) == b"on"


def test_an_update_with_another_context_is_not_understood():
    panel, element = pair()
    panel.update(b"one")
    element.update(b"two", True)
    raises(SignatureError, "ccm_tag", panel.unprotect, element.protect(b"x"))
    # the proposer goes on with the keys that work
    assert element.unprotect(panel.protect(b"old")) == b"old"


def test_wrong_arguments_are_refused():
    for name in (b"", bytes(64)):
        raises(RangeError, "session_name", session, exporters()[0], True, name)
    panel, _ = pair()
    raises(RangeError, "edhoc_context_size", panel.update, bytes(257))
    assert sealed.WINDOW == 64


def test_encrypt0_has_one_form():
    good = encrypt0.assemble(cose.protected_header(10, b"k", None, 1), bytes(8))
    assert encrypt0.parse(good)[1] == {1: 10, 4: b"k", 6: 1}
    raises(RangeError, "cose_ciphertext", encrypt0.assemble, b"\xa0", bytes(7))

    def message(header, rest=(bytes(8),), tag=16, unprotected=None):
        header = header if isinstance(header, bytes) else cbor.encode(header)
        return cbor.encode(cbor.Tagged(tag, [header, unprotected or {}] + list(rest)))

    base = {1: 10, 4: b"k", 6: b"\x01"}
    assert message(base) == good
    for code, data in (
        ("cose_tag", message(base, tag=17)), ("cose_tag", cbor.encode([b"", {}, bytes(8)])),
        ("cose_array", message(base, ())), ("cose_array", message(base, (bytes(8), bytes(8)))),
        ("cose_unprotected", message(base, unprotected={5: b"iv"})),
        ("cose_ciphertext", message(base, (bytes(7),))),
        ("cose_ciphertext", message(base, (None,))), ("cose_ciphertext", message(base, ("text",))),
        ("cose_alg", message({1: 5, 4: b"k", 6: b"\x01"})), ("cose_alg", message({4: b"k"})),
        ("cose_alg", message({1: 11})), ("cose_label", message({1: 10, 2: [4], 4: b"k"})),
        ("cose_label", message({1: 10, 5: b"iv"})), ("cose_label", message({1: 10, 16: "typ"})),
        ("cose_label", message({1: 10, "x": 1})), ("cose_kid", message({1: 10, 4: b""})),
        ("cose_kid", message({1: 10, 4: 1})), ("cose_piv", message({1: 10, 6: b"\x00\x01"})),
        ("cose_piv", message({1: 10, 6: b""})), ("cose_piv", message({1: 10, 6: bytes(5)})),
        # a label twice, labels out of order, a header that goes on
        ("cbor_key_order", message(unhexlify("a2010a010a"))),
        ("cbor_key_order", message(unhexlify("a204416b010a"))),
        ("cbor_trailing", message(unhexlify("a1010a00"))), ("cose_protected", message(b"\x80")),
        ("cbor_truncated", message(b"")), ("cbor_trailing", good + b"\x00"),
    ):
        raises(DecodeError, code, encrypt0.parse, data)
