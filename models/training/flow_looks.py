"""Looks at what passes: the camera's strips around one cell, and the crop that the finder of a sort cuts from them."""

import math
from dataclasses import dataclass
from typing import Annotated

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from models.training.flow_passing import CANVAS_PX, Image, Mask, NotNegative, Passing, Share, placed, reach_px

Positive = Annotated[float, Meta(gt=0)]
TOLD_APART = 5.0 / 3
"""Standard deviations of a pixel's noise that the mean of 3 × 3 must be off: as the finder has it by default."""

LEAST_CONTRAST = 0.01
VISIBLE = 0.02
"""Where a cell takes away more than this share of the light, a found piece is a piece of it."""


class LookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The camera and the flow; every pair is from … to."""

    background: tuple[Positive, Positive] = (110.0, 230.0)
    """Counts beside the cells."""
    counts_per_e: tuple[Positive, Positive] = (0.01, 0.05)
    """Counts for one photo-electron: how noisy the light is."""
    read_noise: tuple[NotNegative, NotNegative] = (0.5, 1.5)
    """Standard deviation of dark counts."""
    smear_px: tuple[NotNegative, NotNegative] = (0.0, 3.0)
    """Way of a cell along x while it is exposed."""
    turn_deg: NotNegative = 8.0
    """Standard deviation of how far a cell turns from one look to the next."""
    jitter_px: NotNegative = 1.0
    """The finder's centre is off by up to this along each axis."""
    background_error: NotNegative = 0.01
    """Standard deviation of the background that the finder has learned, as a share."""
    wall_share: Share = 0.15
    """Cells so near to the edge of the view that a part of the crop lies beyond it, where it is 0."""


@dataclass(frozen=True)
class Camera:
    """What stays the same from look to look at one cell."""

    background: float
    counts_per_e: float
    read_noise: float
    smear_px: float
    background_error: float
    wall_px: float
    """Rows of the crop beyond the view: positive above, negative below, 0 none."""

    @property
    def sd_of_contrast(self) -> float:
        """Standard deviation of its noise beside the cells."""
        return math.sqrt(self.counts_per_e * self.background + self.read_noise**2) / self.background


def camera(settings: LookSettings, room_px: float, rng: np.random.Generator) -> Camera:
    """Drawn at random; the view's edge takes at most `room_px` rows of a crop, so that it does not cut off the cell."""
    is_near = rng.random() < settings.wall_share
    wall_px = rng.uniform(-1, 1) * max(room_px, 0.0) if is_near else 0.0
    return Camera(
        rng.uniform(*settings.background), rng.uniform(*settings.counts_per_e), rng.uniform(*settings.read_noise),
        rng.uniform(*settings.smear_px), rng.normal(0, settings.background_error), wall_px,
    )  # fmt: skip


def crops_of(seen: Passing, settings: LookSettings, side_px: int, n_looks: int, rng: np.random.Generator) -> Image:
    """Looks at one cell, one after the other, `[n_looks, side_px, side_px]` contrast."""
    room_px = side_px / 2 - reach_px(seen.picture) - settings.jitter_px - 1
    through, angle_rad = camera(settings, room_px, rng), 0.0
    crops = []
    for _ in range(n_looks):
        crops.append(crop(seen, through, angle_rad, settings.jitter_px, side_px, rng))
        angle_rad += math.radians(settings.turn_deg) * rng.standard_normal()
    return np.stack(crops)


def crop(
    seen: Passing, through: Camera, angle_rad: float, jitter_px: float, side_px: int, rng: np.random.Generator
) -> Image:
    """One look, cut where the finder takes the cell's centre to be; without the neighbour if it would be found as one with it."""
    x_px, y_px = rng.uniform(-0.5, 0.5, 2)
    own = placed(seen.picture, angle_rad, 1.0, x_px, y_px)
    other = np.zeros_like(own)
    if seen.neighbour is not None:
        other = placed(seen.neighbour, angle_rad, 1.0, x_px + seen.away_px[0], y_px + seen.away_px[1])
    contrast = contrast_of((1 - own) * (1 - other), through, rng)
    piece = found_piece(contrast, through.sd_of_contrast, own > VISIBLE)
    if np.any(piece & (other > VISIBLE)):
        return crop(Passing(seen.picture, None), through, angle_rad, jitter_px, side_px, rng)
    x, y = centre_of(contrast, piece) + rng.uniform(-jitter_px, jitter_px, 2)
    return cut(contrast, x, y, side_px, through.wall_px)


def contrast_of(passed: Image, through: Camera, rng: np.random.Generator) -> Image:
    """What the finder knows: from light that passed, by way of motion, noise and whole counts."""
    light = smeared(passed, through.smear_px) * np.float32(through.background)
    sd = np.sqrt(light * through.counts_per_e + through.read_noise**2, dtype=np.float32)
    counts = np.clip(np.rint(light + sd * rng.standard_normal(light.shape, np.float32)), 0, 255)
    return np.asarray(1 - counts / (through.background * (1 + through.background_error)), np.float32)


def smeared(passed: Image, smear_px: float) -> Image:
    """Averaged along x over the way of an exposure."""
    if smear_px < 0.05:
        return passed
    half = smear_px / 2
    n = math.ceil(half)
    at = np.arange(-n, n + 1)
    kernel = np.clip(np.minimum(at + 0.5, half) - np.maximum(at - 0.5, -half), 0, None)
    return np.asarray(cv2.filter2D(passed, -1, (kernel / kernel.sum())[None], borderType=cv2.BORDER_REPLICATE))


def found_piece(contrast: Image, sd: float, own: Mask) -> Mask:
    """Of what stands out, the piece that shows most of the cell; nothing if it does not stand out."""
    found = (cv2.blur(contrast, (3, 3)) > max(TOLD_APART * sd, LEAST_CONTRAST)).astype(np.uint8)
    n, pieces = cv2.connectedComponents(found, connectivity=8)
    overlaps = np.bincount(pieces[own], minlength=n)
    overlaps[0] = 0
    return np.asarray(pieces == overlaps.argmax()) if overlaps.any() else np.zeros_like(own)


def centre_of(contrast: Image, piece: Mask) -> npt.NDArray[np.float64]:
    """Centre of contrast (x, y) of a piece; the canvas's middle if there is none."""
    if not piece.any():
        return np.full(2, (CANVAS_PX - 1) / 2)
    rows, columns = np.nonzero(piece)
    weight = np.maximum(contrast[piece], 1e-3).astype(np.float64)
    return np.asarray(np.array([columns @ weight, rows @ weight]) / weight.sum(), np.float64)


def cut(contrast: Image, x: float, y: float, side_px: int, wall_px: float) -> Image:
    """A square around (x, y) rounded, 0 beyond the canvas and beyond the wall."""
    left, top = (math.floor(at + 0.5) - side_px // 2 + side_px for at in (x, y))
    square = np.pad(contrast, side_px)[top : top + side_px, left : left + side_px].copy()
    beyond = round(abs(wall_px))
    if wall_px > 0:
        square[:beyond] = 0
    elif wall_px < 0:
        square[side_px - beyond :] = 0
    return square
