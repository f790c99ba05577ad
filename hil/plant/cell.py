"""Describe cell chemistries: open-circuit voltage, resistances, thermal data, with sources.

The open-circuit voltages are composed from published half-cell fits: OCV = U_pos(y) - U_neg(x),
x and y linear in SoC. They are typical curves at 25 C, not the curve of one product.
Hysteresis of LFP and the entropic (reversible) heat are not modelled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, tanh

OCV_STEPS_COUNT = 100  # The table has one more point: SoC 0, 1, .. 100 %.
GAS_CONSTANT_J_PER_MOL_K = 8.314462618
REFERENCE_TEMPERATURE_K = 298.15


@dataclass(frozen=True)
class Chemistry:
    """Hold what a pack needs to know about one kind of cell.

    Resistances are given as ohm * Ah, because the resistance of a cell falls as its area and
    thus its capacity grows. The values are typical of data sheets of 100..300 Ah prismatic LFP
    cells (0.15..0.5 mOhm AC, roughly twice that as 10 s DC resistance) and of 5 Ah cylindrical
    NMC cells (15..35 mOhm DC). Time constants in s; activation energy in J/mol for all
    resistances together.
    """

    name: str
    ocv_v: tuple[float, ...]
    nominal_v: float
    r0_ohm_ah: float
    r1_ohm_ah: float
    tau1_s: float
    r2_ohm_ah: float
    tau2_s: float
    activation_j_per_mol: float
    mass_kg_per_ah: float
    heat_capacity_j_per_kg_k: float
    cell_v_max: float
    cell_v_min: float

    def arrhenius_factor(self, temperature_c: float) -> float:
        """Return the resistance at temperature_c over that at 25 C; above 1 when colder.

        Ref: Arrhenius law exp(Ea/R * (1/T - 1/T_ref)). Raises ValueError below -60 or above
        150 C, where the single activation energy means nothing.
        """
        if not -60.0 <= temperature_c <= 150.0:
            raise ValueError(f"temperature_c {temperature_c} outside -60..150")
        kelvin = temperature_c + 273.15
        scale = self.activation_j_per_mol / GAS_CONSTANT_J_PER_MOL_K
        return exp(scale * (1.0 / kelvin - 1.0 / REFERENCE_TEMPERATURE_K))

    def ocv_at(self, soc: float) -> float:
        """Return the open-circuit voltage at soc (fraction), linear between table points.

        Beyond 0 and 1 the end slopes go on, so an abused cell runs away steeply as a real one
        does and the protections see it.
        """
        table = self.ocv_v
        position = soc * OCV_STEPS_COUNT
        index = int(position)
        if index < 0 or position < 0.0:
            index = 0
        elif index >= OCV_STEPS_COUNT:
            index = OCV_STEPS_COUNT - 1
        low_v = table[index]
        return low_v + (table[index + 1] - low_v) * (position - index)


def _graphite_v(x: float) -> float:
    """Return the potential of graphite against lithium at stoichiometry x.

    Ref: Safari and Delacourt, J. Electrochem. Soc. 158 (2011) A562, Table I.
    """
    return (
        0.6379
        + 0.5416 * exp(-305.5309 * x)
        - 0.044 * tanh((x - 0.1958) / 0.1088)
        - 0.1978 * tanh((x - 1.0571) / 0.0854)
        - 0.6875 * tanh((x + 0.0117) / 0.0529)
        - 0.0175 * tanh((x - 0.5692) / 0.0875)
    )


def _lfp_v(y: float) -> float:
    """Return the potential of lithium iron phosphate at stoichiometry y.

    Ref: Afshar, Morris, Khajepour, arXiv:1709.03970 (2017).
    """
    return 3.4077 - 0.020269 * y + 0.5 * exp(-150.0 * y) - 0.9 * exp(-30.0 * (1.0 - y))


def _graphite_silicon_v(x: float) -> float:
    """Return the potential of graphite-SiOx at stoichiometry x.

    Ref: Chen et al., J. Electrochem. Soc. 167 (2020) 080534, LG M50.
    """
    return (
        0.2482
        + 1.9793 * exp(-39.3631 * x)
        - 0.0909 * tanh(29.8538 * (x - 0.1234))
        - 0.04478 * tanh(14.9159 * (x - 0.2769))
        - 0.0205 * tanh(30.4444 * (x - 0.6103))
    )


def _nmc811_v(y: float) -> float:
    """Return the potential of NMC 811 at stoichiometry y. Ref: Chen et al. (2020), as above."""
    return (
        4.4875
        - 0.8090 * y
        - 0.0428 * tanh(18.5138 * (y - 0.5542))
        - 17.7326 * tanh(15.7890 * (y - 0.3117))
        + 17.5842 * tanh(15.9308 * (y - 0.3120))
    )


def _ocv_table(
    positive_v: Callable[[float], float],
    positive_range: tuple[float, float],
    negative_v: Callable[[float], float],
    negative_range: tuple[float, float],
) -> tuple[float, ...]:
    """Return the cell voltage at each whole percent; ranges are stoichiometry at 0 and 100 %."""
    table = []
    for index in range(OCV_STEPS_COUNT + 1):
        soc = index / OCV_STEPS_COUNT
        y = positive_range[0] + (positive_range[1] - positive_range[0]) * soc
        x = negative_range[0] + (negative_range[1] - negative_range[0]) * soc
        table.append(positive_v(y) - negative_v(x))
    return tuple(table)


# The stoichiometry windows of LFP are ours, chosen so that a rested cell spans 2.63..3.47 V.
LFP = Chemistry(
    name="LFP",
    ocv_v=_ocv_table(_lfp_v, (0.93, 0.008), _graphite_v, (0.010, 0.81)),
    nominal_v=3.2,
    r0_ohm_ah=0.060,
    r1_ohm_ah=0.030,
    tau1_s=15.0,
    r2_ohm_ah=0.040,
    tau2_s=300.0,
    activation_j_per_mol=20_000.0,
    mass_kg_per_ah=0.0192,
    heat_capacity_j_per_kg_k=1050.0,
    cell_v_max=3.65,
    cell_v_min=2.5,
)

# The stoichiometry windows of NMC are those of Chen et al. (2020) for 2.5 and 4.2 V.
NMC = Chemistry(
    name="NMC",
    ocv_v=_ocv_table(_nmc811_v, (0.9077, 0.2661), _graphite_silicon_v, (0.0279, 0.9014)),
    nominal_v=3.63,
    r0_ohm_ah=0.100,
    r1_ohm_ah=0.050,
    tau1_s=10.0,
    r2_ohm_ah=0.060,
    tau2_s=200.0,
    activation_j_per_mol=25_000.0,
    mass_kg_per_ah=0.0137,
    heat_capacity_j_per_kg_k=1000.0,
    cell_v_max=4.2,
    cell_v_min=2.5,
)

CHEMISTRIES = {chemistry.name: chemistry for chemistry in (LFP, NMC)}
