"""Ask a BMS for everything it says, with the element's own decoders and checks."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from element.bms.base import CELLS, FET_CHARGE, FET_DISCHARGE, PACK, Reading
from element.bms.plausible import check_sum
from element.bms.protocol import BMSProtocol
from element.protocol.errors import DecodeError
from host_tools.bms.line import Line

TRIES_MAX = 3


@dataclass
class Quality:
    """How well the line does: counts since the start."""

    good: int = 0
    no_answer: int = 0
    refused: int = 0
    implausible: int = 0
    skipped: int = 0
    echoed: int = 0

    @property
    def failed(self) -> int:
        """Requests that brought nothing."""
        return self.no_answer + self.refused + self.implausible


@dataclass
class Snapshot:
    """One look at a BMS: what it said, and why the rest is missing."""

    fields: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class BMSReader:
    """One BMS at the end of a line."""

    def __init__(self, protocol: BMSProtocol, line: Line) -> None:
        """protocol: of the right family, fresh."""
        self._protocol = protocol
        self._line = line
        self._reading = Reading()
        self._has = 0
        self.quality = Quality()

    async def read(self) -> Snapshot:
        """Ask for every group once; what fails is named in `problems` and left out."""
        problems: list[str] = []
        self._has = 0
        for fields, kinds, _ in self._protocol.groups:
            scratch = Reading()
            scratch.copy_values(self._reading)
            whys = [why for kind in kinds if (why := await self._ask(kind, scratch))]
            if not whys and fields & CELLS:
                whys = self._sum_problem(fields, scratch)
            problems += whys
            if not whys:
                self._reading.copy_values(scratch)
                self._has |= fields
        return Snapshot(self._as_dict(), problems)

    def _sum_problem(self, fields: int, scratch: Reading) -> list[str]:
        if not (self._has | fields) & PACK:
            return []
        try:
            check_sum(scratch.cell_mv_sum, scratch.pack_mv)
        except DecodeError as error:
            self.quality.implausible += 1
            return [f"implausible {error.code} {error.value} mV beside {scratch.pack_mv} mV"]
        return []

    async def _ask(self, kind: int, out: Reading) -> str:
        """Ask for one kind, a few times; empty when its answer was taken, else why not."""
        why = ""
        for _ in range(TRIES_MAX):
            if self._protocol.gap_ms:
                await asyncio.sleep(self._protocol.gap_ms / 1000)
            why, again = await self._exchange(kind, out)
            if not why:
                self.quality.good += 1
                return ""
            if not again:
                break
        return why

    async def _exchange(self, kind: int, out: Reading) -> tuple[str, bool]:
        """Send once and take the answer; returns (why not, whether to try again)."""
        protocol = self._protocol
        request = protocol.request(kind)
        protocol.clear()
        await self._line.receive(0)  # what nobody asked for
        await self._line.send(request)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + protocol.reply_ms_max / 1000
        echoed = False
        while (left_s := deadline - loop.time()) > 0:
            data = await self._line.receive(left_s)
            while (frame := protocol.feed(data)) is not None:
                data = b""
                if frame == request:
                    echoed = True
                    self.quality.echoed += 1
                elif not protocol.fits(frame, kind):
                    self.quality.skipped += 1
                elif why := protocol.explain(frame, kind):
                    self.quality.refused += 1
                    return why, False
                else:
                    try:
                        if protocol.take(frame, kind, out):
                            return "", False
                    except DecodeError as error:
                        self.quality.implausible += 1
                        return f"implausible {error.code} {error.value}", True
                    deadline = loop.time() + protocol.reply_ms_max / 1000
        self.quality.no_answer += 1
        if echoed:
            return self._line.echo_text, True
        why = f"no answer to {kind:02x}"
        if not self._line.silence_text:
            why += f": check power, RX/TX crossed, baud {protocol.baud}"
        for hint in (self._line.silence_text, protocol.explain(None, kind)):
            why += f"; {hint}" if hint else ""
        return why, True

    def _as_dict(self) -> dict[str, Any]:
        """Return what is known by the element's own names and units, positive is discharge."""
        reading = self._reading
        out: dict[str, Any] = {"family": self._protocol.name, "model": reading.model}
        if self._has & PACK:
            for name in ("pack_mv", "current_ma", "soc_bp", "remaining_mah", "full_mah",
                         "cycle_count", "temperature_mdegc_min", "temperature_mdegc_max",
                         "errors", "protecting"):
                out[name] = getattr(reading, name)
            out["power_mw"] = reading.pack_mv * reading.current_ma // 1000
            out["error_names"] = self._protocol.error_names(reading.errors)
            out["fet_charge"] = bool(reading.fets & FET_CHARGE)
            out["fet_discharge"] = bool(reading.fets & FET_DISCHARGE)
        if self._has & CELLS:
            out["cell_mv"] = list(reading.cell_mv[:reading.cell_count])
            out["cell_index_min"] = reading.cell_index_min
            out["cell_index_max"] = reading.cell_index_max
            out["balancing"] = [index for index in range(reading.cell_count)
                                if reading.balancing >> index & 1]
        return out
