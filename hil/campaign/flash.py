"""Cut the power of a board in the middle of a write to its flash: what is left is torn."""

from pathlib import Path

from hil.bench.board_process import LOG_FILE


class FlashWatch:
    """The files of a board's flash as they were when it was last looked at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = self._read()

    def tear(self, share: float) -> str | None:
        """Return the name of a file that was written since the last look, torn now; else None.

        share: how much of the write is on flash. What was appended is cut short; what was
        replaced by a rename is the old file again, beside a part of the new one; what was written
        in place is the beginning of it.
        """
        now = self._read()
        changed = sorted(name for name, one in now.items() if one != self._files.get(name))
        if not changed:
            self._files = now
            return None
        name = changed[-1]
        inode, new = now[name]
        old_inode, old = self._files.get(name, (0, b""))
        path = self._folder / name
        if new.startswith(old) and inode == old_inode:
            path.write_bytes(old + new[len(old):][:round(share * (len(new) - len(old)))])
        elif inode != old_inode and name in self._files:
            path.write_bytes(old)
            Path(f"{path}.new").write_bytes(new[:round(share * len(new))])
        else:
            path.write_bytes(new[:round(share * len(new))])
        return name

    def _read(self) -> dict[str, tuple[int, bytes]]:
        return {
            str(path.relative_to(self._folder)): (path.stat().st_ino, path.read_bytes())
            for path in self._folder.rglob("*") if path.is_file() and path.name != LOG_FILE}
