"""Check EDHOC: the trace of RFC 9529, section 3, byte for byte, and everything that is refused."""

import json
from binascii import hexlify, unhexlify

import edhoc_bench as bench
from edhoc_bench import CRYPTO, Handshake, public, shared

from element.crypto import handshake, p256
from element.protocol import cbor, edhoc
from element.protocol.edhoc_initiator import Initiator
from element.protocol.edhoc_responder import Responder
from element.protocol.errors import DecodeError, Error, RangeError, SignatureError

# Two damages of each byte; tests/host/test_edhoc_lakers.py has all eight bits.
FLIPS = (0x01, 0x80)


def trace():
    with open("tests/vectors/edhoc_rfc9529.json") as file:
        return {name: unhexlify(value) for name, value in json.load(file).items()}


def raises(error, code, function, *args):
    try:
        function(*args)
    except error as caught:
        assert caught.code == code, caught.code
        return
    raise AssertionError("accepted")


class Recorder:
    """The primitives, and every value that went into or came out of them."""

    def __init__(self):
        self.crypto = edhoc.Crypto(self.sha256, self.hmac, self.seal, self.unseal)
        self.hashes = []
        self.derived = []
        self.sealing = []

    def sha256(self, data):
        self.hashes.append(CRYPTO.sha256(data))
        return self.hashes[-1]

    def hmac(self, key, message):
        self.derived.append(CRYPTO.hmac(key, message))
        return self.derived[-1]

    def seal(self, key, nonce, aad, plaintext):
        self.sealing.append((key, nonce, aad, plaintext))
        return CRYPTO.seal(key, nonce, aad, plaintext)

    def unseal(self, key, nonce, aad, sealed):
        plaintext = CRYPTO.unseal(key, nonce, aad, sealed)
        self.sealing.append((key, nonce, aad, plaintext))
        return plaintext

    def check(self, v):
        """Find every intermediate value of the trace, each under its own step."""
        assert self.hashes == [v["hash_1"], v["TH_2"], v["TH_3"], v["TH_4"]]
        for name in ("PRK_2e", "SALT_3e2m", "PRK_3e2m", "MAC_2", "KEYSTREAM_2", "K_3", "IV_3",
                     "SALT_4e3m", "PRK_4e3m", "MAC_3", "PRK_out", "K_4", "IV_4"):
            found = [one for one in self.derived if one[: len(v[name])] == v[name]]
            assert len(found) == 1, name
        assert self.sealing == [(v["K_3"], v["IV_3"], v["A_3"], v["PLAINTEXT_3"]),
                                (v["K_4"], v["IV_4"], v["A_4"], b"")]


def trace_peer(v):
    def peer(id_cred):
        assert id_cred in ({4: b"\x2b"}, {4: b"\x32"})
        cred = v["CRED_I"] if id_cred == {4: b"\x2b"} else v["CRED_R"]
        key = cbor.decode(cred)[8][1]
        return cred, key[-2] + key[-3]

    return peer


def check_exporter(exporter, v):
    assert exporter._prk_out == v["PRK_out"]
    assert edhoc.kdf(CRYPTO.hmac, v["PRK_out"], 10, b"", 32) == v["PRK_exporter"]
    assert exporter.export(0, b"", 16) == v["OSCORE_secret"]
    assert exporter.export(1, b"", 8) == v["OSCORE_salt"]
    exporter.update(v["update_context"])
    assert exporter._prk_out == v["PRK_out_updated"]
    assert edhoc.kdf(CRYPTO.hmac, exporter._prk_out, 10, b"", 32) == v["PRK_exporter_updated"]
    assert exporter.export(0, b"", 16) == v["OSCORE_secret_updated"]
    assert exporter.export(1, b"", 8) == v["OSCORE_salt_updated"]


def test_the_trace_as_initiator():
    v = trace()
    record = Recorder()
    ours = Initiator(record.crypto, v["C_I"], v["CRED_I"], {4: b"\x2b"}, trace_peer(v), (), (6, 2))
    assert ours.make_1(v["G_X"]) == v["message_1"]
    assert ours.receive_2(v["message_2"]) == v["G_Y"]
    assert ours.open_2(v["G_XY"])[:32] == v["CRED_R"][28:60]
    assert ours.c_r == v["C_R"] and ours.id_cred_peer == {4: b"\x32"}
    ours.verify_2(v["G_RX"])
    assert ours.make_3(v["G_IY"]) == v["message_3"]
    ours.receive_4(v["message_4"])
    record.check(v)
    check_exporter(ours.finish(), v)


