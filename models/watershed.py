"""Distance watershed: touching cells come apart where the foreground between them is narrow.

Every foreground pixel climbs to its highest neighbour until it stands on a summit; pixels that meet there are
one cell. That is a watershed without boundary lines, and it needs no priority queue: a few passes over whole
arrays.
"""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from models.cells import Labels

Heights = npt.NDArray[np.float32]
_STEPS_PER_PX = 256  # heights are compared to 1/256 px; equal ones are told apart by their place in the image


def heights(foreground: npt.NDArray[np.uint8]) -> Heights:
    """How deep inside the foreground each pixel lies, `[H, W]` px, 0 outside.

    Smoothed a little: the distance to a ragged outline has many small summits.
    """
    depth_px = cv2.distanceTransform(foreground, cv2.DIST_L2, cv2.DIST_MASK_5)
    depth_px = np.minimum(depth_px, max(foreground.shape))  # without any background it would be infinite
    smooth = cv2.GaussianBlur(depth_px, (0, 0), sigmaX=1.0)
    return np.where(foreground > 0, smooth, 0.0).astype(np.float32)


def split(height: Heights, min_distance_px: float) -> Labels:
    """One label a summit; touching parts whose summits are nearer than `min_distance_px` are one cell."""
    pixels = np.flatnonzero(height > 0)
    if pixels.size == 0:
        return np.zeros(height.shape, dtype=np.int32)
    order = np.arange(pixels.size)
    place = np.zeros(height.size, dtype=np.int64)
    place[pixels] = order
    uphill = place[_highest_neighbour(height)[pixels]]
    while not np.array_equal(further := uphill[uphill], uphill):  # each round doubles the climb
        uphill = further
    summits = np.flatnonzero(uphill == order)
    labels = np.zeros(height.shape, dtype=np.int32)
    labels.ravel()[pixels] = np.cumsum(uphill == order)[uphill]
    summit_yx = np.column_stack(np.divmod(pixels[summits], height.shape[1]))
    return _merge_near(labels, summit_yx, min_distance_px)


def keep_large(labels: Labels, min_area_px: int) -> Labels:
    """The same cells without the small ones, numbered 1…N without gaps."""
    keep = np.bincount(labels.ravel()) >= max(1, min_area_px)
    keep[0] = False
    return (np.cumsum(keep, dtype=np.int32) * keep)[labels]


def _highest_neighbour(height: Heights) -> npt.NDArray[np.int64]:
    """Flat index of the highest pixel among each pixel and its eight neighbours, `[H · W]`.

    Height and index are packed into one number, so that the maximum of a neighbourhood also says where it is.
    A double holds 53 bits exactly: enough for images of 4,096 × 4,096 pixels and far beyond.
    """
    index_bits = height.size.bit_length()
    steps = np.ceil(height * _STEPS_PER_PX).astype(np.int64)
    packed = (steps << index_bits) | np.arange(height.size).reshape(height.shape)
    highest = cv2.dilate(packed.astype(np.float64), np.ones((3, 3), np.uint8))
    where: npt.NDArray[np.int64] = highest.ravel().astype(np.int64) & ((1 << index_bits) - 1)
    return where


def _merge_near(labels: Labels, summit_yx: npt.NDArray[np.int64], min_distance_px: float) -> Labels:
    """Join labels that share an edge and whose summits are nearer than `min_distance_px`."""
    pairs = np.unique(np.concatenate([_touching(labels), _touching(labels.T)]), axis=0) - 1
    apart_px = np.linalg.norm(summit_yx[pairs[:, 0]] - summit_yx[pairs[:, 1]], axis=1)
    near = pairs[apart_px < min_distance_px]
    n = len(summit_yx)
    links = coo_array((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(n, n))
    _, group = connected_components(links, directed=False)
    return np.concatenate([[0], group + 1]).astype(np.int32)[labels]


def _touching(labels: Labels) -> npt.NDArray[np.int64]:
    """Pairs of labels that lie side by side along the first axis, `[P, 2]`, smaller first, with repeats."""
    above, below = labels[:-1], labels[1:]
    edge = (above != below) & (above > 0) & (below > 0)
    return np.sort(np.column_stack([above[edge], below[edge]]).astype(np.int64), axis=1)
