"""The compiled pass over a stack of strips: pixels that stand out, joined into cells, measured where they lie."""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.labelling import compiled
from models.strip_background import Plane, follow

Strips = npt.NDArray[np.integer[Any]]
Counts = npt.NDArray[np.int64]

MOST_IN_STRIP = 64
"""More cells in one strip than this are a flood."""
FLOODED = 0.6
"""Share of the pixels of a strip that stand out, either way, from which the light has changed rather than cells come."""
COLUMNS = ("x", "y", "x0", "y0", "x1", "y1", "area", "contrast", "most", "squares", "xx", "yy", "xy", "mask")
"""Of a found cell: sums and bounds, pixels and shares of the background."""
X, Y, X0, Y0, X1, Y1, AREA, CONTRAST, MOST, SQUARES, XX, YY, XY, MASK = range(len(COLUMNS))


@compiled
def find_in_stack(
    strips: Strips, background: Plane, limit: Plane, sign: int, first: int, every: int,
    found: npt.NDArray[np.float64], per_strip: Counts, flooded: npt.NDArray[np.bool_],
) -> int:  # fmt: skip
    """Cells of all strips, row by row into `found[n, 14]`; how many.

    `limit` is how far the sum of 3×3 pixels must be from the background's, `sign` +1 for darker, −1 for brighter, 0 for
    either. `first` is the running number of the first strip; every so many the background follows.
    """
    n_strips, rows, columns = strips.shape
    apart, summed = np.empty((rows, columns), np.float32), np.empty((rows, columns), np.float32)
    covered = np.empty((rows, columns), np.bool_)
    runs = np.empty((rows * (columns // 2 + 1), 3), np.int32)
    n = 0
    for s in range(n_strips):
        n_out = _mark(strips[s], background, limit, sign, apart, summed, covered)
        n_here = -1
        if n_out <= FLOODED * rows * columns:
            n_here = _measure(apart, background, covered, sign, runs, found[n:])
        flooded[s] = n_here < 0
        per_strip[s] = max(n_here, 0)
        n += per_strip[s]
        if (first + s) % every == 0 and not flooded[s]:
            follow(background, strips[s], covered)
    return n


@compiled
def _mark(
    strip: npt.NDArray[np.generic], background: Plane, limit: Plane, sign: int, apart: Plane, summed: Plane,
    covered: npt.NDArray[np.bool_],
) -> int:  # fmt: skip
    """Fill `apart` (background − pixel) and `covered`; how many pixels stand out either way."""
    rows, columns = background.shape
    for y in range(rows):
        for x in range(columns):
            apart[y, x] = background[y, x] - np.float32(strip[y, x])
        summed[y, 0] = 2 * apart[y, 0] + apart[y, 1]
        for x in range(1, columns - 1):
            summed[y, x] = apart[y, x - 1] + apart[y, x] + apart[y, x + 1]
        summed[y, columns - 1] = apart[y, columns - 2] + 2 * apart[y, columns - 1]
    n_out = 0
    for y in range(rows):
        above, below = max(y - 1, 0), min(y + 1, rows - 1)
        for x in range(columns):
            value = summed[above, x] + summed[y, x] + summed[below, x]
            dark, bright = value > limit[y, x], -value > limit[y, x]
            n_out += dark or bright
            covered[y, x] = (dark and sign >= 0) or (bright and sign <= 0)
    return n_out


@compiled
def _measure(
    apart: Plane, background: Plane, covered: npt.NDArray[np.bool_], sign: int,
    runs: npt.NDArray[np.int32], found: npt.NDArray[np.float64],
) -> int:  # fmt: skip
    """Join covered pixels (also over corners) and measure each cell; −1 if there are too many to be cells."""
    n_runs, parent = _runs(covered, runs)
    n = 0
    row_of = np.full(n_runs, -1, np.int32)
    for r in range(n_runs):
        root = _root(parent, r)
        if row_of[root] < 0:
            if n == MOST_IN_STRIP or n == len(found):
                return -1
            row_of[root] = n
            _begin(found[n])
            n += 1
        _add_run(found[row_of[root]], apart, background, sign, runs[r, 0], runs[r, 1], runs[r, 2])
    for i in range(n):
        _finish(found[i])
    for r in range(n_runs):
        cell = found[row_of[_root(parent, r)]]
        cell[AREA] += _beyond_half(apart, background, sign, cell[CONTRAST] / 2, runs[r])
    return n


@compiled
def _runs(covered: npt.NDArray[np.bool_], runs: npt.NDArray[np.int32]) -> tuple[int, npt.NDArray[np.int32]]:
    """Horizontal runs of covered pixels as (y, from, to), and which run each is joined to (a union-find forest)."""
    rows, columns = covered.shape
    parent = np.empty(len(runs), np.int32)
    n = before = 0
    for y in range(rows):
        start, x = n, 0
        while x < columns:
            if not covered[y, x]:
                x += 1
                continue
            begin = x
            while x < columns and covered[y, x]:
                x += 1
            runs[n, 0], runs[n, 1], runs[n, 2] = y, begin, x
            parent[n] = n
            for k in range(before, start):
                if runs[k, 0] == y - 1 and runs[k, 1] <= x and runs[k, 2] >= begin:
                    parent[_root(parent, k)] = _root(parent, n)
            n += 1
        before = start
    return n, parent[:n]


@compiled
def _root(parent: npt.NDArray[np.int32], r: int) -> int:
    while parent[r] != r:
        parent[r] = parent[parent[r]]
        r = parent[r]
    return r


@compiled
def _begin(cell: npt.NDArray[np.float64]) -> None:
    cell[:] = 0.0
    cell[X0] = cell[Y0] = 1e9
    cell[X1] = cell[Y1] = -1.0


@compiled
def _add_run(
    cell: npt.NDArray[np.float64], apart: Plane, background: Plane, sign: int, y: int, begin: int, end: int
) -> None:
    """Sums over one run; each pixel counts by its contrast, the wrong sign of noise not at all."""
    for x in range(begin, end):
        value = _value(apart[y, x], background[y, x], sign)
        cell[CONTRAST] += value
        cell[SQUARES] += value * value
        cell[MOST] = max(cell[MOST], value)
        cell[X] += value * x
        cell[Y] += value * y
        cell[XX] += value * x * x
        cell[YY] += value * y * y
        cell[XY] += value * x * y
    cell[MASK] += end - begin
    cell[X0], cell[X1] = min(cell[X0], begin), max(cell[X1], end)
    cell[Y0], cell[Y1] = min(cell[Y0], y), max(cell[Y1], y + 1)


@compiled
def _finish(cell: npt.NDArray[np.float64]) -> None:
    """Sums → centre, central moments, means."""
    weight = max(cell[CONTRAST], 1e-9)
    x, y = cell[X] / weight, cell[Y] / weight
    cell[XX], cell[YY] = cell[XX] / weight - x * x, cell[YY] / weight - y * y
    cell[XY] = cell[XY] / weight - x * y
    cell[X], cell[Y] = x, y
    cell[CONTRAST] /= cell[MASK]
    cell[SQUARES] /= cell[MASK]


@compiled
def _beyond_half(apart: Plane, background: Plane, sign: int, least: float, run: npt.NDArray[np.int32]) -> int:
    """Pixels of a run with at least so much contrast: what is covered is wider than the cell, by the smoothing."""
    n = 0
    for x in range(run[1], run[2]):
        n += int(_value(apart[run[0], x], background[run[0], x], sign) >= least)
    return n


@compiled
def _value(apart: np.float32, background: np.float32, sign: int) -> np.float32:
    """Contrast of a pixel; the wrong sign, of noise, is none."""
    share = apart / max(background, np.float32(1))
    return abs(share) if sign == 0 else max(sign * share, np.float32(0))
