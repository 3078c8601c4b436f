"""Network maps → labels: cells are hills of a height map, and a hill that barely stands out belongs to its neighbour.

From every foreground pixel a path climbs to the highest neighbour, and on to a summit: all that reach one summit are a
hill, which is a watershed without lines and without a queue. Then the passes between hills are visited from the highest
down, and the lower hill of the two is swallowed unless it rises far enough above the pass. All of it takes time
linear in the foreground pixels. `tests/test_models_labelling.py` holds the same written with scikit-image.
"""

import math
from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
from msgspec import convert
from numba import njit

from models.cells import Labels
from models.label_rules import LabelRules

Maps = npt.NDArray[np.float32]
_Padded = npt.NDArray[np.int16]
_Flat = npt.NDArray[np.int32]
_Function = TypeVar("_Function", bound=Callable[..., object])

LEVELS = 1024
"""Heights are compared in this many steps; pixels of one step in the order of rows and columns."""
SURE = 6.0
"""Foreground logits count up to ± this when a cell's certainty is taken: a few extreme pixels decide nothing."""


def label_maps(maps: Maps, rules: LabelRules) -> Labels:
    """`maps[C, H, W]` → `[H, W]` int32, background 0, cells 1…N without gaps, in the order of their first pixel.

    Deep watershed: C = 2, foreground logit and normalised distance (1 in the middle of a cell, 0 at its edge).
    Pixel classes: C = 3, logits of background, boundary, interior.
    """
    foreground, height = deep_watershed(maps) if rules.method == "deep_watershed" else pixel_classes(maps)
    return hills(foreground, height, rules)


def deep_watershed(maps: Maps) -> tuple[Maps, Maps]:
    """Foreground logit and height, `[H, W]` each."""
    return maps[0], maps[1]


def pixel_classes(maps: Maps) -> tuple[Maps, Maps]:
    """Logit of "not background" and probability of interior, `[H, W]` each."""
    foreground, height = np.empty_like(maps[0]), np.empty_like(maps[0])
    _from_classes(maps, foreground, height)
    return foreground, height


def hills(foreground: Maps, height: Maps, rules: LabelRules) -> Labels:
    """Foreground logit and height (0 … 1), both `[H, W]` → labels."""
    level = _levels(foreground, height, np.float32(logit(rules.foreground)))
    hill, summits = _climbed(level, foreground.shape[1] + 2)
    part_of = _merged(level, hill, summits, foreground.shape[1] + 2, in_steps(rules.prominence))
    area, peak, certainty = _measured(hill, part_of, level, foreground)
    keep = (area >= rules.min_area_px) & (peak >= in_steps(rules.peak)) & (certainty >= logit(rules.certainty) * area)
    return _renumbered(hill, part_of, keep, *foreground.shape)


def logit(share: float) -> float:
    """log(p / (1 − p)): the network's own scale of probabilities."""
    return math.log(share / (1 - share))


def in_steps(height: float) -> int:
    """A height between 0 and 1 in whole steps."""
    return round(height * (LEVELS - 1))


def warm_up() -> None:
    """Compile (or load from the cache) before the loop begins."""
    for method in ("deep_watershed", "pixel_classes"):
        label_maps(np.zeros((3, 8, 8), np.float32), convert({"method": method}, LabelRules))


def compiled(function: _Function) -> _Function:
    """Machine code by numba, without Python's lock, and kept on disk if there is a folder that may be written to.

    Constants are compiled in. What is kept notices changes of its own file only: whoever changes a constant that another
    file compiles deletes the `*.nbi` files in `__pycache__`.
    """
    try:
        return cast(_Function, njit(cache=True, nogil=True)(function))
    except RuntimeError:  # neither beside the code nor in the user's home: compiled again by each process
        return cast(_Function, njit(nogil=True)(function))


@compiled
def _from_classes(maps: Maps, foreground: Maps, height: Maps) -> None:
    """Each pixel's three logits, the largest taken away first so that nothing overflows."""
    for y in range(foreground.shape[0]):
        for x in range(foreground.shape[1]):
            background, boundary, interior = maps[0, y, x], maps[1, y, x], maps[2, y, x]
            higher = max(boundary, interior)
            inside = higher + np.log1p(np.exp(min(boundary, interior) - higher))
            foreground[y, x] = inside - background
            largest = max(background, higher)
            share = np.exp(interior - largest)
            height[y, x] = share / (share + np.exp(background - largest) + np.exp(boundary - largest))


@compiled
def _levels(foreground: Maps, height: Maps, least: np.float32) -> _Padded:
    """Heights in steps, flat, with a border of one pixel; −1 outside the foreground."""
    rows, columns = foreground.shape
    level = np.full((rows + 2) * (columns + 2), -1, np.int16)
    for y in range(rows):
        at = (y + 1) * (columns + 2) + 1
        for x in range(columns):
            if foreground[y, x] > least:
                h = min(max(height[y, x], np.float32(0)), np.float32(1))
                level[at + x] = np.int16(h * np.float32(LEVELS - 1) + np.float32(0.5))
    return level


