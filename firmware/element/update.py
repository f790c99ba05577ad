"""Take a new firmware into the slot that is not running. Loaded when an update begins.

The issuer signs a manifest: a number that only rises, the code's format, and the hash of the list
of files; the list has every file's size and hash. Files are written one by one and can be gone on
with after any interruption: what is whole is found by its hash. Only `commit`, when every file
is whole, puts the slot on trial (slots.py), by one rename. Until then, and whenever power is cut,
the board starts what it ran before.

An update can not widen a limit: it holds code alone, under `element/`; the credential and what
is kept on flash are not in a slot, and the board's own file with its ratings is not either.
"""

import binascii
import gc
import hashlib
import os
import sys
from array import array

from . import version
from .crypto import p256
from .crypto.hmac import ct_equal
from .keeper import read_file
from .protocol import cbor, schema
from .protocol.errors import DecodeError, SignatureError
from .protocol.statements import statement_digest

# What an answer's code says; "" is yes.
OK = ""
NO_MEMORY = "no memory now"
FILE_COUNT_MAX = 200
FILE_SIZE_MAX = 65536
TOTAL_SIZE_MAX = 400_000
LIST_SIZE_MAX = 16384
_PATH_SIZE_MAX = 64
_LINE_SIZE_MAX = 160
_HASH_BYTES_PER_STEP = 1024
MANIFEST_FILE = "/manifest"
LIST_FILE = "/files"


