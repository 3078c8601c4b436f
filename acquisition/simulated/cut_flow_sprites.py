"""Cut blood cells for the simulated flow cell from a blood smear.

    python -m acquisition.simulated.cut_flow_sprites FOLDER           # of the bccd data; rewrites flow_sprites.npz here
    python -m acquisition.simulated.cut_flow_sprites FOLDER train F   # another split to another file, to learn from

Only cells of one split are shipped, from which the shipped classifier has learned nothing and by which nothing was chosen.
A cell's picture is what it takes from the green light that the smear lets through beside it, as stains and haemoglobin do.
"""

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]

FILE = Path(__file__).parent / "flow_sprites.npz"
SPLIT = "public_test"
KINDS = {"WBC": "wbc", "RBC": "rbc", "Platelets": "platelet"}
SIDE_PX, UM_PER_PX = 40, 0.5
RBC_UM = 7.5
"""Diameter of a red cell in a smear: the median box of them tells the images' scale, which nobody recorded."""
LEAST = {"wbc": 0.08, "rbc": 0.08, "platelet": 0.06}
"""Of the light taken away: less is no cell."""
SIZE_UM = {"wbc": (8.0, 18.5), "rbc": (5.0, 10.5), "platelet": (1.2, 4.5)}
"""Of a box."""
ROUND = {"wbc": 0.6, "rbc": 0.6, "platelet": 0.4}
"""Shorter by longer side of the box, at least."""
MOST_TOUCHED = {"wbc": 0.55, "rbc": 0.12, "platelet": 0.25}
"""Share of the surroundings of a box in which neighbours lie; white cells are rare, and told from red ones by colour."""
FILL = {"wbc": (0.6, 1.1), "rbc": (0.72, 1.15), "platelet": (0.35, 1.1)}
"""Share of the ellipse in a box that the cell fills."""
RAGGED_PX = {"wbc": 31, "rbc": 21, "platelet": 7}
"""What is narrower is cut off from the outline, or filled."""
SOLID = {"wbc": 0.95, "rbc": 0.955, "platelet": 0.88}
"""A cell fills at least this share of its convex hull: if not, a piece was bitten off, or it is two."""
STAINED = 0.1
"""A nucleus or a platelet takes so much more red than blue light away, a red cell the reverse."""
FEATHER_PX = 4.0
"""Of the smear's pixels: half of the width over which a picture ends."""


@dataclass(frozen=True)
class Smear:
    """One image and what is boxed in it."""

    absorbance: Image  # [H, W] 1 − light / light beside the cells
    blue: Image  # [H, W] how much more red than blue is taken away: nuclei and their plasma against red cells
    boxes: list[tuple[str, Box]]


def smears(folder: Path, split: str) -> Iterator[Smear]:
    """All images of a split."""
    boxes: dict[str, list[tuple[str, Box]]] = {}
    for row in _rows(folder / "boxes.csv"):
        box = (float(row["xmin"]), float(row["ymin"]), float(row["xmax"]), float(row["ymax"]))
        boxes.setdefault(row["file"], []).append((KINDS[row["cls"]], box))
    for row in _rows(folder / "splits.csv"):
        if row["split"] == split:
            image = cv2.imread(str(folder / "images" / row["file"]))
            assert image is not None, row["file"]
            blue, green, red = (absorbance(image[..., k]) for k in range(3))
            yield Smear(green, red - blue, boxes.get(row["file"], []))


def absorbance(channel: npt.NDArray[Any]) -> Image:
    """1 − light / background, which is what lies between the cells, carried on beneath them."""
    smooth = cv2.medianBlur(channel, 5).astype(np.float32)
    level = cv2.threshold(channel, 0, 255, cv2.THRESH_OTSU)[0]
    brightest = float(np.percentile(smooth, 98))
    free = cv2.erode((smooth > max(level, 0.88 * brightest)).astype(np.float32), np.ones((9, 9)))
    weight = cv2.GaussianBlur(free, (0, 0), 80) + 1e-4
    background = (cv2.GaussianBlur(free * smooth, (0, 0), 80) + 1e-4 * brightest) / weight
    return np.asarray(np.clip(1 - smooth / background, -0.2, 1), np.float32)


def cut(smear: Smear, kind: str, box: Box, px_per_um: float) -> Image | None:
    """The cell in a box on a square of its own; None if it is not whole, not alone or no such cell."""
    width, height = box[2] - box[0], box[3] - box[1]
    low, high = SIZE_UM[kind]
    if not low * px_per_um <= min(width, height) <= max(width, height) <= high * px_per_um:
        return None
    if min(width, height) < ROUND[kind] * max(width, height) or _at_rim(box, smear.absorbance.shape):
        return None
    mask = _cell(smear, kind, box)
    if mask is None:
        return None
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), FEATHER_PX)
    return _on_a_square(smear.absorbance * alpha, mask, px_per_um)


