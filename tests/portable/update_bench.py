"""An update for the portable tests: a signed manifest, files, and the host's side of the talk."""

import binascii
import hashlib

from panel import ISSUER, sign1

import slots
from element import version
from element.protocol import schema
from element.update import Updater

# Small files and one of more than a message.
FILES = {"element/__init__.mpy": b"M\x06init",
         "element/agent.mpy": b"M\x06" + bytes(range(256)) * 5,
         "element/bms/jbd.mpy": b"M\x06jbd of the new one"}


def list_of(files):
    """Return the list file of an update."""
    return b"".join([line_of(path, len(files[path]), hashlib.sha256(files[path]).digest())
                     for path in sorted(files)])


def line_of(path, size, digest):
    """Return a line of the list."""
    return b"%s %d %s\n" % (binascii.hexlify(digest), size, path.encode())


def manifest_of(files, keys=ISSUER, listed=None, **changes):
    """Return a signed manifest."""
    import sys

    listed = list_of(files) if listed is None else listed
    fields = {"number": version.NUMBER + 1, "version": "9.9.9",
              "format": getattr(sys.implementation, "_mpy", 0) & 0xFF,
              "list_size": len(listed), "list_sha256": hashlib.sha256(listed).digest()}
    fields.update(changes)
    return sign1(keys, schema.FIRMWARE_MANIFEST, fields)


class Jobs:
    """A worker that runs its jobs when `run` is called."""

    def __init__(self):
        self.queue = []

    def submit(self, job, done, spare=0):
        self.queue.append((job, done))
        return True

    def run(self):
        """Do everything that is queued, and what that queues."""
        while self.queue:
            job, done = self.queue.pop(0)
            while not job.step():
                pass
            done(job)


class Talk:
    """An element's updater and the host that sends to it."""

    def __init__(self, slot="b"):
        self.jobs = Jobs()
        self.answers = []
        self.rest = True
        self.commits = 0
        self.updater = Updater(slots, slot, ISSUER.public, self.jobs, lambda: self.rest,
                               self.answers.append, lambda text: None)
        self.updater.on_commit = self._committed

    def _committed(self):
        self.commits += 1

    def say(self, operation, index=0, offset=0, data=b""):
        """Send a message and return the answer's (index, offset, code)."""
        self.updater.on_message({"operation": operation, "index": index, "offset": offset,
                                 "data": data})
        self.jobs.run()
        assert len(self.answers) == 1, self.answers
        answer = self.answers.pop()
        return answer["index"], answer["offset"], answer["code"]

    def begin(self, manifest):
        return self.say(schema.UPDATE_BEGIN, data=manifest)

    def commit(self):
        return self.say(schema.UPDATE_COMMIT)

    def send(self, place, parts, limit=None, size=700):
        """Send from place (index, offset) on; returns the last answer."""
        answer = place + ("",)
        while answer[2] == "" and answer[0] < len(parts):
            index, offset = answer[:2]
            if limit is not None:
                limit -= 1
                if limit < 0:
                    break
            answer = self.say(schema.UPDATE_DATA, index, offset,
                              parts[index][offset:offset + size])
        return answer


def parts_of(files):
    """Return what is sent: the list, then the files in its order."""
    return [list_of(files)] + [files[path] for path in sorted(files)]


def whole(talk, files):
    """Send a whole update and commit it; returns the answer to the commit."""
    index, offset, code = talk.begin(manifest_of(files))
    assert code == "", code
    answer = talk.send((index, offset), parts_of(files))
    assert answer == (len(files) + 1, 0, ""), answer
    return talk.commit()
