"""Cut the sprites of `appearance = "real"` from the crops of mitocheck_phenotypes.

    python -m acquisition.simulated.cut_sprites FOLDER     # the folder of crops.npz; rewrites sprites.npz beside this file

Only crops of one split are taken, from which the shipped classifier has learned nothing and by which nothing was chosen.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.simulated.sprites import FILE, SIDE_PX

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SPLIT = "public_test"
KINDS = {
    "interphase": ("Interphase", "Large", "Elongated"), "prometaphase": ("Prometaphase",),
    "metaphase": ("Metaphase",), "anaphase": ("Anaphase",), "dead": ("Apoptosis",),
    "rare": ("Polylobed", "Binuclear", "Grape"),
}  # fmt: skip
"""What a phase is shown with. MetaphaseAlignment is left out: most of its spindles have three poles."""
AREA_PX = {
    "interphase": (250, 1300), "prometaphase": (90, 500), "metaphase": (60, 260), "anaphase": (35, 200), "dead": (40, 420),
    "rare": (450, 1600),
}  # fmt: skip
MOST = {"interphase": 80, "prometaphase": 60, "metaphase": 20, "anaphase": 20, "dead": 40, "rare": 45}
FRINGE_PX = {"interphase": 2, "prometaphase": 6, "metaphase": 4, "anaphase": 3, "dead": 5, "rare": 2}
"""So far beyond the mask light still belongs to the nucleus: packed chromosomes are brighter, and some lie apart."""

CHROMOSOME_PX = 40
"""Smaller pieces are no cell of their own."""


@dataclass(frozen=True)
class Sprite:
    """One nucleus in the middle of a square, nothing else in it."""

    light: Image  # [S, S]
    mask: Mask  # [S, S]
    angle_rad: float
    """Of its long axis; of an anaphase plate so that +90° leads to its pole."""
    crop: int
    """Place in crops.npz."""


def cut(crop: npt.NDArray[Any], kind: str, place: int) -> Sprite | None:
    """The nucleus in a crop's middle; None if it cannot be told from its neighbours or is not whole."""
    smooth = np.asarray(cv2.GaussianBlur(crop.astype(np.float32), (0, 0), 0.8), np.float32)
    parts, n = _parts(smooth)
    mask = _middle_one(parts, n, several=kind == "dead")
    low, high = AREA_PX[kind]
    if mask is None or not low <= np.count_nonzero(mask) <= high or _touches_rim(mask):
        return None
    background = float(np.median(crop[cv2.dilate((parts > 0).astype(np.uint8), np.ones((7, 7))) == 0]))
    neighbours = _large(parts, n) & ~mask
    if np.any(neighbours & _widened(mask, 2)):
        return None  # one so close that nobody can tell whose light it is
    near = _widened(mask, FRINGE_PX[kind]) & ~_widened(neighbours, 2)
    light = np.where(near, np.clip(crop - background, 0, None), 0).astype(np.float32)
    light, mask = _centred(light, mask)
    if np.count_nonzero(_rim(light)):
        return None
    return Sprite(light / light.max(), mask, _angle_rad(mask), place)


def _parts(smooth: Image) -> tuple[npt.NDArray[np.int32], int]:
    """What is brighter than Otsu's threshold around the middle, in separate pieces."""
    middle = smooth[10:-10, 10:-10]
    scaled = np.clip(smooth / middle.max() * 255, 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(scaled[8:-8, 8:-8], 0, 255, cv2.THRESH_OTSU)
    binary = (scaled > 0.8 * level).astype(np.uint8)
    n, parts = cv2.connectedComponents(binary, connectivity=4)
    return parts, n


def _middle_one(parts: npt.NDArray[np.int32], n: int, several: bool) -> Mask | None:
    """The piece in the middle, without holes; of a dead nucleus all pieces near it."""
    y, x = np.indices(parts.shape) - (parts.shape[0] - 1) / 2
    away = [np.hypot(x, y)[parts == k].min() for k in range(1, n)]
    if not away or min(away) > 4:
        return None
    chosen = parts == 1 + int(np.argmin(away))
    if several:
        chosen |= np.isin(parts, [k for k in range(1, n) if np.hypot(x, y)[parts == k].max() < 16])
    filled = chosen.astype(np.uint8)
    contours, _ = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    return np.asarray(filled > 0)


def _large(parts: npt.NDArray[np.int32], n: int) -> Mask:
    """Pieces that are no lone chromosome of the nucleus in the middle."""
    return np.isin(parts, [k for k in range(1, n) if np.count_nonzero(parts == k) >= CHROMOSOME_PX])


def _widened(mask: Mask, by_px: int) -> Mask:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by_px + 1,) * 2)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc) > 0)


def _centred(light: Image, mask: Mask) -> tuple[Image, Mask]:
    y, x = np.argwhere(mask).mean(axis=0)
    left, top = (SIDE_PX + round(at - (SIDE_PX - 1) / 2) for at in (x, y))
    part = slice(top, top + SIDE_PX), slice(left, left + SIDE_PX)
    return np.pad(light, SIDE_PX)[part], np.pad(mask, SIDE_PX)[part]


def _angle_rad(mask: Mask) -> float:
    """Of the long axis, turned so that the ends of a bent one point to its negative short axis."""
    y, x = np.argwhere(mask).T.astype(float)
    x, y = x - x.mean(), y - y.mean()
    angle = 0.5 * math.atan2(2 * float(np.mean(x * y)), float(np.mean(x * x) - np.mean(y * y)))
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return angle if np.mean(across * (along**2 - np.mean(along**2))) <= 0 else angle + math.pi


def _touches_rim(mask: Mask) -> bool:
    return bool(_rim(mask.astype(np.float32)).any())


def _rim(image: Image) -> Image:
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])


def cut_all(folder: Path) -> dict[str, list[Sprite]]:
    """The first sprites of each kind that are whole, as they come."""
    with np.load(folder / "crops.npz", allow_pickle=False) as stored:
        images, labels, names, split = (stored[name] for name in ("images", "labels", "class_names", "split"))
    found: dict[str, list[Sprite]] = {}
    for kind, classes in KINDS.items():
        wanted = np.isin(names[labels], classes) & (split == SPLIT)
        sprites = [cut(images[i], kind, int(i)) for i in np.flatnonzero(wanted)]
        found[kind] = _spread([sprite for sprite in sprites if sprite is not None], MOST[kind])
    return found


def _spread(sprites: list[Sprite], most: int) -> list[Sprite]:
    """At most so many, evenly from all."""
    return [
        sprites[i] for i in np.unique(np.linspace(0, len(sprites) - 1, min(most, len(sprites))).round().astype(int))
    ]


def main() -> None:
    found = cut_all(Path(sys.argv[1]))
    sprites = [sprite for kind in found.values() for sprite in kind]
    np.savez_compressed(
        FILE,
        light=np.stack([np.rint(sprite.light * 255) for sprite in sprites]).astype(np.uint8),
        mask=np.packbits(np.stack([sprite.mask for sprite in sprites]), axis=-1),
        angle_rad=np.array([sprite.angle_rad for sprite in sprites], np.float32),
        crop=np.array([sprite.crop for sprite in sprites], np.int32),
        kind=np.array([kind for kind, of_kind in found.items() for _ in of_kind]),
    )
    for kind, of_kind in found.items():
        print(f"{kind}: {len(of_kind)}")


if __name__ == "__main__":
    main()