def test_the_trace_as_responder():
    v = trace()
    record = Recorder()
    ours = Responder(record.crypto, v["CRED_R"], {4: b"\x32"}, trace_peer(v))
    assert ours.receive_1(v["message_1"]) == v["G_X"] and ours.c_i == v["C_I"]
    assert ours.make_2(v["C_R"], v["G_Y"], v["G_XY"], v["G_RX"]) == v["message_2"]
    ours.receive_3(v["message_3"])
    exporter = ours.finish_3(v["G_IY"])
    assert ours.id_cred_peer == {4: b"\x2b"}
    assert ours.make_4() == v["message_4"]
    record.check(v)
    check_exporter(exporter, v)


def test_the_trace_with_our_curve_in_slices():
    v = trace()
    ours = Responder(handshake.CRYPTO, v["CRED_R"], {4: b"\x32"}, trace_peer(v))
    # 48 bytes of which the private key of the trace comes out
    entropy = (int.from_bytes(v["Y"], "big") - 1).to_bytes(48, "big")
    assert handshake.private_key(entropy) == v["Y"]
    answer = handshake.AnswerJob(ours, v["message_1"], v["SK_R"], entropy, v["C_R"])
    while not answer.step():
        assert answer.message_2 is None
    assert answer.error is None and answer.message_2 == v["message_2"] and answer.step()
    finish = handshake.FinishJob(ours, answer, v["message_3"])
    while not finish.step():
        pass
    assert finish.error is None and finish.exporter.export(0, b"", 16) == v["OSCORE_secret"]
    assert answer.ephemeral_key is None


def test_a_point_from_its_x():
    v = trace()
    for name in ("G_X", "G_Y"):
        job = handshake.LiftJob(v[name])
        while not job.step():
            pass
        assert job.public_key[:32] == v[name] and p256.is_public_key(job.public_key)
    # no point has the first (RFC 9529, 4.2.3); the second is the prime of the field
    for x in ("a04e73601df544a70ba7ea1e57030f7d4b4eb7f673924e58d54ca77a5e7d4d4a",
              "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff", "00"):
        job = handshake.LiftJob(unhexlify(x))
        while not job.step():
            pass
        assert job.public_key is None and job.error.code == "public_key"


def test_both_ends_agree_and_show_what_came():
    eads = ([(1, b"one")], [(0, bytes(3)), (2, None)], [(-7, b"three")], [(4, b""), (5, None)])
    run = Handshake(eads=eads, known=(7,))
    one, two = run.run()
    key = one.export(32768, b"c", 48)
    assert key == two.export(32768, b"c", 48) != two.export(32769, b"c", 48)
    assert key[:16] != one.export(32768, b"c", 16)  # the size counts
    assert (run.responder.ead_1, run.initiator.ead_2) == (eads[0], eads[1])
    assert (run.responder.ead_3, run.initiator.ead_4) == (eads[2], eads[3])
    assert run.responder.c_i == run.initiator.c_i == b"\x37"
    assert run.responder.c_r == run.initiator.c_r == b"\x27"
    assert run.initiator.id_cred_peer == bench.ID_R and run.responder.id_cred_peer == bench.ID_I
    before = one.export(32768, b"", 32)
    one.update(b"now")
    two.update(b"now")
    assert one.export(32768, b"", 32) == two.export(32768, b"", 32) != before
    one.update(b"now")
    two.update(b"later")
    assert one.export(32768, b"", 32) != two.export(32768, b"", 32)
    raises(RangeError, "edhoc_context_size", one.update, bytes(257))
    raises(RangeError, "edhoc_kdf_size", one.export, 32768, b"", 8161)
    raises(RangeError, "edhoc_kdf_size", one.export, 32768, b"", 0)


def test_without_message_4():
    one, two = Handshake(with_4=False).run()
    assert one.export(0, b"", 16) == two.export(0, b"", 16)