class Updater:
    """One update at a time into one slot. answer(fields) sends an UPDATE_ANSWER.

    at_rest() is True while no power flows; nothing is written otherwise.
    """

    def __init__(self, slots, slot: str, issuer_key: bytes, worker, at_rest, answer, log):
        self._slots = slots
        self._slot = slot
        self.issuer_key = issuer_key
        self._worker = worker
        self._at_rest = at_rest
        self._answer_with = answer
        self._log = log
        self._manifest = None
        self._files = None
        self._index = 0  # 0 is the list, files count from 1
        self._offset = 0
        self._wanted = None  # (path, size, SHA-256) of the file at index
        self._out = None
        self._busy = False
        self.on_commit = None

    def on_message(self, fields: dict) -> None:
        """Handle an UPDATE message; every one gets an answer that says where to go on."""
        operation = fields["operation"]
        if self._busy:
            code = "busy"
        elif not self._at_rest():
            self._close()
            code = "power flows"
        else:
            try:
                if operation == schema.UPDATE_BEGIN:
                    code = self._begin(fields["data"])
                elif self._manifest is None:
                    code = "no manifest"
                elif operation == schema.UPDATE_DATA:
                    code = self._data(fields)
                else:
                    code = self._commit()
            except (DecodeError, SignatureError) as error:
                code = str(error.code)
            except OSError as error:
                self._close()
                code = "flash error %s" % error.errno
            except MemoryError:
                code = self._give_up()
        if code is not None:
            self._answer(code)

    def _give_up(self) -> str:
        """Forget the update for want of memory: the next `begin` goes on with what is on flash."""
        self._manifest = None
        self._files = None
        self._close()
        gc.collect()
        return NO_MEMORY

    def _answer(self, code: str) -> None:
        self._busy = False
        self._answer_with({"index": self._index, "offset": self._offset, "code": code[:48]})

    # begin

    def _begin(self, manifest: bytes):
        """Check a manifest; answers when its signature has been verified."""
        self._close()
        self._manifest = None
        digest, payload, signature, _ = statement_digest(
            schema.STATEMENT_TYP[schema.FIRMWARE_MANIFEST], manifest)
        fields = schema.statement_from_wire(
            schema.table_of(schema.FIRMWARE_MANIFEST), cbor.decode(payload))
        if fields["number"] == version.NUMBER:
            return "this version runs already"
        if fields["number"] < version.NUMBER:
            return "older than what runs"
        # the low byte is the version of compiled code; CPython, which runs the tests, has none
        if fields["format"] != getattr(sys.implementation, "_mpy", 0) & 0xFF:
            return "made for another interpreter"
        if self._slots.read()[1] != "-":
            return "an update is on trial"

        def verified(job) -> None:
            if not job.valid:
                self._answer("manifest signature")
                return
            try:
                code = self._accepted(fields, bytes(manifest))
            except (DecodeError, OSError) as error:
                code = "flash error %s" % getattr(error, "errno", error)
            except MemoryError:
                code = self._give_up()
            if code is not None:
                self._answer(code)

        self._busy = self._worker.submit(
            p256.VerifyJob(self.issuer_key, digest, signature), verified)
        return None if self._busy else "busy"

    def _accepted(self, fields: dict, manifest: bytes):
        """Go on with the update that the slot holds a part of, or begin with an empty slot."""
        if read_file_or_none(self._slot + MANIFEST_FILE) != manifest:
            self._busy = self._worker.submit(
                _WipeJob(self._slot), lambda job: self._wiped(fields, manifest))
            return None if self._busy else "busy"
        return self._go_on(fields)

    def _go_on(self, fields: dict):
        self._manifest = fields
        self._files = None
        return self._find(0)

    def _wiped(self, fields: dict, manifest: bytes) -> None:
        """Begin with an empty slot."""
        try:
            os.mkdir(self._slot)
            with open(self._slot + MANIFEST_FILE, "wb") as file:
                file.write(manifest)
            code = self._go_on(fields)
        except OSError as error:
            code = "flash error %s" % error.errno
        except MemoryError:
            code = self._give_up()
        if code is not None:
            self._answer(code)

    def _find(self, index: int):
        """Look for the first file from index on that is not whole; answers when it is found."""
        self._index = index
        self._offset = 0
        self._wanted = path, size, digest = self._entry(index)
        job = _HashJob(path, size)

        def hashed(_job) -> None:
            try:
                if job.no_memory:
                    code = self._give_up()
                elif job.size == size and ct_equal(job.digest(), digest):
                    self._whole(index)
                    code = self._find(index + 1) if index < len(self._files) else OK
                elif job.size < size:
                    self._offset = job.size
                    code = OK
                else:
                    os.remove(path)
                    code = OK
            except DecodeError as error:
                os.remove(path)
                self._manifest = None
                code = str(error.code)
            except OSError as error:
                code = "flash error %s" % error.errno
            except MemoryError:
                code = self._give_up()
            if code is not None:
                self._answer(code)

        self._busy = self._worker.submit(job, hashed)
        return None if self._busy else "busy"

    def _entry(self, index: int) -> tuple:
        """Return (path, size in bytes, SHA-256) of a file of the update; 0 is the list."""
        if index == 0:
            manifest = self._manifest
            return self._slot + LIST_FILE, manifest["list_size"], manifest["list_sha256"]
        with open(self._slot + LIST_FILE, "rb") as file:
            file.seek(self._files[index - 1])
            path, size, digest = entry_of(file.readline(_LINE_SIZE_MAX))
        return self._slot + "/" + path, size, digest

    def _whole(self, index: int) -> None:
        """Take note that a file is whole; after the last one the place is behind it."""
        if index == 0:
            with open(self._slot + LIST_FILE, "rb") as file:
                self._files = files_of(file)
        if index == len(self._files):
            self._index = index + 1
            self._offset = 0

    # data

    def _data(self, fields: dict):
        """Append to the file that is next; what is not next is answered by where we are."""
        if fields["index"] != self._index or fields["offset"] != self._offset:
            return "out of order"
        if self._files is not None and self._index > len(self._files):
            return "nothing is missing"
        path, size, _ = self._wanted
        data = fields["data"]
        if not data or self._offset + len(data) > size:
            return "size"
        if self._out is None:
            make_folders(path)
            self._out = open(path, "ab")
        self._out.write(data)
        self._offset += len(data)
        if self._offset < size:
            return OK
        self._close()
        return self._find(self._index)

    def _close(self) -> None:
        """Close the file that is being written: what came is then on flash."""
        out = self._out
        self._out = None
        if out is not None:
            out.close()

    # commit

    def _commit(self):
        """Put the slot on trial when everything in it is whole."""
        if self._files is None or self._index <= len(self._files):
            return "not whole"
        if hasattr(os, "sync"):
            os.sync()
        state = self._slots.read()
        self._slots.write(state[0], self._slot, 0, ".")
        self._log("update to %s in slot %s" % (self._manifest["version"], self._slot))
        self._manifest = None
        self.on_commit()
        return OK


