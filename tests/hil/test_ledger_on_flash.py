"""The ledger in a real MicroPython process that is killed while it writes; checked from outside.

A kill loses what the process had in memory, not what the kernel has: the loss of that is what
test_power_cut models. The files are read here by code that shares nothing with the firmware.
"""

import hashlib
import os
import random
import signal
import struct
import subprocess
import time
import zlib
from pathlib import Path

import cbor2

ROOT = Path(__file__).resolve().parent.parent.parent
KILL_COUNT = 60
MARK = b"\xc5\x01"

# Appends records for ever; the host takes what is more than 30 behind. One line for each step.
SCRIPT = """
import os, sys
from fakes import FakeHAL, drain
from element.crypto.worker import Worker
from element.ledger import statement
from element.ledger.log import FlashLog
from element.ledger.signer import Signer
from element.protocol import schema

class FastSignJob:
    signature = bytes(64)
    def __init__(self, private_key, digest):
        pass
    def step(self):
        return True

statement.SignJob = FastSignJob
os.chdir(sys.argv[1])
worker = Worker(FakeHAL())
signer = Signer(worker, FlashLog("ledger", 4, 8192))
signer.load(bytes(32), b"element1")
drain(worker)
print("BOOT", signer.counter, signer.lost_count)
while True:
    signer.submit(schema.EXECUTION_RECORD, {
        "dispatch_id": 1, "start_unix_ms": 1767225600000, "end_unix_ms": 1767225900000,
        "instructed_mw_mean": -1000000, "realized_mw_mean": -999000,
        "realized_mw_min": -1000000, "realized_mw_max": 0, "energy_mwh": -83000,
        "soc_bp_start": 5000, "soc_bp_end": None, "quality": 0})
    drain(worker)
    print("WRITTEN", signer.counter, signer.lost_count)
    while signer.unacked and signer.unacked[0][0] < signer.counter - 30:
        print("TAKEN", signer.unacked[0][0], 0)
        signer.acknowledge(signer.unacked[0][0])
        drain(worker)
"""


def life(micropython: Path, script: Path, folder: Path, delay_s: float) -> list[tuple[str, int]]:
    """Run until the delay after the boot is over, kill, and return the whole lines it printed."""
    environment = {"MICROPYPATH": os.pathsep.join(("firmware", "tests/portable", ".frozen"))}
    process = subprocess.Popen(
        [str(micropython), str(script), str(folder)], cwd=ROOT,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL, first + rest
    lines = (first + rest).split(b"\n")[:-1]
    words = [line.decode().split() for line in lines]
    assert all(len(one) == 3 and one[2] == "0" for one in words), words[-3:]
    return [(one[0], int(one[1])) for one in words]


def entries_in(folder: Path) -> dict[int, bytes]:
    """Return every whole entry on flash by its counter."""
    out: dict[int, bytes] = {}
    for path in folder.iterdir():
        data = path.read_bytes()
        at = data.find(MARK)
        while at >= 0:
            size, counter, _, crc = struct.unpack_from("<HIII", data + bytes(16), at + 2)
            body = data[at + 16:at + 16 + size]
            whole = len(body) == size and zlib.crc32(data[at:at + 12] + body) == crc
            if whole:
                out[counter] = body
            at = data.find(MARK, at + 16 + size if whole else at + 1)
    return out


def check(folder: Path, taken: int, written: int) -> int:
    """Demand a whole chain that holds everything written and not taken; return its end."""
    entries = entries_in(folder)
    counters = sorted(entries)
    assert counters == list(range(counters[0], counters[-1] + 1))
    assert counters[0] <= taken + 1 and counters[-1] >= written
    previous = None
    for counter in counters:
        payload = cbor2.loads(cbor2.loads(entries[counter]).value[2])
        assert payload[2] == counter
        assert previous is None or payload[3] == previous
        previous = hashlib.sha256(entries[counter]).digest()
    return counters[-1]


def test_sixty_kills_lose_nothing(tmp_path: Path, micropython: Path) -> None:
    script = tmp_path / "append.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "flash"
    folder.mkdir()
    chance = random.Random(7)
    taken = written = end = 0
    for _ in range(KILL_COUNT):
        for what, counter in life(micropython, script, folder, chance.uniform(0, 0.12)):
            if what == "BOOT":
                assert counter == end, "the chain goes on where the flash ends"
            elif what == "WRITTEN":
                written = counter
            else:
                taken = counter
        end = check(folder, taken, written) if written else 0
        written = end
    print(f"{KILL_COUNT} kills, {end} records, {taken} taken")
    assert end > 400, "the ring of 140 has to turn, however busy the machine is"