def _cell(smear: Smear, kind: str, box: Box) -> Mask | None:
    """Its pixels; None if neighbours hide it, or if it is of another kind."""
    stands_out = cv2.GaussianBlur(smear.absorbance, (0, 0), 2) > LEAST[kind]
    shape = stands_out.shape
    if np.mean(stands_out[_ellipse(box, 1.22, shape) & ~_ellipse(box, 1.12, shape)]) > MOST_TOUCHED[kind]:
        return None
    mask = stands_out & _ellipse(box, 1.06, shape)
    if kind == "wbc":
        mask &= cv2.GaussianBlur(smear.blue, (0, 0), 5) > 0
    mask = _largest(_smooth(_largest(mask), RAGGED_PX[kind]))
    low, high = FILL[kind]
    if _solidity(mask) < SOLID[kind]:
        return None
    if not low <= np.count_nonzero(mask) / (np.pi / 4 * (box[2] - box[0]) * (box[3] - box[1])) <= high:
        return None
    is_stained = float(np.percentile(smear.blue[mask], 90)) > STAINED
    return mask if is_stained == (kind != "rbc") else None


def _smooth(mask: Mask, by_px: int) -> Mask:
    """Without narrower dents and pieces."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (by_px, by_px))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    return np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, disc) > 0)


def _solidity(mask: Mask) -> float:
    """Area by that of its convex hull; 0 of nothing."""
    hull = cv2.convexHull(np.argwhere(mask).astype(np.int32)) if mask.any() else np.empty((0, 1, 2), np.int32)
    area = cv2.contourArea(hull) if len(hull) > 2 else 0.0
    return np.count_nonzero(mask) / area if area else 0.0


def _at_rim(box: Box, shape: tuple[int, ...]) -> bool:
    return min(box[0], box[1]) < 4 or box[2] > shape[1] - 4 or box[3] > shape[0] - 4


def _ellipse(box: Box, factor: float, shape: tuple[int, ...]) -> Mask:
    """Inside the box, touching its sides, then enlarged."""
    middle = round((box[0] + box[2]) / 2), round((box[1] + box[3]) / 2)
    axes = round(factor * (box[2] - box[0]) / 2), round(factor * (box[3] - box[1]) / 2)
    return np.asarray(cv2.ellipse(np.zeros(shape, np.uint8), middle, axes, 0, 0, 360, 1, cv2.FILLED) > 0)


def _largest(mask: Mask) -> Mask:
    """The largest piece, without holes: red cells are pale in their middle."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    if outlines:
        cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled > 0


def _on_a_square(picture: Image, mask: Mask, px_per_um: float) -> Image:
    """The mask's centre in the middle, pixels averaged to UM_PER_PX."""
    y, x = np.argwhere(mask).mean(axis=0)
    side = SIDE_PX * 4
    scale = UM_PER_PX / 4 * px_per_um  # pixels of the smear for one of four times as fine a square
    corner = (x - scale * (side - 1) / 2, y - scale * (side - 1) / 2)
    to_smear = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
    fine = cv2.warpAffine(picture, to_smear, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(cv2.resize(fine, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.float32)


def cut_all(folder: Path, split: str) -> dict[str, list[Image]]:
    """All clean cells of a split by kind."""
    px_per_um = _px_per_um(folder)
    found: dict[str, list[Image]] = {kind: [] for kind in KINDS.values()}
    for smear in smears(folder, split):
        for kind, box in smear.boxes:
            sprite = cut(smear, kind, box, px_per_um)
            if sprite is not None:
                found[kind].append(sprite)
    return found


def _px_per_um(folder: Path) -> float:
    sides = [
        (float(row["xmax"]) - float(row["xmin"]), float(row["ymax"]) - float(row["ymin"]))
        for row in _rows(folder / "boxes.csv")
        if row["cls"] == "RBC"
    ]
    return float(np.median(sides)) / RBC_UM


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def main() -> None:
    folder, split, path = (*sys.argv[1:], *(("", SPLIT, str(FILE))[len(sys.argv) - 1 :]))
    found = cut_all(Path(folder), split)
    sprites = np.stack([sprite for of_kind in found.values() for sprite in of_kind])
    np.savez_compressed(
        path,
        absorbance=np.rint(255 * np.clip(sprites, 0, 1)).astype(np.uint8),
        kind=np.array([kind for kind, of_kind in found.items() for _ in of_kind]),
        um_per_px=UM_PER_PX,
    )
    for kind, of_kind in found.items():
        print(f"{kind}: {len(of_kind)}")


if __name__ == "__main__":
    main()
