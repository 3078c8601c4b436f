"""Camera counts to the numbers a network sees: background near 0, bright cells near 1. Cheap enough for the loop."""

from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

Image = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.integer[Any] | np.floating[Any]]
Share = Annotated[float, Meta(ge=0, le=1)]

SAMPLE_PIXELS = 16_384
"""The levels are read from about this many pixels, evenly spread, instead of sorting the frame."""
CEILING = np.float32(16)
"""Networks see nothing brighter: a hot pixel of hundreds would become a cell.

The grey training and validation images of dsb2018 reach 6.8 at most, those of bbbc039 4.9.
"""


class LevelRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which counts become 0 and 1; part of a network's manifest, since it was trained with them."""

    low: Share = 0.01
    """Quantile that becomes 0."""
    high: Share = 0.998
    """Quantile that becomes 1."""
    min_span: Annotated[float, Meta(gt=0)] = 4.0
    """Counts. Below this span there is nothing but rounding: a black frame stays near 0 instead of being stretched."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")


USUAL = LevelRules()


def levels(pixels: Pixels, rules: LevelRules = USUAL) -> tuple[float, float]:
    """Counts that become 0 and 1, `pixels[H, W]` of any real type; not-a-number and infinities are passed over."""
    sample = _sample(pixels)
    if sample.size == 0:
        return 0.0, rules.min_span
    ranks = (int(rules.low * (sample.size - 1)), int(rules.high * (sample.size - 1)))
    parted = np.partition(sample, ranks)
    low, high = float(parted[ranks[0]]), float(parted[ranks[1]])
    return low, max(high, low + rules.min_span)


def normalised(pixels: Pixels, low: float, high: float) -> Image:
    """(counts − low) / (high − low), at most CEILING; `[H, W]` float32."""
    gain = 1.0 / (high - low)
    if pixels.dtype in (np.uint8, np.uint16, np.int16, np.float32):
        image = cv2.addWeighted(pixels, gain, pixels, 0.0, -low * gain, dtype=cv2.CV_32F).astype(np.float32, copy=False)
    else:
        image = ((pixels.astype(np.float64) - low) * gain).astype(np.float32)
    return np.minimum(image, CEILING, out=image)


def _sample(pixels: Pixels) -> npt.NDArray[np.float64]:
    step = max(1, round((pixels.size / SAMPLE_PIXELS) ** 0.5))
    rows, columns = (slice(min(step, length) // 2, None, step) for length in pixels.shape)
    sample = pixels[rows, columns].astype(np.float64).ravel()
    return sample[np.isfinite(sample)]
