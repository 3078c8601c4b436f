"""Faults of image analysis: it takes too long, or its process is killed."""

import os
import signal
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from acquisition.clock import Clock
from acquisition.faults import Faults, KilledInference
from models.cells import Labels
from models.perception import Image, Perception, Segmenter

Given = ParamSpec("Given")
Found = TypeVar("Found")
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has no SIGKILL, and its SIGTERM is one


class SlowSegmenter:
    """Another segmenter, after a wait."""

    def __init__(self, inner: Segmenter, clock: Clock, delay_ms: float) -> None:
        self.inner, self._clock = inner, clock
        self._delay_s = delay_ms / 1000

    def infer(self, image: Image) -> Any:
        """The maps, late."""
        self._clock.sleep_s(self._delay_s)
        return self.inner.infer(image)

    def label(self, maps: Any) -> Labels:
        """As the other does."""
        return self.inner.label(maps)


def slow_down(perception: Perception, faults: Faults, clock: Clock) -> None:
    """Make perception as slow as the faults say, once it is prepared and warm; it may serve several runs one by one."""
    segmenter, fault = perception.segmenter, faults.slow_inference
    if isinstance(segmenter, SlowSegmenter):
        segmenter = segmenter.inner
    perception.segmenter = segmenter if fault is None else SlowSegmenter(segmenter, clock, fault.delay_ms)


def slowed(look: Callable[Given, Found], faults: Faults, clock: Clock) -> Callable[Given, Found]:
    """The same for a sort: what looks at a stack of strips, so much later."""
    fault = faults.slow_inference
    if fault is None:
        return look

    def look_late(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        clock.sleep_s(fault.delay_ms / 1000)
        return look(*args, **kwargs)

    return look_late


class Killer:
    """Ends this process by force at a certain frame; the process that is started after it begins later and lives."""

    def __init__(self, fault: KilledInference | None) -> None:
        self._fault = fault
        self._first_index: int | None = None

    def see(self, frame_index: int) -> None:
        """A frame that is about to be looked at."""
        if self._first_index is None:
            self._first_index = frame_index
        if self._fault is not None and self._first_index < self._fault.at_frame <= frame_index:
            os.kill(os.getpid(), KILL)
