"""Strips with cells that go by, for a sort that is then thrown away: so that nothing is compiled in the loop."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from acquisition.clock import NS_PER_S
from acquisition.frame import Frame, FrameHeader, PixelType, StagePosition
from realtime.sort.settings import PulseSettings, SortSettings

N_STRIPS, STRIP_PX = 8, (64, 256)
UM_PER_PX, SPEED_UM_S = 0.5, 100_000.0
STEP_PX = 40
CELL_PX = 16
N_STACKS = 6
BACKGROUND, CELL = 160, {"dark": 80, "both": 80, "bright": 240}


def warm_up(fresh: Callable[[SortSettings], Any], settings: SortSettings) -> None:
    """Have a fresh sort, which `fresh` makes, look at cells in pictures of either depth; what it decides is ignored."""
    finder = msgspec.structs.replace(settings.finder, background_strips=N_STRIPS)
    flow = msgspec.structs.replace(settings.flow, junction_um=2_000.0, speed_um_s=SPEED_UM_S, speed_spread=0.3)
    quick = msgspec.structs.replace(settings, finder=finder, flow=flow, pulse=PulseSettings(), crops_kept=1.0)
    for dtype in ("uint8", "uint16"):
        sorting = fresh(quick)
        for index in range(N_STACKS):
            sorting.look(_stack(index, quick, dtype))


def _stack(index: int, settings: SortSettings, dtype: PixelType) -> Frame:
    """One stack with a cell on its way; the first two are empty."""
    height_px, width_px = STRIP_PX
    strips = np.full((N_STRIPS, height_px, width_px), BACKGROUND, dtype)
    strips += np.random.default_rng(index).integers(0, 3, strips.shape).astype(dtype)
    for n in range(N_STRIPS if index > 1 else 0):
        x = (index * N_STRIPS + n) * STEP_PX % width_px
        x = x if settings.flow.direction == "right" else width_px - x
        strips[n, 24 : 24 + CELL_PX, x : x + CELL_PX] = CELL[settings.finder.polarity]
    return Frame(_header(index, dtype), strips.reshape(-1, width_px))


def _header(index: int, dtype: PixelType) -> FrameHeader:
    strip_ns = round(STEP_PX * UM_PER_PX / SPEED_UM_S * NS_PER_S)
    times = tuple((index * N_STRIPS + n + 1) * strip_ns for n in range(N_STRIPS))
    return FrameHeader(
        index=index, t_ns=times[-1], t_read_ns=times[-1], height_px=N_STRIPS * STRIP_PX[0], width_px=STRIP_PX[1],
        dtype=dtype, channel="", exposure_ms=0.01, interval_ms=strip_ns / 1e6, light_mw=0.0, stage=StagePosition(),
        stage_from_pixel=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), um_per_px=UM_PER_PX, strip_t_ns=times,
    )  # fmt: skip
