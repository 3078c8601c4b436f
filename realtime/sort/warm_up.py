"""Strips with cells that go by, for a sort that is then thrown away: so that nothing is compiled in the loop."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.frame import Frame, FrameHeader, PixelType, StagePosition
from models.strip_settings import FinderSettings
from realtime.sort.settings import PulseSettings, SortSettings
from tracking.flow_settings import FlowSettings

N_STRIPS, STRIP_PX = 8, (64, 256)
UM_PER_PX = 0.5
"""Unless the classifier knows cells by other pixels only."""
STRIP_NS, STEP_PX, JUNCTION_PX = 200_000, 40, 4_000
CELL_PX = 16
N_STACKS = 6
BACKGROUND, CELL = 160, {"dark": 80, "both": 80, "bright": 240}


def warm_up(
    fresh: Callable[[SortSettings], Any], settings: SortSettings, um_per_px: tuple[float, float] | None
) -> None:
    """Have a fresh sort, which `fresh` makes, look at cells in pictures of either depth; what it decides is ignored.

    `um_per_px` as the classifier has it. Thresholds are not those of the settings, by which the cells might not be seen.
    """
    scale_um = um_per_px[0] if um_per_px else UM_PER_PX
    finder = FinderSettings(polarity=settings.finder.polarity, background_strips=N_STRIPS, least_area_um2=0.0)
    flow = FlowSettings(
        direction=settings.flow.direction, junction_um=JUNCTION_PX * scale_um,
        speed_um_s=STEP_PX * scale_um * NS_PER_S / STRIP_NS,
    )  # fmt: skip
    quick = msgspec.structs.replace(settings, finder=finder, flow=flow, pulse=PulseSettings(), crops_kept=1.0)
    for dtype in ("uint8", "uint16"):
        sorting = fresh(quick)
        for index in range(N_STACKS):
            sorting.look(_stack(index, quick, dtype, scale_um))


def _stack(index: int, settings: SortSettings, dtype: PixelType, um_per_px: float) -> Frame:
    """One stack with a cell on its way; the first two are empty."""
    height_px, width_px = STRIP_PX
    strips = np.full((N_STRIPS, height_px, width_px), BACKGROUND, dtype)
    strips += np.random.default_rng(index).integers(0, 3, strips.shape).astype(dtype)
    for n in range(N_STRIPS if index > 1 else 0):
        x = (index * N_STRIPS + n) * STEP_PX % width_px
        x = x if settings.flow.direction == "right" else width_px - x
        strips[n, 24 : 24 + CELL_PX, x : x + CELL_PX] = CELL[settings.finder.polarity]
    return Frame(_header(index, dtype, um_per_px), strips.reshape(-1, width_px))


def _header(index: int, dtype: PixelType, um_per_px: float) -> FrameHeader:
    times = tuple((index * N_STRIPS + n + 1) * STRIP_NS for n in range(N_STRIPS))
    return FrameHeader(
        index=index, t_ns=times[-1], t_read_ns=times[-1], height_px=N_STRIPS * STRIP_PX[0], width_px=STRIP_PX[1],
        dtype=dtype, channel="", exposure_ms=0.01, interval_ms=STRIP_NS / NS_PER_MS, light_mw=0.0, stage=StagePosition(),
        stage_from_pixel=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), um_per_px=um_per_px, strip_t_ns=times,
    )  # fmt: skip
