"""Label images for tests of measurement: smooth cells, and everything that hypothesis can think of."""

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.segmentation import relabel_sequential

from acquisition.frame import FrameHeader
from models.cells import Labels
from models.runs import Image
from tests.scenes import header

SIZE_PX = 96
UM_PER_PX = 0.65

# Crumbs, diagonals, lines, holes, parts that lie apart, cells that touch and fill the frame: at random.
any_labels = arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3))


def view(stage: tuple[float, float] = (0.0, 0.0), um_per_px: float = UM_PER_PX, size_px: int = SIZE_PX) -> FrameHeader:
    return header(stage=stage, size_px=size_px, um_per_px=um_per_px)


def view_of(labels: Labels, um_per_px: float = UM_PER_PX, **others: object) -> FrameHeader:
    """A header that fits an image of any shape."""
    rows, columns = labels.shape
    return header(size_px=1, um_per_px=um_per_px, height_px=rows, width_px=columns, **others)


def counts_like(labels: Labels, seed: int = 0) -> Image:
    """Whole camera counts between 1 and 255, without any order."""
    return np.random.default_rng(seed).integers(1, 256, labels.shape).astype(np.float32)


def scene(seed: int = 0) -> tuple[Image, Labels]:
    """Ellipses of all directions, some overlapping, some cut by the border; labels without gaps."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    labels = np.zeros((SIZE_PX, SIZE_PX), np.int32)
    for number in range(1, 13):
        (y0, x0), angle = rng.uniform(0, SIZE_PX, 2), rng.uniform(0, math.pi)
        along, across = (
            (x - x0) * math.cos(angle) + (y - y0) * math.sin(angle),
            (y - y0) * math.cos(angle) - (x - x0) * math.sin(angle),
        )
        labels[(along / rng.uniform(6, 12)) ** 2 + (across / rng.uniform(3, 6)) ** 2 < 1] = number
    return rng.gamma(2.0, 500.0, labels.shape).astype(np.float32), relabel_sequential(labels)[0]
