"""Which tracks have divided: a cell that lost much of its area, with a newborn of like size across from it.

The rule is simple on purpose. It sees nothing of the chromosomes: a nucleus that is cut in two by the
segmenter looks the same, so a policy that pays for divisions should want more looks than one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from models.cells import Floats

LARGEST_SHARE = 0.8
"""A daughter has at most this share of the mother's area."""
LEAST_LIKENESS = 0.5
"""The smaller daughter has at least this share of the larger one's area."""
OFF_CENTRE = 0.5
"""The mother stood between her daughters: off their middle by at most this share of their distance."""


@dataclass(frozen=True)
class Spots:
    """Things that have a place and an area."""

    xy_um: Floats  # [S, 2]
    area_um2: Floats  # [S]

    def __len__(self) -> int:
        return len(self.area_um2)


def find_divisions(mothers: Spots, firsts: Spots, newborns: Spots, reach_um: Floats) -> list[tuple[int, int]]:
    """Pairs of a mother's row and a newborn's row, in the order of mothers; nobody takes part in two.

    `mothers` are the linked tracks as they were before, `firsts` (same rows) the cells they are linked to
    now: one daughter, if there was a division. The other is a newborn at most one diameter of the mother and
    her `reach_um` away. Where there is a choice, the pair with the mother best in its middle is taken.
    """
    found: list[tuple[float, int, int]] = []
    for mother, newborn in _candidates(mothers, firsts, newborns, reach_um):
        areas = firsts.area_um2[mother], newborns.area_um2[newborn]
        off = _off_centre(mothers.xy_um[mother], firsts.xy_um[mother], newborns.xy_um[newborn])
        small_enough = max(areas) <= LARGEST_SHARE * mothers.area_um2[mother]
        if small_enough and min(areas) >= LEAST_LIKENESS * max(areas) and off <= OFF_CENTRE:
            found.append((off, mother, newborn))
    return sorted(_without_repeats(found))


def _candidates(mothers: Spots, firsts: Spots, newborns: Spots, reach_um: Floats) -> list[tuple[int, int]]:
    """Mothers that shrank, each with every newborn near enough."""
    shrunk = np.flatnonzero(firsts.area_um2 <= LARGEST_SHARE * mothers.area_um2)
    if len(newborns) == 0 or shrunk.size == 0:
        return []
    radius_um = 2 * np.sqrt(mothers.area_um2 / np.pi) + reach_um
    near = cKDTree(newborns.xy_um).query_ball_point(mothers.xy_um[shrunk], radius_um[shrunk])
    return [(mother, newborn) for mother, rows in zip(shrunk.tolist(), near, strict=True) for newborn in rows]


def _off_centre(mother_um: Floats, first_um: Floats, second_um: Floats) -> float:
    """Distance of the mother from the middle of her daughters, as a share of the distance between them."""
    apart_um = float(np.linalg.norm(first_um - second_um))
    return float(np.linalg.norm((first_um + second_um) / 2 - mother_um)) / max(apart_um, 1e-12)


def _without_repeats(found: list[tuple[float, int, int]]) -> list[tuple[int, int]]:
    mothers: set[int] = set()
    newborns: set[int] = set()
    pairs = []
    for _, mother, newborn in sorted(found):
        if mother not in mothers and newborn not in newborns:
            mothers.add(mother)
            newborns.add(newborn)
            pairs.append((mother, newborn))
    return pairs
