"""Pictures for people: the image, contrast-stretched, with the outline and the number of every cell."""

import math
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.cells import Labels
from models.images import Counts, ImageError
from models.label_files import replaced
from models.normalise import levels, normalised

Picture = npt.NDArray[np.uint8]

SIDE_PX = 1000
"""Small images are enlarged until their longer side is as long as this: numbers need room."""
MOST_ZOOM = 4
GAMMA = 0.6
"""Dim cells are lifted: an overlay is for seeing what was missed."""
COLOURS = np.array(
    [(80, 220, 255), (120, 255, 120), (255, 180, 90), (200, 120, 255), (255, 255, 100), (100, 150, 255)], np.uint8
)
"""Of outlines in turn, blue first as in OpenCV: neighbours in number are often neighbours in place."""
FONT, FONT_PX = cv2.FONT_HERSHEY_SIMPLEX, 22
"""Its digits are this high at scale 1."""

HALO = tuple((dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy)
"""White digits are drawn on black ones moved by a pixel, to be read on bright cells."""
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def overlay(pixels: Counts, labels: Labels) -> Picture:
    """`pixels[H, W]` in counts and their labels → `[zH, zW, 3]`, blue first, enlarged by a whole number z."""
    zoom = zoom_of(labels.shape)
    grey = cv2.resize(stretched(pixels), None, fx=zoom, fy=zoom)
    picture: Picture = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8, copy=False)
    large: Labels = labels.repeat(zoom, axis=0).repeat(zoom, axis=1)
    edge = outlines_of(large)
    picture[edge] = COLOURS[large[edge] % len(COLOURS)]
    _write_numbers(picture, labels, zoom)
    return picture


def write_overlay(path: Path, pixels: Counts, labels: Labels) -> None:
    """The overlay as a PNG file."""
    write_picture(path, overlay(pixels, labels))


def write_picture(path: Path, picture: Picture) -> None:
    """Any picture as a PNG file."""
    ok, content = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise ImageError(f"{path}: a picture of {picture.shape[1]} × {picture.shape[0]} px cannot be written as PNG")
    with replaced(path) as part:
        part.write_bytes(content.tobytes())


def zoom_of(shape: tuple[int, int]) -> int:
    """How often a picture of a frame of this size is enlarged."""
    return min(MOST_ZOOM, math.ceil(SIDE_PX / max(shape)))


def stretched(pixels: Counts) -> Picture:
    """Contrast for a person's eyes, `[H, W]`."""
    share = np.clip(normalised(pixels, *levels(pixels)), 0, 1)
    return (255 * share**GAMMA).astype(np.uint8)


def outlines_of(labels: Labels) -> npt.NDArray[np.bool_]:
    """Pixels of a cell beside a pixel that is not of the cell."""
    padded = np.pad(labels, 1, mode="edge")
    beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    outlines: npt.NDArray[np.bool_] = (labels > 0) & np.logical_or.reduce([labels != other for other in beside])
    return outlines


def _write_numbers(picture: Picture, labels: Labels, zoom: int) -> None:
    """Each cell's number in its middle, as large as the cell allows."""
    y, x = np.nonzero(labels)
    cell = labels[y, x]
    area = np.bincount(cell)
    with np.errstate(invalid="ignore"):  # numbers that no pixel has
        middle_x, middle_y = (np.bincount(cell, along) / area for along in (x, y))
    for number in np.flatnonzero(area):
        write_number(picture, int(number), (middle_x[number], middle_y[number]), area[number], zoom)


def write_number(picture: Picture, number: int, xy_px: tuple[float, float], area_px: float, zoom: int) -> None:
    """A number in the middle of a cell, as large as the cell allows; `xy_px` and `area_px` before the enlargement."""
    scale = float(np.clip(0.3 * zoom * np.sqrt(area_px) / FONT_PX, 0.3, 0.6))
    (width, height), _ = cv2.getTextSize(str(number), FONT, scale, 1)
    x0, y0 = round((xy_px[0] + 0.5) * zoom - width / 2), round((xy_px[1] + 0.5) * zoom + height / 2)
    for dx, dy in HALO:
        cv2.putText(picture, str(number), (x0 + dx, y0 + dy), FONT, scale, BLACK, 1, cv2.LINE_AA)
    cv2.putText(picture, str(number), (x0, y0), FONT, scale, WHITE, 1, cv2.LINE_AA)