def test_credentials_by_value():
    """Both ends send theirs whole: a claims set under kccs, a signed token under kcwt."""
    whole = {14: cbor.decode(bench.CRED_I)}
    token = cbor.Tagged(18, [b"\xa1\x01\x26", {}, b"claims" * 50, bytes(64)])

    def peer(id_cred):
        if 14 in id_cred:
            return cbor.encode(id_cred[14]), public(bench.OWN_I)
        return cbor.encode(id_cred[13]), public(bench.OWN_R)

    run = Handshake()
    run.initiator = Initiator(CRYPTO, b"\x37", bench.CRED_I, whole, peer)
    run.responder = Responder(CRYPTO, cbor.encode(token), {13: token}, peer)
    one, two = run.run()
    assert one.export(0, b"", 16) == two.export(0, b"", 16)
    assert run.responder.id_cred_peer == whole and run.initiator.id_cred_peer == {13: token}
    assert len(run.messages[1]) > 400  # the key stream is twelve blocks long


def test_every_flipped_byte_is_refused():
    clean = Handshake()
    clean.run()
    count = 0
    for number in (1, 2, 3, 4):
        for index in range(len(clean.messages[number - 1])):
            for flip in FLIPS:
                def damage(at, message):
                    if at != number:
                        return message
                    bad = bytearray(message)
                    bad[index] ^= flip
                    return bytes(bad)

                run = Handshake(damage)
                try:
                    run.run()
                except Error:
                    count += 1
                    # the end that was lied to is done for, and shows no keys
                    if number in (2, 4):
                        raises(SignatureError, "edhoc_state", run.initiator.finish)
                    continue
                raise AssertionError((number, index, flip))
    assert count == len(FLIPS) * sum([len(one) for one in clean.messages])


def test_every_truncated_or_lengthened_message_is_refused():
    clean = Handshake()
    clean.run()
    for number in (1, 2, 3, 4):
        size = len(clean.messages[number - 1])
        for change in list(range(size)) + [b"\x00", b"\x40", b"\xf6", b"\x20\x41\x00"]:
            def damage(at, message):
                if at != number:
                    return message
                return message[:change] if isinstance(change, int) else message + change

            try:
                Handshake(damage).run()
            except Error:
                continue
            raise AssertionError((number, change))


def test_messages_of_another_handshake_are_refused():
    other = Handshake(x=0x777777, y=0x888888)
    other.run()
    for number in (1, 2, 3, 4):
        run = Handshake(lambda at, message: other.messages[at - 1] if at == number else message)
        try:
            run.run()
        except Error:
            continue
        raise AssertionError(number)


def test_a_replayed_first_message_gets_no_further():
    """Who replays message_1 and message_3 of a session meets a fresh Y and fails."""
    clean = Handshake()
    clean.run()
    ours = bench.responder()
    g_x = ours.receive_1(clean.messages[0])
    ours.make_2(b"\x27", public(0x999), shared(0x999, g_x), shared(bench.OWN_R, g_x))
    raises(SignatureError, "ccm_tag", ours.receive_3, clean.messages[2])
    raises(SignatureError, "edhoc_state", ours.receive_3, clean.messages[2])


def test_wrong_keys_and_strangers_are_refused():
    def stranger(id_cred):
        return None

    run = Handshake()
    run.initiator = Initiator(CRYPTO, b"\x37", bench.CRED_I, bench.ID_I, stranger)
    raises(SignatureError, "edhoc_credential", run.run)
    run = Handshake()
    run.responder = Responder(CRYPTO, bench.CRED_R, bench.ID_R, stranger)
    raises(SignatureError, "edhoc_credential", run.run)
    # somebody without the private key: each shared secret in turn is made of another
    for place in range(4):
        secrets = [shared(bench.Y, public(bench.X)), shared(bench.OWN_R, public(bench.X)),
                   shared(bench.OWN_I, public(bench.Y)), shared(bench.Y, public(bench.OWN_I))]
        secrets[place] = bytes(31) + b"\x01"
        raises((SignatureError, DecodeError), None, with_secrets, *secrets)


def with_secrets(g_xy, g_rx, g_iy_one, g_iy_two):
    """Do a handshake in which the responder, and for G_IY one end, has these secrets."""
    one, two = bench.initiator(), bench.responder()
    two.receive_1(one.make_1(public(bench.X)))
    one.receive_2(two.make_2(b"\x27", public(bench.Y), g_xy, g_rx))
    try:
        one.open_2(shared(bench.X, public(bench.Y)))
        one.verify_2(shared(bench.X, public(bench.OWN_R)))
        two.receive_3(one.make_3(g_iy_one))
        two.finish_3(g_iy_two)
    except Error as error:
        error.code = None
        raise


