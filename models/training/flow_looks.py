"""Looks at what passes: the camera's strips around one cell, and the crop that the finder of a sort cuts from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from models.training.flow_passing import CANVAS_PX, Image, NotNegative, Passing, Share, placed

Positive = Annotated[float, Meta(gt=0)]
TOLD_APART = 5.0 / 3
"""Standard deviations of a pixel's noise that the mean of 3 × 3 must be off: as the finder has it by default."""


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


def camera(settings: LookSettings, side_px: int, rng: np.random.Generator) -> Camera:
    """Drawn at random."""
    wall = rng.uniform(2, side_px / 3) * rng.choice((-1, 1)) if rng.random() < settings.wall_share else 0.0
    return Camera(
        rng.uniform(*settings.background), rng.uniform(*settings.counts_per_e), rng.uniform(*settings.read_noise),
        rng.uniform(*settings.smear_px), rng.normal(0, settings.background_error), wall,
    )  # fmt: skip


def crops_of(seen: Passing, settings: LookSettings, side_px: int, n_looks: int, rng: np.random.Generator) -> Image:
    """Looks at one cell, one after the other, `[n_looks, side_px, side_px]` contrast."""
    through, angle_rad = camera(settings, side_px, rng), 0.0
    crops = []
    for _ in range(n_looks):
        crops.append(crop(seen, through, angle_rad, settings.jitter_px, side_px, rng))
        angle_rad += math.radians(settings.turn_deg) * rng.standard_normal()
    return np.stack(crops)


def crop(
    seen: Passing, through: Camera, angle_rad: float, jitter_px: float, side_px: int, rng: np.random.Generator
) -> Image:
    """One look: light, smear and noise around the cell, cut where the finder takes its centre to be."""
    x_px, y_px = rng.uniform(-0.5, 0.5, 2)
    passed = 1 - placed(seen.picture, angle_rad, 1.0, x_px, y_px)
    if seen.neighbour is not None:
        passed *= 1 - placed(seen.neighbour, angle_rad, 1.0, x_px + seen.away_px[0], y_px + seen.away_px[1])
    light = smeared(passed, through.smear_px) * np.float32(through.background)
    sd = np.sqrt(light * through.counts_per_e + through.read_noise**2, dtype=np.float32)
    counts = np.clip(np.rint(light + sd * rng.standard_normal(light.shape, np.float32)), 0, 255)
    contrast = np.asarray(1 - counts / (through.background * (1 + through.background_error)), np.float32)
    noise = math.sqrt(through.counts_per_e * through.background + through.read_noise**2) / through.background
    x, y = found_centre(contrast, max(TOLD_APART * noise, 0.01)) + rng.uniform(-jitter_px, jitter_px, 2)
    return cut(contrast, x, y, side_px, through.wall_px)


def smeared(passed: Image, smear_px: float) -> Image:
    """Averaged along x over the way of an exposure."""
    if smear_px < 0.05:
        return passed
    half = smear_px / 2
    n = math.ceil(half)
    at = np.arange(-n, n + 1)
    kernel = np.clip(np.minimum(at + 0.5, half) - np.maximum(at - 0.5, -half), 0, None)
    return np.asarray(cv2.filter2D(passed, -1, (kernel / kernel.sum())[None], borderType=cv2.BORDER_REPLICATE))


def found_centre(contrast: Image, threshold: float) -> npt.NDArray[np.float64]:
    """Centre of contrast of the piece nearest to the middle (x, y); the middle if nothing stands out."""
    middle = (CANVAS_PX - 1) / 2
    covered = (cv2.blur(contrast, (3, 3)) > threshold).astype(np.uint8)
    n, pieces = cv2.connectedComponents(covered, connectivity=8)
    y, x = np.nonzero(pieces)
    if n < 2:
        return np.array([middle, middle])
    mine = pieces == pieces[y, x][np.argmin(np.hypot(x - middle, y - middle))]
    rows, columns = np.nonzero(mine)
    weight = np.maximum(contrast[mine], 1e-3).astype(np.float64)
    return np.array([columns @ weight, rows @ weight]) / weight.sum()


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


def looks_at(
    passings: Sequence[Passing], settings: LookSettings, side_px: int, n_looks: int, rng: np.random.Generator
) -> Image:
    """`[N, n_looks, side_px, side_px]`"""
    return np.stack([crops_of(each, settings, side_px, n_looks, rng) for each in passings])
