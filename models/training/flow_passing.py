"""What passes a camera in a channel, made from sprites: single cells, doublets, debris, each with what goes by beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from models.training.data import DataError

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Factor = Annotated[float, Meta(ge=1)]

CANVAS_PX = 80
"""Side of the square in which anything is drawn: the largest doublet in any direction."""
DOUBLET, DEBRIS = "doublet", "debris"


class PassingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What passes, and how much it differs from the pictures that it is made from."""

    size: Factor = 1.1
    """Cells are up to so much larger or smaller."""
    contrast: Factor = 1.25
    """And take away up to so much more or less light."""
    blur_px: NotNegative = 0.9
    """Out of focus, up to this standard deviation."""
    pairs: dict[str, NotNegative]
    """Two kinds of cells, as "wbc+rbc" → how often they make a doublet, against the others."""
    overlap: tuple[float, float] = (0.75, 1.05)
    """From … to: distance of a doublet's two middles in sums of their radii."""
    debris_px: tuple[float, float] = (1.2, 5.5)
    """From … to: radius of debris."""
    debris_contrast: tuple[float, float] = (0.1, 0.7)
    neighbour_share: Share = 0.25
    """Looks in which another cell, doublet or speck goes by so near that a part of it may be in the crop."""
    neighbour_gap_px: tuple[float, float] = (6.0, 16.0)
    """From … to: free pixels between both, before motion smears them; nearer ones would be found as one cell."""


@dataclass(frozen=True)
class Passing:
    """Something on its way, and a neighbour; both share the light that they take away, `[CANVAS_PX, CANVAS_PX]`."""

    picture: Image
    neighbour: Image | None
    away_px: tuple[float, float] = (0.0, 0.0)
    """From the one to the neighbour, x first."""


@dataclass(frozen=True)
class Sprites:
    """Single cells by kind."""

    of_kind: dict[str, list[Image]]

    def require(self, kinds: Sequence[str], where: str) -> None:
        """Raises DataError if there is none of a kind."""
        for kind in kinds:
            if not self.of_kind.get(kind):
                raise DataError(
                    f'{where}: no clean cell of kind "{kind}" was found; the classes need {", ".join(kinds)}'
                )


def singles_of(classes: Sequence[str]) -> list[str]:
    """Classes that sprites are of; the others are made from them, or from nothing."""
    return [name for name in classes if name not in (DOUBLET, DEBRIS)]


def passing(name: str, sprites: Sprites, settings: PassingSettings, rng: np.random.Generator) -> Passing:
    """Something of a class, with everything drawn that stays the same from look to look."""
    picture = drawn(name, sprites, settings, rng)
    if rng.random() >= settings.neighbour_share:
        return Passing(picture, None)
    other = (*sprites.of_kind, DOUBLET, DEBRIS)[rng.integers(len(sprites.of_kind) + 2)]
    neighbour = drawn(other, sprites, settings, rng)
    away, angle = (rng.uniform(*settings.neighbour_gap_px), rng.uniform(0, 2 * math.pi))
    away += reach_px(picture) + reach_px(neighbour)
    return Passing(picture, neighbour, (away * math.cos(angle), away * math.sin(angle)))


def drawn(name: str, sprites: Sprites, settings: PassingSettings, rng: np.random.Generator) -> Image:
    """Share of the light that it takes away, in the middle of a canvas."""
    if name == DEBRIS:
        picture = speck(settings, rng)
    elif name == DOUBLET:
        picture = doublet(sprites, settings, rng)
    else:
        picture = single(name, sprites, settings, rng)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), max(0.05, rng.uniform(0, settings.blur_px))), 0, 0.98)


def single(name: str, sprites: Sprites, settings: PassingSettings, rng: np.random.Generator) -> Image:
    """One cell, turned, mirrored or not."""
    pool = sprites.of_kind[name]
    sprite = pool[rng.integers(len(pool))]
    size, contrast = (math.exp(rng.uniform(-1, 1) * math.log(most)) for most in (settings.size, settings.contrast))
    sprite = sprite[:, ::-1] if rng.random() < 0.5 else sprite
    return placed(np.ascontiguousarray(sprite), rng.uniform(0, 2 * math.pi), size) * np.float32(contrast)


def doublet(sprites: Sprites, settings: PassingSettings, rng: np.random.Generator) -> Image:
    """Two cells that touch or overlap; where they do, light has to pass both."""
    names = list(settings.pairs)
    weights = np.array(list(settings.pairs.values()))
    pair = names[rng.choice(len(names), p=weights / weights.sum())]
    one, other = (single(name, sprites, settings, rng) for name in pair.split("+"))
    apart = rng.uniform(*settings.overlap) * (half_width_px(one) + half_width_px(other))
    both = 1 - (1 - moved(one, -apart / 2, 0)) * (1 - moved(other, apart / 2, 0))
    return placed(both.astype(np.float32), rng.uniform(0, 2 * math.pi), 1.0)


def speck(settings: PassingSettings, rng: np.random.Generator) -> Image:
    """Debris: an irregular splinter, its outline a noisy ellipse."""
    radius, lean = rng.uniform(*settings.debris_px), rng.uniform(1, 3)
    half = CANVAS_PX // 2
    y, x = np.mgrid[-half:half, -half:half].astype(np.float32)
    hills = cv2.GaussianBlur(rng.standard_normal((CANVAS_PX, CANVAS_PX), np.float32), (0, 0), max(1.0, radius / 3))
    rough = rng.uniform(0.1, 0.6) * hills / hills.std()
    shape = np.clip(1.5 * (1.2 - np.hypot(x, y * lean) / radius) + rough, 0, 1) * (np.hypot(x, y * lean) < 1.4 * radius)
    return placed(shape * np.float32(rng.uniform(*settings.debris_contrast)), rng.uniform(0, 2 * math.pi), 1.0)


def placed(picture: Image, angle_rad: float, size: float, x_px: float = 0.0, y_px: float = 0.0) -> Image:
    """On a canvas, turned about its middle, which comes to lie at (x_px, y_px) from the canvas's."""
    cos, sin = math.cos(angle_rad) / size, math.sin(angle_rad) / size
    linear = np.array([[cos, sin], [-sin, cos]])
    middle = np.array([(picture.shape[1] - 1) / 2, (picture.shape[0] - 1) / 2])
    there = (CANVAS_PX - 1) / 2 + np.array([x_px, y_px])
    matrix = np.column_stack([linear, middle - linear @ there])
    how: Any = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, (CANVAS_PX, CANVAS_PX), flags=how), np.float32)


def moved(picture: Image, x_px: float, y_px: float) -> Image:
    """Shifted on its canvas."""
    return placed(picture, 0.0, 1.0, x_px, y_px)


def half_width_px(picture: Image) -> float:
    """Of what it shows along x, above a quarter of its darkest pixel."""
    return float(np.count_nonzero(picture.max(axis=0) > 0.25 * picture.max())) / 2


def reach_px(picture: Image) -> float:
    """From the canvas's middle to the farthest pixel that can be told from the background."""
    y, x = np.nonzero(picture > 0.04)
    return float(np.hypot(x - (CANVAS_PX - 1) / 2, y - (CANVAS_PX - 1) / 2).max(initial=1.0))