@compiled
def _climbed(level: _Padded, width: int) -> tuple[_Flat, _Flat]:
    """The hill of each pixel, 0 outside the foreground, flat and padded; and the summits' pixels, `[N + 1]` from 1."""
    uphill = np.empty(level.size, np.int32)
    n = 0
    for pixel in range(width + 1, level.size - width - 1):
        if level[pixel] >= 0:  # of equally high pixels the first in the image counts as higher
            best = pixel - width
            best = pixel - 1 if level[pixel - 1] > level[best] else best
            best = pixel if level[pixel] > level[best] else best
            best = pixel + 1 if level[pixel + 1] > level[best] else best
            best = pixel + width if level[pixel + width] > level[best] else best
            uphill[pixel] = best
            n += best == pixel
    hill = np.zeros(level.size, np.int32)
    summits = np.zeros(n + 1, np.int32)
    n = 0
    for pixel in range(width + 1, level.size - width - 1):
        if level[pixel] >= 0 and hill[pixel] == 0:
            at = pixel
            while hill[at] == 0 and uphill[at] != at:
                at = uphill[at]
            if hill[at] == 0:
                n += 1
                hill[at], summits[n] = n, at
            number, at = hill[at], pixel
            while hill[at] == 0:
                hill[at] = number
                at = uphill[at]
    return hill, summits


@compiled
def _merged(level: _Padded, hill: _Flat, summits: _Flat, width: int, prominence: int) -> _Flat:
    """The hill that each hill belongs to in the end, `[N + 1]`; 0 stays 0."""
    part_of = np.arange(summits.size).astype(np.int32)  # a swallowed hill → the one that has it
    joined = part_of.copy()  # a hill → a higher one of the same range
    heights, pairs = _passes(level, hill, width)
    for i in _descending(heights):
        one, other = pairs[i]
        high, low = _root(joined, one), _root(joined, other)
        if high == low:
            continue
        if _above(level, summits[low], summits[high]):
            high, low, one, other = low, high, other, one
        joined[low] = high
        if level[summits[low]] - heights[i] < prominence:
            part_of[_root(part_of, other)] = _root(part_of, one)
    for i in range(part_of.size):
        part_of[i] = _root(part_of, i)
    return part_of


@compiled
def _passes(level: _Padded, hill: _Flat, width: int) -> tuple[_Padded, _Flat]:
    """Where two hills touch: the lower one of the two pixels' levels, `[P]`, and the hills, `[P, 2]`."""
    n = 0
    for pixel in range(width + 1, level.size - width - 1):
        here, right, below = hill[pixel], hill[pixel + 1], hill[pixel + width]
        n += (here != right) & (here > 0) & (right > 0)
        n += (here != below) & (here > 0) & (below > 0)
    heights = np.empty(n, np.int16)
    pairs = np.empty((n, 2), np.int32)
    n = 0
    for pixel in range(width + 1, level.size - width - 1):
        here = hill[pixel]
        if here > 0 and (here != hill[pixel + 1] or here != hill[pixel + width]):
            for other in (pixel + 1, pixel + width):
                if hill[other] > 0 and hill[other] != here:
                    heights[n] = min(level[pixel], level[other])
                    pairs[n, 0], pairs[n, 1] = here, hill[other]
                    n += 1
    return heights, pairs


@compiled
def _descending(heights: _Padded) -> _Flat:
    """Indices from the highest to the lowest, equal ones in their order: a counting sort."""
    start = np.zeros(LEVELS + 1, np.int32)
    for height in heights:
        start[LEVELS - height] += 1
    for i in range(LEVELS):
        start[i + 1] += start[i]
    order = np.empty(heights.size, np.int32)
    for i in range(heights.size):
        place = LEVELS - 1 - heights[i]
        order[start[place]] = i
        start[place] += 1
    return order


@compiled
def _above(level: _Padded, one: int, other: int) -> bool:
    """Is one pixel higher than the other; of equal ones the first is."""
    return level[one] > level[other] or (level[one] == level[other] and one < other)


@compiled
def _root(parent: _Flat, i: int) -> int:
    """The end of the chain from `i`, which is shortened on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def _measured(
    hill: _Flat, part_of: _Flat, level: _Padded, foreground: Maps
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int16], npt.NDArray[np.float64]]:
    """Area in pixels, highest level and sum of foreground logits of each hill, `[N + 1]`; row 0 is background."""
    area = np.zeros(part_of.size, np.int64)
    peak = np.full(part_of.size, -1, np.int16)
    certainty = np.zeros(part_of.size, np.float64)
    rows, columns = foreground.shape
    for y in range(rows):
        at = (y + 1) * (columns + 2) + 1
        for x in range(columns):
            if hill[at + x] > 0:
                i = part_of[hill[at + x]]
                area[i] += 1
                peak[i] = max(peak[i], level[at + x])
                certainty[i] += min(max(foreground[y, x], np.float32(-SURE)), np.float32(SURE))
    return area, peak, certainty


@compiled
def _renumbered(hill: _Flat, part_of: _Flat, keep: npt.NDArray[np.bool_], rows: int, columns: int) -> Labels:
    """Kept hills as 1…N in the order of their first pixel, `[H, W]`."""
    number = np.zeros(keep.size, np.int32)
    labels = np.zeros((rows, columns), np.int32)
    n = 0
    for y in range(rows):
        at = (y + 1) * (columns + 2) + 1
        for x in range(columns):
            i = part_of[hill[at + x]]
            if i > 0 and keep[i]:
                if number[i] == 0:
                    n += 1
                    number[i] = n
                labels[y, x] = number[i]
    return labels
