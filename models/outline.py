"""The outlines of cells: their length, and how many pixels their convex hulls hold. Each cell is looked at alone."""

import math

import numpy as np

from models.cells import Floats, Labels
from models.labelling import compiled
from models.runs import Counts, Ints, Runs

DIAGONAL = math.sqrt(2)
CORNER = (1 + math.sqrt(2)) / 2
ABSENT = np.int32(2**30)
"""Stands for the x of a row, or half-row, in which the cell has no pixel: further right than any pixel."""


@compiled
def perimeters(runs: Runs, n_cells: int, labels: Labels) -> Floats:
    """Length of each cell's outline in pixels, `[N]`.

    The estimator of Benkrid and Crookes, as in scikit-image with a neighbourhood of 4. A pixel is of the outline if
    one of its four neighbours is not the cell's; it counts 1, √2 or their mean, by how the outline goes on from there.
    """
    outline = _outline(runs, labels)
    length = np.zeros(n_cells, np.float64)
    for i in range(len(runs)):
        cell, y, start, stop = runs[i]
        own = np.int32(cell + 1)
        for x in range(start, stop):
            if outline[y + 1, x + 1] == own:
                beside = (
                    int(outline[y, x + 1] == own) + int(outline[y + 1, x] == own)
                    + int(outline[y + 1, x + 2] == own) + int(outline[y + 2, x + 1] == own)
                )  # fmt: skip
                across = (
                    int(outline[y, x] == own) + int(outline[y, x + 2] == own)
                    + int(outline[y + 2, x] == own) + int(outline[y + 2, x + 2] == own)
                )  # fmt: skip
                length[cell] += _weight(beside, across)
    return length


@compiled
def _outline(runs: Runs, labels: Labels) -> Ints:
    """Cell + 1 where a cell's outline is, else 0; with a border of one pixel."""
    rows, columns = labels.shape
    outline = np.zeros((rows + 2, columns + 2), np.int32)
    for i in range(len(runs)):
        cell, y, start, stop = runs[i]
        label = labels[y, start]
        outline[y + 1, start + 1] = outline[y + 1, stop] = cell + 1
        at_edge = y in (0, rows - 1)
        for x in range(start + 1, stop - 1):
            if at_edge or labels[y - 1, x] != label or labels[y + 1, x] != label:
                outline[y + 1, x + 1] = cell + 1
    return outline


@compiled
def _weight(beside: int, across: int) -> float:
    """What a pixel adds to the outline's length, by its neighbours on the outline: at its sides and at its corners."""
    if beside >= 2:
        return 1.0 if beside <= 3 and across <= 2 else 0.0
    if across == beside + 2:
        return DIAGONAL
    return CORNER if beside == 1 and across in (1, 2) else 0.0


@compiled
def hull_pixels(runs: Runs, bbox_px: Ints) -> Counts:
    """How many pixels the convex hull of each cell holds, its edge included, `[N]`.

    As in scikit-image a pixel stands for the middles of its four sides. The hull of these points is found exactly, in
    half pixels: once for the left side of the cell and once for its mirrored right side.
    """
    first, left, right = _extents(runs, bbox_px)
    area = np.zeros(len(bbox_px), np.int64)
    longest = 0
    for cell in range(len(bbox_px)):
        longest = max(longest, first[cell + 1] - first[cell])
    edge = np.empty(2 * longest + 1, np.int32)
    corners = np.empty(2 * longest + 1, np.int32)
    for cell in range(len(bbox_px)):
        rows = slice(first[cell], first[cell + 1])
        area[cell] = first[cell + 1] - first[cell] - _hull_side(left[rows], edge, corners)
        area[cell] -= _hull_side(right[rows], edge, corners)
    return area


@compiled
def _extents(runs: Runs, bbox_px: Ints) -> tuple[Ints, Ints, Ints]:
    """Where each cell's rows begin in two lists, `[N + 1]`; the leftmost x of each row; minus the rightmost x."""
    first = np.zeros(len(bbox_px) + 1, np.int32)
    for cell in range(len(bbox_px)):
        first[cell + 1] = first[cell] + bbox_px[cell, 3] - bbox_px[cell, 1]
    left = np.full(first[-1], ABSENT, np.int32)
    right = np.full(first[-1], ABSENT, np.int32)
    for i in range(len(runs)):
        cell, y, start, stop = runs[i]
        row = first[cell] + y - bbox_px[cell, 1]
        left[row] = min(left[row], start)
        right[row] = min(right[row], 1 - stop)
    return first, left, right


@compiled
def _hull_side(left: Ints, edge: Ints, corners: Ints) -> int:
    """The leftmost x in the hull, summed over the cell's rows; `edge` and `corners` are working space."""
    n = 2 * len(left) + 1  # half-rows: above the first row, its middle, below it and above the second, …
    edge[:n] = ABSENT
    for row in range(len(left)):
        if left[row] != ABSENT:
            edge[2 * row] = min(edge[2 * row], 2 * left[row])
            edge[2 * row + 1] = 2 * left[row] - 1
            edge[2 * row + 2] = 2 * left[row]
    n_corners = 0
    for i in range(n):
        if edge[i] == ABSENT:
            continue
        while n_corners > 1 and _is_outside(edge, corners[n_corners - 2], corners[n_corners - 1], i):
            n_corners -= 1
        corners[n_corners] = i
        n_corners += 1
    total = 0
    for corner in range(n_corners - 1):
        i, j = corners[corner], corners[corner + 1]
        for middle in range(i + 1 - i % 2, j, 2):
            total += -((-np.int64(edge[i]) * (j - i) - np.int64(edge[j] - edge[i]) * (middle - i)) // (2 * (j - i)))
    return total


@compiled
def _is_outside(edge: Ints, i: int, j: int, k: int) -> bool:
    """Does the straight line from half-row i to k pass left of, or through, the edge at j between them?"""
    return bool(np.int64(edge[j] - edge[i]) * (k - i) >= np.int64(edge[k] - edge[i]) * (j - i))
