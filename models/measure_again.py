"""Known cells in another frame: the reporter's brightness in the nuclei that were found a moment ago in the base channel."""

from dataclasses import replace

import numpy as np

from acquisition.calibration import UNCALIBRATED, CameraCalibration
from acquisition.frame import Affine, FrameHeader
from models.cells import Cells, Labels
from models.measure import measure
from models.runs import Image


def measured_again(known: Cells, header: FrameHeader, image: Image, camera: CameraCalibration = UNCALIBRATED) -> Cells:
    """The same cells in the same rows, places and classes, with the intensities and features of this frame.

    Where the stage has moved, their outlines have moved with the sample, by whole pixels. What lies out of view by now is
    NaN, as is a cell of which only a part is left.
    """
    assert known.labels is not None
    assert known.stage_from_pixel is not None
    shift_px = _shift_px(known.stage_from_pixel, header.stage_from_pixel)
    labels = _shifted(known.labels, shift_px, header.shape)
    seen = measure(header, image, labels, known.feature_names, camera)
    whole = _is_whole(known, shift_px, header)
    rows = np.flatnonzero(whole)
    there = np.searchsorted(seen.label, known.label[rows])
    mean, features = np.full(len(known), np.nan), np.full(known.features.shape, np.nan)
    mean[rows], features[rows] = seen.mean_intensity[there], seen.features[there]
    return replace(
        known, frame_index=header.index, t_ns=header.t_ns, xy_px=known.xy_px + shift_px,
        bbox_px=known.bbox_px + np.tile(shift_px, 2).astype(np.int32), mean_intensity=mean, features=features,
        labels=labels, stage_from_pixel=header.stage_from_pixel, shape=header.shape,
    )  # fmt: skip


def _shift_px(before: Affine, now: Affine) -> tuple[int, int]:
    """How far a place of the sample has moved in the image, x and y, in whole pixels."""
    then, after = (np.asarray(affine, dtype=np.float64).reshape(2, 3) for affine in (before, now))
    x_px, y_px = np.linalg.solve(after[:, :2], then[:, 2] - after[:, 2])
    return round(float(x_px)), round(float(y_px))


def _shifted(labels: Labels, shift_px: tuple[int, int], shape: tuple[int, int]) -> Labels:
    """Labels as a frame of `shape` shows them after the shift; what comes into view is background."""
    if shift_px == (0, 0) and labels.shape == shape:
        return labels
    moved = np.zeros(shape, np.int32)
    (x0, y0), (height, width) = shift_px, labels.shape
    to_y, to_x = slice(max(0, y0), min(shape[0], y0 + height)), slice(max(0, x0), min(shape[1], x0 + width))
    if to_y.start < to_y.stop and to_x.start < to_x.stop:
        moved[to_y, to_x] = labels[to_y.start - y0 : to_y.stop - y0, to_x.start - x0 : to_x.stop - x0]
    return moved


def _is_whole(
    known: Cells, shift_px: tuple[int, int], header: FrameHeader
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Cells that lie with all of their pixels in the view, `[N]`."""
    x0, y0, x1, y1 = (known.bbox_px + np.tile(shift_px, 2)).T
    whole: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        (x0 >= 0) & (y0 >= 0) & (x1 <= header.width_px) & (y1 <= header.height_px)
    )
    return whole
