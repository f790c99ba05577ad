"""The zones whose trips an element obeys: its credential's, zone 0 for all, and one set locally.

A zone that is set at the console is obeyed as well, never instead: nobody can take an element out
of the zone that its credential names.
"""

from .keeper import read_file, write_file

_FILE = "zone"
# What a file that cannot be read stands for: trips of every zone are obeyed.
ALL = -1
NONE = 0


class Zones:
    """The local zone: 1..65535, NONE, or ALL."""

    def __init__(self, enrolment):
        self._enrolment = enrolment
        self.local = NONE

    def load(self) -> None:
        """Read the local zone at boot."""
        try:
            data = read_file(_FILE)
            self.local = NONE if data is None else int(data)
        except (OSError, ValueError):
            self.local = ALL
        if not 0 <= self.local <= 0xFFFF:
            self.local = ALL

    def set(self, zone: int) -> None:
        """Obey zone's trips too; NONE ends that. Raises OSError when it would not outlast."""
        write_file(_FILE, b"%d" % zone)
        self.local = zone

    def obeyed(self, zone: int) -> bool:
        """Return True when a trip of this zone is for this element."""
        return zone in (0, self._enrolment.zone, self.local) or self.local == ALL
