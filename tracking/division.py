"""Which tracks have divided: two young cells on either side of where a mother was, against every other explanation.

For a mother and two cells, the probability that they are her daughters is weighed against two other stories: that one
of them is she herself, or another cell, and the second has come by chance; and that the segmenter has cut her in two
for a moment. Whoever is not sure waits: daughters stay, chance detections and cut cells do not.
"""

from dataclasses import dataclass

import numpy as np

from models.cells import Floats
from models.labelling import compiled
from tracking.assignment import owners
from tracking.cues import AREA, INTENSITY
from tracking.motion import Motions
from tracking.neighbours import pairs_within
from tracking.robust import deviation, median
from tracking.scenery import Scenery
from tracking.state import MEMORY, TrackState
from tracking.tracks import Ints

ENOUGH = (0.9, 0.85, 0.8)
"""Probability at which a division is told, by the age of the younger daughter in frames: the last may not wait."""
RARE = 0.002
"""Share of cells that divide from one frame to the next: a cycle of 20 hours looked at every 2 minutes."""
MITOTIC, NOT_MITOTIC = 0.3, 0.0005
"""The same for a cell just seen in mitosis, and for one just seen not to be."""
CUT = 0.002
"""Share of cells that the segmenter cuts in two."""
APART = (0.85, 0.35)
"""Distance of daughters in diameters of the mother: median, and spread of its logarithm."""
HALVES = (0.45, 0.2)
"""The same for the halves of a cut cell: 0.42 for half discs."""
MIDDLE, CUT_MIDDLE = 0.2, 0.06
"""Standard deviation of their middle from the mother's place, in her diameters, along an axis."""
TOGETHER, CUT_TOGETHER = 0.22, 0.12
"""Spread of the logarithm of their summed area, as a share of hers."""
GROWTH = 0.08
"""Daughters grow: added to that logarithm for each frame they are old."""
ALIKE, CUT_ALIKE = 0.25, 0.5
"""Spread of the logarithm of the ratio of their areas."""
BRIGHTNESS_ALIKE = 0.15
"""Spread of the logarithm of the ratio of the daughters' intensities."""
STAYS_DAUGHTERS, STAYS_CHANCE, STAYS_CUT = 0.97, 0.6, 0.3
"""Probability that both are there in the next frame as well, in each of the stories."""
USUAL_SIZES = 0.4
"""Spread of the logarithm of the areas of cells that come by chance."""
ROUNDED = 0.25
"""Mothers round up and are no larger than usual cells; clumps are. Spread of the logarithm of the larger ones' areas."""
LEAST_NEW = 0.003
"""Share of cells that come by chance, even if none did so far."""
KNOWN = 2
"""Frames in which a mother must have been seen: a clump of two cells falls apart like a dividing one."""
RESTS = 5
"""Frames for which daughters do not divide again."""
MOST_REACH = 2.5
"""But not further than so many diameters of a typical cell."""
NEAREST = 6
"""As many young cells near a mother are considered."""
REACH = 1.6
"""Daughters are searched up to so many diameters from the mother."""
AGE = 5
"""Column of triples."""


@dataclass(frozen=True)
class Division:
    """A mother's row and the rows of her daughters' cells; how likely, and for how long it could have been seen."""

    mother: int
    cells: tuple[int, int]
    confidence: float
    late_frames: int


def find_divisions(
    state: TrackState, expected: Motions, cell_of: Ints, busy: list[int], barred: list[int], scenery: Scenery
) -> list[Division]:
    """Divisions that are sure enough to be told now, in the order of mothers; nobody takes part in two.

    `busy` are rows of tracks that cannot be mothers, `barred` rows of cells that cannot be daughters.
    """
    owner = owners(cell_of, len(scenery.cells))
    age = _ages(state, owner)
    age[barred] = MEMORY
    triples = _triples(state, cell_of, age, busy, scenery)
    if len(triples) == 0:
        return []
    confidence = _confidences(triples, state, expected, owner, age, scenery)
    sure = np.flatnonzero(confidence >= np.array(ENOUGH)[triples[:, AGE]])
    mothers, daughters, found = set[int](), set[int](), list[Division]()
    for k in sure[np.argsort(-confidence[sure], kind="stable")].tolist():
        mother, one, other = triples[k, :3].tolist()
        if mother not in mothers and not daughters.intersection((one, other)):
            mothers.add(mother)
            daughters.update((one, other))
            found.append(Division(mother, (one, other), float(confidence[k]), int(triples[k, AGE])))
    return sorted(found, key=lambda division: division.mother)