def test_reflections_are_refused():
    one = bench.initiator()
    one.make_1(public(bench.X))
    raises(SignatureError, "edhoc_reflected", one.receive_2,
           cbor.encode(public(bench.X) + bytes(20)))
    two = bench.responder()
    two.receive_1(bench.initiator().make_1(public(bench.Y)))
    raises(SignatureError, "edhoc_reflected", two.make_2, b"\x27", public(bench.Y),
           shared(bench.Y, public(bench.Y)), shared(bench.OWN_R, public(bench.Y)))
    # an initiator that is talked to by its own credential, as a responder
    run = Handshake()
    run.responder = Responder(CRYPTO, bench.CRED_I, bench.ID_I, bench.peer)
    raises(SignatureError, "edhoc_reflected", run.run)
    # both ends chose the same identifier: a mistake of ours here, of the peer there
    raises(RangeError, "edhoc_c", Handshake(c_r=b"\x37").run)
    run = Handshake()
    run.responder.make_2 = lambda *args: same_c(run.responder, *args)
    raises(DecodeError, "edhoc_c", run.run)


def same_c(ours, c_r, *args):
    ours.c_i = b"\x00"
    return Responder.make_2(ours, b"\x37", *args)


FIRST = "{}5820" + "5a" * 32 + "{}"


def test_what_is_no_message_1():
    good = FIRST.format("0302", "0e")
    bench.responder().receive_1(unhexlify(good))
    cases = [
        # the kinds of faults that RFC 9529, section 4, shows, with bytes of our own
        ("edhoc_message", "84" + good), ("edhoc_identifier", FIRST.format("0302", "410e")),
        ("edhoc_suites", FIRST.format("038102", "0e")),
        ("edhoc_key", "0302" + "7820" + "61" * 32 + "0e"),
        ("edhoc_suite", FIRST.format("0382021818", "0e")),
        ("edhoc_key", "0302" + "581f" + "5a" * 31 + "0e"),
        ("cbor_not_minimal", FIRST.format("19000302", "0e")),
        ("cbor_head", FIRST.format("039f0602ff", "0e")),
        # method
        ("edhoc_method", FIRST.format("0002", "0e")), ("edhoc_method", FIRST.format("0202", "0e")),
        ("edhoc_method", FIRST.format("2202", "0e")), ("edhoc_method", FIRST.format("f502", "0e")),
        # suites: not ours, ours but not chosen, ours twice, no integers, too many
        ("edhoc_suite", FIRST.format("0303", "0e")), ("edhoc_suite", FIRST.format("0306", "0e")),
        ("edhoc_suite", FIRST.format("03820203", "0e")),
        ("edhoc_suites", FIRST.format("03820202", "0e")),
        ("edhoc_suites", FIRST.format("0383060602", "0e")),
        ("edhoc_suites", FIRST.format("0380", "0e")),
        ("edhoc_suites", FIRST.format("0382f502", "0e")),
        ("edhoc_suites", FIRST.format("034102", "0e")),
        ("edhoc_suites", FIRST.format("0391030405060708090a0b0c0d0e0f10111202", "0e")),
        # key: nothing in it
        ("edhoc_key", "0302" + "5820" + "00" * 32 + "0e"), ("edhoc_key", "030240" + "0e"),
        # identifier: none, empty, too long, an integer that is no byte
        ("edhoc_message", FIRST.format("0302", "")), ("edhoc_c", FIRST.format("0302", "40")),
        ("edhoc_c", FIRST.format("0302", "480102030405060708")),
        ("edhoc_identifier", FIRST.format("0302", "1818")),
        ("edhoc_identifier", FIRST.format("0302", "3818")),
        ("edhoc_identifier", FIRST.format("0302", "f4")),
        ("edhoc_identifier", FIRST.format("0302", "6161")),
        # EAD: critical, a value without a label, no integer, too many
        ("edhoc_ead_critical", FIRST.format("0302", "0e20")),
        ("edhoc_ead_critical", FIRST.format("0302", "0e0141202141ff")),
        ("edhoc_ead", FIRST.format("0302", "0e4101")),
        ("edhoc_ead", FIRST.format("0302", "0e0141014102")),
        ("edhoc_ead", FIRST.format("0302", "0ef4")),
        ("edhoc_ead_count", FIRST.format("0302", "0e" + "01" * 9)),
        # sizes
        ("edhoc_message_size", ""), ("edhoc_message_size", FIRST.format("0302", "0e" * 990)),
    ]
    for code, text in cases:
        ours = bench.responder()
        raises(DecodeError, code, ours.receive_1, unhexlify(text))
        raises(SignatureError, "edhoc_state", ours.receive_1, unhexlify(good))
    ours = bench.responder()
    assert ours.receive_1(unhexlify(FIRST.format("0383060302", "4118"))) and ours.c_i == b"\x18"


