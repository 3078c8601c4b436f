"""Data folders with drawn cells, for tests of training: bright discs on noise."""

import csv
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

SHAPE = (96, 112)
SPLITS = {"a.png": "train", "b.png": "train", "c.png": "train", "d.png": "train", "e.png": "val", "f.png": "val"}


def drawn(seed: int, shape: tuple[int, int] = SHAPE) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Counts and labels, both `[H, W]`."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    for value in range(1, 10):
        centre = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
        cv2.circle(labels, centre, int(rng.integers(5, 11)), value, -1)
    pixels = rng.normal(20, 3, shape) + 100 * (labels > 0)
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


def data_folder(folder: Path, splits: Mapping[str, str] = SPLITS, table: bool = True) -> Path:
    """images/, labels/ and splits.csv."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for seed, name in enumerate(splits):
        pixels, labels = drawn(seed)
        cv2.imwrite(str(folder / "images" / name), pixels)
        cv2.imwrite(str(folder / "labels" / name), labels)
    if table:
        with (folder / "splits.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["file", "split", "group", "dye"])
            rows.writerows([name, split, f"well {i // 2}", "dapi"] for i, (name, split) in enumerate(splits.items()))
    return folder


TINY_RECIPE = """
kind = "segmenter"
name = "tiny"
summary = "drawn discs"

[[data]]
name = "discs"
where = { dye = "dapi" }
licence = "CC0 1.0"
source = "drawn by the test"

[training]
steps = 8
batch = 2
crop_px = 32
warm_up_steps = 2

[training.network]
widths = [4, 8]

[validation]
every = 4

[search]
"training.rate" = [0.001, 0.01]
"training.batch" = [1, 3]
"""


def tiny_recipe(folder: Path) -> Path:
    """A recipe that trains within a second."""
    path = folder / "tiny.toml"
    path.write_text(TINY_RECIPE, encoding="utf-8")
    return path
