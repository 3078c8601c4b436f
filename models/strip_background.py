"""What a channel looks like without cells: light, dirt and noise of every pixel, learned from strips with cells in them."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from models.labelling import compiled

Plane = npt.NDArray[np.float32]  # [h, W]

SD_OF_MAD = 1.4826
"""Standard deviation of normal noise by its median absolute deviation."""
LEAST_SD = 0.5
"""Counts: whole numbers are not surer than that."""
POOLED_PX = 9
"""The noise of a pixel is taken from so large a square around it, for it depends on the light alone."""
FOLLOWED_EVERY = 8
"""The background follows every so many strips: it changes slowly, and this is work."""
OPEN_RATE, COVERED_RATE = np.float32(1 / 64), np.float32(1 / 1024)
"""Share of the difference by which a free pixel follows, and one that is covered: what sticks to the glass fades."""


def learned(strips: npt.NDArray[np.integer[Any]]) -> tuple[Plane, Plane]:
    """Background and standard deviation of its noise from `strips[B, h, W]`, in which most pixels are mostly free."""
    background = np.median(strips, axis=0).astype(np.float32)
    apart = np.abs(strips - background)
    rough = SD_OF_MAD * (float(np.median(apart)) + LEAST_SD)
    free = apart < 3 * rough
    n_free = uniform_filter(free.sum(axis=0, dtype=np.float32), POOLED_PX)
    squares = uniform_filter(np.square(apart, where=free, out=np.zeros_like(apart)).sum(axis=0), POOLED_PX)
    sd = np.sqrt(squares / np.maximum(n_free, 1.0))
    return background, np.maximum(sd, LEAST_SD).astype(np.float32)


@compiled
def follow(background: Plane, strip: npt.NDArray[np.generic], covered: npt.NDArray[np.bool_]) -> None:
    """Let the background follow one strip, in place."""
    rows, columns = background.shape
    for y in range(rows):
        for x in range(columns):
            rate = COVERED_RATE if covered[y, x] else OPEN_RATE
            background[y, x] += rate * (np.float32(strip[y, x]) - background[y, x])
