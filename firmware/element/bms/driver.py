"""The one task behind every BMS family: polls, keeps the FETs as wanted, proves, reports.

What is particular to a family is in its `BMSProtocol`; the line and the clock are here.
"""

from array import array

from ..protocol.errors import DecodeError
from .base import (
    AGE_MS_MAX,
    CELLS,
    FAILED_ECHO,
    FAILED_IMPLAUSIBLE,
    FAILED_JUMP,
    FAILED_NO_ANSWER,
    FAILED_REFUSED,
    FAILURE_NAMES,
    INFO,
    LINK_LOST,
    LINK_UP,
    PACK,
    BMSDriver,
    Reading,
)
from .plausible import (
    CELLS_RATE_AGE_MS_MAX,
    RATE_AGE_MS_MAX,
    check_cells_jump,
    check_pack_jump,
    check_sum,
)

FETS_RETRY_MS = 200
READ_BACK_MS = 50
# A request without an answer is sent again this often before it counts as failed.
RETRIES_MAX = 1
# So many exchanges in a row without a usable answer are a lost link.
MISSED_MAX = 6
# What the BMS is comes after what it does; an answer that does not come is asked for again at
# this pace, then at the group's own.
INFO_AFTER_MS = 1000
# An answer later than this is taken for lost; and so many requests are remembered meanwhile.
LATE_MS_MAX = 2000
# Cells that contradict the pack, or jump, are asked for again at once so often.
AGAIN_MAX = 2
# Two answers in a row that differ by no more than this say the same of the cells.
SAID_AGAIN_MV = 100
UNANSWERED_MAX = 16
INFO_RETRY_MS = 5000
INFO_TRIES_MAX = 5
ECHO_TEXT = ("the line echoes what is sent: TX and RX are joined, or RS-485 without direction "
             "control")


