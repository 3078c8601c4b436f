"""Images of any size through an engine of one size: pad what is smaller, cut what is larger into overlapping tiles."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Maps = npt.NDArray[np.float32]
Span = tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """How an image is cut."""

    side_px: tuple[int, int]
    """Rows and columns of a tile, which are those of the engine."""
    overlap_px: int
    """Neighbours share at least so much, or half a tile where that is less; each keeps its half."""
    multiple_px: int
    """Tiles begin at multiples of this: a network that pools sees the same only on its own grid."""


@dataclass(frozen=True)
class Tile:
    """A part of the image, and the inner part of it whose maps are kept; rows and columns, stops excluded."""

    read: tuple[slice, slice]
    kept: tuple[slice, slice]


def tiles(height_px: int, width_px: int, grid: Grid) -> Iterator[Tile]:
    """Tiles whose kept parts cover every pixel exactly once.

    No kept pixel is nearer than half the overlap to a cut edge. Where the image ends, nothing is given away.
    """
    spans = (_spans(length, side, grid) for length, side in zip((height_px, width_px), grid.side_px, strict=True))
    for (read_y, kept_y), (read_x, kept_x) in product(*spans):
        yield Tile((slice(*read_y), slice(*read_x)), (slice(*kept_y), slice(*kept_x)))


def whole_maps(image: Image, n_maps: int, grid: Grid, infer: Callable[[Image], Maps]) -> Maps:
    """Maps `[C, H, W]` of an image of any size; `infer` takes one tile `[y, x]` and gives `[C, y, x]`."""
    if image.shape == grid.side_px:
        return infer(padded(image, grid.side_px))
    height_px, width_px = image.shape
    maps = np.empty((n_maps, height_px, width_px), np.float32)
    for tile in tiles(height_px, width_px, grid):
        (top, left), part = (side.start for side in tile.read), image[tile.read]
        answer = infer(padded(part, grid.side_px))
        rows, columns = (slice(k.start - at, k.stop - at) for k, at in zip(tile.kept, (top, left), strict=True))
        maps[:, tile.kept[0], tile.kept[1]] = answer[:, rows, columns]
    return maps


def padded(image: Image, side_px: tuple[int, int]) -> Image:
    """The image in the top left corner of `side_px`, mirrored beyond its edges: an edge would look like a cell's."""
    below, right = side_px[0] - image.shape[0], side_px[1] - image.shape[1]
    if below == right == 0:
        return np.ascontiguousarray(image)
    return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT_101).astype(np.float32, copy=False)


def rounded_up(length_px: int, multiple_px: int) -> int:
    """The smallest multiple that is not below the length."""
    return -(-length_px // multiple_px) * multiple_px


def _spans(length: int, side: int, grid: Grid) -> Iterator[tuple[Span, Span]]:
    """(read, kept) along one axis."""
    multiple, overlap = grid.multiple_px, min(grid.overlap_px, side // 2)
    step = max(multiple, (side - overlap) // multiple * multiple)  # a tile of one multiple cannot share any
    n = 1 + max(0, -(-(length - side) // step))
    starts = [i * step for i in range(n)]
    cuts = [0, *(start + (side - step) // 2 for start in starts[1:]), length]
    for start, kept in zip(starts, pairwise(cuts), strict=True):
        yield (start, min(start + side, length)), kept
