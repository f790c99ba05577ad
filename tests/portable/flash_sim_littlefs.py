"""Cut the power at every operation that a real littlefs makes on its blocks. MicroPython only.

`micropython flash_sim_littlefs.py RECORDS STRIDE` runs the ledger on MicroPython's own littlefs
over a RAM disk that keeps a journal of every program and erase, then goes through the journal:
for each STRIDE-th operation the disk as it was, with that operation not begun, half done (the
rest of the bytes still erased, or the block half erased) and for each the restart of
test_power_cut. Prints CUTS, RECORDS, ERASES, OPERATIONS, each with its number; a fault ends it.
With a third argument, any, the log is one that says too early that an entry is on flash.
"""

import os
import sys

import vfs
from test_power_cut import LateLog, Life, check_chain, need, read_flash, simulated

BLOCK_SIZE = 512
BLOCK_COUNT = 64
PROGRAM_SIZE = 32


class Disk:
    """Blocks in RAM, with a journal (block, offset, bytes or None for an erase, state)."""

    def __init__(self, image=None):
        self.image = image or bytearray(b"\xff" * (BLOCK_SIZE * BLOCK_COUNT))
        self.journal = None
        self.state = None
        self.erase_count = 0

    def readblocks(self, block, buf, offset=0):
        at = block * BLOCK_SIZE + offset
        buf[:] = memoryview(self.image)[at:at + len(buf)]

    def writeblocks(self, block, buf, offset=0):
        if self.journal is not None:
            self.journal.append((block, offset, bytes(buf), self.state()))
        apply(self.image, block, offset, buf)

    def ioctl(self, operation, argument):
        if operation == 4:
            return BLOCK_COUNT
        if operation == 5:
            return BLOCK_SIZE
        if operation == 6:
            self.erase_count += 1
            if self.journal is not None:
                self.journal.append((argument, 0, None, self.state()))
            apply(self.image, argument, 0, None)
        return 0


def apply(image, block, offset, data):
    """Do one operation on an image."""
    if data is None:
        data = b"\xff" * BLOCK_SIZE
    at = block * BLOCK_SIZE + offset
    image[at:at + len(data)] = data


class Mounted:
    """What a Life needs of a flash, on a mounted disk."""

    def __init__(self, disk, folder):
        self._folder = folder
        vfs.mount(vfs.VfsLfs2(disk, progsize=PROGRAM_SIZE), folder)

    def open(self, path, mode):
        return open(self._folder + "/" + path, mode)

    def stat(self, path):
        return os.stat(self._folder + "/" + path)

    def remove(self, path):
        os.remove(self._folder + "/" + path)

    def files(self):
        """Return every file's bytes by its name."""
        out = {}
        for name in os.listdir(self._folder):
            with self.open(name, "rb") as file:
                out[name] = file.read()
        return out

    def end(self):
        vfs.umount(self._folder)


def check(image, written, first, acked):
    """Mount what is left and demand that nothing is lost and the chain goes on."""
    flash = Mounted(Disk(image), "/cut")
    try:
        entries, torn = read_flash(flash.files())
        last = check_chain(entries)
        for counter in range(acked + 1, first):
            need(entries.get(counter) == written[counter], "lost %d" % counter)
        need(torn == 0, "littlefs left a torn tail")
        life = Life(flash, {}, acked)
        need(life.signer.counter == (last[0] if last else 0), "chain ends elsewhere")
        life.record(1)
        life.record(2)
        life.host_takes(1000)
        need(life.acked == life.signer.counter, "not all given")
        check_chain(read_flash(flash.files())[0])
    finally:
        flash.end()


def main(record_count, stride):
    """Run, then cut everywhere."""
    disk = Disk()
    vfs.VfsLfs2.mkfs(disk, progsize=PROGRAM_SIZE)
    image = bytearray(disk.image)
    flash = Mounted(disk, "/run")
    disk.journal = []
    disk.erase_count = 0
    life = Life(flash, {}, 0)
    disk.state = lambda: (max(life.written) + 1 if life.written else 1, life.acked)
    for number in range(record_count):
        life.record(number)
        if number % 3 == 2 or number % 50 > 12:
            life.host_takes(3)
    flash.end()
    written = life.written
    cut_count = 0
    for index, (block, offset, data, state) in enumerate(disk.journal):
        if index % stride == 0:
            half = bytearray(image)
            if data is None:
                apply(half, block, 0, b"\xff" * (BLOCK_SIZE // 2))
            else:
                apply(half, block, offset, data[:len(data) // 2])
            for left in (bytearray(image), half):
                check(left, written, *state)
                cut_count += 1
        apply(image, block, offset, data)
    print("CUTS", cut_count, "RECORDS", life.signer.counter, "ERASES", disk.erase_count,
          "OPERATIONS", len(disk.journal))


if __name__ == "__main__":
    if len(sys.argv) > 3:
        Life.log_class = LateLog
    simulated(lambda: main(int(sys.argv[1]), int(sys.argv[2])))
