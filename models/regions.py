"""The cells of one frame and what several features share; each part is computed when a feature first asks for it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acquisition.calibration import UNCALIBRATED, CameraCalibration
from acquisition.frame import FrameHeader
from models.cells import Floats, Labels
from models.runs import Counts, Image, Ints, Runs, Spread, Totals, moments_of, runs_of, spread_of, totals_of
from models.sharpness import brenner_of
from models.surroundings import Near, nearest_cells, neighbour_counts, ring_medians
from models.texture import Texture, texture_of

RING_FROM_UM = 1.0
"""The local background begins this far from the cell, beyond the blur of its edge …"""
RING_TO_UM = 3.0
"""… and ends here."""
NEIGHBOUR_UM = 5.0
"""Cells are neighbours up to this distance, unless a third lies between them: both grow by half of it and meet."""


@dataclass(frozen=True)
class Regions:
    """Arrays have a row a cell, in the order of the labels."""

    header: FrameHeader
    image: Image
    labels: Labels
    label: Ints  # [N] ascending
    runs: Runs
    totals: Totals
    camera: CameraCalibration = UNCALIBRATED

    @classmethod
    def of(
        cls, header: FrameHeader, image: Image, labels: Labels, camera: CameraCalibration = UNCALIBRATED
    ) -> "Regions":
        """Arrays of an unusual type or layout, or read-only ones, are copied: compiled code knows one kind only."""
        image = np.require(image, np.float32, ["C", "W"])
        labels = np.require(labels, np.int32, ["C", "W"])
        label, runs = runs_of(labels)
        return cls(header, image, labels, label, runs, totals_of(runs, len(label), image), camera)

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def n_pixels(self) -> Counts:
        return self.totals.n_pixels

    @cached_property
    def xy_px(self) -> Floats:
        """Centroids, `[N, 2]`."""
        return self.totals.sum_xy_px / self.n_pixels[:, None]

    @cached_property
    def mean_intensity(self) -> Floats:
        return self.totals.sum_counts / self.n_pixels

    @cached_property
    def covariance_um2(self) -> Floats:
        """Second central moments of each cell's pixels on the stage, `[N, 2, 2]`."""
        in_px = (moments_of(self.runs, self.xy_px) / self.n_pixels[:, None])[:, [0, 1, 1, 2]].reshape(-1, 2, 2)
        um_from_px = np.asarray(self.header.stage_from_pixel).reshape(2, 3)[:, :2]
        on_stage: Floats = um_from_px @ in_px @ um_from_px.T
        return on_stage

    @cached_property
    def variances_um2(self) -> tuple[Floats, Floats]:
        """Variance along the long and along the short axis of each cell."""
        xx, xy, yy = self.covariance_um2[:, 0, 0], self.covariance_um2[:, 0, 1], self.covariance_um2[:, 1, 1]
        middle, apart = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        return middle + apart, np.maximum(middle - apart, 0.0)

    @cached_property
    def spread(self) -> Spread:
        return spread_of(self.runs, self.mean_intensity, self.n_pixels, self.image)

    @cached_property
    def texture(self) -> Texture:
        return texture_of(self.runs, self.mean_intensity, self.labels, self.image)

    @cached_property
    def brenner(self) -> Floats:
        return brenner_of(self.runs, self.n_pixels, self.image)

    @cached_property
    def near(self) -> Near:
        return nearest_cells(self.runs, len(self), *self.labels.shape)

    @cached_property
    def background(self) -> Floats:
        """Counts beside each cell; beside one without free pixels around it, those of the whole frame's background."""
        inner_px, outer_px = self._px(RING_FROM_UM), self._px(RING_TO_UM)
        median = ring_medians(self.near, len(self), self.image, inner_px, max(outer_px, inner_px + 1))
        enclosed = np.isnan(median)
        if enclosed.any():
            median[enclosed] = self._background_of_frame()
        return median

    @cached_property
    def neighbours(self) -> Counts:
        return neighbour_counts(self.near, len(self), self._px(NEIGHBOUR_UM / 2))

    def _background_of_frame(self) -> float:
        """Median of the pixels of no cell; where cells cover the frame, its lowest count."""
        free = self.image[self.labels <= 0]
        return float(np.median(free) if free.size else self.image.min())

    def _px(self, um: float) -> float:
        return um / self.header.um_per_px
