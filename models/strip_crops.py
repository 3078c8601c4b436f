"""Pictures of cells from strips: what the background lacks, as a share of it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.labelling import compiled
from models.strip_background import Plane

Crops = npt.NDArray[np.float32]
Strips = npt.NDArray[np.integer[Any]]


@compiled
def cut_into(
    crops: Crops,
    strips: Strips,
    background: Plane,
    strip: npt.NDArray[np.int32],
    corners: npt.NDArray[np.int64],
    sign: int,
) -> None:
    """Fill `crops[n, S, S]` with sign · (background − pixel) / background of the strips named, from `corners[n, 2]` on."""
    rows, columns = background.shape
    n, side, _ = crops.shape
    for i in range(n):
        left, top = corners[i]
        for y in range(max(0, -top), min(side, rows - top)):
            for x in range(max(0, -left), min(side, columns - left)):
                level = max(background[top + y, left + x], np.float32(1))
                crops[i, y, x] = sign * (level - np.float32(strips[strip[i], top + y, left + x])) / level
