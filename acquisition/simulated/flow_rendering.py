"""Strips of a channel with cells in flight: sprites smeared by their motion, uneven light, dirt, and the camera's noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from acquisition.clock import NS_PER_MS
from acquisition.microscope import Imaging
from acquisition.simulated.compiling import compiled
from acquisition.simulated.flow_settings import FlowCellSettings
from acquisition.simulated.flow_sprites import FlowSprites, Pictures
from acquisition.simulated.flow_world import FlowingCells, FlowWorld
from acquisition.simulated.random_streams import random_stream

Counts = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
NOISE = 1 << 20
"""Normal numbers that are drawn once; every strip begins at another place among them."""
MIX = 2654435761
"""Spreads the times of strips over those places."""
SHORTEST_SMEAR_PX = 1e-3


@dataclass(frozen=True)
class Stack:
    """Pixels `[B · h, W]`, and which cells had their centre in the view in how many of the strips."""

    pixels: Counts
    ids: Ints  # [n]
    strips: Ints  # [n]


class StripPainter:
    """Draws stacks, one compiled pass each. What it draws depends on the strips' times alone: any thread, any order."""

    def __init__(self, settings: FlowCellSettings, sprites: FlowSprites, world: FlowWorld) -> None:
        self._settings, self._sprites, self._world = settings, sprites, world
        self._lit = _lit(settings)
        noise = random_stream(settings.seed, "frame").standard_normal(NOISE + settings.height_px * settings.width_px)
        self._noise = noise.astype(np.float32)

    def draw(self, strip_t_ns: Sequence[int], imaging: Imaging) -> Stack:
        """Strips whose exposures end then."""
        settings, camera = self._settings, self._settings.camera
        ends_ns = np.array(strip_t_ns, dtype=np.int64)
        begins_s = self._world.pump.flow_s(ends_ns - round(imaging.exposure_ms * NS_PER_MS))
        ends_s = self._world.pump.flow_s(ends_ns)
        cells = self._world.between(begins_s[0], ends_s[-1])
        pixels = np.empty((len(ends_ns), settings.height_px, settings.width_px), dtype=np.uint8)
        electrons = np.float32(camera.brightness * imaging.light_mw * imaging.exposure_ms)
        glows = settings.specimen == "nuclei"
        empty = self._lit * electrons * np.float32(camera.background if glows else 1)
        px_per_um = np.float64((1 if settings.flow.direction == "right" else -1) / settings.um_per_px)
        seen = _draw(
            pixels, empty, electrons if glows else np.float32(0), begins_s, ends_s, _table(cells), cells.sprite,
            self._sprites.pictures, self._sprites.radius_um / settings.um_per_px, px_per_um,
            self._noise, ends_ns // 1000 * MIX % NOISE, np.float32(camera.read_noise_e), np.float32(1 / camera.e_per_count),
        )  # fmt: skip
        rows = np.flatnonzero(seen)
        return Stack(pixels.reshape(-1, settings.width_px), cells.id[rows], seen[rows])


def _lit(settings: FlowCellSettings) -> Pictures:
    """Light in the empty channel `[h, W]`, 1 where it is brightest: uneven, with walls and dirt."""
    shape = settings.height_px, settings.width_px
    y_px, x_px = np.indices(shape, dtype=np.float32)
    y_um, x_um = ((v - (n - 1) / 2) * settings.um_per_px for v, n in ((y_px, shape[0]), (x_px, shape[1])))
    far2 = (x_um / x_um.max()) ** 2 + (y_um / max(y_um.max(), 1e-6)) ** 2
    wall = 1 / (1 + np.exp(np.clip((settings.flow.channel_um / 2 - np.abs(y_um)) / 0.3, -50, 50)))
    dirt = np.zeros(shape, dtype=np.float32)
    random = random_stream(settings.seed, "sensor")
    for _ in range(settings.camera.dirt_spots):
        dirt[int(random.integers(shape[0])), int(random.integers(shape[1]))] = random.uniform(3, 12)
    dirt = np.minimum(ndimage.gaussian_filter(dirt, 1.5), 0.4)
    lit: Pictures = ((1 - settings.camera.unevenness * far2 / 2) * (1 - 0.5 * wall) * (1 - dirt)).astype(np.float32)
    return lit


def _table(cells: FlowingCells) -> Floats:
    """What the compiled pass needs of each cell, `[n, 7]`."""
    columns = (
        cells.passing_s, cells.speed_um_s, cells.y_um, cells.angle_rad, cells.turning_rad_s, cells.contrast, cells.size,
    )  # fmt: skip
    return np.stack(columns, axis=1)


