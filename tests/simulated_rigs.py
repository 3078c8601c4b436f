"""The simulated microscope as its tests want it: small, on a clock that they move."""

from collections.abc import Iterator
from typing import Any

import pytest

from acquisition.clock import NS_PER_MS, Clock, SimulatedClock, SystemClock
from acquisition.commands import (
    Command,
    MoveStage,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)
from acquisition.frame import Frame
from acquisition.microscope import Imaging
from acquisition.simulated.microscope import SimulatedMicroscope

IMAGING = Imaging(interval_ms=50.0, exposure_ms=10.0, light_mw=1.0)

SMALL: dict[str, Any] = {"height_px": 96, "width_px": 128, "n_cells": 8, "specimen_um": (400.0, 400.0)}
EMPTY: dict[str, Any] = SMALL | {"brightness": 0.0}


class HandClock(SimulatedClock):
    """A clock that only the test moves, but that claims to be real: the worker thread renders the frames."""

    simulated = False


def opened(clock: Clock, imaging: Imaging = IMAGING, **changes: object) -> SimulatedMicroscope:
    microscope = SimulatedMicroscope(**(SMALL | changes))
    microscope.open(clock, imaging)
    return microscope


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
def microscope(clock: SimulatedClock) -> Iterator[SimulatedMicroscope]:
    microscope = opened(clock)
    microscope.start()
    yield microscope
    microscope.close()


def film(clock: Clock, n: int = 12, **changes: object) -> list[Frame]:
    """A short run in which a bit of everything happens."""
    microscope = opened(clock, **changes)
    microscope.start()
    script: dict[int, Command] = {
        2: MoveStage(x_um=30.0, y_um=-20.0), 4: SetExposure(20.0), 5: SetInterval(80.0), 7: SetLight(0.4),
        8: SetChannel("cytoplasm"), 9: SetRoi(16, 8, 64, 48),
    }  # fmt: skip
    frames = []
    for i in range(n):
        frames.append(next_frame_by_hand(microscope, clock))
        if i in script:
            microscope.apply(script[i])
    microscope.close()
    return frames


def next_frame_by_hand(microscope: SimulatedMicroscope, clock: Clock) -> Frame:
    """Move the clock only to the next event, and give a worker thread the real time that it needs there."""
    deadline_ns = SystemClock().now_ns() + 10_000 * NS_PER_MS
    while (frame := microscope.poll_frame()) is None:
        assert SystemClock().now_ns() < deadline_ns, "no frame within 10 s"
        wait_s = microscope.ready_in_s()
        is_rendering = not clock.simulated and wait_s == pytest.approx(0.0005)
        (SystemClock() if is_rendering else clock).sleep_s(wait_s)
    return frame
