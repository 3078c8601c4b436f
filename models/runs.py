"""Labels as horizontal runs of pixels: everything that is measured visits the runs, so background costs nothing.

A run is a row of the array `runs[R, 4]`: the cell (0 … N−1), y, first x, and the x after the last one.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.cells import Floats, Labels
from models.labelling import compiled

Image = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]
Runs = Ints


class Totals(NamedTuple):
    """Sums over the pixels of each cell, a row a cell."""

    n_pixels: Counts
    sum_xy_px: Floats  # [N, 2]
    bbox_px: Ints  # [N, 4] x0, y0, x1, y1; the last row and column are outside
    sum_counts: Floats


class Spread(NamedTuple):
    """How the counts of each cell vary, a row a cell."""

    lowest: Floats
    highest: Floats
    sd: Floats


def runs_of(labels: Labels) -> tuple[Ints, Runs]:
    """The cells' labels, `[N]` ascending, and their runs in the order of the image; labels below 1 are background."""
    runs = _runs(labels)
    of_run = runs[:, 0]
    highest = int(of_run.max(initial=0))
    if highest <= len(runs) and np.bincount(of_run, minlength=1)[1:].all():  # 1 … N, as segmenters number them
        of_run -= 1
        return np.arange(1, highest + 1, dtype=np.int32), runs
    label, runs[:, 0] = np.unique(of_run, return_inverse=True)
    return label, runs


def totals_of(runs: Runs, n_cells: int, image: Image) -> Totals:
    """One visit of every pixel."""
    return Totals(*_totals(runs, n_cells, image))


def spread_of(runs: Runs, mean: Floats, n_pixels: Counts, image: Image) -> Spread:
    """One visit of every pixel, once the means are known."""
    lowest, highest, squares = _spread(runs, mean, image)
    return Spread(lowest, highest, np.sqrt(squares / n_pixels))


@compiled
def _runs(labels: Labels) -> Runs:
    """`[R, 4]`, with the label where the cell will stand."""
    rows, columns = labels.shape
    n = 0
    for y in range(rows):
        n += labels[y, 0] > 0
        for x in range(1, columns):
            n += (labels[y, x] > 0) & (labels[y, x] != labels[y, x - 1])
    runs = np.empty((n, 4), np.int32)
    n = 0
    for y in range(rows):
        label, start = np.int32(0), 0
        for x in range(columns + 1):
            here = labels[y, x] if x < columns else np.int32(0)
            if here != label:
                if label > 0:
                    runs[n, 0], runs[n, 1], runs[n, 2], runs[n, 3] = label, y, start, x
                    n += 1
                label, start = here, x
    return runs


@compiled
def _totals(runs: Runs, n_cells: int, image: Image) -> tuple[Counts, Floats, Ints, Floats]:
    """The fields of `Totals`."""
    n_pixels = np.zeros(n_cells, np.int64)
    sum_xy = np.zeros((n_cells, 2), np.float64)
    bbox = np.zeros((n_cells, 4), np.int32)
    sum_counts = np.zeros(n_cells, np.float64)
    for i in range(len(runs)):
        cell, y, start, stop = runs[i]
        if n_pixels[cell] == 0:
            bbox[cell, 0], bbox[cell, 1], bbox[cell, 2] = start, y, stop
        bbox[cell, 0] = min(bbox[cell, 0], start)
        bbox[cell, 2] = max(bbox[cell, 2], stop)
        bbox[cell, 3] = y + 1
        length = stop - start
        n_pixels[cell] += length
        sum_xy[cell, 0] += 0.5 * length * (start + stop - 1)
        sum_xy[cell, 1] += length * y
        counts = 0.0
        for x in range(start, stop):
            counts += image[y, x]
        sum_counts[cell] += counts
    return n_pixels, sum_xy, bbox, sum_counts


@compiled
def moments_of(runs: Runs, xy_px: Floats) -> Floats:
    """Sums of squared distances from the centroids, `[N, 3]`: x·x, x·y, y·y."""
    sums = np.zeros((len(xy_px), 3), np.float64)
    for i in range(len(runs)):
        cell, y, start, stop = runs[i]
        length = stop - start
        dx = 0.5 * (start + stop - 1) - xy_px[cell, 0]
        dy = y - xy_px[cell, 1]
        sums[cell, 0] += length * dx * dx + length * (length * length - 1) / 12
        sums[cell, 1] += length * dx * dy
        sums[cell, 2] += length * dy * dy
    return sums


@compiled
def _spread(runs: Runs, mean: Floats, image: Image) -> tuple[Floats, Floats, Floats]:
    """Lowest and highest count, and the sum of squared distances from the mean, `[N]` each."""
    lowest = np.full(len(mean), np.inf)
    highest = np.full(len(mean), -np.inf)
    squares = np.zeros(len(mean), np.float64)
    for i in range(len(runs)):
        cell, y, start, stop = runs[i]
        least, most, square = lowest[cell], highest[cell], 0.0
        for x in range(start, stop):
            count = np.float64(image[y, x])
            least, most = min(least, count), max(most, count)
            square += (count - mean[cell]) ** 2
        lowest[cell], highest[cell] = least, most
        squares[cell] += square
    return lowest, highest, squares
