"""Benchmarks of secure sessions: EDHOC on both ends, one setpoint sealed and opened."""

import random
import subprocess
import time
from collections.abc import Iterator

from element.protocol import cbor
from element.protocol.edhoc_responder import Responder
from hil.bench.site import Paths
from hil.benchmarks.registry import Context, Measure, benchmark
from host_tools.identity.exchange import CRYPTO, HostInitiator, lift
from host_tools.identity.keys import make_key_pair

COUNT = 200
# EDHOC's responder as an element runs it, in slices, and then setpoints of 60 bytes. The initiator
# is ours too, and its own curve work is not timed.
_ELEMENT_SCRIPT = """
import gc, hashlib, time
from element.crypto import handshake, p256
from element.protocol import edhoc, sealed
from element.protocol.edhoc_initiator import Initiator
from element.protocol.edhoc_responder import Responder
crypto = handshake.CRYPTO
def key(name): return hashlib.sha256(name).digest()
own_i, own_r = key(b"i"), key(b"r")
peers = {b"i": p256.public_key(own_i), b"r": p256.public_key(own_r)}
def peer(id_cred): return b"cred " + id_cred[4], peers[id_cred[4]]
def timed(job):
    global longest
    spent, count, done = 0, 0, False
    while not done:
        # the worker collects garbage between slices, after a tick
        if count % 6 == 0: gc.collect()
        count += 1
        began = time.ticks_us()
        done = job.step()
        slice_us = time.ticks_diff(time.ticks_us(), began)
        spent += slice_us
        longest = max(longest, slice_us)
    if job.error: raise job.error
    return spent
def lift(x):
    job = handshake.LiftJob(x)
    while not job.step(): pass
    return job.public_key
times, longest = [], 0
for number in range(20):
    x = key(b"x%d" % number)
    one = Initiator(crypto, b"\\x01", b"cred i", {4: b"i"}, peer)
    two = Responder(crypto, b"cred r", {4: b"r"}, peer)
    message_1 = one.make_1(p256.public_key(x)[:32])
    entropy = key(b"y%d" % number) + bytes(16)
    answer = handshake.AnswerJob(two, message_1, own_r, entropy, b"\\x02")
    spent = timed(answer)
    g_y = lift(one.receive_2(answer.message_2))
    g_r = one.open_2(p256.ecdh(x, g_y))
    one.verify_2(p256.ecdh(x, g_r))
    message_3 = one.make_3(p256.ecdh(own_i, g_y))
    finish = handshake.FinishJob(two, answer, message_3)
    times.append(spent + timed(finish))
times.sort()
panel = sealed.SealedSession(crypto.seal, crypto.unseal, one.finish(), b"element1", True)
board = sealed.SealedSession(crypto.seal, crypto.unseal, finish.exporter, b"element1", False)
payload = bytes(range(60))
gc.collect()
sealing = []
for _ in range(1000):
    began = time.ticks_us()
    out = board.unprotect(panel.protect(payload))
    sealing.append(time.ticks_diff(time.ticks_us(), began))
    if out != payload: raise ValueError
sealing.sort()
print(times[10], times[-1], longest, sealing[500], sealing[990])
"""


@benchmark("edhoc")
def edhoc(context: Context) -> Iterator[Measure]:
    """Time a handshake on each end, and the messages of the session under MicroPython."""
    firmware = Paths.of_checkout(context.micropython).firmware
    answer = subprocess.run(
        [str(context.micropython), "-c", _ELEMENT_SCRIPT], capture_output=True, text=True,
        check=True, timeout=300, env={"MICROPYPATH": f"{firmware}:.frozen"})
    median_us, worst_us, slice_us, sealed_us, late_us = (
        int(word) for word in answer.stdout.split())
    yield Measure("edhoc.responder_ms_median", median_us / 1000, "ms", "<= 50")
    yield Measure("edhoc.responder_ms_max", worst_us / 1000, "ms", "")
    yield Measure("edhoc.slice_ms_max", slice_us / 1000, "ms", "<= 5")
    yield Measure("edhoc.initiator_ms_median", _initiator_ms(), "ms", "<= 5")
    yield Measure("edhoc.setpoint_ms_median", sealed_us / 1000, "ms", "<= 1")
    yield Measure("edhoc.setpoint_ms_p99", late_us / 1000, "ms", "")


def _initiator_ms() -> float:
    """Return the median time of the host's part: both its messages and all its curve work."""
    source = random.Random(1).randbytes
    panel, element = make_key_pair(source), make_key_pair(source)
    creds = {b"i": (cbor.encode({2: "panel"}), panel.public),
             b"r": (cbor.encode({2: "element"}), element.public)}
    times = []
    for _ in range(COUNT):
        ephemeral = make_key_pair(source)
        began = time.perf_counter()
        host = HostInitiator(panel, b"\x01", creds[b"i"][0], {4: b"i"},
                             lambda id_cred: creds[id_cred[4]], source)
        spent = time.perf_counter() - began
        responder = Responder(CRYPTO, creds[b"r"][0], {4: b"r"},
                              lambda id_cred: creds[id_cred[4]])
        g_x = lift(responder.receive_1(host.message_1))
        message_2 = responder.make_2(b"\x02", ephemeral.public[:32], ephemeral.agree(g_x),
                                     element.agree(g_x))
        began = time.perf_counter()
        message_3, _ = host.answer(message_2)
        times.append(spent + time.perf_counter() - began)
        responder.finish_3(ephemeral.agree(responder.receive_3(message_3)))
    return round(sorted(times)[COUNT // 2] * 1000, 3)
