"""What lies around cells: the background beside each of them, and how many others are near.

Both read one map that says which cell is nearest to each pixel, and how far. Distances are chamfer distances, 1 to a
pixel at the side and 4/3 to one at the corner: within 6 % of straight lines, and had in two sweeps (Borgefors 1986). Of
cells equally near the first counts.
"""

from typing import NamedTuple

import numpy as np

from models.cells import Floats
from models.labelling import compiled
from models.runs import Counts, Image, Ints, Runs

SIDE, CORNER = 3, 4
"""Distances to a pixel at a side and at a corner: distances are whole thirds of a pixel."""
FAR = 2**30
"""Further than every distance that is told apart."""


class Near(NamedTuple):
    """The nearest cell of each pixel."""

    key: Ints
    """`[H + 2, W + 2]`, with a border: distance · 2^bits + cell, so that of two keys the smaller is the nearer cell's."""
    bits: int
    """As many as cell numbers need."""

    def within(self, px: float) -> int:
        """All pixels up to this distance, and no others, have a smaller key."""
        return min(int(px * SIDE) + 1, FAR >> self.bits) << self.bits


def nearest_cells(runs: Runs, n_cells: int, rows: int, columns: int) -> Near:
    """For cells 0 … N−1. What is more than FAR / 2N thirds of a pixel away from all may count as infinitely far."""
    bits = n_cells.bit_length()
    return Near(_nearest(runs, rows, columns, np.int32(SIDE << bits), np.int32(CORNER << bits)), bits)


def ring_medians(near: Near, n_cells: int, image: Image, inner_px: float, outer_px: float) -> Floats:
    """Median of the pixels that are nearest to each cell, further than `inner_px` and up to `outer_px`; NaN: none."""
    return _medians(near.key, near.bits, n_cells, image, near.within(inner_px), near.within(outer_px))


def neighbour_counts(near: Near, n_cells: int, reach_px: float) -> Counts:
    """How many others each cell meets, side by side, once all have grown by `reach_px`, `[N]`."""
    return _distinct(_meetings(near.key, near.bits, near.within(reach_px)), n_cells)


@compiled
def _nearest(runs: Runs, rows: int, columns: int, side: np.int32, corner: np.int32) -> Ints:
    """`Near.key`: one sweep downwards, one upwards; each first looks at the row behind, then along its own."""
    key = np.full((rows + 2, columns + 2), FAR, np.int32)
    for i in range(len(runs)):
        cell, y, start, stop = runs[i]
        key[y + 1, start + 1 : stop + 1] = cell
    for y in range(1, rows + 1):
        _from_row_behind(key[y], key[y - 1], side, corner)
        for x in range(1, columns + 1):
            key[y, x] = min(key[y, x], np.int32(key[y, x - 1] + side))
    for y in range(rows, 0, -1):
        _from_row_behind(key[y], key[y + 1], side, corner)
        for x in range(columns, 0, -1):
            key[y, x] = min(key[y, x], np.int32(key[y, x + 1] + side))
    return key


@compiled
def _from_row_behind(row: Ints, behind: Ints, side: np.int32, corner: np.int32) -> None:
    """What the three neighbours in that row offer, wherever it is better."""
    for x in range(1, row.size - 1):
        at_corners = min(np.int32(behind[x - 1] + corner), np.int32(behind[x + 1] + corner))
        row[x] = min(row[x], min(at_corners, np.int32(behind[x] + side)))


@compiled
def _medians(key: Ints, bits: int, n_cells: int, image: Image, beyond: int, within: int) -> Floats:
    """Counts sorted by cell, then the median of each cell's share."""
    rows, columns = image.shape
    cell_of = (1 << bits) - 1
    first = np.zeros(n_cells + 2, np.int64)
    for y in range(rows):
        for x in range(columns):
            if beyond <= key[y + 1, x + 1] < within:
                first[(key[y + 1, x + 1] & cell_of) + 2] += 1
    first = np.cumsum(first)
    counts = np.empty(first[-1], np.float32)
    for y in range(rows):
        for x in range(columns):
            if beyond <= key[y + 1, x + 1] < within:
                place = (key[y + 1, x + 1] & cell_of) + 1
                counts[first[place]] = image[y, x]
                first[place] += 1
    median = np.full(n_cells, np.nan)
    for cell in range(n_cells):
        if first[cell + 1] > first[cell]:
            median[cell] = np.median(counts[first[cell] : first[cell + 1]])
    return median


@compiled
def _meetings(key: Ints, bits: int, within: int) -> Ints:
    """Cells whose pixels lie side by side, `[M, 2]`; the same two are there many times."""
    cell_of = (1 << bits) - 1
    rows, columns = key.shape
    n = 0
    for y in range(1, rows - 1):
        for x in range(1, columns - 1):
            here, right, below = key[y, x], key[y, x + 1], key[y + 1, x]
            n += (here < within) & (right < within) & ((here & cell_of) != (right & cell_of))
            n += (here < within) & (below < within) & ((here & cell_of) != (below & cell_of))
    pairs = np.empty((n, 2), np.int32)
    n = 0
    for y in range(1, rows - 1):
        for x in range(1, columns - 1):
            if key[y, x] < within:
                for there in (key[y, x + 1], key[y + 1, x]):
                    if there < within and (there & cell_of) != (key[y, x] & cell_of):
                        pairs[n, 0], pairs[n, 1] = key[y, x] & cell_of, there & cell_of
                        n += 1
    return pairs


@compiled
def _distinct(pairs: Ints, n_cells: int) -> Counts:
    """Of how many others each cell is a partner, `[N]`: sorted by cell, then each partner counted once."""
    first = np.zeros(n_cells + 2, np.int64)
    for i in range(len(pairs)):
        one, other = pairs[i]
        first[one + 2] += 1
        first[other + 2] += 1
    first = np.cumsum(first)
    partners = np.empty(2 * len(pairs), np.int32)
    for i in range(len(pairs)):
        one, other = pairs[i]
        partners[first[one + 1]], partners[first[other + 1]] = other, one
        first[one + 1] += 1
        first[other + 1] += 1
    last_seen_by = np.full(n_cells, -1, np.int32)
    n = np.zeros(n_cells, np.int64)
    for cell in range(n_cells):
        for other in partners[first[cell] : first[cell + 1]]:
            n[cell] += last_seen_by[other] != cell
            last_seen_by[other] = cell
    return n