def opened_2(plaintext):
    """Let an initiator open a message_2 with this plaintext."""
    two = bench.responder()
    one = bench.initiator()
    two.receive_1(one.make_1(public(bench.X)))
    secret = shared(bench.Y, public(bench.X))
    two._start(public(bench.Y), two._th, secret)
    one.receive_2(cbor.encode(public(bench.Y) + two._keystream_xor(plaintext)))
    return one.open_2(secret)


def test_what_is_no_plaintext_2():
    name = hexlify(b"panel 1").decode()
    mac = "48" + "00" * 8
    opened_2(unhexlify("2747" + name + mac))
    cases = [
        # of the kinds in RFC 9529, section 4
        ("edhoc_id_cred", "27a104427710" + mac), ("edhoc_identifier", "274132" + mac),
        ("edhoc_mac_size", "273244" + "5a" * 4),
        ("edhoc_plaintext", "27"), ("edhoc_plaintext", "2747" + name),
        ("edhoc_mac_size", "2747" + name + "49" + "00" * 9),
        ("edhoc_mac_size", "2747" + name + "07"), ("edhoc_c", "40" + "47" + name + mac),
        ("edhoc_c", "37" + "47" + name + mac), ("edhoc_identifier", "4127" + "47" + name + mac),
        ("edhoc_kid", "2740" + mac), ("edhoc_kid", "275841" + "00" * 65 + mac),
        ("edhoc_id_cred", "27a0" + mac), ("edhoc_identifier", "27f5" + mac),
        ("edhoc_identifier", "2780" + mac), ("edhoc_ead_critical", "2747" + name + mac + "20"),
        ("edhoc_ead", "2747" + name + mac + "41aa"),
        ("cbor_truncated", "2747" + name + mac + "18"),
    ]
    for code, text in cases:
        raises(DecodeError, code, opened_2, unhexlify(text))
    raises(SignatureError, "edhoc_credential", opened_2, unhexlify("2732" + mac))
    raises(SignatureError, "edhoc_credential", opened_2,
           unhexlify("27a2044132" + "182041aa" + mac))


def test_what_is_no_message_2_3_or_4():
    for text in ("", "40", "5820" + "11" * 32, "5821" + "00" * 33, "4411223344",
                 "5820" + "11" * 32 + "4b" + "22" * 11, "815821" + "11" * 33, "01", "0202",
                 "6161", "f6", "590400" + "11" * 1024, "5821" + "11" * 32):
        one = bench.initiator()
        one.make_1(public(bench.X))
        raises(DecodeError, None, coded, one.receive_2, unhexlify(text))
        raises(SignatureError, "edhoc_state", one.finish)
        run = Handshake(lambda at, message: unhexlify(text) if at == 3 else message)
        raises((DecodeError, SignatureError), None, coded, run.run)
        run = Handshake(lambda at, message: unhexlify(text) if at == 4 else message)
        raises((DecodeError, SignatureError), None, coded, run.run)


def coded(function, *args):
    try:
        return function(*args)
    except Error as error:
        error.code = None
        raise


def test_steps_out_of_order_end_a_handshake():
    one = bench.initiator()
    raises(SignatureError, "edhoc_state", one.receive_2, b"\x40")
    raises(SignatureError, "edhoc_state", one.make_1, public(bench.X))
    one = bench.initiator()
    raises(SignatureError, "edhoc_state", one.finish)
    one.make_1(public(bench.X))
    raises(SignatureError, "edhoc_state", one.make_1, public(bench.X))
    two = bench.responder()
    raises(SignatureError, "edhoc_state", two.make_2, b"\x27", b"", b"", b"")
    raises(SignatureError, "edhoc_state", two.receive_1, b"\x03")
    run = Handshake()
    run.run()
    for call, args in ((run.initiator.receive_4, (run.messages[3],)), (run.initiator.finish, ()),
                       (run.responder.make_4, ()),
                       (run.responder.receive_3, (run.messages[2],)),
                       (run.responder.finish_3, (bytes(32),))):
        raises(SignatureError, "edhoc_state", call, *args)
    # a message_4 that is not the peer's takes the keys back
    run = Handshake(with_4=False)
    run.run()
    raises(SignatureError, "ccm_tag", run.initiator.receive_4, cbor.encode(bytes(8)))
    raises(SignatureError, "edhoc_state", run.initiator.finish)


