"""Divisions with hindsight: false ones undone, missed ones found; daughters stay, chance detections and cut cells do not.

What mothers and daughters look like is the live tracker's knowledge (division.py). The other stories are that one of the
two cells is the mother, who goes on, and the other one is new; that a clump has come apart; that a cell was cut.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from models.cells import Floats
from tracking.division import ALIKE, APART, GROWTH, HALVES, MIDDLE, REACH, ROUNDED, STAYS_CUT, TOGETHER
from tracking.refine_evidence import Evidence
from tracking.refine_graph import NONE, Graph
from tracking.refine_links import Habits
from tracking.tracks import Bools, Ints

LASTING, BRIEF = 4, 2.0
"""A daughter is seen in so many frames, or else each one that she lacks counts so much against the division."""
UNDO, FIND = -2.0, 3.0
"""Live's divisions are undone below this log likelihood ratio, others made above."""
FARTHEST = 3
"""Frames between the mother's last sighting and a daughter's first one."""
RARE = 0.001
"""Share of cells that divide from one frame to the next."""
CLUMPS = 0.12
"""Spread of the logarithm of a clump's area around two usual cells, if cells were all alike."""


@dataclass(frozen=True)
class Families:
    """Mothers with two possible daughters each: rows of her last sighting and of their first ones, `[F]`."""

    mother: Ints
    one: Ints
    other: Ints

    @classmethod
    def of(cls, rows: list[tuple[int, int, int]]) -> "Families":
        """Mother, one, other."""
        return cls(*np.array(rows, np.int64).reshape(-1, 3).T)


def undo_divisions(graph: Graph, evidence: Evidence) -> int:
    """Take back what rather was none, and daughters beyond the likeliest two; how many mothers lost some.

    The likelier one of two false daughters, if any is likely, goes on as the mother.
    """
    told = graph.daughters()
    families = Families.of([(mother, *pair) for mother, firsts in told.items() for pair in combinations(firsts, 2)])
    habits, n = Habits.of(graph, evidence), 0
    odds = _odds(families, graph, evidence, habits)
    for mother, firsts in told.items():
        mine = np.flatnonzero(families.mother == mother)
        best = mine[np.argmax(odds[mine])]
        kept = {int(families.one[best]), int(families.other[best])} if odds[best] >= UNDO else set()
        graph.mother[[row for row in firsts if row not in kept]] = NONE
        n += len(kept) < len(firsts)
        if not kept:
            worth = habits.worth(evidence, np.full(len(firsts), mother), np.array(firsts))
            if worth.max() > 0:
                graph.join(mother, firsts[int(worth.argmax())])
    return n


def find_divisions(graph: Graph, evidence: Evidence) -> int:
    """Give mothers to tracks that begin beside a cell that halves, or that ends; how many."""
    families = _possible(graph, evidence)
    odds = _odds(families, graph, evidence, Habits.of(graph, evidence))
    taken, n = set[int](), 0
    sure = np.flatnonzero(odds > FIND)
    for k in sure[np.lexsort((families.other[sure], families.mother[sure], -odds[sure]))].tolist():
        mother, firsts = int(families.mother[k]), [int(families.one[k]), int(families.other[k])]
        if taken.isdisjoint([mother, *firsts]):
            taken.update([mother, *firsts])
            if graph.after[mother] != NONE:
                graph.cut(mother)
            graph.mother[firsts] = mother
            n += 1
    return n


def _possible(graph: Graph, evidence: Evidence) -> Families:
    """Tracks that begin, beside a track that goes on, or two that begin beside one that ends."""
    sightings, found = evidence.sightings, list[tuple[int, int, int]]()
    frame, divides, starts = sightings.frame, graph.divides(), graph.starts()
    starts = starts[(frame[starts] > frame[0]) & (graph.length()[starts] > 1)]
    reach_um = np.full(len(starts), REACH * sightings.diameter_um)
    beside: dict[int, list[int]] = {}
    for lag in range(1, FARTHEST + 1):
        one, mother = sightings.near(sightings.xy_um[starts], frame[starts] - lag, reach_um, np.flatnonzero(~divides))
        for row, start in zip(mother.tolist(), starts[one].tolist(), strict=True):
            beside.setdefault(row, []).append(start)
    for row, near in sorted(beside.items()):
        after = int(graph.after[row])
        if after == NONE:
            found += [(row, *pair) for pair in combinations(sorted(near), 2)]
        elif frame[after] <= frame[row] + 2 * FARTHEST:
            found += [(row, after, start) for start in sorted(near)]
    return Families.of(found)


# --- how likely --------------------------------------------------------------------------------------------------------


