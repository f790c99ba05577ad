"""Model a converter's DC link: a capacitor, its pre-charge resistor, its bleeder.

While the FETs conduct the link is the pack's voltage and the bleeder counts in the converter's
standing loss. The inductance of the wiring is left out, so an inrush is the worst case.
"""

from math import exp

CAPACITY_F = 4.7e-3  # A 2.5 kW stage at 48 V: some 2 mF a kW of electrolytics.
PRECHARGE_OHM = 10.0  # 5 A at first, 95 % after 140 ms; 6 J, which a 10 W wirewound takes.
BLEEDER_OHM = 1000.0  # Half the voltage after 3.3 s.
WIRING_OHM = 0.005  # FETs, cables and the capacitor's own resistance.
RUNNING_OHM = 1.0  # What a converter that runs on the capacitor alone is to it: milliseconds.
SENSOR_MV = 100  # One step of the ADC behind its divider.


class DCLink:
    """Be the capacitor. `inrush_a_max` is the largest current that closing FETs have caused.

    `precharge` is the pin. `precharge_open` is a fault: the resistor's path is broken.
    """

    def __init__(self, voltage_v: float) -> None:
        self.voltage_v = voltage_v
        self.inrush_a_max = 0.0
        self.precharge = False
        self.precharge_open = False

    def connect(self, pack_v: float, pack_ohm: float) -> float:
        """Follow the pack through closed FETs; return the charge that this took, in A * s."""
        missing_v = pack_v - self.voltage_v
        self.voltage_v = pack_v
        if missing_v <= 0.0:
            return 0.0
        self.inrush_a_max = max(self.inrush_a_max, missing_v / (pack_ohm + WIRING_OHM))
        return missing_v * CAPACITY_F

    def relax(self, dt_ms: int, pack_v: float, running: bool) -> tuple[float, float]:
        """Charge through the resistor and discharge for dt_ms with the FETs open.

        running: the converter is enabled. Returns what the pack gave in A * s, and the current
        in A at the end.
        """
        seconds = dt_ms * 0.001
        feed_s = 1.0 / PRECHARGE_OHM if self.precharge and not self.precharge_open else 0.0
        total_s = feed_s + 1.0 / BLEEDER_OHM + (1.0 / RUNNING_OHM if running else 0.0)
        final_v = pack_v * feed_s / total_s
        tau_s = CAPACITY_F / total_s
        keep = exp(-seconds / tau_s)
        gap_v = self.voltage_v - final_v
        mean_v = final_v + gap_v * (1.0 - keep) * tau_s / seconds
        self.voltage_v = final_v + gap_v * keep
        if self.voltage_v < 0.001:
            self.voltage_v = 0.0
        if feed_s == 0.0:
            return 0.0, 0.0
        return (pack_v - mean_v) * feed_s * seconds, (pack_v - self.voltage_v) * feed_s

    def read_mv(self) -> int:
        """Return what the board's sensor reads, mV."""
        return round(self.voltage_v * 1000.0 / SENSOR_MV) * SENSOR_MV
