"""Cut the power at every operation that an update makes on a real littlefs. MicroPython only.

`micropython flash_sim_update.py STRIDE` runs whole updates (from slot a to b, with an old one in b
to be removed) on MicroPython's own littlefs over a RAM disk that keeps a journal, then goes
through the journal: for each STRIDE-th operation the disk as it was, with that operation not begun
and half done. After each the loader must choose a slot that is whole, of the old or the new
version, and an update that begins again must end with the new one. Prints CUTS and OPERATIONS.
"""

import hashlib
import os
import sys

import vfs
from flash_sim_littlefs import PROGRAM_SIZE, Disk, apply
from update_bench import Talk, list_of, manifest_of, parts_of, whole

import slots

FOLDER = "/board"
FILES = {"element/%s/m%d.mpy" % (folder, number): b"M\x06" + bytes([number]) * (90 * number + 1)
         for folder in ("bms", "power") for number in range(10)}
OLD = {"element/agent.mpy": b"M\x06old", "element/old.mpy": b"M\x06" + bytes(700)}


def mount(image):
    """Mount a disk and go there, as a board that starts."""
    disk = Disk(image)
    vfs.mount(vfs.VfsLfs2(disk, progsize=PROGRAM_SIZE), FOLDER)
    os.chdir(FOLDER)
    return disk


def leave():
    """Switch the board off."""
    os.chdir("/")
    vfs.umount(FOLDER)


def put(slot, files):
    """Install files in a slot, as `cellwall flash` does."""
    for path in files:
        parts = (slot + "/" + path).split("/")[:-1]
        for count in range(1, len(parts) + 1):
            try:
                os.mkdir("/".join(parts[:count]))
            except OSError:
                pass
        with open(slot + "/" + path, "wb") as file:
            file.write(files[path])


def holds(slot, files):
    """Return True when a slot has exactly these files under element/."""
    found = {}

    def walk(folder):
        for name in os.listdir(folder):
            path = folder + "/" + name
            if os.stat(path)[0] & 0x4000:
                walk(path)
            else:
                with open(path, "rb") as file:
                    found[path[len(slot) + 1:]] = hashlib.sha256(file.read()).digest()

    walk(slot + "/element")
    return found == {path: hashlib.sha256(files[path]).digest() for path in files}


def need(condition, what):
    if not condition:
        raise AssertionError(what)


def check(image, manifest):
    """Start the board that is left: it runs the old or the new, whole, and can be updated."""
    mount(image)
    try:
        slot, trial = slots.choose()
        need(slot == ("b" if trial else "a"), "slot %s, trial %s" % (slot, trial))
        need(holds(slot, FILES if trial else OLD), "slot %s is not whole" % slot)
        if not trial:
            talk = Talk()
            place = talk.begin(manifest)
            need(place[2] == "", place)
            answer = talk.send(place[:2], parts_of(FILES))
            need(answer[2] == "", answer)
            need(talk.commit()[2] == "" and slots.choose() == ("b", True), "not committed")
            need(holds("b", FILES), "the update that went on is not whole")
        slots.confirm()
        need(slots.choose() == ("b", False), "not confirmed")
        return trial
    finally:
        leave()


def main(stride):
    """Update, then cut everywhere."""
    disk = Disk()
    vfs.VfsLfs2.mkfs(disk, progsize=PROGRAM_SIZE)
    mount(disk.image)
    put("a", OLD)
    put("b", {"element/stale.mpy": b"M\x06stale"})
    slots.write("a", "-", 0, ".")
    leave()
    image = bytearray(disk.image)
    run = mount(disk.image)
    run.journal = []
    run.state = lambda: None
    manifest = manifest_of(FILES)
    answer = whole(Talk(), FILES)
    need(answer[2] == "" and slots.choose() == ("b", True), answer)
    slots.confirm()
    leave()
    cuts = on_new = 0
    for index, (block, offset, data, _) in enumerate(run.journal):
        if index % stride == 0:
            half = bytearray(image)
            if data is None:
                apply(half, block, 0, b"\xff" * 256)
            else:
                apply(half, block, offset, data[:len(data) // 2])
            for left in (bytearray(image), half):
                on_new += check(left, manifest)
                cuts += 1
        apply(image, block, offset, data)
    print("CUTS", cuts, "OPERATIONS", len(run.journal), "NEW", on_new)
    need(len(list_of(FILES)) > 0 and 0 < on_new < cuts, "the cuts were all on one side")


if __name__ == "__main__":
    main(int(sys.argv[1]))
