"""How cells live and what light does to them, as closed forms: phases and their lengths, dose responses, bleaching.

Light acts as the literature on live imaging states it: energy by area adds up in each cell; damage rises with it along a
sigmoid (Wäldchen et al., Scientific Reports 5, 15348, 2015) and shows in divisions that come late or never before it
shows in deaths (Laissue et al., Nature Methods 14, 657, 2017; Icha et al., BioEssays 39, 1700003, 2017). Which dose does
how much depends on cell, dye and colour, and is therefore a setting.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.simulated.settings import Biology

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PHASES = ("G0", "G1", "S", "G2", "prophase", "prometaphase", "metaphase", "anaphase", "telophase", "dead")
G0, G1, S, G2, PROPHASE, PROMETAPHASE, METAPHASE, ANAPHASE, TELOPHASE, DEAD = range(len(PHASES))

S_BEGINS, G2_BEGINS = 11 / 23, 19 / 23
"""Of interphase: 11 h of G1, 8 h of S and 4 h of G2 in a human cell that divides once a day (Cooper, The Cell, 2nd ed.)."""
MITOTIC_SHARES = (0.25, 0.35, 0.4)
"""Of mitosis_min: prophase, prometaphase, metaphase. With 40 min, 30 min pass from the end of the nuclear envelope to
anaphase, which is near what HeLa cells need (Meraldi et al., Developmental Cell 7, 45, 2004)."""
ANAPHASE_SHARE, TELOPHASE_SHARE = 0.15, 0.25
"""Of mitosis_min, but after the division, in each daughter: as in the Cell Tracking Challenge, the mother ends where her
chromatids part."""
APOPTOSIS_MIN = 60.0
"""From a cell's death until nothing is left of it."""
FLASH_RISE = 0.1
"""Of transient_s."""
FLASH_ENDS = 3.0
"""A flash counts as over after so many times transient_s: a few percent are left."""
_ORDER = np.array([ANAPHASE, TELOPHASE, G1, S, G2, PROPHASE, PROMETAPHASE, METAPHASE])


def phase_of(progress: Floats, mitosis_share: Floats, was_born: Bools) -> tuple[Ints, Floats]:
    """Phase and how far it has got (0 … 1), `[N]` each, of cells that have done so much of their cycle (0 … 1).

    `mitosis_share` is the part of the cycle that mitosis takes; cells that were there from the start were never born.
    """
    interphase = 1 - mitosis_share
    ends = np.empty((len(_ORDER) + 1, len(progress)))
    ends[0] = 0.0
    ends[1] = np.where(was_born, ANAPHASE_SHARE * mitosis_share, 0.0)
    ends[2] = np.where(was_born, (ANAPHASE_SHARE + TELOPHASE_SHARE) * mitosis_share, 0.0)
    ends[3:6] = np.outer((S_BEGINS, G2_BEGINS, 1.0), interphase)
    ends[6:] = interphase + np.outer(np.cumsum(MITOTIC_SHARES), mitosis_share)
    place = np.sum(progress >= ends[1:-1], axis=0)
    rows = np.arange(len(progress))
    begins, ends_ = ends[place, rows], ends[place + 1, rows]
    return _ORDER[place], np.clip((progress - begins) / (ends_ - begins), 0.0, 1.0)


def dna_content(progress: Floats, mitosis_share: Floats) -> Floats:
    """Chromosome sets against those of a newborn cell: 1 in G1, doubled during S."""
    through_s = (progress / (1 - mitosis_share) - S_BEGINS) / (G2_BEGINS - S_BEGINS)
    return 1.0 + np.clip(through_s, 0.0, 1.0)


def toxicity(dose_j_cm2: Floats, biology: Biology) -> Floats:
    """0 without light, 1/2 at harm_j_cm2, 1 far above: a Hill curve."""
    ratio: Floats = (dose_j_cm2 / biology.harm_j_cm2) ** biology.harm_slope
    return 1 - 1 / (1 + ratio)


def cycle_speed(dose_j_cm2: Floats, biology: Biology) -> Floats:
    """Speed of the cell cycle against that of an unharmed cell."""
    return 1 - toxicity(dose_j_cm2, biology)


def death_per_h(dose_j_cm2: Floats, biology: Biology) -> Floats:
    """Risk of death."""
    return biology.death_per_h + biology.harm_death_per_h * toxicity(dose_j_cm2, biology)


def unbleached_by(j_cm2: float, biology: Biology) -> float:
    """Share of the fluorophores that such a dose leaves."""
    return float(np.exp(-j_cm2 / biology.bleach_j_cm2))


def unrepaired_after(minutes: float, biology: Biology) -> float:
    """Share of the effective dose that is left after some time."""
    return float(0.5 ** (minutes / 60 / biology.repair_h))


def with_new_fluorophores(unbleached: Floats, before: Floats, after: Floats) -> Floats:
    """Share that glows after the content has grown from `before` to `after`: what is new is not bleached."""
    renewed: Floats = (unbleached * before + after - before) / after
    return renewed


def flash(since_s: Floats, biology: Biology) -> Floats:
    """Brightness of a reporter against its rest, so long after a flash began: up in a straight line, down exponentially."""
    rise_s = FLASH_RISE * biology.transient_s
    fading = np.exp(-np.maximum(since_s - rise_s, 0.0) / biology.transient_s)
    return 1 + (biology.transient_brightness - 1) * np.clip(since_s / rise_s, 0.0, 1.0) * fading


def chance_of(risk_per_h: Any, minutes: float) -> Any:
    """That something of a constant risk happens within some time."""
    return -np.expm1(-risk_per_h * minutes / 60)
