"""By what else than its place a cell is known again: size, brightness, class, overlap, appearance.

Each cue is a difference that is small between two sightings of one cell. How much it tells is learned while tracking,
from how much it differs within tracks and between cells: a cue that does not tell cells apart costs nothing.
"""

from dataclasses import dataclass

import numpy as np

from models.cells import Cells, Floats
from models.labelling import compiled
from tracking.robust import deviation, median

AREA, INTENSITY, CLASS, OVERLAP, EMBEDDING = range(5)
FIRST_WITHIN = np.array([0.12, 0.12, 0.3, 0.4, 0.3])
CHANGED = 4.0
"""What a complete change of looks costs at most, all cues together: a cell that enters mitosis, or dies."""
OTHER_CLASS = 1.0
"""What another class costs at most: cells change their phase, and classifiers flicker."""
BEYOND = 0.02
"""Past that, a cell that is less changed is preferred by this slope: of a cut nucleus, the larger part."""
ELSEWHERE = 1.0
"""What no overlap at all costs at most: that the cell has moved is in the cost of its motion already."""
MOST_FOR = 3.0
"""No cue alone says more than this for a link."""
WITHIN_FLOOR = 0.02
FEWEST = 5
"""Fewer links teach less."""
CHI = 0.455
"""Median of the square of a normal variable, as a share of its variance."""


@dataclass(frozen=True)
class Cues:
    """Root mean square differences, `[5]`: of one cell from frame to frame, and of two cells."""

    within: Floats
    between: Floats

    def weights(self) -> tuple[Floats, Floats]:
        """Slope on the squared difference, and what no difference says for a link; both 0 for a cue that tells nothing."""
        tells = self.within < 0.9 * self.between
        between = np.where(tells, self.between, 1.0)
        within = np.where(tells, self.within, 1.0)
        slope = np.where(tells, (1 / within**2 - 1 / between**2) / 2, 0.0)
        return slope, np.where(tells, np.log(between / within), 0.0)

    def learned(self, differences: Floats, between: Floats, gain: float) -> "Cues":
        """After `differences[5, L]` were seen along links, NaN where unknown; `gain` is the weight of this frame."""
        within = np.square(self.within)
        _learn(within, differences, gain)
        weight = np.where(self.between > 0, gain, 1.0)  # the first look at many cells is as good as any
        both = np.where(np.isfinite(between), self.between + weight * (between - self.between), self.between)
        return Cues(np.maximum(np.sqrt(within), WITHIN_FLOOR), both)


@compiled
def _learn(squares: Floats, differences: Floats, gain: float) -> None:
    for cue in range(len(squares)):
        known = differences[cue][~np.isnan(differences[cue])]
        if len(known) > 0:
            squares[cue] += gain * min(1.0, len(known) / FEWEST) * (median(known**2) / CHI - squares[cue])


@compiled
def cost(differences: Floats, slope: Floats, bonus: Floats) -> float:
    """Minus the log likelihood ratio of "the same cell" to "another cell", of `differences[5]`; NaN tells nothing."""
    looks, place = 0.0, 0.0
    for cue in range(len(differences)):
        if slope[cue] > 0 and not np.isnan(differences[cue]):
            against = max(slope[cue] * differences[cue] ** 2 - bonus[cue], -MOST_FOR)
            if cue == CLASS:
                against = min(against, OTHER_CLASS)
            if cue == OVERLAP:
                place += against
            else:
                looks += against
    more = min(BEYOND * max(looks - CHANGED, 0.0), CHANGED)
    return min(looks, CHANGED) + more + min(place, ELSEWHERE)


def spread(cells: Cells, looks: Floats) -> Floats:
    """How much two cells of a frame differ, `[5]`; 0 where nothing differs or nothing is measured."""
    n = len(cells)
    if n < 3:
        return np.zeros(5)
    classes = embedding = 0.0
    if cells.p_class.shape[1] > 1:
        classes = _rms(np.abs(cells.p_class - np.roll(cells.p_class, 1, axis=0)).sum(axis=1) / 2)
    if cells.embedding is not None:
        embedding = _rms(angle(cells.embedding, np.roll(cells.embedding, 1, axis=0)))
    area, intensity = (float(np.sqrt(2)) * deviation(looks[:, k]) for k in (AREA, INTENSITY))
    return np.array([area, intensity, classes, 1.0 if cells.labels is not None else 0.0, embedding])


def looks_of(cells: Cells) -> Floats:
    """Logarithms of area and intensity, `[N, 2]`; NaN where there is no number."""
    looks = np.empty((len(cells), 2))
    looks[:, AREA], looks[:, INTENSITY] = cells.area_um2, cells.mean_intensity
    looks[np.isinf(looks)] = np.nan
    return np.log(np.maximum(looks, 1e-6, out=looks), out=looks)


def angle(a: np.ndarray, b: np.ndarray) -> Floats:
    """1 minus the cosine between vectors, `[N]`."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine: Floats = 1 - (a * b).sum(axis=1) / np.maximum(lengths, 1e-12)
    return cosine


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
