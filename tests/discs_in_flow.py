"""Sprites of two kinds of cells that are discs, a large dark one and a small pale one."""

import numpy as np

from models.training.flow_passing import Image, Sprites


def disc(radius_px: float, depth: float) -> Image:
    y, x = np.mgrid[:41, :41] - 20.0
    return np.asarray(depth * np.clip(radius_px + 0.5 - np.hypot(x, y), 0, 1), np.float32)


def discs(*more: float) -> Sprites:
    return Sprites({
        "large": [disc(12 + by, 0.5) for by in (0.0, *more)], "small": [disc(5 + by, 0.3) for by in (0.0, *more)],
    })  # fmt: skip
