"""Drawn chromatin: interphase texture, and the shapes through which it goes in mitosis and in death.

Every sprite fills about the unit disc; stretched to a nucleus's half axes it becomes that nucleus. A metaphase plate is a
disc stretched to a bar, anaphase two of them that part.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter

from acquisition.simulated import biology as bio
from acquisition.simulated.biology import Floats, Ints
from acquisition.simulated.nuclei import Nuclei
from acquisition.simulated.random_streams import random_stream
from acquisition.simulated.stamping import Image, Sheet, Stamps

SIDE_PX, RADIUS_PX = 44, 16.0
"""A sprite, and the unit disc in it."""
VARIANTS = 12
PROPHASE_STAGES = 3
EDGE_PX = 1.6
"""Half of the way from light to dark at a nucleus's edge: it is round, not a coin."""
_Y, _X = (np.indices((SIDE_PX, SIDE_PX)) - (SIDE_PX - 1) / 2) / RADIUS_PX


class DrawnAtlas:
    """Sprites that are drawn once; the same in every world."""

    sharp_um = 0.0

    def __init__(self) -> None:
        rng = random_stream(0, "shapes")
        kinds: list[tuple[str, Callable[[np.random.Generator], Image]]] = [
            ("interphase", interphase),
            *((f"prophase {stage}", _prophase(stage / PROPHASE_STAGES)) for stage in range(1, PROPHASE_STAGES + 1)),
            ("prometaphase", prometaphase), ("metaphase", metaphase), ("anaphase", anaphase), ("telophase", telophase),
            ("shrunken", shrunken), ("fragments", fragments), ("lobes", lobes),
        ]  # fmt: skip
        self._first = {name: place * VARIANTS for place, (name, _) in enumerate(kinds)}
        drawn = np.stack([draw(rng) for _, draw in kinds for _ in range(VARIANTS)])
        self.masks = Sheet.of(np.stack([_filled(sprite) for sprite in drawn]))
        self.light = Sheet.of(drawn / drawn.sum(axis=(1, 2), keepdims=True))

    def stamps(self, nuclei: Nuclei) -> Stamps:
        """One for each nucleus."""
        return Stamps(
            sprite=self._sprites(nuclei), xy_um=nuclei.xy_um, um_per_px=nuclei.semi_um / RADIUS_PX,
            angle_rad=nuclei.angle_rad, light_um2=nuclei.light_um2, cell=np.arange(len(nuclei.id)),
        )  # fmt: skip

    def _sprites(self, nuclei: Nuclei) -> Ints:
        variant = nuclei.id * 7919 % VARIANTS
        stage = np.minimum((nuclei.share * PROPHASE_STAGES).astype(np.int64), PROPHASE_STAGES - 1)
        first = np.full(len(nuclei.id), self._first["interphase"])
        for phase, name in (
            (bio.PROMETAPHASE, "prometaphase"), (bio.METAPHASE, "metaphase"), (bio.ANAPHASE, "anaphase"),
        ):  # fmt: skip
            first[nuclei.phase == phase] = self._first[name]
        first = np.where(nuclei.phase == bio.PROPHASE, self._first["prophase 1"] + stage * VARIANTS, first)
        first[(nuclei.phase == bio.TELOPHASE) & (nuclei.share < 0.6)] = self._first["telophase"]
        dead = nuclei.phase == bio.DEAD
        first[dead] = np.where(nuclei.share[dead] < 0.3, self._first["shrunken"], self._first["fragments"])
        first[nuclei.rare] = self._first["lobes"]
        sprites: Ints = first + variant
        return sprites


# --- one sprite each, [S, S], light of any scale ---------------------------------------------------------------------


def interphase(rng: np.random.Generator) -> Image:
    """A disc, not quite round, of fine chromatin, with some dark nucleoli."""
    return _body(rng, 0.04) * _grain(rng, 1.2, 0.17) * _grain(rng, 3.0, 0.12) * _nucleoli(rng, 0.4)


def prometaphase(rng: np.random.Generator) -> Image:
    """A clump with a lumpy rim, from which chromosomes stand out."""
    light = _body(rng, 0.15, 3, 7)
    for away in 0.7 * np.sqrt(rng.random(24)):
        along = rng.uniform(0, 2 * math.pi)
        light += np.exp(-((_X - away * math.cos(along)) ** 2 + (_Y - away * math.sin(along)) ** 2) / 0.18**2)
    return np.asarray(gaussian_filter(light, 0.5), np.float32)


def metaphase(rng: np.random.Generator) -> Image:
    """A bar across the unit disc, bumpy along both sides."""
    return _bar(rng, curved=rng.uniform(-0.1, 0.1), bumps=0.07)


def anaphase(rng: np.random.Generator) -> Image:
    """A plate that is drawn along by its middle: its ends trail behind."""
    return _bar(rng, curved=rng.uniform(-0.75, -0.35), bumps=0.06)


