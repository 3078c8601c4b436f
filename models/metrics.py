"""How well predicted objects agree with true ones: matches at an IoU, average precision, F1, Dice, splits and merges.

Matching is one to one and finds as many pairs as there can be. StarDist and Cellpose solve an assignment problem in which
a pair counts 1 and its IoU breaks ties; the ties are worth less than one pair, so their numbers are the same as ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

Labels = npt.NDArray[np.integer]
Areas = npt.NDArray[np.int64]

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""IoU 0.50, 0.55 … 0.95."""


@dataclass(frozen=True)
class Overlaps:
    """Truth against prediction of one image: how many pixels each true object shares with each predicted one."""

    shared: csr_array  # [T, P] pixels; objects in the order of their labels
    true_area: Areas  # [T] pixels
    predicted_area: Areas  # [P] pixels

    @classmethod
    def of(cls, truth: Labels, predicted: Labels) -> "Overlaps":
        """Both `[H, W]`, 0 = background; labels need not be consecutive."""
        if truth.shape != predicted.shape:
            raise ValueError(f"truth {list(truth.shape)} and prediction {list(predicted.shape)} differ in shape")
        rows, true_area = _consecutive(truth)
        columns, predicted_area = _consecutive(predicted)
        both = np.flatnonzero((rows > 0) & (columns > 0))
        shape = (true_area.size, predicted_area.size)
        pairs = coo_array((np.ones(both.size, np.int64), (rows[both] - 1, columns[both] - 1)), shape=shape)
        return cls(csr_array(pairs), true_area, predicted_area)

    @cached_property
    def iou(self) -> csr_array:
        """Intersection over union of every pair that overlaps, `[T, P]`."""
        pairs = coo_array(self.shared)
        union = self.true_area[pairs.row] + self.predicted_area[pairs.col] - pairs.data
        return csr_array((pairs.data / union, (pairs.row, pairs.col)), shape=pairs.shape)


@dataclass(frozen=True)
class Counts:
    """Objects (or pixels) found, invented and missed: TP, FP and FN. They add up over images."""

    found: int
    invented: int
    missed: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.found + other.found, self.invented + other.invented, self.missed + other.missed)

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN); of pixels, Jaccard. 1 where there was nothing and nothing was found."""
        return _share(self.found, self.found + self.invented + self.missed, nothing=1.0)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 0 where nothing was found of what there was."""
        return _share(self.found, self.found + self.invented, nothing=float(self.missed == 0))

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 0 where something was found though there was nothing."""
        return _share(self.found, self.found + self.missed, nothing=float(self.invented == 0))

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); of pixels, Dice."""
        return _share(2 * self.found, 2 * self.found + self.invented + self.missed, nothing=1.0)


def counts(overlaps: Overlaps, threshold: float) -> Counts:
    """Objects matched one to one at IoU ≥ `threshold`: as many pairs as there can be."""
    close = overlaps.iou >= threshold
    found = int((maximum_bipartite_matching(close, perm_type="column") >= 0).sum()) if close.nnz else 0
    return Counts(found, overlaps.predicted_area.size - found, overlaps.true_area.size - found)


@dataclass(frozen=True)
class Agreement:
    """All figures of one image."""

    at: dict[float, Counts]
    """IoU → objects."""
    pixels: Counts
    """Of the foreground, whichever object its pixels belong to."""
    split: int
    """True objects that hold two or more predicted ones: more than half of the pixels of each."""
    merged: int
    """Predicted objects that hold two or more true ones, likewise."""
    n_true: int
    n_predicted: int

    @property
    def mean_average_precision(self) -> float:
        """Average precision averaged over the IoU thresholds."""
        return float(np.mean([counts.average_precision for counts in self.at.values()]))

    @property
    def dice(self) -> float:
        return self.pixels.f1

    @property
    def jaccard(self) -> float:
        return self.pixels.average_precision


