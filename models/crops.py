"""Windows around cells and the levels that make them alike, in training and live: frame and positions in, crops out.

Every crop is scaled by its own pixels alone: the camera's bit depth, the exposure and the brightest cell of the frame
leave no trace in it, so a classifier trained on one microscope's crops may serve another's frames.
"""

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.labelling import compiled

Crops = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.integer[Any] | np.floating[Any]]
Positions = npt.NDArray[np.float64]

SIDE_PX = 64
LOW_SHARE = 0.02
"""Share of a crop's pixels (every second one of every second row) that are darker than what becomes 0."""
HIGH_SHARE = 0.01
"""Share of the pixels in a crop's middle, half its side wide, that are brighter than what becomes 1."""
CEILING = 4.0
"""Values end here: a hot pixel or a bright neighbour is no more than this."""
MIN_SPAN = 4.0
"""Counts. Below this span there is nothing but rounding: an empty crop stays near 0 instead of being stretched."""


def normalised_crops(image: Pixels, xy_px: Positions, side_px: int = SIDE_PX, scale: float = 1.0) -> Crops:
    """What a classifier sees of `image[H, W]` around each of `xy_px[N, 2]`, `[N, S, S]`: `crops`, then `normalise`."""
    return normalise(crops(image, xy_px, side_px, scale))


def crops(image: Pixels, xy_px: Positions, side_px: int = SIDE_PX, scale: float = 1.0) -> Crops:
    """Squares of `image[H, W]` around the positions `xy_px[N, 2]`, `[N, S, S]` counts.

    A crop's pixel is `scale` pixels of the image wide. Pixels are copied or averaged, so that a position is met to
    half a pixel of the image. Beyond its edge the image is mirrored: a cell that is cut off would else look like a
    plate of chromosomes.
    """
    if image.ndim != 2 or xy_px.ndim != 2 or xy_px.shape[1] != 2:
        raise ValueError(f"crops need image[H, W] and xy_px[N, 2], not {image.shape} and {xy_px.shape}")
    if side_px < 4 or side_px % 4 or not scale > 0:
        raise ValueError(f"side_px must be a multiple of 4 and scale positive, not {side_px} and {scale:g}")
    window_px = max(1, round(side_px * scale))
    windows = np.empty((len(xy_px), window_px, window_px), np.float32)
    _cut(image, np.ceil(xy_px - window_px / 2).astype(np.int64), windows)
    return windows if window_px == side_px else _resized(windows, side_px)


def normalise(counts: Crops) -> Crops:
    """(counts − low) / (high − low), each of `counts[N, S, S]` by its own levels, at most CEILING; done in place."""
    sampled = (counts.shape[1] // 2) ** 2
    _scale(counts, math.ceil(LOW_SHARE * sampled), math.ceil(HIGH_SHARE * sampled))
    return counts


def warm_up() -> None:
    """Compile (or load from the cache) before the loop begins."""
    normalised_crops(np.zeros((8, 8), np.float32), np.zeros((1, 2)), 4)


def _resized(windows: Crops, side_px: int) -> Crops:
    how = cv2.INTER_AREA if windows.shape[1] > side_px else cv2.INTER_LINEAR
    found = np.empty((len(windows), side_px, side_px), np.float32)
    for window, crop in zip(windows, found, strict=True):
        cv2.resize(window, (side_px, side_px), dst=crop, interpolation=how)
    return found


@compiled
def _cut(image: Pixels, corners: npt.NDArray[np.int64], windows: Crops) -> None:
    """Copy the squares whose upper left pixels are `corners[N, 2]`, x first."""
    rows, columns = image.shape
    n, side, _ = windows.shape
    for i in range(n):
        left, top = corners[i]
        inside = left >= 0 and left + side <= columns
        for y in range(side):
            row = _mirrored(top + y, rows)
            if inside:
                for x in range(side):
                    windows[i, y, x] = image[row, left + x]
            else:
                for x in range(side):
                    windows[i, y, x] = image[row, _mirrored(left + x, columns)]


@compiled
def _mirrored(at: int, length: int) -> int:
    """The pixel that is seen at place `at` in mirrors before the first and behind the last one."""
    at %= 2 * length
    return at if at < length else 2 * length - 1 - at


@compiled
def _scale(counts: Crops, darker: int, brighter: int) -> None:
    n, side, _ = counts.shape
    lowest, highest = np.empty(darker, np.float32), np.empty(brighter, np.float32)
    for i in range(n):
        lowest[:], highest[:] = np.inf, np.inf
        for y in range(0, side, 2):
            for x in range(0, side, 2):
                _keep_least(lowest, counts[i, y, x])
        for y in range(side // 4, side - side // 4):
            for x in range(side // 4, side - side // 4):
                _keep_least(highest, -counts[i, y, x])
        low = lowest[-1]
        gain = np.float32(1) / max(-highest[-1] - low, np.float32(MIN_SPAN))
        for y in range(side):
            for x in range(side):
                counts[i, y, x] = min((counts[i, y, x] - low) * gain, np.float32(CEILING))


@compiled
def _keep_least(least: npt.NDArray[np.float32], value: np.float32) -> None:
    """Put `value` into the ascending list of the least ones seen, if it belongs there."""
    if not value < least[-1]:
        return
    at = least.size - 1
    while at > 0 and least[at - 1] > value:
        least[at] = least[at - 1]
        at -= 1
    least[at] = value