def test_our_own_mistakes():
    args = (bench.CRED_I, bench.ID_I, bench.peer)
    for c in (b"", bytes(8)):
        raises(RangeError, "edhoc_c", Initiator, CRYPTO, c, *args)
    for suites in ((), (3,), (2, 6), (1,) * 16 + (2,)):
        raises(RangeError, "edhoc_suites", Initiator, CRYPTO, b"\x01", *args, (), suites)
    for cred in (b"", bytes(1025)):
        raises(RangeError, "edhoc_cred_size", Initiator, CRYPTO, b"\x01", cred, *args[1:])
    for secret in (b"", bytes(32), bytes(31) + b"\x01\x01"):
        two = bench.responder()
        two.receive_1(bench.initiator().make_1(public(bench.X)))
        raises(RangeError, "edhoc_secret", two.make_2, b"\x27", public(bench.Y), secret, secret)
    raises(RangeError, "edhoc_message_size", bench.initiator().make_1, public(bench.X),
           [(1, bytes(1000))])
    raises(RangeError, "entropy_size", handshake.private_key, bytes(32))


def test_a_peer_with_an_impossible_credential():
    run = Handshake()
    run.initiator = Initiator(CRYPTO, b"\x37", bench.CRED_I, bench.ID_I,
                              lambda id_cred: (b"", public(bench.OWN_R)))
    raises(RangeError, "edhoc_cred_size", run.run)


def test_what_is_no_plaintext_3():
    for plaintext in (b"", b"\x2b", b"\x2b\x48", b"\x2b\x47" + bytes(7)):
        clear = edhoc.Crypto(CRYPTO.sha256, CRYPTO.hmac, None, lambda *args: plaintext)
        ours = Responder(clear, bench.CRED_R, bench.ID_R, bench.peer)
        g_x = ours.receive_1(bench.initiator().make_1(public(bench.X)))
        ours.make_2(b"\x27", public(bench.Y), shared(bench.Y, g_x), shared(bench.OWN_R, g_x))
        raises(DecodeError, None, coded, ours.receive_3, b"\x40")


def test_an_element_steps_aside_when_the_peer_has_its_identifier():
    ours = bench.responder()
    job = handshake.AnswerJob(ours, unhexlify(FIRST.format("0302", "0e")), bytes(31) + b"\x01",
                              bytes(47) + b"\x07", b"\x0e")
    while not job.step():
        pass
    assert job.error is None and ours.c_r == b"\x0f" and job.message_2


def test_error_messages():
    ours = bench.responder()
    try:
        ours.receive_1(unhexlify(FIRST.format("0306", "0e")))
    except DecodeError as error:
        assert edhoc.error_message(error) == b"\x02\x02"  # as in RFC 9529, section 3.2
    assert edhoc.error_message(SignatureError("edhoc_credential")) == b"\x03\xf5"
    assert edhoc.error_message(SignatureError("edhoc_mac")) == b"\x01\x67refused" \
        == edhoc.error_message(DecodeError("cbor_truncated"))
    for text, meaning in (("0202", (2, [2])), ("02820206", (2, [2, 6])), ("03f5", (3, True)),
                          ("016162", (1, "b")), ("20f6", (-1, None)), ("0740", (7, b""))):
        assert edhoc.error_of(unhexlify(text)) == meaning
    for text in ("", "00f6", "01", "0101", "028102", "0282026161", "02f5", "03f4", "0301",
                 "0202f6", "4101f6", "f5f6", "0100" * 3, "18", "4827"):
        assert edhoc.error_of(unhexlify(text)) is None, text


def test_a_job_tells_what_was_wrong():
    ours = bench.responder()
    for message in (b"", b"\x03", unhexlify(FIRST.format("0306", "0e")),
                    b"\x03\x02\x58\x20" + b"\xff" * 32 + b"\x0e"):
        ours = bench.responder()
        job = handshake.AnswerJob(ours, message, bytes(31) + b"\x01", bytes(48), b"\x27")
        while not job.step():
            pass
        assert job.message_2 is None and isinstance(job.error, Error) and job.step()