def _odds(families: Families, graph: Graph, evidence: Evidence, habits: Habits) -> Floats:
    """Log likelihood ratio of a division to all other stories, `[F]`."""
    sightings, mother = evidence.sightings, families.mother
    one, other = _same_time(families, graph, sightings.frame)
    area, usual = sightings.looks[:, 0], float(np.median(sightings.looks[:, 0]))
    whole = np.where(evidence.odd[mother], evidence.looks_before[mother, 0], area[mother])
    diameter_um, age = np.sqrt(4 / np.pi * np.exp(whole)), _age(mother, one, other, sightings.frame)
    apart_um = np.maximum(np.hypot(*(sightings.xy_um[one] - sightings.xy_um[other]).T), 1e-3 * diameter_um)
    middle_um = np.hypot(*((sightings.xy_um[one] + sightings.xy_um[other]) / 2 - sightings.xy_um[mother]).T)
    drift_um = evidence.motion.spread_um(sightings.interval_s) * np.sqrt(1 + age)
    spot_um = np.hypot(drift_um / np.sqrt(2), MIDDLE * diameter_um)
    pair = -((middle_um / spot_um) ** 2) / 2 - np.log(2 * np.pi * spot_um**2) - np.log(2 * np.pi * apart_um**2)
    pair += _normal(np.logaddexp(area[one], area[other]) - whole - GROWTH * age, TOGETHER)
    ring, halves = (_normal(np.log(apart_um / diameter_um / at), spread) for at, spread in (APART, HALVES))
    n = np.minimum(*(_lasting(row, graph, sightings.frame) for row in (families.one, families.other)))
    alike = _normal(area[one] - area[other], ALIKE)
    born = pair + ring + alike - np.maximum(whole - usual, 0) ** 2 / (2 * ROUNDED**2)
    born += np.log(RARE) - BRIEF * (LASTING - n)
    large, small = (evidence.odd & (sign * (area - evidence.looks_before[:, 0]) > 0) for sign in (1, -1))
    two = (whole - usual - np.log(2)) / np.hypot(CLUMPS, evidence.between[0] / 2)
    clump = pair + ring + alike - two**2 / 2 + np.log(_share(large, graph))
    cut = pair + halves + alike + np.log(_share(small, graph)) + (n - 1) * np.log(STAYS_CUT)
    odds: Floats = born - np.logaddexp(np.logaddexp(clump, cut), _herself(families, one, other, evidence, habits))
    return odds


def _herself(families: Families, one: Ints, other: Ints, evidence: Evidence, habits: Habits) -> Floats:
    """Log likelihood that one of the two is the mother, and the other one is new, of any size, `[F]`."""
    area = evidence.sightings.looks[:, 0]
    usual, spread = float(np.median(area)), max(float(evidence.between[0]) / np.sqrt(2), ALIKE)
    sizes = sum(_normal(np.maximum(area[row] - usual, -2 * spread), spread) for row in (one, other))
    stories = [
        evidence.gain(families.mother, herself) + habits.start[new]
        for herself, new in ((families.one, families.other), (families.other, families.one))
    ]
    return sizes + np.logaddexp(*stories)


def _same_time(families: Families, graph: Graph, frame: Ints) -> tuple[Ints, Ints]:
    """Of each daughter the sighting in the first frame in which both can be seen, or the last one before it."""
    found = []
    for row, sister in ((families.one, families.other), (families.other, families.one)):
        for _ in range(FARTHEST):
            after = graph.after[row]
            row = np.where((after != NONE) & (frame[after] <= frame[sister]), after, row)
        found.append(row)
    return found[0], found[1]


def _age(mother: Ints, one: Ints, other: Ints, frame: Ints) -> Ints:
    """Frames since the first in which both daughters could have been seen, `[F]`."""
    age: Ints = np.maximum(frame[one], frame[other]) - frame[mother] - 1
    return age


def _lasting(row: Ints, graph: Graph, frame: Ints) -> Ints:
    """Sightings from this one on, up to LASTING; LASTING, too, for a track that reaches the recording's end or divides."""
    n, divides = np.ones(len(row), np.int64), graph.divides()
    for _ in range(LASTING - 1):
        after = graph.after[row]
        n = np.where(divides[row] | (frame[row] == frame[-1]), LASTING, np.where(after != NONE, n + 1, n))
        row = np.where(after != NONE, after, row)
    return np.minimum(n, LASTING)


def _share(odd: Bools, graph: Graph) -> float:
    """How often a cell begins to look odd, per sighting."""
    begins = odd & ~((graph.before != NONE) & odd[graph.before])
    return (np.count_nonzero(begins) + 0.5) / len(odd)


def _normal(difference: Floats, deviation: float) -> Floats:
    """Log density."""
    density: Floats = -((difference / deviation) ** 2) / 2 - np.log(deviation * np.sqrt(2 * np.pi))
    return density