class PollingDriver(BMSDriver):
    """The driver's task: polls, keeps the FETs as wanted, ages what it could not renew."""

    def __init__(self, hal, uart, protocol):
        self._hal = hal
        self._uart = uart
        self.protocol = protocol
        self.can_switch = protocol.can_switch
        self._fets_changed = True
        # values are collected here and taken over whole, or not at all
        self._scratch = Reading()
        self._due = [0] * len(protocol.groups)
        self._tries = [0] * len(protocol.groups)
        self._heard_at = 0
        self._silent_ms = 0
        self._missed = 0
        self._echoed = False
        self._again = 0
        self._said_low = self._said_high = 0
        self._unanswered = []
        self._asked_at = 0
        self._late_at = 0
        self.reading = Reading()
        self.fets_wanted = 0
        self.fets_proven = False
        self.error_count = 0
        self.last_error = "never answered"
        self.failure_counts = array("H", bytes(2 * len(FAILURE_NAMES)))
        self.exchange_count = 0
        self.skipped_count = 0

    def want_fets(self, fets: int) -> None:
        """Ask for FETs; a change interrupts the wait for the next poll."""
        if fets != self.fets_wanted:
            self.fets_wanted = fets
            self._fets_changed = True
            if self._writes():
                self.fets_proven = False
                self._uart.kick()

    def open_now(self) -> None:
        """Put the frames for open FETs on the line: twice, as a reply may be under way."""
        self.want_fets(0)
        if self._writes():
            frames = b"".join(self.protocol.fets_requests(0))
            self._uart.write(frames + frames)

    def error_names(self) -> list:
        """Return the names of the bits that are set in the reading's errors."""
        return self.protocol.error_names(self.reading.errors)

    def _writes(self) -> bool:
        """Return True when this driver may change the BMS."""
        return self.can_switch and not self.monitor_only

    async def run(self) -> None:
        """Poll each group in its period; write the FETs when wish and read-back differ.

        A new wish goes first; of the rest, what is due for longest, so that nothing starves, but
        never two others in a row while the pack group is due: power hangs on its age.
        """
        hal = self._hal
        due = self._due
        last = 0
        now = hal.ticks_ms()
        self._heard_at = self._late_at = fets_at = now
        for index in range(len(due)):
            info = self.protocol.groups[index][0] == INFO
            due[index] = hal.ticks_add(now, INFO_AFTER_MS) if info else now
        while True:
            now = hal.ticks_ms()
            writes = self._writes()
            if writes and self._fets_changed:
                wait_ms = 0
                best = -1
            else:
                best = 0
                for index in range(len(due)):
                    if hal.ticks_diff(due[index], due[best]) < 0:
                        best = index
                if last and hal.ticks_diff(due[0], now) <= 0:
                    best = 0
                wait_ms = hal.ticks_diff(due[best], now)
                if writes and self._differs() and hal.ticks_diff(fets_at, now) < wait_ms:
                    wait_ms = hal.ticks_diff(fets_at, now)
                    best = -1
            if wait_ms > 0:
                if await self._uart.wait_rx(wait_ms):
                    self._uart.read()  # nobody asked: noise or a late answer
                    self._late_at = hal.ticks_ms()
                    # a line that never falls silent must not keep the other tasks from running
                    await hal.sleep_ms(1)
            elif best < 0:
                self._fets_changed = False
                await self._write_fets()
                now = hal.ticks_ms()
                fets_at = hal.ticks_add(now, FETS_RETRY_MS)
                self._pack_soon(now)
            else:
                last = best
                due[best] = hal.ticks_add(now, self.protocol.groups[best][2])
                self._pace(best, await self._poll(best), now)
                if writes and self._fets_changed:
                    due[best] = now  # a wish may have cut it short

    def _differs(self) -> bool:
        return not self.reading.valid or self.reading.fets != self.fets_wanted

    def _pack_soon(self, now: int) -> None:
        """Read the pack group back soon: it is the proof of a write."""
        self._due[0] = self._hal.ticks_add(now, READ_BACK_MS)

    def _pace(self, index: int, done: bool, now: int) -> None:
        """Ask for a missing INFO group again before its period, but not for ever."""
        if done:
            self._tries[index] = 0
        elif self.protocol.groups[index][0] == INFO and self._tries[index] < INFO_TRIES_MAX:
            self._tries[index] += 1
            self._due[index] = self._hal.ticks_add(now, INFO_RETRY_MS)

    async def _poll(self, index: int) -> bool:
        """Read one group into the reading; a bad or missing reply leaves the old one to age."""
        fields, kinds, _ = self.protocol.groups[index]
        scratch = self._scratch
        scratch.copy_values(self.reading)
        self._asked_at = self._hal.ticks_ms()
        for kind in kinds:
            if not await self._ask(self.protocol.request(kind), kind, scratch):
                return False
        try:
            self._accept(fields, self._asked_at)
        except DecodeError as error:
            if error.code in ("cells sum", "jump cell_mv"):
                self._ask_again(index)
            jumped = error.code.startswith("jump")
            self._failed(FAILED_JUMP if jumped else FAILED_IMPLAUSIBLE,
                         "implausible %s %s" % (error.code, error.value))
            return False
        self._heard()
        if fields & CELLS:
            self._again = 0
        return True

    def _said_again(self, new) -> bool:
        """Return True when new's cells are what the reading before it said, refused or not.

        A weak cell may truly fall fast: what is said twice in a row is no flaw of one answer.
        """
        same = (abs(new.cell_mv_min - self._said_low) <= SAID_AGAIN_MV
                and abs(new.cell_mv_max - self._said_high) <= SAID_AGAIN_MV)
        self._said_low = new.cell_mv_min
        self._said_high = new.cell_mv_max
        return same

    def _ask_again(self, index: int) -> None:
        """Ask for pack and cells anew, soon: they may have been measured around a true step."""
        if self._again < AGAIN_MAX:
            self._again += 1
            now = self._hal.ticks_ms()
            self._pack_soon(now)
            self._due[index] = self._hal.ticks_add(now, 2 * READ_BACK_MS)

    def _accept(self, fields: int, sent_ms: int) -> None:
        """Check the scratch values against what is known and take them over.

        Raises DecodeError with the reading untouched.
        """
        hal = self._hal
        new = self._scratch
        reading = self.reading
        now = hal.ticks_ms()
        age_ms = reading.age_ms(hal, now)
        recent = age_ms is not None and age_ms <= RATE_AGE_MS_MAX
        if fields & PACK and recent:
            check_pack_jump(reading, new)
        if fields & CELLS:
            if recent or fields & PACK:
                check_sum(new.cell_mv_sum, new.pack_mv)
            age_ms = reading.cells_age_ms(hal, now)
            if age_ms is not None and age_ms <= CELLS_RATE_AGE_MS_MAX:
                if not self._said_again(new):
                    check_cells_jump(reading, new)
        if new.cell_count != reading.cell_count:
            reading.cells_valid = False  # the cells known so far are another pack's
        reading.copy_values(new)
        # the age counts from the request: the values are no newer than the answer
        if fields & PACK:
            reading.at_ms = sent_ms
            reading.valid = True
            # a wish that came meanwhile has not been sent
            self.fets_proven = not (self._writes() and self._fets_changed)
        if fields & CELLS:
            reading.cells_at_ms = sent_ms
            reading.cells_valid = True

    async def _write_fets(self) -> None:
        """Write the wish; the next read of the pack group shows whether the FETs moved.

        A request that fails does not keep the others from being tried: one FET is better than
        none when they are to open.
        """
        for request in self.protocol.fets_requests(self.fets_wanted):
            await self._ask(request, request[self.protocol.kind_at], None)

    async def _ask(self, request: bytes, kind: int, out) -> bool:
        """Send a request, again when nobody answers; True when its answer was taken into out.

        out: None for a write. False after a failure, or at once when a new wish waits.
        """
        for _ in range(1 + RETRIES_MAX):
            if self._writes() and self._fets_changed:
                return False
            if self.protocol.gap_ms:
                await self._hal.sleep_ms(self.protocol.gap_ms)
            if kind in self.protocol.unanswered:
                self._uart.write(request)
                return True
            answered = await self._transact(request, kind, out)
            if answered is not None:
                return answered
            self._late_at = self._hal.ticks_ms()
        if self._echoed:
            self._failed(FAILED_ECHO, ECHO_TEXT)
        else:
            hint = self.protocol.explain(None, kind)
            self._failed(FAILED_NO_ANSWER,
                         "no answer to %02x: check power, RX/TX crossed, baud %d%s"
                         % (kind, self.protocol.baud, "; " + hint if hint else ""))
        return False

    async def _transact(self, request: bytes, kind: int, out):
        """Send once. True: taken; False: refused or impossible; None: no answer in time."""
        hal = self._hal
        protocol = self.protocol
        self._uart.read()
        protocol.clear()
        self._echoed = False
        self._uart.write(request)
        self._note_sent(kind)
        self.exchange_count += 1
        deadline = hal.ticks_add(hal.ticks_ms(), protocol.reply_ms_max)
        while True:
            left_ms = hal.ticks_diff(deadline, hal.ticks_ms())
            if left_ms <= 0:
                return None
            await self._uart.wait_rx(left_ms)
            data = self._uart.read()
            while True:
                frame = protocol.feed(data)
                if frame is None:
                    break
                data = b""
                if frame == request:
                    self._echoed = True
                elif not protocol.fits(frame, kind):
                    self.skipped_count += 1  # late, or another device's
                else:
                    self._note_answered(kind)
                    done = self._take(frame, kind, out)
                    if done is not None:
                        return done
                    # more belongs to this answer: it has the same time again
                    deadline = hal.ticks_add(hal.ticks_ms(), protocol.reply_ms_max)
            await hal.sleep_ms(0)  # whatever the line does, the control tick gets its turn

    def _note_sent(self, kind: int) -> None:
        """Keep when a request went out, until it is answered or too old to be."""
        now = self._hal.ticks_ms()
        diff = self._hal.ticks_diff
        self._unanswered = [one for one in self._unanswered if diff(now, one[1]) <= LATE_MS_MAX]
        if len(self._unanswered) < UNANSWERED_MAX:
            self._unanswered.append((kind, now))

    def _note_answered(self, kind: int) -> None:
        """Date an answer by the oldest request that it may belong to.

        Most families number nothing: an answer that is late looks like the answer to the next
        request, and its values are as old as the request they really belong to. A line that has
        not been late for LATE_MS_MAX is believed again.
        """
        if self._hal.ticks_diff(self._hal.ticks_ms(), self._late_at) > LATE_MS_MAX:
            self._unanswered = []
            return
        for index in range(len(self._unanswered)):
            if self._unanswered[index][0] == kind:
                sent_ms = self._unanswered.pop(index)[1]
                if self._hal.ticks_diff(sent_ms, self._asked_at) < 0:
                    self._asked_at = sent_ms
                return

    def _take(self, frame: bytes, kind: int, out):
        """Decode a fitting frame. True: complete; None: more belongs; False: refused, wrong."""
        why = self.protocol.explain(frame, kind)
        if why:
            self._failed(FAILED_REFUSED, why)
            return False
        if out is None:
            return True
        try:
            return True if self.protocol.take(frame, kind, out) else None
        except DecodeError as error:
            self._failed(FAILED_IMPLAUSIBLE, "implausible %s %s" % (error.code, error.value))
            return False

    def _failed(self, reason: int, why: str) -> None:
        """Count a failure; the link is lost when there were too many in a row.

        A refusal is an answer: the link is there.
        """
        self.error_count += 1
        self.last_error = why
        counts = self.failure_counts
        counts[reason] = min(counts[reason] + 1, 0xFFFF)
        now = self._hal.ticks_ms()
        gone_ms = self._hal.ticks_diff(now, self._heard_at)
        # in steps and up to a day, as the counter wraps
        self._silent_ms = min(self._silent_ms + max(gone_ms, 0), AGE_MS_MAX)
        self._heard_at = now
        if reason == FAILED_REFUSED:
            return
        self._missed = min(self._missed + 1, 0xFFFF)
        if self._missed >= MISSED_MAX and self.link_state == LINK_UP:
            self.link_state = LINK_LOST
            self.lost_count += 1
            self._event("bms lost: %s (%d in a row), last heard %s ago"
                        % (FAILURE_NAMES[reason], self._missed, _seconds(self._silent_ms)))

    def _heard(self) -> None:
        """Note a good answer; the link is back when it was lost."""
        hal = self._hal
        now = hal.ticks_ms()
        if self.link_state == LINK_LOST:
            self.back_count += 1
            gone_ms = min(self._silent_ms + max(hal.ticks_diff(now, self._heard_at), 0),
                          AGE_MS_MAX)
            self._event("bms back after %s: was %s"
                        % (_seconds(gone_ms), self.last_error.split(":")[0]))
        self.link_state = LINK_UP
        self._missed = 0
        self._silent_ms = 0
        self._heard_at = now

    def _event(self, text: str) -> None:
        if self.on_event is not None:
            self.on_event(text)


def _seconds(duration_ms: int) -> str:
    """Return a duration for a log: `3.0 s`."""
    return "%d.%d s" % (duration_ms // 1000, duration_ms % 1000 // 100)
