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

    def learned(
        self, cell_of: Ints, known: Bools, seen_once: Bools, track_inside_um: Floats, cell_inside_um: Floats,
        edge_um: float, gain: float,
    ) -> "Rates":  # fmt: skip
        """After a frame in which tracks got the cells `cell_of[M]`, -1 for none; cells whose depth is NaN do not count."""
        lost, new = _counted(cell_of, known, track_inside_um, cell_inside_um, edge_um)
        fading = _counted(cell_of, seen_once, track_inside_um, cell_inside_um, edge_um)[0]
        return Rates(
            missed=_rate(self.missed, lost[INSIDE], gain, (0.002, 0.3)),
            new=_rate(self.new, new[INSIDE], gain, (0.0005, 0.3)),
            fading=_rate(self.fading, fading[INSIDE], gain, (0.01, 0.8)),
            missed_at_edge=_rate(self.missed_at_edge, lost[EDGE], gain, (0.01, 0.5)),
            new_at_edge=_rate(self.new_at_edge, new[EDGE], gain, (0.01, 0.5)),
        )


def _rate(rate: float, counted: tuple[int, int], gain: float, between: tuple[float, float]) -> float:
    """`counted` cases of how many; few of them teach little."""
    cases, n = counted
    if n == 0:
        return rate
    learned = rate + gain * n / (20 + n) * (cases / n - rate)
    return min(max(learned, between[0]), between[1])


@compiled
def _counted(
    cell_of: Ints, which: Bools, track_inside_um: Floats, cell_inside_um: Floats, edge_um: float
) -> tuple[tuple[tuple[int, int], tuple[int, int]], tuple[tuple[int, int], tuple[int, int]]]:
    """Tracks among `which` without a cell, and cells without a track: so many of so many, inside and at the edge."""
    claimed = np.zeros(len(cell_inside_um), np.bool_)
    lost_inside = tracks_inside = lost_edge = tracks_edge = 0
    for row in range(len(cell_of)):
        if cell_of[row] >= 0:
            claimed[cell_of[row]] = True
        if which[row]:
            if track_inside_um[row] < edge_um:
                tracks_edge += 1
                lost_edge += cell_of[row] < 0
            else:
                tracks_inside += 1
                lost_inside += cell_of[row] < 0
    new_inside = cells_inside = new_edge = cells_edge = 0
    for cell in range(len(claimed)):
        if np.isnan(cell_inside_um[cell]):
            continue
        if cell_inside_um[cell] < edge_um:
            cells_edge += 1
            new_edge += not claimed[cell]
        else:
            cells_inside += 1
            new_inside += not claimed[cell]
    lost = ((lost_inside, tracks_inside), (lost_edge, tracks_edge))
    return lost, ((new_inside, cells_inside), (new_edge, cells_edge))
