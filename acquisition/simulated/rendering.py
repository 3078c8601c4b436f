"""What a camera makes of a specimen: nuclei with blurred edges, photo-electrons, noise; and the truth."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from acquisition.frame import FrameHeader
from acquisition.simulated.specimen import Nuclei

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
FULL_SCALE = 65535


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


@dataclass(frozen=True)
class _Patches:
    """A small square around each nucleus in view, to be put on a canvas with a margin of `size_px`."""

    nuclei: Nuclei
    size_px: int
    corner_px: npt.NDArray[np.int64]  # [N, 2] x, y on the canvas
    depth_um: Image  # [N, P, P] how far inside the nucleus each pixel's middle is; below 0 outside


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
    def of(cls, header: FrameHeader, nuclei: Nuclei) -> "Truth":
        labels = draw_labels(nuclei, View.of(header))
        return cls(header.index, header.t_ns, nuclei[np.isin(nuclei.id, labels)], labels)


def draw_light(nuclei: Nuclei, view: View, scale: float, edge_um: float) -> Image:
    """The image of bodies `scale` times the nuclei, `[H, W]`: about 1 inside, falling to 0 over `edge_um`."""
    patches = _patches(nuclei, view, scale, edge_um)
    inside = np.clip(0.5 + patches.depth_um / np.float32(edge_um), 0.0, 1.0)
    light = inside * inside * (3 - 2 * inside) * patches.nuclei.brightness.astype(np.float32)[:, None, None]
    canvas, size = _canvas(view, patches, np.float32), patches.size_px
    for (x, y), patch in zip(patches.corner_px.tolist(), light, strict=True):
        canvas[y : y + size, x : x + size] += patch
    return canvas[size:-size, size:-size]


def draw_labels(nuclei: Nuclei, view: View) -> Labels:
    """The truth, `[H, W]`: a pixel whose middle lies in a nucleus carries its cell's id, all others 0."""
    patches = _patches(nuclei, view, 1.0, 0.0)
    canvas, size, ids = _canvas(view, patches, np.int32), patches.size_px, patches.nuclei.id
    for (x, y), depth_um, cell_id in zip(patches.corner_px.tolist(), patches.depth_um, ids, strict=True):
        canvas[y : y + size, x : x + size][depth_um > 0] = cell_id
    return np.ascontiguousarray(canvas[size:-size, size:-size])


class Sensor:
    """Photo-electrons → counts, one for one: shot noise, read noise, offset, 16-bit saturation.

    Shot noise is normal with the Poisson's mean and variance. Its deviates are drawn once, for two sensors,
    and each frame reads them from a place of its own, which is much less work than drawing them anew. Frames
    thus share deviates, but at other pixels.
    """

    def __init__(self, seed: int, n_pixels: int, read_noise: float, offset_counts: float) -> None:
        self._seed = seed
        self._deviates = random_stream(seed, "sensor").standard_normal(2 * n_pixels, dtype=np.float32)
        self._read_variance = np.float32(read_noise**2)
        self._offset = np.float32(offset_counts)

    def counts(self, electrons: Image, frame_index: int) -> npt.NDArray[np.uint16]:
        """The pixels of one frame; they depend on nothing but the arguments and the seed."""
        spare = len(self._deviates) - electrons.size
        first = int(random_stream(self._seed, "frame", frame_index).integers(spare))
        noise = np.sqrt(electrons + self._read_variance)
        noise *= self._deviates[first : first + electrons.size].reshape(electrons.shape)
        noise += electrons
        noise += self._offset + np.float32(0.5)  # the half rounds, since the conversion below cuts off
        np.clip(noise, 0, FULL_SCALE, out=noise)
        counts: npt.NDArray[np.uint16] = noise.astype(np.uint16)
        return counts


def random_stream(seed: int, purpose: Literal["specimen", "sensor", "frame"], index: int = 0) -> np.random.Generator:
    """Random numbers for one purpose: what is drawn for one never shifts what is drawn for another."""
    return np.random.default_rng((seed, *purpose.encode(), index))


def _canvas(view: View, patches: _Patches, dtype: type[np.generic]) -> npt.NDArray[Any]:
    height_px, width_px = view.shape
    return np.zeros((height_px + 2 * patches.size_px, width_px + 2 * patches.size_px), dtype=dtype)


def _patches(nuclei: Nuclei, view: View, scale: float, edge_um: float) -> _Patches:
    height_px, width_px = view.shape
    half_px = math.ceil((scale * nuclei.semi_um.max(initial=0.0) + edge_um / 2) / view.um_per_px) + 1
    centre_px = (nuclei.xy_um - view.corner_um) / view.um_per_px
    seen = np.all((centre_px > -half_px) & (centre_px < [width_px + half_px, height_px + half_px]), axis=1)
    nuclei, centre_px = nuclei[seen], centre_px[seen]
    first_px = np.rint(centre_px).astype(np.int64) - half_px
    size_px = 2 * half_px + 1
    offset_px = first_px[:, :, None] + np.arange(size_px) - centre_px[:, :, None]  # [N, 2, P]
    depth_um = _depth_um(nuclei, scale, (offset_px * view.um_per_px).astype(np.float32))
    return _Patches(nuclei, size_px, first_px + size_px, depth_um)


def _depth_um(nuclei: Nuclei, scale: float, offset_um: Image) -> Image:
    """Distance to the ellipse's edge, exact on a circle and close to it on ellipses as round as nuclei."""
    semi_um = (scale * nuclei.semi_um).astype(np.float32)
    cos, sin = (f(nuclei.angle_rad).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    x_um, y_um = offset_um[:, 0, None, :], offset_um[:, 1, :, None]
    along = (x_um * cos + y_um * sin) / semi_um[:, 0, None, None]
    across = (y_um * cos - x_um * sin) / semi_um[:, 1, None, None]
    mean_um = np.sqrt(semi_um.prod(axis=1))[:, None, None]
    depth_um: Image = (1 - np.sqrt(along * along + across * across)) * mean_um
    return depth_um
