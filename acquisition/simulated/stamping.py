"""Small pictures, turned and stretched, put on an image: the loop over pixels in which every cell is drawn."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from acquisition.simulated.biology import Floats, Ints
from acquisition.simulated.compiling import compiled
from acquisition.simulated.nuclei import Nuclei

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
Sprites = npt.NDArray[np.float32]

FINE, MOST_SAMPLES = 2.0, 4
"""An image's pixel that is more than so many of a sprite's wide is sampled at several places along each axis."""


@dataclass(frozen=True)
class Sheet:
    """Sprites `[K, S, S]` with a dark rim, and how far from its middle anything of each lies."""

    sprites: Sprites
    reach_px: Floats  # [K]

    @classmethod
    def of(cls, sprites: Sprites) -> "Sheet":
        rimmed = np.pad(sprites, ((0, 0), (1, 1), (1, 1)))
        y_px, x_px = np.indices(rimmed.shape[1:]) - (rimmed.shape[1] - 1) / 2
        away_px = np.where(rimmed > 1e-3 * rimmed.max(axis=(1, 2), keepdims=True), np.hypot(x_px, y_px), 0.0)
        return cls(rimmed, np.minimum(away_px.max(axis=(1, 2)) + 1, (rimmed.shape[1] - 1) / 2 - 1e-6))


class Atlas(Protocol):
    """Pictures of nuclei, and which of them each nucleus is to be drawn with."""

    light: Sheet
    """The pixels of each sum to 1."""
    masks: Sheet
    """1 where the nucleus is."""
    sharp_um: float
    """Standard deviation of the blur that the pictures already have."""

    def stamps(self, nuclei: Nuclei) -> "Stamps":
        """One for each nucleus, or several."""


@dataclass(frozen=True)
class Stamps:
    """What is to be put where; row i of every array is the same stamp."""

    sprite: Ints  # [M]
    xy_um: Floats  # [M, 2] of the sprite's middle
    um_per_px: Floats  # [M, 2] size of the sprite's pixels along its own axes
    angle_rad: Floats  # [M] of its first axis on the stage
    light_um2: Floats  # [M] all its light: brightness × area
    cell: Ints  # [M] row among the nuclei

    def __getitem__(self, rows: npt.NDArray[Any]) -> "Stamps":
        return Stamps(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def in_pixels(self, corner_um: tuple[float, float], um_per_px: float) -> tuple[Floats, Floats]:
        """Middles `[M, 2]` on an image whose first pixel lies at `corner_um`, and ways `[M, 2, 2]` from its to a sprite's
        pixels."""
        cos, sin = np.cos(self.angle_rad), np.sin(self.angle_rad)
        turned = np.stack([np.stack([cos, sin], axis=1), np.stack([-sin, cos], axis=1)], axis=1)
        return (self.xy_um - corner_um) / um_per_px, turned * (um_per_px / self.um_per_px)[:, :, None]


def add_light(canvas: Image, stamps: Stamps, sheet: Sheet, corner_um: tuple[float, float], um_per_px: float) -> None:
    """Add the light of all stamps to `canvas[H, W]`."""
    xy_px, ways = stamps.in_pixels(corner_um, um_per_px)
    amounts = stamps.light_um2 / stamps.um_per_px.prod(axis=1)
    samples = np.clip(np.ceil(um_per_px / stamps.um_per_px.min(axis=1, initial=np.inf) / FINE), 1, MOST_SAMPLES)
    reach_px = sheet.reach_px[stamps.sprite]
    _add_light(canvas, sheet.sprites, stamps.sprite, xy_px, ways, reach_px, amounts, samples.astype(np.int64))


def put_labels(
    canvas: Labels, stamps: Stamps, labels: Ints, masks: Sheet, corner_um: tuple[float, float], um_per_px: float
) -> None:
    """Write each stamp's label where its mask is; later ones lie on top."""
    xy_px, ways = stamps.in_pixels(corner_um, um_per_px)
    _put_labels(canvas, masks.sprites, stamps.sprite, xy_px, ways, masks.reach_px[stamps.sprite], labels)


@compiled
def _box(way: Floats, xy_px: Floats, reach_px: float, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """First and last row and column (exclusive) of an image that a sprite's disc touches: it is an ellipse there."""
    determinant = abs(way[0, 0] * way[1, 1] - way[0, 1] * way[1, 0])
    half_x = reach_px * math.hypot(way[1, 1], way[0, 1]) / determinant + 0.5
    half_y = reach_px * math.hypot(way[1, 0], way[0, 0]) / determinant + 0.5
    top, bottom = max(0, math.ceil(xy_px[1] - half_y)), min(shape[0], math.floor(xy_px[1] + half_y) + 1)
    left, right = max(0, math.ceil(xy_px[0] - half_x)), min(shape[1], math.floor(xy_px[0] + half_x) + 1)
    return top, bottom, left, right


@compiled
def _between(sprite: Image, u: float, v: float) -> float:
    """Between four pixels."""
    x, y = int(u), int(v)
    right, below = np.float32(u - x), np.float32(v - y)
    upper = sprite[y, x] + right * (sprite[y, x + 1] - sprite[y, x])
    lower = sprite[y + 1, x] + right * (sprite[y + 1, x + 1] - sprite[y + 1, x])
    value: float = upper + below * (lower - upper)
    return value


@compiled
def _add_light(
    canvas: Image, sprites: Sprites, chosen: Ints, xy_px: Floats, ways: Floats, reach_px: Floats, amounts: Floats,
    samples: Ints,
) -> None:  # fmt: skip
    middle = (sprites.shape[1] - 1) / 2
    for i in range(len(chosen)):
        sprite, n, far2 = sprites[chosen[i]], samples[i], reach_px[i] ** 2
        (a, b), (c, d) = (ways[i, 0, 0], ways[i, 0, 1]), (ways[i, 1, 0], ways[i, 1, 1])
        top, bottom, left, right = _box(ways[i], xy_px[i], reach_px[i], canvas.shape)
        amount = np.float32(amounts[i] / (n * n))
        for y in range(top, bottom):
            for j in range(n):
                dy = y - xy_px[i, 1] + (j + 0.5) / n - 0.5
                for x in range(left, right):
                    light = np.float32(0)
                    for k in range(n):
                        dx = x - xy_px[i, 0] + (k + 0.5) / n - 0.5
                        u, v = a * dx + b * dy, c * dx + d * dy
                        if u * u + v * v < far2:
                            light += _between(sprite, middle + u, middle + v)
                    canvas[y, x] += amount * light


@compiled
def _put_labels(
    canvas: Labels, masks: Sprites, chosen: Ints, xy_px: Floats, ways: Floats, reach_px: Floats, labels: Ints
) -> None:
    middle = (masks.shape[1] - 1) / 2
    for i in range(len(chosen)):
        way, mask, far2 = ways[i], masks[chosen[i]], reach_px[i] ** 2
        top, bottom, left, right = _box(way, xy_px[i], reach_px[i], canvas.shape)
        for y in range(top, bottom):
            for x in range(left, right):
                dx, dy = x - xy_px[i, 0], y - xy_px[i, 1]
                u, v = way[0, 0] * dx + way[0, 1] * dy, way[1, 0] * dx + way[1, 1] * dy
                if u * u + v * v < far2 and _between(mask, middle + u, middle + v) > 0.5:
                    canvas[y, x] = labels[i]
