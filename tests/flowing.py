"""A simulated flow cell for tests: discs, little noise, a clean window, unless a test says otherwise."""

from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.clock import Clock, SimulatedClock
from acquisition.frame import Frame
from acquisition.microscope import Imaging
from acquisition.simulated.flow_cell import FlowCell
from acquisition.simulated.flow_settings import Flow, FlowCamera, SorterSettings
from tests.polling import next_frames

Floats = npt.NDArray[np.float32]
IMAGING = Imaging(interval_ms=0.25, exposure_ms=0.01, light_mw=100.0)
CLEAN = {"unevenness": 0.0, "dirt_spots": 0, "read_noise_e": 0.0, "brightness": 7e6, "e_per_count": 4e4}
"""The empty channel has 175 counts, with a noise of less than a tenth of one."""


def opened(clock: Clock | None = None, **settings: Any) -> tuple[FlowCell, Clock]:
    """An open flow cell; `flow`, `camera` and `sorter` are dictionaries of what differs from the defaults."""
    clock = clock or SimulatedClock()
    tables = {
        "flow": Flow(**settings.pop("flow", {})),
        "camera": FlowCamera(**CLEAN | settings.pop("camera", {})),
        "sorter": SorterSettings(**settings.pop("sorter", {})),
    }
    cell = FlowCell(**{"appearance": "drawn"} | tables | settings)
    cell.open(clock, IMAGING)
    return cell, clock


def darkness(frames: list[Frame]) -> list[tuple[int, Floats]]:
    """Of every strip its time and how much darker than the empty channel it is, 0 … 1."""
    strips = np.concatenate([frame.strips() for frame in frames]).astype(np.float32)
    empty = np.median(strips[::7], axis=0)
    times = [t_ns for frame in frames for t_ns in frame.header.strip_t_ns]
    return list(zip(times, np.clip((empty - strips - 2) / empty, 0, None), strict=True))


def stacks(cell: FlowCell, clock: Clock, n: int) -> list[Frame]:
    """The next `n` stacks."""
    cell.start()
    return next_frames(cell, clock, n)
