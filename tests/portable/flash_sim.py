"""A flash in memory whose power can be cut at every operation; two media.

It stands for `open` and `os` of element.ledger.log. Every operation that may change the flash
(open for writing, write, flush, close, remove) calls `on_operation(flash, path, contents)` first:
contents are all that the file may hold when the power is cut now, None for no file.

LITTLEFS: what was written to a file becomes visible at once and as a whole when it is flushed or
closed; a new name exists, empty, from the open on.
SECTORS (FAT, ext4 and their like): a truncation and any prefix of what was written may be there
from the write until the flush, or nothing of it, or its size with zeros in place of the data.
What was flushed stays, on both. A medium that loses what it said it had is outside the model.
"""

LITTLEFS = 0
SECTORS = 1


class PowerCut(Exception):
    """The power is gone: nothing after this line has run."""


class Random:
    """A small generator that is the same on every interpreter."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        """Return 0..bound - 1; 0 for a bound below 1."""
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 8) % max(1, bound)


class Flash:
    """The files (name to bytes) that survive; a life of the element works on one Flash."""

    def __init__(self, medium, files, on_operation=None, seed=1):
        self.medium = medium
        self.files = dict(files)
        self.operation_count = 0
        self.dead = False
        self.failing = False  # every operation raises OSError, nothing changes
        self._on_operation = on_operation
        self.random = Random(seed)

    def operation(self, path, contents):
        """Announce an operation: the power may go now."""
        if self.dead:
            raise PowerCut()
        if self.failing:
            raise OSError(5)
        self.operation_count += 1
        if self._on_operation is not None:
            self._on_operation(self, path, contents)

    def cut(self, path, content):
        """Cut the power; the file has the content that chance gave it."""
        self.files = self.after(path, content)
        self.dead = True
        raise PowerCut()

    def after(self, path, content):
        """Return the files as they are found when the power comes back."""
        files = dict(self.files)
        if content is not None:
            files[path] = content
        elif path in files:
            del files[path]
        return files

    # what element.ledger.log uses of `os` and the builtins

    def open(self, path, mode):
        """Stand for open()."""
        if self.dead:
            raise PowerCut()
        if mode == "rb":
            if path not in self.files:
                raise OSError(2)
            return _Reader(self.files[path])
        return _Writer(self, path, mode)

    def stat(self, path):
        """Stand for os.stat: the size is the only number."""
        if self.dead:
            raise PowerCut()
        if path not in self.files:
            raise OSError(2)
        return (0, 0, 0, 0, 0, 0, len(self.files[path]), 0, 0, 0)

    def remove(self, path):
        """Stand for os.remove."""
        self.operation(path, [self.files[path], None])
        del self.files[path]


class _Reader:
    """A file open for reading."""

    def __init__(self, data):
        self._data = data
        self._at = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def seek(self, offset):
        self._at = offset

    def read(self, size):
        data = self._data[self._at:self._at + size]
        self._at += len(data)
        return data


class _Writer:
    """A file open for writing: `_old` is on flash for sure, `_data` is what is wanted there."""

    def __init__(self, flash, path, mode):
        self._flash = flash
        self._path = path
        old = flash.files.get(path)
        start = b"" if mode == "wb" or old is None else old
        self._old = old
        self._data = start
        contents = [old, start]
        if flash.medium == LITTLEFS and old is not None:
            contents = [old]  # even a truncation waits for the flush
        flash.operation(path, contents)
        if old is None:
            flash.files[path] = b""
            self._old = b""
        self._start = start

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self._flash.dead:
            self._sync()

    def write(self, data):
        self._data += data
        self._flash.operation(self._path, self._pending())
        return len(data)

    def flush(self):
        self._sync()

    def _sync(self):
        contents = self._pending()
        if self._flash.medium == LITTLEFS and self._data != self._old:
            contents.append(self._data)
        self._flash.operation(self._path, contents)
        self._flash.files[self._path] = self._old = self._start = self._data

    def _pending(self):
        """Return what a cut between write and flush may leave."""
        if self._flash.medium == LITTLEFS or self._data == self._old:
            return [self._old]
        size = len(self._data) - len(self._start)
        random = self._flash.random
        head = self._start
        contents = [self._old, self._data, head + bytes(size)]
        for part in (1, size - 1, random.below(size), random.below(size)):
            contents.append(head + self._data[len(head):len(head) + part])
        part = random.below(size)
        contents.append(head + self._data[len(head):len(head) + part] + bytes(size - part))
        return contents
