"""Policies for benchmarks: they ask for something on every frame, so that every frame meets an outcome."""

from collections.abc import Iterable
from dataclasses import dataclass

from acquisition.commands import MoveStage, SetLight
from realtime.decisions import Decision
from realtime.policy import Scene


@dataclass
class EveryFrame:
    """Move the stage a little to and fro."""

    def decide(self, scene: Scene) -> Iterable[Decision]:
        yield Decision(command=MoveStage(x_um=float(scene.frame.index % 2)), reason="every frame")


@dataclass
class EveryFrameLight:
    """Make the light a little brighter and dimmer again: done as soon as the device has obeyed, without travel."""

    def decide(self, scene: Scene) -> Iterable[Decision]:
        yield Decision(command=SetLight(1.0 + scene.frame.index % 2 / 100), reason="every frame")
