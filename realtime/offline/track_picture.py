"""Tracks over the image: the way of every cell in the last frames as a tail in its family's colour, its outline and number.

Where a cell was not seen for a while, the tail is thin.
"""

from pathlib import Path

import cv2
import numpy as np

from models.cells import Labels
from models.images import Counts
from models.overlay import Picture, outlines_of, stretched, write_number, write_picture, zoom_of
from realtime.offline.track_colours import ON_DARK, family_colour
from realtime.offline.track_segments import edges_of, families_of
from tracking.lineages import Lineages

TAIL_FRAMES = 30
"""How far back a tail goes; it fades on the way."""
FAINTEST = 0.35
FINE = 4
"""Bits of a pixel's fraction that OpenCV takes."""
NO_IMAGE_GREY = 55
"""Of cells, where there are labels and no image."""


def write_track_picture(
    path: Path, lineages: Lineages, frame: int, labels: Labels, image: Counts | None, um_per_px: float
) -> None:
    """The tracks up to a frame as a PNG; positions count µm from the middle of the first pixel."""
    write_picture(path, track_picture(lineages, frame, labels, image, um_per_px))


def track_picture(lineages: Lineages, frame: int, labels: Labels, image: Counts | None, um_per_px: float) -> Picture:
    """`[zH, zW, 3]`, blue first, enlarged by a whole number z."""
    zoom = zoom_of(labels.shape)
    grey = stretched(image) if image is not None else np.where(labels > 0, NO_IMAGE_GREY, 0).astype(np.uint8)
    picture: Picture = np.repeat(cv2.resize(grey, None, fx=zoom, fy=zoom)[:, :, None], 3, axis=2).astype(np.uint8)
    colours = np.array([family_colour(family, ON_DARK)[::-1] for family in families_of(lineages).tolist()]).reshape(
        -1, 3
    )
    here = np.flatnonzero(lineages.frame == frame)
    _outline(picture, labels, lineages.label[here], colours[here], zoom)
    xy_px = lineages.xy_um / um_per_px
    _draw_tails(picture, lineages, frame, xy_px, colours, zoom)
    for row in here.tolist():
        area_px = float(lineages.area_um2[row]) / um_per_px**2
        write_number(picture, int(lineages.track[row]), (xy_px[row, 0], xy_px[row, 1]), area_px, zoom)
    return picture


def _outline(picture: Picture, labels: Labels, label: np.ndarray, colours: np.ndarray, zoom: int) -> None:
    """Cells without a track stay without a colour."""
    large: Labels = labels.repeat(zoom, axis=0).repeat(zoom, axis=1)
    colour_of = np.full((int(labels.max(initial=0)) + 1, 3), 90, np.uint8)
    colour_of[label] = colours
    edge = outlines_of(large)
    if zoom > 1:  # a line of two pixels
        inside = np.where(edge, 0, large)
        edge |= outlines_of(inside)
    picture[edge] = colour_of[large[edge]]


def _draw_tails(
    picture: Picture, lineages: Lineages, frame: int, xy_px: np.ndarray, colours: np.ndarray, zoom: int
) -> None:
    """Oldest first, so that what is near in time lies on top."""
    fine = np.round((xy_px + 0.5) * zoom * 2**FINE).astype(int).tolist()
    for source, target in edges_of(lineages).tolist():
        age = frame - int(lineages.frame[target])
        if 0 <= age < TAIL_FRAMES:
            light = max(FAINTEST, 1 - age / TAIL_FRAMES)
            colour = tuple((light * colours[target]).tolist())
            seen_before = lineages.frame[target] == lineages.frame[source] + 1
            width_px = max(1, zoom // 2) if seen_before else 1
            cv2.line(picture, fine[source], fine[target], colour, width_px, cv2.LINE_AA, FINE)