@compiled
def _draw(
    pixels: Counts, empty: Pictures, glow: np.float32, begins_s: Floats, ends_s: Floats, table: Floats, chosen: Ints,
    pictures: Pictures, radius_px: Floats, px_per_um: float, noise: Pictures, places: Ints, read_noise_e: np.float32,
    counts_per_e: np.float32,
) -> Ints:  # fmt: skip
    n_strips, height, width = pixels.shape
    seen = np.zeros(len(table), dtype=np.int64)
    canvas, flat_pixels = np.empty_like(empty), pixels.reshape(n_strips, -1)
    flat = canvas.reshape(-1)
    line = np.zeros(2 * pictures.shape[1] + 4, dtype=np.float32)
    for b in range(n_strips):
        canvas[:] = empty
        for i in range(len(table)):
            first_px = (begins_s[b] - table[i, 0]) * table[i, 1] * px_per_um + (width - 1) / 2
            last_px = (ends_s[b] - table[i, 0]) * table[i, 1] * px_per_um + (width - 1) / 2
            middle_px = (first_px + last_px) / 2
            seen[i] += -0.5 <= middle_px < width - 0.5
            y_px = table[i, 2] * abs(px_per_um) + (height - 1) / 2
            angle_rad = table[i, 3] + table[i, 4] * (ends_s[b] - table[i, 0])
            _put(
                canvas, glow, pictures[chosen[i]], radius_px[chosen[i]], middle_px, y_px, abs(last_px - first_px),
                angle_rad, table[i, 6], np.float32(table[i, 5]), line,
            )  # fmt: skip
        _read_out(flat, noise[places[b] : places[b] + len(flat)], read_noise_e, counts_per_e, flat_pixels[b])
    return seen


@compiled
def _read_out(
    light: Pictures, noise: Pictures, read_noise_e: np.float32, counts_per_e: np.float32, out: Counts
) -> None:
    """Electrons → counts, with the noise of light and camera."""
    dark2 = read_noise_e * read_noise_e
    for p in range(len(light)):
        counts = (light[p] + np.sqrt(light[p] + dark2) * noise[p]) * counts_per_e + np.float32(0.5)
        out[p] = np.uint8(np.int32(min(max(counts, np.float32(0)), np.float32(255))))


@compiled
def _put(
    canvas: Pictures, glow: np.float32, picture: Pictures, radius_px: float, x_px: float, y_px: float, smear_px: float,
    angle_rad: float, size: float, contrast: np.float32, line: Pictures,
) -> None:  # fmt: skip
    """One cell, turned, then smeared along the flow: exactly, by differences of each row's running sum."""
    height, width = canvas.shape
    half = (picture.shape[0] - 1) // 2
    reach, smear = radius_px * size, max(smear_px, SHORTEST_SMEAR_PX)
    if x_px + reach + smear / 2 < 0 or x_px - reach - smear / 2 > width - 1:
        return
    cos, sin = np.cos(angle_rad) / size, np.sin(angle_rad) / size
    for y in range(max(0, int(np.ceil(y_px - reach))), min(height - 1, int(np.floor(y_px + reach))) + 1):
        dy = y - y_px
        chord = np.sqrt(max(0.0, reach * reach - dy * dy))
        left = int(np.floor(x_px - chord))
        n = int(np.ceil(x_px + chord)) - left + 1
        line[0] = 0
        for k in range(n):
            dx = left + k - x_px
            line[k + 1] = line[k] + _between(picture, half + cos * dx + sin * dy, half - sin * dx + cos * dy)
        first = max(0, int(np.floor(left - smear / 2)))
        last = min(width - 1, int(np.ceil(left + n + smear / 2)))
        ahead, behind = (1 + smear) / 2 - left, (1 - smear) / 2 - left
        ahead_px, behind_px = int(np.floor(ahead)), int(np.floor(behind))
        ahead_share, behind_share = np.float32(ahead - ahead_px), np.float32(behind - behind_px)
        amount = np.float32(contrast / smear)
        for x in range(first, last + 1):
            later = _sum(line, n, x + ahead_px, ahead_share)
            share = amount * (later - _sum(line, n, x + behind_px, behind_share))
            if glow > 0:
                canvas[y, x] += glow * share
            else:
                canvas[y, x] *= max(np.float32(0), np.float32(1) - share)


@compiled
def _sum(line: Pictures, n: int, k: int, share: np.float32) -> np.float32:
    """The row's sum up to `k` pixels and a share of the next."""
    before = line[min(max(k, 0), n)]
    return np.float32(before + share * (line[min(max(k + 1, 0), n)] - before))


@compiled
def _between(picture: Pictures, u: float, v: float) -> np.float32:
    """Between four pixels; nothing beyond the picture."""
    x, y = int(np.floor(u)), int(np.floor(v))
    if x < 0 or y < 0 or x >= picture.shape[1] - 1 or y >= picture.shape[0] - 1:
        return np.float32(0)
    right, below = np.float32(u - x), np.float32(v - y)
    upper = picture[y, x] + right * (picture[y, x + 1] - picture[y, x])
    lower = picture[y + 1, x] + right * (picture[y + 1, x + 1] - picture[y + 1, x])
    return np.float32(upper + below * (lower - upper))
