"""The on/off stage: a pack behind a fixed-power charger/inverter, switched by the BMS FETs.

The discharge FET alone runs the inverter, the charge FET alone the charger; the enable line stops
both.
"""

from ..bms.base import FET_CHARGE, FET_DISCHARGE
from .diffusion import DiffusionStage


class BMSFets(DiffusionStage):
    """Error diffusion over the levels of the BMS FETs."""

    FETS_OF_LEVEL = (0, FET_DISCHARGE, FET_CHARGE)
