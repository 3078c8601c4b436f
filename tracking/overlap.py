"""How much cells of two frames cover one another, from their label images."""

from dataclasses import dataclass

import numpy as np

from acquisition.frame import Affine
from models.cells import Cells, Floats, Labels
from models.labelling import compiled
from tracking.tracks import Ints

MOST_LABELS = 10_000_000
"""Pixels are counted in a row a label; of images with larger labels nothing is known."""


@dataclass(frozen=True)
class Seen:
    """A frame's label image and where it was; kept until the next frame."""

    labels: Labels
    stage_from_pixel: Affine

    @classmethod
    def of(cls, cells: Cells) -> "Seen | None":
        """None if the cells came without their label image or place."""
        if cells.labels is None or cells.stage_from_pixel is None:
            return None
        return cls(np.require(cells.labels, np.int32, ["C", "W"]), cells.stage_from_pixel)


def uncovered(before: Seen | None, now: Seen | None, label_before: Ints, label_now: Ints) -> Floats:
    """1 minus intersection over union of pairs of labels, `[L]`; NaN where it cannot be known.

    `label_before[L]` 0 means that the track was not seen then. The stage may have moved by any number of pixels, but
    not turned.
    """
    unknown = np.full(len(label_before), np.nan)
    if before is None or now is None or len(label_before) == 0:
        return unknown
    if max(int(label_before.max()), int(label_now.max())) > MOST_LABELS:
        return unknown
    a, b, c0, d, e, f0 = before.stage_from_pixel
    a1, b1, c1, d1, e1, f1 = now.stage_from_pixel
    if not np.allclose((a, b, d, e), (a1, b1, d1, e1)):
        return unknown
    # Pixel p of the new image lies where pixel p + shift lay in the old one.
    shift = np.linalg.solve([[a, b], [d, e]], [c1 - c0, f1 - f0])
    x_px, y_px = (int(v) for v in np.rint(shift))
    n_before, n_now = int(label_before.max()) + 1, int(label_now.max()) + 1
    key = np.unique(label_before * n_now + label_now)
    both, old, new = _covered(before.labels, now.labels, x_px, y_px, key, n_before, n_now)
    row = np.searchsorted(key, label_before * n_now + label_now)
    union = old[label_before] + new[label_now] - both[row]
    share = 1 - both[row] / np.maximum(union, 1)
    return np.where(label_before > 0, share, np.nan)


@compiled
def _covered(
    before: Labels, now: Labels, x_px: int, y_px: int, key: Ints, n_before: int, n_now: int
) -> tuple[Ints, Ints, Ints]:
    """Pixels that pairs of labels share, in the order of `key` (before · n_now + now), and pixels of each label."""
    both, old, new = np.zeros(len(key), np.int64), np.zeros(n_before, np.int64), np.zeros(n_now, np.int64)
    rows, columns = before.shape
    for y in range(rows):
        for x in range(columns):
            if 0 < before[y, x] < n_before:
                old[before[y, x]] += 1
    last, place = -1, 0
    for y in range(now.shape[0]):
        for x in range(now.shape[1]):
            label = now[y, x]
            if 0 < label < n_now:
                new[label] += 1
                there_y, there_x = y + y_px, x + x_px
                if 0 <= there_y < rows and 0 <= there_x < columns and 0 < before[there_y, there_x] < n_before:
                    pair = before[there_y, there_x] * n_now + label
                    if pair != last:
                        last, place = pair, np.searchsorted(key, pair)
                    if place < len(key) and key[place] == pair:
                        both[place] += 1
    return both, old, new
