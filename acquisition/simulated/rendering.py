"""What falls on a camera's sensor: the light of every cell, before the lens has blurred it; and the truth."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from acquisition.frame import FrameHeader
from acquisition.simulated.biology import PROPHASE, Floats
from acquisition.simulated.nuclei import Nuclei
from acquisition.simulated.stamping import Atlas, Image, Labels, Sheet, Stamps, add_light, put_labels

REACH = 3.0
"""Nothing of a nucleus lies further from its middle, in half axes."""
BODY = 1.8
"""Size of a cell against its nucleus."""
BODY_SIDE_PX, BODY_RADIUS_PX = 32, 14.0


@dataclass(frozen=True)
class Picture:
    """Pixels, and what was really there."""

    pixels: npt.NDArray[np.uint16]
    nuclei: Nuclei


@dataclass(frozen=True)
class View:
    """The part of the specimen that falls on the pixels which are read out."""

    corner_um: tuple[float, float]
    """Stage µm of the middle of the first pixel."""
    um_per_px: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, header: FrameHeader) -> "View":
        _, _, x_um, _, _, y_um = header.stage_from_pixel
        return cls((x_um, y_um), header.um_per_px, header.shape)

    def widened(self, margin_px: int) -> "View":
        """With so many more pixels on each side."""
        x_um, y_um = (at_um - margin_px * self.um_per_px for at_um in self.corner_um)
        height_px, width_px = self.shape
        return View((x_um, y_um), self.um_per_px, (height_px + 2 * margin_px, width_px + 2 * margin_px))

    def touched(self, nuclei: Nuclei, reach: float) -> Nuclei:
        """Those of which something within `reach` radii may lie in the view."""
        reach_um = reach * np.maximum(nuclei.semi_um.max(axis=1, initial=0.0), nuclei.radius_um)[:, None]
        low_um = np.array(self.corner_um) - reach_um
        high_um = low_um + 2 * reach_um + np.array(self.shape[::-1]) * self.um_per_px
        return nuclei[np.all((nuclei.xy_um > low_um) & (nuclei.xy_um < high_um), axis=1)]


@dataclass(frozen=True)
class Truth:
    """What really was in one frame."""

    frame_index: int
    t_ns: int
    nuclei: Nuclei
    """Those of which at least one pixel is in the frame."""
    labels: Labels
    """`[H, W]`, values are `nuclei.id`."""

    @classmethod
    def of(cls, header: FrameHeader, nuclei: Nuclei, atlas: Atlas) -> "Truth":
        labels = draw_labels(nuclei, View.of(header), atlas)
        return cls(header.index, header.t_ns, nuclei[np.isin(nuclei.id, labels)], labels)


def draw_light(nuclei: Nuclei, view: View, atlas: Atlas) -> Image:
    """Sharp chromatin `[H, W]`, 1 in the middle of an average nucleus that is not bleached."""
    nuclei, canvas = view.touched(nuclei, REACH), np.zeros(view.shape, np.float32)
    stamps = atlas.stamps(nuclei)
    lit = replace(stamps, light_um2=stamps.light_um2 * nuclei.unbleached[stamps.cell])
    add_light(canvas, lit, atlas.light, view.corner_um, view.um_per_px)
    return canvas


def draw_bodies(nuclei: Nuclei, view: View, brightness: Floats) -> Image:
    """Whole cells `[H, W]`, each as bright in its middle as `brightness[N]` says."""
    canvas = np.zeros(view.shape, np.float32)
    semi_um = BODY * np.where(nuclei.phase[:, None] < PROPHASE, nuclei.semi_um, nuclei.radius_um[:, None])
    stamps = Stamps(
        sprite=np.zeros(len(nuclei.id), np.int64), xy_um=nuclei.xy_um, um_per_px=semi_um / BODY_RADIUS_PX,
        angle_rad=nuclei.angle_rad, light_um2=brightness * semi_um.prod(axis=1) * _BODY_AREA, cell=np.arange(len(nuclei.id)),
    )  # fmt: skip
    add_light(canvas, stamps, _BODY, view.corner_um, view.um_per_px)
    return canvas


def draw_labels(nuclei: Nuclei, view: View, atlas: Atlas) -> Labels:
    """The truth, `[H, W]`: a pixel whose middle lies in a nucleus carries its cell's id, all others 0."""
    nuclei, canvas = view.touched(nuclei, REACH), np.zeros(view.shape, np.int32)
    stamps = atlas.stamps(nuclei)
    put_labels(canvas, stamps, nuclei.id[stamps.cell], atlas.masks, view.corner_um, view.um_per_px)
    return canvas


def _body() -> tuple[Sheet, float]:
    """A disc thinning towards its rim as a picture whose pixels sum to 1, and its light where 1 is in the middle."""
    offset = (np.arange(BODY_SIDE_PX) - (BODY_SIDE_PX - 1) / 2) / BODY_RADIUS_PX
    disc = np.sqrt(np.clip(1 - offset[:, None] ** 2 - offset**2, 0, None)).astype(np.float32)
    return Sheet.of(disc[None] / disc.sum()), float(disc.sum()) / BODY_RADIUS_PX**2


_BODY, _BODY_AREA = _body()
