"""Label images → what a network is asked to predict, and how much each pixel counts."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

Labels = npt.NDArray[np.uint16]
Image = npt.NDArray[np.float32]

BACKGROUND, BOUNDARY, INTERIOR = 0, 1, 2
"""The pixel classes, in the order of the network's maps."""
MEDIAN_AREA_PX = 300.0
"""Objects of this area count as they are; smaller ones more, as every object counts once in the figures."""


def inner_distance(labels: Labels) -> Image:
    """Depth of each pixel inside its object as a share of the deepest one's, `[H, W]`, 0 outside.

    The image's own border is not an edge: an object cut by it is deepest there.
    """
    depth = np.zeros(labels.shape, np.float32)
    for value, box in enumerate(find_objects(labels), start=1):
        if box is not None:
            inside = _with_surroundings(labels, box) == value
            own = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            top, left = (min(1, side.start) for side in box)
            own = own[top : top + box[0].stop - box[0].start, left : left + box[1].stop - box[1].start]
            mask = labels[box] == value
            depth[box][mask] = own[mask] / own[mask].max()
    return np.minimum(depth, 1.0)


def raised(distance: Image, labels: Labels, rim: float) -> Image:
    """The same distances from `rim` at a cell's edge to 1 in its middle, `[H, W]`; 0 outside and between cells that touch.

    The higher the rim, the deeper the valley between two small cells.
    """
    if rim == 0:
        return distance
    return np.where((labels > 0) & ~between(labels, 1), rim + (1 - rim) * distance, 0).astype(np.float32)


def pixel_classes(labels: Labels) -> npt.NDArray[np.int64]:
    """Background, boundary (a pixel of another object or of none among its eight neighbours) or interior, `[H, W]`."""
    square = np.ones((3, 3), np.uint8)
    alike = cv2.dilate(labels, square) == cv2.erode(labels, square)
    return np.where(labels == 0, BACKGROUND, np.where(alike, INTERIOR, BOUNDARY)).astype(np.int64)


def between(labels: Labels, reach_px: int = 2) -> npt.NDArray[np.bool_]:
    """Pixels that have two different objects within `reach_px`, `[H, W]`: where touching cells are told apart."""
    square = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    lowest = cv2.erode(np.where(labels == 0, np.uint16(65535), labels), square)
    highest = cv2.dilate(labels, square)
    return (lowest < highest) & (highest > 0)


def weights(labels: Labels, touching: float, small: float) -> Image:
    """How much each pixel counts, `[H, W]`: more between objects (+ `touching`) and in small ones.

    Inside an object of area A: (MEDIAN_AREA_PX / A) ** `small`, between 0.5 and 4.
    """
    area = np.bincount(labels.ravel()).astype(np.float32)
    each = np.clip((MEDIAN_AREA_PX / np.maximum(area, 1)) ** small, 0.5, 4).astype(np.float32)
    each[0] = 1.0
    near = cv2.dilate(each[labels] * (labels > 0), np.ones((5, 5), np.uint8))
    weight = np.maximum(each[labels], near)
    return (weight + np.float32(touching) * between(labels)).astype(np.float32)


def _with_surroundings(labels: Labels, box: tuple[slice, slice]) -> Labels:
    rows, columns = (slice(max(0, side.start - 1), side.stop + 1) for side in box)
    return labels[rows, columns]
