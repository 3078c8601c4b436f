"""Random crops and what may happen to them: turned, mirrored, scaled, brightened, blurred, made noisy."""

import math
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from models.training.images import Prepared

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint16]
Matrix = npt.NDArray[np.float64]
Share = Annotated[float, Meta(ge=0, le=1)]
Factor = Annotated[float, Meta(ge=1)]
NotNegative = Annotated[float, Meta(ge=0)]


class AugmentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a crop may be changed. Intensities are in units of the normalised image."""

    zoom: Factor = 1.5
    """Scales between 1 / zoom and zoom, alike in their logarithm."""
    stretch: Factor = 1.15
    """One axis against the other."""
    turn: Share = 0.5
    """Of the crops, at any angle, scale and stretch; the others in quarter turns and mirror images, which blur nothing."""
    gain: Factor = 1.5
    """Intensities are multiplied by 1 / gain to gain."""
    offset: NotNegative = 0.05
    """Added, from −offset to offset."""
    gamma: Factor = 1.4
    """Intensities are raised to a power of 1 / gamma to gamma."""
    noise: NotNegative = 0.06
    """Standard deviation at intensity 1, at most."""
    noise_share: Share = 0.3
    """Of the crops, made noisy."""
    blur_px: Annotated[float, Meta(ge=0.3)] = 1.2
    """Standard deviation of a Gaussian, at most."""
    blur_share: Share = 0.15
    """Of the crops, blurred."""
    slope: NotNegative = 0.1
    """Height of a smooth, uneven background, at most."""
    slope_share: Share = 0.15
    """Of the crops, with such a background."""
    empty_share: Share = 0.02
    """Of the crops, nothing but noise and slopes, so that a network does not invent cells in the dark."""


class Crop(msgspec.Struct, frozen=True):
    """One training sample, all `[S, S]`."""

    image: Image
    labels: Labels
    distance: Image


def random_crop(source: Prepared, side_px: int, settings: AugmentSettings, rng: np.random.Generator) -> Crop:
    """A square somewhere in the image, changed at random."""
    if rng.random() < settings.empty_share:
        nothing = np.zeros((side_px, side_px), np.float32)
        return Crop(empty_image(side_px, rng), nothing.astype(np.uint16), nothing)
    matrix = random_affine(source.image.shape, side_px, settings, rng)
    image = _warped(source.image, matrix, side_px, cv2.INTER_LINEAR)
    labels = _warped(source.labels, matrix, side_px, cv2.INTER_NEAREST)
    distance = _warped(source.distance, matrix, side_px, cv2.INTER_LINEAR)
    return Crop(intensities(image, settings, rng), labels, distance)


def random_affine(shape: tuple[int, ...], side_px: int, settings: AugmentSettings, rng: np.random.Generator) -> Matrix:
    """2 × 3 matrix from a pixel of the crop to one of the image, (x, y) order."""
    if rng.random() < settings.turn:
        angle = rng.uniform(0, 2 * math.pi)
        scale = math.exp(rng.uniform(-1, 1) * math.log(settings.zoom))
        stretch = math.exp(rng.uniform(-0.5, 0.5) * math.log(settings.stretch))
    else:
        angle, scale, stretch = rng.integers(4) * math.pi / 2, 1.0, 1.0
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = rotation @ np.diag([rng.choice([-1.0, 1.0]) * stretch, 1 / stretch]) / scale
    middle = (side_px - 1) / 2
    centre = [_somewhere(length, side_px / scale, rng) for length in (shape[1], shape[0])]
    return np.column_stack([linear, np.array(centre) - linear @ [middle, middle]])


def intensities(image: Image, settings: AugmentSettings, rng: np.random.Generator) -> Image:
    """Gain, offset, gamma, blur, a slope of the background and noise."""
    if rng.random() < settings.blur_share:
        image = cv2.GaussianBlur(image, (0, 0), sigmaX=rng.uniform(0.3, settings.blur_px)).astype(np.float32)
    gamma = math.exp(rng.uniform(-1, 1) * math.log(settings.gamma))
    gain = math.exp(rng.uniform(-1, 1) * math.log(settings.gain))
    changed = (np.maximum(image, 0) ** np.float32(gamma) + np.minimum(image, 0)) * np.float32(gain)
    changed = changed + np.float32(rng.uniform(-1, 1) * settings.offset)
    if rng.random() < settings.slope_share:
        changed = changed + slope(image.shape[0], rng) * np.float32(rng.uniform(0, settings.slope))
    if rng.random() < settings.noise_share:
        spread = rng.uniform(0, settings.noise) * np.sqrt(rng.uniform(0, 1) + np.maximum(changed, 0))
        changed = changed + rng.standard_normal(image.shape, np.float32) * spread
    return changed.astype(np.float32)


def empty_image(side_px: int, rng: np.random.Generator) -> Image:
    """What the normalisation makes of a frame without cells: noise, smooth or sharp, and uneven light."""
    noise = rng.standard_normal((side_px, side_px), np.float32)
    if rng.random() < 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=rng.uniform(0.4, 2.0)).astype(np.float32)
    noise *= rng.uniform(0.02, 0.2) / noise.std()
    image = noise + slope(side_px, rng) * np.float32(rng.uniform(0, 0.5))
    return np.asarray(image - np.quantile(image, 0.01), np.float32)


def slope(side_px: int, rng: np.random.Generator) -> Image:
    """A smooth field between −1 and 1, `[S, S]`."""
    corners = rng.uniform(-1, 1, (3, 3)).astype(np.float32)
    return cv2.resize(corners, (side_px, side_px), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def _somewhere(length: int, extent: float, rng: np.random.Generator) -> float:
    """Centre of a crop along one axis: inside the image if it fits, else in the middle, give or take a little."""
    room = max(length - extent, 0.0)
    return (length - 1) / 2 + rng.uniform(-0.5, 0.5) * (room + 0.25 * extent)


def _warped(image: Image | Labels, matrix: Matrix, side_px: int, how: int) -> Any:
    how |= cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (side_px, side_px), flags=how, borderMode=cv2.BORDER_REFLECT_101)