def telophase(rng: np.random.Generator) -> Image:
    """Packed and smooth."""
    return _body(rng, 0.05) * _grain(rng, 2.0, 0.15)


def shrunken(rng: np.random.Generator) -> Image:
    """Dead: chromatin packed into few smooth balls that touch."""
    return _balls(rng, n=int(rng.integers(1, 3)), spread=0.25, sizes=(0.55, 0.75))


def fragments(rng: np.random.Generator) -> Image:
    """Dead for longer: balls of all sizes, apart."""
    return _balls(rng, n=int(rng.integers(4, 8)), spread=0.85, sizes=(0.16, 0.4))


def lobes(rng: np.random.Generator) -> Image:
    """A nucleus in several rounded parts."""
    n, turn = int(rng.integers(3, 6)), rng.uniform(0, 2 * math.pi)
    parts = []
    for k in range(n):
        along = turn + 2 * math.pi * k / n + rng.normal(0, 0.2)
        x, y, radius = 0.48 * math.cos(along), 0.48 * math.sin(along), rng.uniform(0.45, 0.56)
        parts.append(_soft(radius - np.hypot(_X - x, _Y - y)))
    return np.asarray(np.max(parts, axis=0) * _grain(rng, 1.3, 0.16) * _nucleoli(rng, 0.3), np.float32)


def _prophase(stage: float) -> Callable[[np.random.Generator], Image]:
    """Threads that become coarser while the nucleoli fade."""

    def prophase(rng: np.random.Generator) -> Image:
        return _body(rng, 0.05) * _grain(rng, 1.3, 0.2 + 0.4 * stage) * _nucleoli(rng, 0.4 * (1 - stage))

    return prophase


def _body(rng: np.random.Generator, uneven: float, lowest: int = 2, highest: int = 5) -> Image:
    """A disc whose rim waves so many times around."""
    angle = np.arctan2(_Y, _X)
    rim = np.ones_like(angle)
    for n in range(lowest, highest + 1):
        rim += uneven / math.sqrt(n - 1) * rng.normal() * np.cos(n * angle + rng.uniform(0, 2 * math.pi))
    return _soft(rim - np.hypot(_X, _Y))


def _bar(rng: np.random.Generator, curved: float, bumps: float) -> Image:
    """A long disc bent along its length, its sides uneven."""
    wave = gaussian_filter(rng.normal(size=(2, SIDE_PX)), (0, 1.6), mode="wrap") * 2.2
    half = np.sqrt(np.clip(1 - np.abs(_X) ** 4, 0, None))
    upper, lower = half * (1 + bumps * wave[0]), half * (1 + bumps * wave[1])
    bent = _Y - curved * (_X**2 - 0.35)
    inside = np.minimum(upper - bent, lower + bent)
    return _soft(np.minimum(inside, 1.05 - np.abs(_X))) * _grain(rng, 1.5, 0.2)


def _balls(rng: np.random.Generator, n: int, spread: float, sizes: tuple[float, float]) -> Image:
    light = np.zeros_like(_X)
    for _ in range(n):
        away, along, radius = spread * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi), rng.uniform(*sizes)
        depth = radius**2 - (_X - away * math.cos(along)) ** 2 - (_Y - away * math.sin(along)) ** 2
        light += np.sqrt(np.clip(depth, 0, None))
    return np.asarray(gaussian_filter(light, 0.7), np.float32)


def _filled(sprite: Image) -> Image:
    """1 where it is chromatin, and in the gaps that it surrounds."""
    there = gaussian_filter(sprite, 0.5) > 0.3 * np.quantile(sprite[sprite > 0], 0.9)
    return np.asarray(binary_fill_holes(there), np.float32)


def _soft(depth: Floats) -> Image:
    """Light at so many radii inside an edge."""
    inside = np.clip(0.5 + depth * RADIUS_PX / (2 * EDGE_PX), 0.0, 1.0)
    return np.asarray(inside * inside * (3 - 2 * inside), np.float32)


def _grain(rng: np.random.Generator, size_px: float, contrast: float) -> Image:
    """Blotches of one size around 1, never dark."""
    noise = gaussian_filter(rng.normal(size=_X.shape), size_px)
    return np.asarray(np.exp(contrast * noise / noise.std()), np.float32)


def _nucleoli(rng: np.random.Generator, darker: float) -> Image:
    light = np.ones_like(_X)
    for _ in range(int(rng.integers(1, 4))):
        away, along, radius = 0.55 * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi), rng.uniform(0.13, 0.24)
        x, y = away * math.cos(along), away * math.sin(along)
        light *= 1 - darker * np.exp(-((_X - x) ** 2 + (_Y - y) ** 2) / radius**2)
    return np.asarray(light, np.float32)
