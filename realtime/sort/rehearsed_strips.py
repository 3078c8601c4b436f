"""Strips with as many cells as a sort will meet, drawn as plain discs: a rehearsal's own channel may be empty."""

from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt

from acquisition.clock import NS_PER_MS
from acquisition.frame import Frame, FrameHeader
from realtime.sort.settings import SortSettings

CELL_UM = 8.0
CONTRAST = 0.4
ABOVE_THRESHOLD = 2.0
"""A cell stands out by so many times the finder's threshold at least: whether it finds cells is asked of filmed ones."""
STRIPS = 32
"""Filmed strips of which the background is made."""
LEAST_NOISE = 0.5
MAD = 1.4826
"""From the median of absolute deviations, which a few cells do not change, to the standard deviation."""
Floats = npt.NDArray[np.float64]


def crowded(
    templates: list[Frame], settings: SortSettings, interval_ms: float, n_stacks: int, seed: int = 0
) -> Iterator[Frame]:
    """`n_stacks` stacks like `templates`: before them as many without a cell as the background needs, then `events_per_s`."""
    header, rng = templates[-1].header, np.random.default_rng(seed)
    n_strips = len(header.strips_t_ns)
    alike = templates[-max(1, STRIPS // n_strips) :]
    strips = np.concatenate([frame.strips() for frame in alike]).astype(np.float64)
    background = np.median(strips, axis=0)
    noise = max(LEAST_NOISE, MAD * float(np.median(np.abs(strips - background))))
    n_empty = -(-settings.finder.background_strips // n_strips) + 1
    cells = _arrivals(settings, interval_ms * n_strips * (n_empty + n_stacks), header, rng)
    cells = cells[cells[:, 0] > n_empty * n_strips * interval_ms]
    for index in range(n_empty + n_stacks):
        times_ms: Floats = (index * n_strips + np.arange(1.0, n_strips + 1)) * interval_ms
        strips = _drawn(background, cells, times_ms, settings, header, noise)
        strips += rng.normal(0, noise, strips.shape)
        top = np.iinfo(header.dtype).max
        pixels = np.clip(np.rint(strips), 0, top).astype(header.dtype).reshape(header.shape)
        yield Frame(_header(header, index, times_ms), pixels)


def _arrivals(settings: SortSettings, lasts_ms: float, header: FrameHeader, rng: np.random.Generator) -> Floats:
    """Cells as rows: when in the middle of the view (ms), and where across the channel (px)."""
    n = round(settings.events_per_s * lasts_ms / 1000)
    height_px = header.height_px // len(header.strips_t_ns)
    middle = rng.normal(height_px / 2, height_px / 16, n)
    return np.stack((np.sort(rng.uniform(0, lasts_ms, n)), middle), axis=1)


def _drawn(
    background: Floats, cells: Floats, times_ms: Floats, settings: SortSettings, header: FrameHeader, noise: float
) -> Floats:
    """The strips of one stack, `[B, h, W]`, without noise, whose standard deviation is `noise`."""
    px_per_ms = settings.flow.speed_um_s / 1000 / header.um_per_px
    forwards = 1 if settings.flow.direction == "right" else -1
    sign = 1 if settings.finder.polarity == "bright" else -1
    with_cell = background + sign * np.maximum(
        CONTRAST * background, ABOVE_THRESHOLD * settings.finder.threshold * noise
    )
    radius_px = CELL_UM / 2 / header.um_per_px
    y_px, x_px = np.indices(background.shape)
    strips = np.repeat(background[None].astype(np.float64), len(times_ms), axis=0)
    for strip, t_ms in zip(strips, times_ms, strict=True):
        xs_px = forwards * (t_ms - cells[:, 0]) * px_per_ms + header.width_px / 2
        for i in np.flatnonzero((-radius_px < xs_px) & (xs_px < header.width_px + radius_px)):
            is_cell = (x_px - xs_px[i]) ** 2 + (y_px - cells[i, 1]) ** 2 < radius_px**2
            strip[is_cell] = with_cell[is_cell]
    return strips


def _header(header: FrameHeader, index: int, times_ms: Floats) -> FrameHeader:
    times_ns = tuple(round(t_ms * NS_PER_MS) for t_ms in times_ms)
    strip_t_ns = times_ns if header.strip_t_ns else ()
    return msgspec.structs.replace(
        header, index=index, t_ns=times_ns[-1], t_read_ns=times_ns[-1], strip_t_ns=strip_t_ns
    )