class _HashJob:
    """Hash a file in slices. size is what there is, at most one piece more than asked.

    no_memory: the file could not be opened for want of memory.
    """

    def __init__(self, path: str, size_max: int):
        self._path = path
        self._size_max = size_max
        self._hash = hashlib.sha256()
        self._file = None
        self._piece = bytearray(_HASH_BYTES_PER_STEP)
        self.size = 0
        self.no_memory = False

    def step(self) -> bool:
        """Hash a piece; True when the file has ended or is longer than it should be."""
        if self._file is None:
            try:
                self._file = open(self._path, "rb")
            except OSError:
                return True  # there is none: size 0
            except MemoryError:
                self.no_memory = True
                return True
        count = self._file.readinto(self._piece)
        self._hash.update(memoryview(self._piece)[:count])
        self.size += count
        if count and self.size <= self._size_max:
            return False
        self._file.close()
        return True

    def digest(self) -> bytes:
        """Return the SHA-256 of what was read."""
        return self._hash.digest()


class _WipeJob:
    """Remove a folder and all that is in it, one file or empty folder in a step."""

    def __init__(self, path: str):
        self._path = path

    def step(self) -> bool:
        """Remove one thing; True when nothing is left, or the flash refuses."""
        path = self._path
        try:
            while os.stat(path)[0] & 0x4000:
                names = os.listdir(path)
                if not names:
                    os.rmdir(path)
                    return path == self._path
                path += "/" + names[0]
            os.remove(path)
        except OSError:
            return True  # there was none, or what follows fails and says so
        return False


def files_of(file):
    """Return the offsets of the lines of an update's open list file, every one checked.

    Raises DecodeError. A line a file: 64 hexadecimal digits, size, path, one space between, a
    line feed behind. A board has no room for the list in one piece, and what it keeps of it in
    many pieces would keep the heap in pieces.
    """
    offsets = array("H")
    total = at = 0
    while True:
        line = file.readline(_LINE_SIZE_MAX)
        if not line:
            break
        if len(offsets) >= FILE_COUNT_MAX or at > LIST_SIZE_MAX:
            raise DecodeError("files", len(offsets))
        total += entry_of(line)[1]
        offsets.append(at)
        at += len(line)
    if not offsets or total > TOTAL_SIZE_MAX:
        raise DecodeError("files", total)
    return offsets


def entry_of(line: bytes) -> tuple:
    """Return (path, size in bytes, SHA-256) of a line of the list. Raises DecodeError.

    Paths lie under element/, name compiled modules, and lead nowhere else.
    """
    parts = line[:-1].split(b" ")
    if line[-1:] != b"\n" or len(parts) != 3 or len(parts[0]) != 64:
        raise DecodeError("file", None)
    try:
        digest = binascii.unhexlify(parts[0])
        size = int(parts[1])
        path = parts[2].decode()
    except (ValueError, UnicodeError):
        raise DecodeError("file", None)
    if not is_firmware_path(path):
        raise DecodeError("path", None)
    if not 0 < size <= FILE_SIZE_MAX:
        raise DecodeError("size", size)
    return path, size, digest


def is_firmware_path(path: str) -> bool:
    """Return True for element/[folder/]name.mpy, letters, digits and underscores alone."""
    if not path.startswith("element/") or not path.endswith(".mpy"):
        return False
    if len(path) > _PATH_SIZE_MAX:
        return False
    parts = path[:-4].split("/")
    if not 2 <= len(parts) <= 3:
        return False
    for part in parts:
        if not part:
            return False
        for letter in part:
            if not ("a" <= letter <= "z" or "0" <= letter <= "9" or letter == "_"):
                return False
    return True


def read_file_or_none(path: str):
    """Return a file's bytes, None for one that is not there or cannot be read."""
    try:
        return read_file(path)
    except OSError:
        return None


def make_folders(path: str) -> None:
    """Make the folders above a file where they are missing."""
    parts = path.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        folder = "/".join(parts[:count])
        try:
            os.stat(folder)
        except OSError:
            os.mkdir(folder)

