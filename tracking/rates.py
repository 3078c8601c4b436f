"""How often detections are missed, cells appear and tracks fade, learned while tracking."""

from dataclasses import dataclass

import numpy as np

from models.cells import Floats
from models.labelling import compiled
from tracking.tracks import Bools, Ints

INSIDE, EDGE = 0, 1


@dataclass(frozen=True)
class Rates:
    """Shares of one frame; inside the field and at its edge, where cells come and go."""

    missed: float = 0.02
    """Of confirmed tracks, those that have no cell in the next frame."""
    new: float = 0.005
    """Of cells, those that belong to no track so far."""
    fading: float = 0.05
    """Of cells seen for the first time, those that are not there in the next frame."""
    missed_at_edge: float = 0.1
    new_at_edge: float = 0.1

    def learned(self, fates: "Fates", edge_um: float, gain: float) -> "Rates":
        """After a frame; `edge_um` is as far inside the field as cells come from outside."""
        lost = _alone(fates.cell_of, fates.known, fates.track_inside_um, edge_um)
        fading = _alone(fates.cell_of, fates.seen_once, fates.track_inside_um, edge_um)
        new = _unclaimed(fates.cell_of, fates.clear_cell, fates.cell_inside_um, edge_um)
        return Rates(
            missed=_rate(self.missed, lost[INSIDE], gain, (0.002, 0.3)),
            new=_rate(self.new, new[INSIDE], gain, (0.0005, 0.3)),
            fading=_rate(self.fading, fading[INSIDE], gain, (0.01, 0.8)),
            missed_at_edge=_rate(self.missed_at_edge, lost[EDGE], gain, (0.01, 0.5)),
            new_at_edge=_rate(self.new_at_edge, new[EDGE], gain, (0.01, 0.5)),
        )


@dataclass(frozen=True)
class Fates:
    """What became of M tracks and N cells in a frame."""

    cell_of: Ints  # [M] -1 for none
    known: Bools  # [M] confirmed tracks that had a cell in the frame before
    seen_once: Bools  # [M] tracks that began in the frame before
    clear_cell: Bools  # [N] false for cells that may be the lost track next to them
    track_inside_um: Floats  # [M] how far inside the field they were expected
    cell_inside_um: Floats  # [N]


def _rate(rate: float, counted: tuple[int, int], gain: float, between: tuple[float, float]) -> float:
    """`counted` cases of how many; few of them teach little."""
    cases, n = counted
    if n == 0:
        return rate
    learned = rate + gain * n / (20 + n) * (cases / n - rate)
    return min(max(learned, between[0]), between[1])


@compiled
def _alone(cell_of: Ints, which: Bools, inside_um: Floats, edge_um: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of the tracks in question, how many have no cell, and how many there are: inside, and at the edge."""
    alone, n = [0, 0], [0, 0]
    for row in range(len(cell_of)):
        if which[row]:
            where = EDGE if inside_um[row] < edge_um else INSIDE
            n[where] += 1
            alone[where] += cell_of[row] < 0
    return (alone[INSIDE], n[INSIDE]), (alone[EDGE], n[EDGE])


@compiled
def _unclaimed(
    cell_of: Ints, which: Bools, inside_um: Floats, edge_um: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of the cells in question, how many have no track, and how many there are: inside, and at the edge."""
    claimed = np.zeros(len(which), np.bool_)
    for row in range(len(cell_of)):
        if cell_of[row] >= 0:
            claimed[cell_of[row]] = True
    new, n = [0, 0], [0, 0]
    for cell in range(len(which)):
        if which[cell]:
            where = EDGE if inside_um[cell] < edge_um else INSIDE
            n[where] += 1
            new[where] += not claimed[cell]
    return (new[INSIDE], n[INSIDE]), (new[EDGE], n[EDGE])
