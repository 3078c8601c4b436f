"""The reference segmenter: threshold, then distance watershed. No training, no network."""

from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from msgspec import Meta

from acquisition.commands import NotNegative, Positive
from models.cells import Floats, Labels
from models.perception import Image
from models.watershed import Heights, heights, keep_large, split

SAMPLE_PIXELS = 16_384
"""Thresholds are chosen from about this many pixels, evenly spread: more would not change them."""
MIN_CONTRAST = 5.0
"""How far, in standard deviations of the dark class, the bright class must lie above it to be cells.

Otsu's method halves anything: the halves of pure Gaussian noise lie up to 2.9 apart, those of an even slope
4.6. Of 59 real fields of stained nuclei the faintest reaches 6.9."""
MIN_PEAK = 8.0
"""The same for the brightest spot of a frame whose cells are too few to shape its histogram.

The highest of a million noise values lies 5 standard deviations above their middle."""
MIN_SPREAD = 0.5
"""Counts. A camera counts in whole numbers: a spread below this is not known, so it is taken as this."""
HALF_MAXIMUM = 0.5
_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)


@dataclass(frozen=True)
class ThresholdMaps:
    """What `infer` hands to `label`."""

    smooth: Image
    height: Heights
    background: float
    """Counts between the cells (sign turned for dark cells), from which each cell's own level is measured."""


@dataclass
class ThresholdSegmenter:
    """Cells that are brighter (or darker) than their surroundings, touching ones split at their necks.

    Without a fixed `threshold`, foreground is found by Otsu's method, on the counts and on their square root
    (there photon noise is alike in dim and bright cells); the split with the higher contrast is taken: the
    root finds dim cells on a flat background, the counts pass over texture. Then every cell is cut back to
    the pixels above half of its own mean level, so that bright cells lose their halo and dim ones stay.
    """

    smoothing_px: Positive = 1.0
    """Standard deviation of the Gaussian that smooths the image first."""
    min_area_px: Annotated[int, Meta(ge=1)] = 30
    """Smaller objects are dropped."""
    min_distance_px: NotNegative = 8.0
    """Parts of a clump whose middles are nearer than this are one cell; about the radius of a small cell."""
    polarity: Literal["bright", "dark"] = "bright"
    """Are cells brighter or darker than the background?"""
    threshold: float | None = None
    """Foreground is beyond this value (camera counts, exactly). None: chosen for each frame."""

    def infer(self, image: Image) -> ThresholdMaps:
        """Smooth, find the foreground, measure how deep inside it each pixel lies."""
        rising = image if self.polarity == "bright" else -image
        smooth = _smoothed(without_hot_pixels(rising), self.smoothing_px)
        sample = _sorted_sample(smooth)
        level = self._level(sample, float(smooth.max()))
        foreground = (smooth > level).astype(np.uint8)
        background = float(np.median(sample[sample <= level])) if sample[0] <= level else float(sample[0])
        return ThresholdMaps(smooth, heights(foreground), background)

    def label(self, maps: ThresholdMaps) -> Labels:
        """Split the foreground into cells and drop the small ones."""
        labels = split(maps.height, self.min_distance_px)
        if self.threshold is None:
            labels = cut_to_own_level(labels, maps.smooth, maps.background)
        return keep_large(labels, self.min_area_px)

    def _level(self, sample: Floats, peak: float) -> float:
        if self.threshold is None:
            return automatic_level(sample, peak)
        return self.threshold if self.polarity == "bright" else -self.threshold


def without_hot_pixels(image: Image) -> Image:
    """No pixel brighter than the brightest of its neighbours: smoothing would make a spot of a hot pixel."""
    return np.minimum(image, cv2.dilate(image, _NEIGHBOURS)).astype(np.float32, copy=False)


def automatic_level(sample: Floats, peak: float) -> float:
    """Where foreground begins, infinity if nothing stands out; `sample` is sorted, `peak` the maximum."""
    n_low = max((otsu(sample), otsu(np.sqrt(sample - sample[0]))), key=lambda n: contrast(sample, n))
    if contrast(sample, n_low) >= MIN_CONTRAST:
        return float(sample[n_low - 1] + sample[n_low]) / 2
    lower, middle = np.quantile(sample, (0.16, 0.5))  # one deviation downwards, where no cell adds to it
    if peak - middle >= MIN_PEAK * max(middle - lower, MIN_SPREAD):
        return float(middle + HALF_MAXIMUM * (peak - middle))
    return np.inf


def otsu(values: Floats) -> int:
    """How many of the sorted values Otsu's method puts into the lower class; 0 if they are all equal.

    Exact, by cumulative sums instead of a histogram: no bins that one very bright pixel could stretch.
    """
    n = values.size
    if n == 0 or values[0] == values[-1]:
        return 0
    n_low = np.arange(1, n)
    sums = np.cumsum(values)
    gap = (sums[-1] - sums[:-1]) / (n - n_low) - sums[:-1] / n_low
    return int(np.argmax(n_low * (n - n_low) * gap**2)) + 1


def contrast(values: Floats, n_low: int) -> float:
    """Distance between the means of the lower and the upper values, in standard deviations of the lower."""
    if n_low == 0:
        return 0.0
    low, high = values[:n_low], values[n_low:]
    return float(high.mean() - low.mean()) / max(float(low.std()), MIN_SPREAD)


def cut_to_own_level(labels: Labels, smooth: Image, background: float) -> Labels:
    """Take out the pixels of each cell that are nearer to the background than to the cell's mean."""
    pixels = np.flatnonzero(labels)
    cell, value = labels.ravel()[pixels], smooth.ravel()[pixels]
    mean = np.bincount(cell, value) / np.maximum(1, np.bincount(cell))
    outside = value <= (background + HALF_MAXIMUM * (mean - background))[cell]
    kept = labels.copy()
    kept.ravel()[pixels[outside]] = 0
    return kept


def _smoothed(image: Image, sigma_px: float) -> Image:
    return cv2.GaussianBlur(image, (0, 0), sigmaX=sigma_px).astype(np.float32, copy=False)


def _sorted_sample(image: Image) -> Floats:
    step = max(1, round((image.size / SAMPLE_PIXELS) ** 0.5))
    return np.sort(image[::step, ::step], axis=None).astype(np.float64)
