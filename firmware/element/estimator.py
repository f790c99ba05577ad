"""The element's own SoC: charge counted, corrected at rest by the open-circuit voltage. Pure.

Bounded-error estimation: the mean SoC of the cells lies in an interval that grows with every
ampere-hour by the sensor's possible error and shrinks when the cells have rested and their
voltage says more. How far the weakest and the strongest cell lie off the mean is learnt at rest
too, because they end a discharge and a charge, whatever the mean is.

The BMS's own figure is compared with it: BMS gauges drift by as much as 15 % a month
(dbus-serialbattery issue 1078 of Louisvdw) and do not see an imbalance at all.
"""

# What the current sensor may be wrong by: share of the reading in percent, and a fixed part.
SENSE_ERROR_PCT = 1
SENSE_OFFSET_MA = 100
# Rest: below 1 % of the capacity an hour for this long. Half an hour leaves LFP and NMC cells
# within a few millivolts of their open-circuit voltage.
REST_MS = 1_800_000
REST_SHARE = 100
# Sensor, relaxation and spread between products of one chemistry.
OCV_ERROR_MV = 10
# What is known before anything was measured: the BMS, give or take.
BMS_DOUBT_BP = 1000
# An imbalance is learnt only where the voltage tells SoC to this half width.
TELLING_BP = 500
# From here on the figures of BMS and estimator do not describe the same battery.
RESIDUAL_BP_MAX = 500

_STEP_BP = 500
# Open-circuit voltage in mV at 0, 5, 10 .. 100 % SoC, 25 C: positive fit minus negative fit.
# Ref LFP: Afshar et al., arXiv:1709.03970, and Safari and Delacourt, J. Electrochem. Soc. 158
# (2011) A562. Ref NMC: Chen et al., J. Electrochem. Soc. 167 (2020) 080534.
_OCV_MV = {
    "LFP": (2626, 3036, 3156, 3194, 3215, 3233, 3249, 3260, 3268, 3272, 3276, 3279, 3283, 3289,
            3298, 3306, 3312, 3316, 3318, 3320, 3473),
    "NMC": (2498, 3073, 3258, 3397, 3450, 3495, 3549, 3597, 3635, 3669, 3708, 3758, 3809, 3862,
            3924, 3972, 4022, 4070, 4094, 4116, 4193),
}


def ocv_table(chemistry: str):
    """Return the open-circuit voltages of a chemistry, or None when it is not known here."""
    return _OCV_MV.get(chemistry)


def soc_bp_at(table, cell_mv: int) -> int:
    """Return the SoC in bp at which a rested cell has cell_mv; 0 or 10000 beyond the ends."""
    if cell_mv <= table[0]:
        return 0
    for index in range(1, len(table)):
        if cell_mv <= table[index]:
            below_mv = table[index - 1]
            part = (cell_mv - below_mv) * _STEP_BP // (table[index] - below_mv)
            return (index - 1) * _STEP_BP + part
    return 10000


