"""Policies and segmenters for tests: one that behaves, and many that do not.

Warm-up shows every policy and segmenter blank frames with small indices; those that break later wait for a frame
further on, or for a file.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acquisition.clock import SystemClock
from acquisition.commands import MoveStage, PulseSorter, Resume, SetExposure, SetInterval, SetLight
from models.perception import Image
from models.threshold import ThresholdMaps, ThresholdSegmenter
from realtime.decisions import Decision
from realtime.policy import Scene

FOR_EVER_S = 3600.0


@dataclass
class Steady:
    """Behaves: another exposure every few frames."""

    every: int = 3

    def decide(self, scene: Scene) -> Iterable[Decision]:
        if scene.frame.index % self.every:
            return ()
        exposure_ms = 4.0 if scene.frame.exposure_ms > 4.5 else 5.0
        return (Decision(command=SetExposure(exposure_ms), reason="it is time"),)


@dataclass
class Raising:
    """Raises at every frame, and is long-winded about it."""

    words: int = 1

    def decide(self, scene: Scene) -> Iterable[Decision]:
        raise ZeroDivisionError("this policy is wrong " * self.words)


@dataclass
class Slow:
    """Decides, but takes its time."""

    ms: float = 30.0

    def decide(self, scene: Scene) -> Iterable[Decision]:
        SystemClock().sleep_s(self.ms / 1000)
        return (Decision(command=SetLight(1.0), reason="after long thought"),)


@dataclass
class Nonsense:
    """Answers with what no policy may answer, something else for every frame."""

    def decide(self, scene: Scene) -> Any:
        answers: list[Any] = [
            None,
            42,
            [None],
            ["MoveStage"],
            [Decision(command="MoveStage", reason="no command")],  # type: ignore[arg-type]
            [Decision(command=SetInterval(-5.0), reason="no interval")],
            [Decision(command=SetLight(1.0), reason=None)],  # type: ignore[arg-type]
            [Decision(command=SetLight(1.0), reason="no deadline", deadline_ns=math.inf)],  # type: ignore[arg-type]
            lambda: None,
        ]
        return answers[scene.frame.index % len(answers)]


@dataclass
class NotANumber:
    """Computes a target from nothing."""

    def decide(self, scene: Scene) -> Iterable[Decision]:
        return (Decision(command=MoveStage(x_um=math.nan), reason="0 / 0"),)


@dataclass
class Greedy:
    """Asks for what the limits forbid, for what is over, and for what only people may do."""

    def decide(self, scene: Scene) -> Iterator[Decision]:
        yield Decision(command=MoveStage(x_um=1e6), reason="far away")
        yield Decision(command=SetExposure(15_000.0), reason="very long")
        yield Decision(command=SetLight(1e3), reason="very bright")
        yield Decision(command=SetInterval(20.0), reason="yesterday", deadline_ns=scene.frame.t_ns - 1)
        yield Decision(command=Resume(), reason="go on")


@dataclass
class Torrent:
    """Decides again and again on one frame: pulses that do not overlap, so that the arbiter may keep them all."""

    n: int = 5000

    def decide(self, scene: Scene) -> Iterator[Decision]:
        for i in range(self.n):
            yield Decision(command=PulseSorter(at_ns=scene.after_ms(1e6 + 10 * i), width_ms=1.0), reason="pulse")


@dataclass
class StuckSegmenter(ThresholdSegmenter):
    """Never returns as soon as a file exists, which it then removes: it gets stuck once."""

    while_there: str = ""

    def infer(self, image: Image) -> ThresholdMaps:
        file = Path(self.while_there)
        if file.exists():
            file.unlink()
            SystemClock().sleep_s(FOR_EVER_S)
        return super().infer(image)


@dataclass
class DyingSegmenter(ThresholdSegmenter):
    """Raises as long as a file exists, at start-up too."""

    while_there: str = ""

    def infer(self, image: Image) -> ThresholdMaps:
        if Path(self.while_there).exists():
            raise RuntimeError("the weights are damaged")
        return super().infer(image)