def _ages(state: TrackState, owner: Ints) -> Ints:
    """Frames since each cell was first seen, `[N]`: 0 without a track; MEMORY if it is too old to be a daughter."""
    if len(state) == 0:
        return np.zeros(len(owner), np.int64)
    too_old = (state.age[owner] + 1 >= MEMORY) | (state.parent[owner] > 0)
    return np.where(owner < 0, 0, np.where(too_old, MEMORY, state.age[owner] + 1))


def _triples(state: TrackState, cell_of: Ints, age: Ints, busy: list[int], scenery: Scenery) -> Ints:
    """Everything that is worth a thought: mothers, and young cells within reach of where they were whole.

    `[T, 6]`: the mother's row; two cells, the first one her own if she has one; whether it is; frames back to the last
    in which she was whole; frames for which both could be seen.
    """
    young = np.flatnonzero(age < MEMORY)
    if young.size == 0:
        return np.empty((0, 6), np.int64)
    old_enough = (state.parent == 0) | (state.age >= RESTS)
    free = (state.host == 0) & (state.missed < MEMORY) & np.isnan(state.clump[:, 2])
    free[busy] = False
    mothers = np.flatnonzero(state.confirmed & old_enough & free)
    if mothers.size == 0:
        return np.empty((0, 6), np.int64)
    cells_um, was_um = scenery.cells.xy_um[young], state.past[mothers, 0, :2]
    reach_um = REACH * np.sqrt(4 / np.pi * np.exp(state.past[mothers, :, 2].max(axis=1)))
    mother, daughter = pairs_within(was_um, np.minimum(reach_um, MOST_REACH * scenery.diameter_um), cells_um)
    order = np.lexsort((np.square(cells_um[daughter] - was_um[mother]).sum(axis=1), mother))
    # Frames with a cell, and frames alive, up to the one in which she was last whole.
    return _combined(
        mothers[mother[order]], young[daughter[order]], cell_of, age, np.minimum(state.hits - KNOWN, state.age)
    )


@compiled
def _combined(mother: Ints, daughter: Ints, cell_of: Ints, age: Ints, most_back: Ints) -> Ints:
    """Pairs of a mother and a young cell, in the order of mothers, the nearest first, to triples.

    Only the nearest are combined. `most_back[M]`: frames for which a mother is known.
    """
    found = np.empty((len(mother) * max(NEAREST, 2), 6), np.int64)
    n = first = 0
    while first < len(mother):
        m, own = mother[first], cell_of[mother[first]]
        last = first
        while last < len(mother) and mother[last] == m:
            last += 1
        for k in range(first, min(last, first + NEAREST)):
            cell = daughter[k]
            if own >= 0:
                for back in (age[cell] + 1, age[cell] + 2):  # the other daughter may have been seen a frame earlier
                    if cell != own and back <= MEMORY and most_back[m] >= back - 1:
                        found[n] = np.array([m, own, cell, 1, back, age[cell]])
                        n += 1
            else:
                for other in daughter[first:k]:
                    back = max(age[cell], age[other]) + 1
                    if most_back[m] >= back - 1:
                        found[n] = np.array([m, cell, other, 0, back, min(age[cell], age[other])])
                        n += 1
        first = last
    return found[:n]


def _confidences(
    triples: Ints, state: TrackState, expected: Motions, owner: Ints, age: Ints, scenery: Scenery
) -> Floats:
    """Probability of a division for each, `[T]`."""
    looks, cells = scenery.looks, scenery.cells
    first_um = cells.xy_um.copy()
    young = np.flatnonzero((owner >= 0) & (age < MEMORY))
    first_um[young] = state.past[owner[young], age[young] - 1, :2]
    usual = median(looks[:, AREA])
    new = np.log(scenery.newcomers(scenery.field.inside_um(first_um), LEAST_NEW))
    new -= ((looks[:, AREA] - usual) / USUAL_SIZES) ** 2 / 2 + np.log(USUAL_SIZES * np.sqrt(2 * np.pi))
    drift_um = np.array([scenery.motion.spread_um(back * scenery.dt_s) for back in range(MEMORY + 1)])
    brightness = float(np.sqrt(2)) * deviation(looks[:, INTENSITY])
    within = float(np.hypot(scenery.cues.within[AREA], 0.08))
    return _weighed(
        triples,
        state.past,
        expected.xy_um,
        cells.xy_um,
        looks,
        new,
        drift_um,
        usual,
        brightness,
        within,
        scenery.rates.missed,
    )