class Estimator:
    """SoC of one pack. `known` is False before the first reading; then soc_bp, doubt_bp hold.

    soc_bp: mean of the cells. doubt_bp: half width of the interval it lies in. low_bp, high_bp:
    what discharging and charging may count on, never more hopeful than the BMS. in_doubt: BMS
    and estimator differ by more than RESIDUAL_BP_MAX.
    """

    def __init__(self, capacity_mah: int, chemistry: str):
        self._table = ocv_table(chemistry)
        self._bp_uah = max(1, capacity_mah // 10)  # one basis point of the capacity
        self._full_uah = 10000 * self._bp_uah
        self._rest_ma = max(200, capacity_mah // REST_SHARE)
        self._moved_uas = 0
        self._error_uas = 0
        self._min_uah = 0
        self._max_uah = self._full_uah
        self.weak_bp = 0  # by how much the weakest cell lies below the mean
        self.strong_bp = 0  # and the strongest above it
        self.known = False
        self.rest_ms = 0
        self.rested = False
        self.soc_bp = 0
        self.doubt_bp = 10000
        self.low_bp = 0
        self.high_bp = 10000
        self.in_doubt = False

    def step(self, dt_ms: int, sense_ma: int, reading) -> None:
        """Count one tick. reading: fresh, or None; sense_ma: positive discharge."""
        if not self.known:
            if reading is None:
                return
            self._begin(reading.soc_bp, BMS_DOUBT_BP)
        self._count(dt_ms, sense_ma)
        if abs(sense_ma) > self._rest_ma:
            self.rest_ms = 0
        elif self.rest_ms < REST_MS:
            self.rest_ms += dt_ms
        elif reading is not None and self._table is not None:
            self._correct(reading)
        self._conclude(reading)

    def _begin(self, soc_bp: int, doubt_bp: int) -> None:
        self._min_uah = max(0, soc_bp - doubt_bp) * self._bp_uah
        self._max_uah = min(10000, soc_bp + doubt_bp) * self._bp_uah
        self.known = True

    def _count(self, dt_ms: int, sense_ma: int) -> None:
        """Move the interval by the charge and widen it by what the sensor may have missed."""
        self._moved_uas += sense_ma * dt_ms
        moved_uah = self._moved_uas // 3600
        self._moved_uas -= moved_uah * 3600
        self._error_uas += (abs(sense_ma) * SENSE_ERROR_PCT // 100 + SENSE_OFFSET_MA) * dt_ms
        error_uah = self._error_uas // 3600
        self._error_uas -= error_uah * 3600
        self._min_uah = max(0, min(self._full_uah, self._min_uah - moved_uah - error_uah))
        self._max_uah = max(0, min(self._full_uah, self._max_uah - moved_uah + error_uah))

    def _correct(self, reading) -> None:
        """Intersect the interval with what the rested cells' voltage says; learn the imbalance."""
        table = self._table
        mean_mv = reading.cell_mv_sum // max(1, reading.cell_count)
        low_uah = soc_bp_at(table, mean_mv - OCV_ERROR_MV) * self._bp_uah
        high_uah = soc_bp_at(table, mean_mv + OCV_ERROR_MV) * self._bp_uah
        if low_uah > self._max_uah or high_uah < self._min_uah:
            # what was counted contradicts the cells: believe the cells
            self._min_uah = low_uah
            self._max_uah = high_uah
        else:
            self._min_uah = max(self._min_uah, low_uah)
            self._max_uah = min(self._max_uah, high_uah)
        mean_bp = (self._min_uah + self._max_uah) // (2 * self._bp_uah)
        if self._telling(reading.cell_mv_min):
            self.weak_bp = max(0, mean_bp - soc_bp_at(table, reading.cell_mv_min))
        if self._telling(reading.cell_mv_max):
            self.strong_bp = max(0, soc_bp_at(table, reading.cell_mv_max) - mean_bp)
        self.rested = True

    def _telling(self, cell_mv: int) -> bool:
        """Return True where the voltage of a rested cell pins its SoC down."""
        table = self._table
        width_bp = (soc_bp_at(table, cell_mv + OCV_ERROR_MV)
                    - soc_bp_at(table, cell_mv - OCV_ERROR_MV))
        return width_bp <= 2 * TELLING_BP

    def _conclude(self, reading) -> None:
        """Set what the others read: the mean, its doubt, the usable ends, the comparison."""
        low_bp = self._min_uah // self._bp_uah
        high_bp = -(-self._max_uah // self._bp_uah)
        self.soc_bp = (low_bp + high_bp) // 2
        self.doubt_bp = high_bp - self.soc_bp
        if reading is None:
            return
        bms_bp = reading.soc_bp
        weakest_bp = max(0, self.soc_bp - self.weak_bp)
        strongest_bp = min(10000, self.soc_bp + self.strong_bp)
        self.in_doubt = (bms_bp - weakest_bp > RESIDUAL_BP_MAX
                         or strongest_bp - bms_bp > RESIDUAL_BP_MAX
                         or abs(bms_bp - self.soc_bp) > RESIDUAL_BP_MAX)
        if self.in_doubt:
            # who is right is not known: the window loses the doubt at both ends
            weakest_bp = max(0, weakest_bp - self.doubt_bp)
            strongest_bp = min(10000, strongest_bp + self.doubt_bp)
        self.low_bp = min(bms_bp, weakest_bp)
        self.high_bp = max(bms_bp, strongest_bp)

    def snapshot(self) -> list:
        """Return what a restart must know, as integers; the SoC is -1 while it is not known."""
        soc_bp = self.soc_bp if self.known else -1
        return [soc_bp, self.doubt_bp, self.weak_bp, self.strong_bp]

    def restore(self, kept: list, unsaved_bp: int) -> None:
        """Go on from a snapshot; unsaved_bp: the SoC that may have moved since, either way."""
        soc_bp, doubt_bp, self.weak_bp, self.strong_bp = kept
        if soc_bp < 0:
            return
        self._begin(soc_bp, doubt_bp + unsaved_bp)
        self._conclude(None)
