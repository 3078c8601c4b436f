"""Changes of single-cell crops that leave their class what it is: made before the normalisation, as a camera would."""

import math
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from models.crops import Crops, normalise

Share = Annotated[float, Meta(ge=0, le=1)]
Factor = Annotated[float, Meta(ge=1)]
NotNegative = Annotated[float, Meta(ge=0)]


class CropAugmentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a crop may be changed. Intensities are in shares of the brightest pixel in its middle."""

    zoom: Factor = 1.15
    """Scales between 1 / zoom and zoom, alike in their logarithm. Size is a feature of some classes: not too far."""
    stretch: Factor = 1.08
    """One axis against the other."""
    shift_px: NotNegative = 3.0
    """How far the cell may stand from the middle, along each axis."""
    gamma: Factor = 1.2
    noise: NotNegative = 0.04
    noise_share: Share = 0.4
    blur_px: Annotated[float, Meta(ge=0.3)] = 0.8
    """Up to this; far less than what makes a cell out of focus."""
    blur_share: Share = 0.2
    neighbour_share: Share = 0.1
    """Crops at whose side another one's cell is put."""
    gain: Factor = 1.2
    """After the normalisation: levels taken from few pixels are not exact."""
    offset: NotNegative = 0.03


def changed_crops(
    images: npt.NDArray[Any], chosen: npt.NDArray[np.int64], settings: CropAugmentSettings, rng: np.random.Generator
) -> Crops:
    """A batch for one training step: some of `images[N, S, S]`, each changed at random, normalised, `[B, S, S]`."""
    crops = np.stack([changed(images[i], settings, rng) for i in chosen])
    for crop in crops:
        if rng.random() < settings.neighbour_share:
            crop[:] = with_neighbour(crop, changed(images[rng.integers(len(images))], settings, rng), rng)
    gain = np.exp(rng.uniform(-1, 1, len(crops)) * math.log(settings.gain)).astype(np.float32)
    offset = (rng.uniform(-1, 1, len(crops)) * settings.offset).astype(np.float32)
    return normalise(crops) * gain[:, None, None] + offset[:, None, None]


def changed(image: npt.NDArray[Any], settings: CropAugmentSettings, rng: np.random.Generator) -> Crops:
    """The same cell turned, mirrored, scaled, moved, blurred and made noisy, `[S, S]` counts; dark beyond its edge."""
    side = image.shape[0]
    matrix = random_affine(side, settings, rng)
    crop = _warped(image.astype(np.float32), matrix, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    if rng.random() < settings.blur_share:
        crop = cv2.GaussianBlur(crop, (0, 0), sigmaX=rng.uniform(0.3, settings.blur_px)).astype(np.float32)
    brightest = np.float32(max(crop[side // 4 : -(side // 4), side // 4 : -(side // 4)].max(), 1.0))
    crop = (crop / brightest) ** np.float32(_factor(settings.gamma, rng)) * brightest
    if rng.random() < settings.noise_share:
        crop += rng.standard_normal(crop.shape, np.float32) * np.float32(rng.uniform(0, settings.noise) * brightest)
    return crop


def random_affine(side_px: int, settings: CropAugmentSettings, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """2 × 3 matrix from a pixel of the new crop to one of the stored, (x, y) order."""
    angle, scale, stretch = rng.uniform(0, 2 * math.pi), _factor(settings.zoom, rng), _factor(settings.stretch, rng)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = rotation @ np.diag([rng.choice([-1.0, 1.0]) * stretch, 1 / stretch]) / scale
    middle = np.full(2, (side_px - 1) / 2)
    return np.column_stack([linear, middle + rng.uniform(-1, 1, 2) * settings.shift_px - linear @ middle])


def with_neighbour(crop: Crops, other: Crops, rng: np.random.Generator) -> Crops:
    """The brighter of both at each pixel, the other one moved so far that its cell stands at the side, `[S, S]`."""
    angle, away_px = rng.uniform(0, 2 * math.pi), crop.shape[0] * rng.uniform(0.45, 0.65)
    move = np.array([[1, 0, away_px * math.cos(angle)], [0, 1, away_px * math.sin(angle)]])
    return np.maximum(crop, _warped(other, move, cv2.INTER_LINEAR))


def _warped(crop: Crops, matrix: npt.NDArray[np.float64], how: int) -> Crops:
    return np.asarray(cv2.warpAffine(crop, matrix, crop.shape, flags=how), np.float32)


def _factor(most: float, rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(-1, 1) * math.log(most))
