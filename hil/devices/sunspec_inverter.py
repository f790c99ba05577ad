"""Emulate a SunSpec battery inverter on RS-485: models 1, 701, 702, 703, 704, 713, 802.

The register image is made by pysunspec2's model objects from the published definitions; pymodbus
serves it (`modbus_rtu.py`). The behaviour behind it is ours: enter service, start-up, ramp, the
setpoint of model 704 and its reversion timer, alarms. Any write of WSetEna = 1 or of WSetRvrtTms
starts the timer anew; when it ends, WSetEna takes WSetEnaRvrt's value and the setpoint WSetRvrt's.
A disabled setpoint means 0 W: this inverter has no mode of its own behind it.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from sunspec2.device import Model  # type: ignore[import-untyped]

from hil.plant.inverter import InverterPlant

from .modbus_rtu import ModbusRTUDevice

MODELS = (1, 701, 702, 703, 704, 713, 802)
MARKER = [0x5375, 0x6E53]
END = [0xFFFF, 0]

STANDBY, STARTING, RUNNING, FAULT = 7, 2, 3, 6
AC_DISCONNECT, DC_DISCONNECT, GRID_DISCONNECT = 1 << 2, 1 << 3, 1 << 4
OVER_TEMPERATURE = 1 << 7


@dataclass(frozen=True)
class InverterSetup:
    """Hold how one unit is set up.

    w_factor, wset_factor: scale factors of power and setpoint. in_watts False: the setpoint is in
    percent alone. ramp_share_per_s: of the rating. start_ms: from both sides connected and
    permitted to running. models: which of MODELS it has, in order.
    """

    address: int = 1
    base: int = 40000
    baud: int = 19200
    w_factor: int = 0
    wset_factor: int = 0
    in_watts: bool = True
    ramp_share_per_s: float = 4.0
    start_ms: int = 800
    models: tuple[int, ...] = MODELS


class SunSpecInverter(ModbusRTUDevice):
    """Be the controller of an inverter plant and its registers.

    Faults besides those of `ModbusRTUDevice`: `alarms` (bits of 701 Alrm that are set and stop
    it), `failed` (state FAULT), `reversion_ignored` (the timer never ends).
    """

    def __init__(self, plant: InverterPlant, rng: Random,
                 setup: InverterSetup | None = None) -> None:
        self.setup = setup if setup is not None else InverterSetup()
        self.plant = plant
        plant.controller = self
        self.alarms = 0
        self.failed = False
        self.reversion_ignored = False
        self.reverted_count = 0
        self._state = STANDBY
        self._grid = self._battery = False
        self._running_at_ms: int | None = None
        self._revert_at_ms: int | None = None
        self._power_w = 0.0
        self._time_ms = 0
        self._points: dict[int, Any] = {}
        self._at: dict[int, int] = {}
        self.models: dict[int, Model] = {}
        image = self._build()
        super().__init__(self.setup.address, self.setup.base, image, self, rng, self.setup.baud)

    # ---- registers ----

    def _build(self) -> list[int]:
        """Return the image; remember where each point is."""
        image = list(MARKER)
        for number in self.setup.models:
            model = Model(number)
            self.models[number] = model
            address = self.setup.base + len(image)
            self._at[number] = address
            for point in model.points.values():
                self._points[address + point.offset] = point
            self._fill(number, model)
            image += _words(model.get_mb())
        return image + END

    def _fill(self, number: int, model: Model) -> None:
        """Set what stands fast: scale factors first, then names, ratings and settings."""
        setup, rating_w = self.setup, self.plant.rating_w
        wanted: dict[int, dict[str, Any]] = {
            1: {"Mn": "Cellwall", "Md": "Bench inverter", "Vr": "1.0", "SN": "B-0001",
                "DA": setup.address},
            701: {"W_SF": setup.w_factor, "ACType": 0},
            702: {"W_SF": setup.w_factor},
            703: {"ES": 0},
            704: {"WSet_SF": setup.wset_factor, "WSetPct_SF": -1, "WSetEna": 0,
                  "WSetMod": int(setup.in_watts), "WSetPct": 0, "WSetPctRvrt": 0,
                  "WSetEnaRvrt": 0, "WSetRvrtTms": 0, "WSetRvrtRem": 0},
            713: {"WH_SF": 0, "Pct_SF": -1, "Sta": 0},
            802: {"SoC_SF": -1, "V_SF": -1, "A_SF": -1, "State": 3},
        }
        for name, value in wanted[number].items():
            model.points[name].value = value
        if number == 702:
            for name in ("WMaxRtg", "WMax", "WChaRteMaxRtg", "WDisChaRteMaxRtg"):
                model.points[name].cvalue = rating_w
        if number == 704 and setup.in_watts:
            model.points["WSet"].value = model.points["WSetRvrt"].value = 0

    def _point(self, number: int, name: str) -> Any:
        return self.models[number].points[name]

    def refresh(self) -> dict[int, list[int]]:
        """Return the measurements of now."""
        out: dict[int, list[int]] = {}

        def put(number: int, computed: bool, **values: float) -> None:
            if number not in self.models:
                return
            for name, value in values.items():
                point = self._point(number, name)
                if computed:
                    point.cvalue = value
                else:
                    point.value = int(value)
                out[self._at[number] + point.offset] = _words(point.get_mb())

        pack = self.plant.pack
        running = self._state == RUNNING
        put(701, False, St=int(running), InvSt=self._state, ConnSt=int(self._grid),
            Alrm=self._alarm_bits())
        put(701, True, W=self.plant.measured_w)
        put(713, True, SoC=round(100.0 * pack.soc, 1))
        put(802, True, SoC=round(100.0 * pack.soc, 1), V=round(pack.voltage_v, 1),
            A=round(pack.current_a, 1))
        controls = self.models[704].points
        left_ms = 0 if self._revert_at_ms is None else self._revert_at_ms - self._time_ms
        put(704, False, WSetRvrtRem=max(0, -(-left_ms // 1000)), WSetEna=controls["WSetEna"].value)
        for name in ("WSet", "WSetPct"):
            if controls[name].value is not None:
                put(704, False, **{name: controls[name].value})
        return out

    def write(self, address: int, values: list[int], now_ms: int) -> bool:
        """Take whole points that may be written, all of them or none."""
        taken: list[tuple[Any, bytes]] = []
        at = address
        while at < address + len(values):
            point = self._points.get(at)
            if point is None or point.pdef.get("access") != "RW":
                return False
            words = values[at - address:at - address + point.len]
            if len(words) < point.len:
                return False
            taken.append((point, b"".join(word.to_bytes(2, "big") for word in words)))
            at += point.len
        for point, data in taken:
            point.set_mb(data)
        names = [point.pdef["name"] for point, _ in taken]
        if "WSetEna" in names or "WSetRvrtTms" in names:
            self._restart_timer(max(now_ms, self._time_ms))
        return True

    # ---- behaviour ----

    def _restart_timer(self, now_ms: int) -> None:
        controls = self.models[704].points
        seconds = controls["WSetRvrtTms"].value or 0
        on = controls["WSetEna"].value == 1 and seconds > 0
        self._revert_at_ms = now_ms + seconds * 1000 if on else None

    def _alarm_bits(self) -> int:
        bits = self.alarms
        if not self._grid:
            bits |= AC_DISCONNECT | GRID_DISCONNECT
        return bits if self._battery else bits | DC_DISCONNECT

    def _setpoint_w(self) -> float:
        """Return what model 704 asks for; 0 while it is disabled."""
        controls = self.models[704].points
        if controls["WSetEna"].value != 1:
            return 0.0
        if controls["WSetMod"].value == 1:
            value = controls["WSet"].cvalue
        else:
            value = (controls["WSetPct"].cvalue or 0.0) * self.plant.rating_w / 100.0
        rating_w = self.plant.rating_w
        return max(-rating_w, min(rating_w, float(value or 0.0)))

    def _revert(self) -> None:
        """Do what the reversion registers say."""
        self.reverted_count += 1
        self._revert_at_ms = None
        controls = self.models[704].points
        controls["WSetEna"].value = controls["WSetEnaRvrt"].value or 0
        for name in ("WSet", "WSetPct"):
            controls[name].value = controls[f"{name}Rvrt"].value

    def target_w(self, now_ms: int, grid: bool, battery: bool) -> float:
        """Decide for the plant; see `hil.plant.inverter.Controller`."""
        dt_ms = now_ms - self._time_ms
        self._time_ms = now_ms
        self._grid, self._battery = grid, battery
        if self._revert_at_ms is not None and now_ms >= self._revert_at_ms:
            if self.reversion_ignored:
                self._revert_at_ms = None
            else:
                self._revert()
        self._move_state(now_ms, grid and battery)
        target_w = self._setpoint_w() if self._state == RUNNING else 0.0
        if self._state != RUNNING:
            self._power_w = 0.0
            return 0.0
        step_w = self.setup.ramp_share_per_s * self.plant.rating_w * dt_ms / 1000.0
        gap_w = target_w - self._power_w
        self._power_w += max(-step_w, min(step_w, gap_w))
        return self._power_w

    def _move_state(self, now_ms: int, connected: bool) -> None:
        permitted = 703 not in self.models or self._point(703, "ES").value == 1
        if self.failed or self.alarms:
            self._state = FAULT
            self._running_at_ms = None
        elif not connected or not permitted:
            self._state = STANDBY
            self._running_at_ms = None
        elif self._running_at_ms is None:
            self._state = STARTING
            self._running_at_ms = now_ms + self.setup.start_ms
        elif now_ms >= self._running_at_ms:
            self._state = RUNNING


def _words(data: bytes) -> list[int]:
    return [data[at] << 8 | data[at + 1] for at in range(0, len(data), 2)]