def agreement(truth: Labels, predicted: Labels, thresholds: Sequence[float] = THRESHOLDS) -> Agreement:
    """Compare two label images, `[H, W]`."""
    for threshold in thresholds:
        if not 0 < threshold <= 1:
            raise ValueError(f"IoU {threshold:g} is not above 0 and at most 1")
    overlaps = Overlaps.of(truth, predicted)
    shared = int(overlaps.shared.sum())
    return Agreement(
        at={threshold: counts(overlaps, threshold) for threshold in thresholds},
        pixels=Counts(shared, int(overlaps.predicted_area.sum()) - shared, int(overlaps.true_area.sum()) - shared),
        split=_n_holding_several(overlaps.shared, overlaps.predicted_area),
        merged=_n_holding_several(csr_array(overlaps.shared.T), overlaps.true_area),
        n_true=overlaps.true_area.size,
        n_predicted=overlaps.predicted_area.size,
    )


@dataclass(frozen=True)
class Scores:
    """Means over images of what each image scores at one IoU."""

    average_precision: float
    precision: float
    recall: float
    f1: float

    @classmethod
    def of(cls, images: Sequence[Counts]) -> "Scores":
        """Every image counts the same, however many objects it holds."""
        return cls(*(float(np.mean([getattr(each, name) for each in images])) for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Summary:
    """Figures of a set of images: means of the images' own values, and values of all objects pooled."""

    n_images: int
    n_empty: int
    """Images without any true object: each scores 1 if nothing was found in it, and 0 otherwise."""
    n_true: int
    n_predicted: int
    per_image: dict[float, Scores]
    """IoU → means over images."""
    pooled: dict[float, Counts]
    """IoU → objects of all images together."""
    dice: float
    """Mean over images."""
    jaccard: float
    """Mean over images."""
    pixels: Counts
    """Foreground of all images together: its `f1` is the pooled Dice, its `average_precision` the pooled Jaccard."""
    split_rate: float
    """Of all true objects."""
    merge_rate: float
    """Of all predicted objects."""

    @property
    def mean_ap(self) -> dict[float, float]:
        """IoU → per-image average precision, averaged over images."""
        return {threshold: scores.average_precision for threshold, scores in self.per_image.items()}

    @property
    def mean_average_precision(self) -> float:
        """`mean_ap` averaged over its IoU thresholds."""
        return float(np.mean(list(self.mean_ap.values())))


def summary(images: Iterable[Agreement]) -> Summary:
    """Put the images of one set together; all must have been compared at the same thresholds."""
    every = list(images)
    if not every:
        raise ValueError("there is no image to evaluate")
    thresholds = list(every[0].at)
    n_true, n_predicted = sum(each.n_true for each in every), sum(each.n_predicted for each in every)
    return Summary(
        n_images=len(every),
        n_empty=sum(each.n_true == 0 for each in every),
        n_true=n_true,
        n_predicted=n_predicted,
        per_image={t: Scores.of([each.at[t] for each in every]) for t in thresholds},
        pooled={t: sum((each.at[t] for each in every), Counts(0, 0, 0)) for t in thresholds},
        dice=float(np.mean([each.dice for each in every])),
        jaccard=float(np.mean([each.jaccard for each in every])),
        pixels=sum((each.pixels for each in every), Counts(0, 0, 0)),
        split_rate=sum(each.split for each in every) / max(1, n_true),
        merge_rate=sum(each.merged for each in every) / max(1, n_predicted),
    )


def _consecutive(labels: Labels) -> tuple[Areas, Areas]:
    """Flat labels renumbered 1…N in their order, and their areas `[N]`."""
    flat = labels.ravel().astype(np.int64)
    if flat.size and flat.min() < 0:
        raise ValueError(f"labels must not be negative; the lowest is {flat.min()}")
    if flat.size and flat.max() > 4 * flat.size:  # a few huge values: a table of them would be larger than the image
        flat = np.unique(np.append(flat, 0), return_inverse=True)[1][:-1]
    area = np.bincount(flat, minlength=1)
    present = area > 0
    present[0] = False
    numbers: Areas = np.cumsum(present, dtype=np.int64) * present
    return numbers[flat], area[present].astype(np.int64)


def _n_holding_several(shared: csr_array, area: Areas) -> int:
    """Rows of `shared[N, M]` pixels that hold more than half of `area[M]` of two or more columns."""
    pairs = coo_array(shared)
    inside = pairs.data * 2 > area[pairs.col]
    return int((np.bincount(pairs.row[inside], minlength=1) >= 2).sum())


def _share(part: float, whole: float, nothing: float) -> float:
    return part / whole if whole else nothing