@compiled
def _weighed(
    triples: Ints, past: Floats, expected_um: Floats, cells_um: Floats, looks: Floats, new: Floats,
    drift_um: Floats, usual: float, brightness: float, within: float, missed: float,
) -> Floats:  # fmt: skip
    """The three stories of each triple against one another."""
    probability = np.empty(len(triples))
    for k in range(len(triples)):
        mother, one, other, own, back, age = triples[k]
        whole = past[mother, back - 1]
        drift = drift_um[back]
        diameter_um = np.sqrt(4 / np.pi * np.exp(whole[2]))
        middle = (cells_um[one] + cells_um[other]) / 2
        # She has stood still, or gone on.
        middle_um = min(_distance(middle, whole[:2]), _distance(middle, expected_um[mother]))
        apart_um = max(_distance(cells_um[one], cells_um[other]), 1e-3 * diameter_um)
        together = np.logaddexp(looks[one, AREA], looks[other, AREA]) - whole[2]
        ratio = looks[one, AREA] - looks[other, AREA]

        spot_um = np.hypot(drift / np.sqrt(2), MIDDLE * diameter_um)
        born = _around(middle_um, spot_um) + _ring(apart_um, diameter_um, APART)
        born += _normal(together, GROWTH * age, TOGETHER) + _normal(ratio, 0.0, ALIKE)
        born -= (max(whole[2] - usual, 0.0) / ROUNDED) ** 2 / 2
        born += _prior(whole[3]) + age * np.log(STAYS_DAUGHTERS)
        born += np.log(missed) if back > age + 1 and own else 0.0
        difference = looks[one, INTENSITY] - looks[other, INTENSITY]
        if brightness > BRIGHTNESS_ALIKE:
            born += max(_normal(difference, 0.0, BRIGHTNESS_ALIKE) - _normal(difference, 0.0, brightness), -8.0)

        spot_um = np.hypot(drift / np.sqrt(2), CUT_MIDDLE * diameter_um)
        cut = _around(middle_um, spot_um) + _ring(apart_um, diameter_um, HALVES)
        cut += _normal(together, 0.0, CUT_TOGETHER) + _normal(ratio, 0.0, CUT_ALIKE)
        cut += np.log(CUT) + age * np.log(STAYS_CUT)

        chance = np.log(missed) + new[one]
        if own:
            moved = _distance(cells_um[one], whole[:2]) ** 2 / drift**2
            herself = -np.log(2 * np.pi * drift**2) - 3 * np.log1p(moved / 4)
            chance = np.logaddexp(chance, herself + max(_normal(looks[one, AREA], whole[2], within), np.log(0.01)))
        chance += new[other] + age * np.log(STAYS_CHANCE)
        odds = born - np.logaddexp(cut, chance)
        probability[k] = 1 / (1 + np.exp(-min(max(odds, -50.0), 50.0)))
    return probability


@compiled
def _prior(mitotic: float) -> float:
    """Log share of such cells that divide; `mitotic` is NaN without a class that says so, and counts by its odds."""
    if np.isnan(mitotic):
        return float(np.log(RARE))
    return float((1 - mitotic) * np.log(NOT_MITOTIC) + mitotic * np.log(MITOTIC))


@compiled
def _ring(apart_um: float, diameter_um: float, usual: tuple[float, float]) -> float:
    """Log density of one cell at a distance from another, in any direction."""
    at = np.log(apart_um / diameter_um / usual[0]) / usual[1]
    return float(-at * at / 2 - np.log(usual[1] * np.sqrt(2 * np.pi)) - np.log(2 * np.pi * apart_um**2))


@compiled
def _around(distance_um: float, spot_um: float) -> float:
    """Log density in the plane at a distance from the middle of a normal distribution."""
    return float(-((distance_um / spot_um) ** 2) / 2 - np.log(2 * np.pi * spot_um**2))


@compiled
def _normal(value: float, mean: float, deviation: float) -> float:
    """Log density."""
    return float(-(((value - mean) / deviation) ** 2) / 2 - np.log(deviation * np.sqrt(2 * np.pi)))


@compiled
def _distance(one: Floats, other: Floats) -> float:
    return float(np.hypot(one[0] - other[0], one[1] - other[1]))
