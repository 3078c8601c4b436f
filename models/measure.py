"""Labels to Cells: the one place where pixels become stage micrometres.

One pass over the foreground makes sums per label; every feature is a small function of them (see FEATURES).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from acquisition.frame import FrameHeader, stage_um
from models.cells import ONE_CLASS, Cells, Floats, Labels

Image = npt.NDArray[np.float32]


def measure(header: FrameHeader, image: Image, labels: Labels, features: tuple[str, ...] = ()) -> Cells:
    """The cells of one frame in the order of their labels; `image` in camera counts, `labels` 0 = background.

    `features` names the extra columns to measure (keys of FEATURES). Every cell is of class `cell` until a
    classifier says more.
    """
    if not image.shape == labels.shape == header.shape:
        raise ValueError(
            f"frame {header.index}: image {list(image.shape)} and labels {list(labels.shape)} must both have "
            f"the header's shape {list(header.shape)}"
        )
    check_features(features)
    regions = Regions.of(header, image, labels)
    return Cells(
        frame_index=header.index,
        t_ns=header.t_ns,
        label=regions.label.astype(np.int32),
        xy_um=stage_um(header.stage_from_pixel, regions.xy_px),
        xy_px=regions.xy_px,
        area_um2=regions.n_pixels.astype(np.float64) * header.um_per_px**2,
        bbox_px=_bounding_boxes(labels),
        mean_intensity=regions.mean_intensity,
        features=np.stack([FEATURES[name](regions) for name in features], axis=1)
        if features
        else np.empty((len(regions.label), 0)),
        feature_names=features,
        p_class=np.ones((len(regions.label), 1)),
        class_names=ONE_CLASS,
        labels=labels,
    )


def check_features(names: Iterable[str]) -> None:
    """Raise ValueError if one of these cannot be measured; to be called before a run starts."""
    for name in names:
        if name not in FEATURES:
            near = get_close_matches(name, FEATURES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"feature {name!r} is not known; {hint}Features are {', '.join(FEATURES)}")


@dataclass(frozen=True)
class Regions:
    """The foreground pixels of one frame and what all features share; arrays `[N]` have a row a cell."""

    um_from_px: Floats  # [2, 2] the linear part of the frame's pixel → stage map
    label: npt.NDArray[np.int64]  # [N] ascending
    row: npt.NDArray[np.int64]  # [pixels] the cell that each foreground pixel belongs to
    x_px: npt.NDArray[np.int64]  # [pixels]
    y_px: npt.NDArray[np.int64]  # [pixels]
    counts: Image  # [pixels]
    n_pixels: npt.NDArray[np.int64]  # [N]

    @classmethod
    def of(cls, header: FrameHeader, image: Image, labels: Labels) -> "Regions":
        pixels = np.flatnonzero(labels.ravel() != 0)
        y_px = pixels // labels.shape[1]
        x_px = pixels - y_px * labels.shape[1]
        value = labels.ravel()[pixels].astype(np.int64)
        n_pixels = np.bincount(value)
        label = np.flatnonzero(n_pixels)
        row = value - 1 if label.size == n_pixels.size - 1 else np.searchsorted(label, value)
        linear = np.asarray(header.stage_from_pixel, dtype=np.float64).reshape(2, 3)[:, :2]
        return cls(linear, label, row, x_px, y_px, image.ravel()[pixels], n_pixels[label])

    def mean(self, values: npt.NDArray[np.generic]) -> Floats:
        """Mean of a quantity of pixels over each cell, `[N]`."""
        return np.bincount(self.row, values, minlength=len(self.label)) / self.n_pixels

    @cached_property
    def xy_px(self) -> Floats:
        """Centroids, `[N, 2]`."""
        return np.stack([self.mean(self.x_px), self.mean(self.y_px)], axis=1)

    @cached_property
    def mean_intensity(self) -> Floats:
        """Camera counts, `[N]`."""
        return self.mean(self.counts)

    @cached_property
    def covariance_um2(self) -> Floats:
        """Second central moments of each cell's pixels on the stage, `[N, 2, 2]`."""
        dx, dy = self.x_px - self.xy_px[self.row, 0], self.y_px - self.xy_px[self.row, 1]
        xx, xy, yy = self.mean(dx * dx), self.mean(dx * dy), self.mean(dy * dy)
        in_px = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)
        on_stage: Floats = self.um_from_px @ in_px @ self.um_from_px.T
        return on_stage

    @cached_property
    def variances_um2(self) -> tuple[Floats, Floats]:
        """Variance along the long and along the short axis of each cell."""
        xx, xy, yy = self.covariance_um2[:, 0, 0], self.covariance_um2[:, 0, 1], self.covariance_um2[:, 1, 1]
        middle, apart = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        return middle + apart, np.maximum(middle - apart, 0.0)


def _eccentricity(regions: Regions) -> Floats:
    long, short = regions.variances_um2
    return np.sqrt(1.0 - np.divide(short, long, out=np.ones_like(long), where=long > 0))


def _orientation_rad(regions: Regions) -> Floats:
    covariance = regions.covariance_um2
    return 0.5 * np.arctan2(2 * covariance[:, 0, 1], covariance[:, 0, 0] - covariance[:, 1, 1])


def _max_intensity(regions: Regions) -> Floats:
    highest = np.full(len(regions.label), -np.inf)
    np.maximum.at(highest, regions.row, regions.counts.astype(np.float64))
    return highest


def _sd_intensity(regions: Regions) -> Floats:
    deviation = regions.counts - regions.mean_intensity[regions.row]
    return np.sqrt(regions.mean(deviation * deviation))


FEATURES: dict[str, Callable[[Regions], Floats]] = {
    "eccentricity": _eccentricity,  # of the ellipse with the same second moments: 0 round, 1 a line
    "orientation_rad": _orientation_rad,  # of its long axis on the stage, from x towards y, −π/2 … π/2
    "major_um": lambda regions: 4 * np.sqrt(regions.variances_um2[0]),  # its full long axis
    "minor_um": lambda regions: 4 * np.sqrt(regions.variances_um2[1]),  # its full short axis
    "max_intensity": _max_intensity,
    "integrated_intensity": lambda regions: regions.mean_intensity * regions.n_pixels,
    "sd_intensity": _sd_intensity,
}


def _bounding_boxes(labels: Labels) -> npt.NDArray[np.int32]:
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in filter(None, find_objects(labels))]
    return np.array(boxes, dtype=np.int32).reshape(-1, 4)
