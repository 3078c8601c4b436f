"""A policy for the latency benchmark: it asks for something on every frame, so that every frame meets an outcome."""

from collections.abc import Iterable
from dataclasses import dataclass

from acquisition.commands import MoveStage
from realtime.decisions import Decision
from realtime.policy import Scene


@dataclass
class EveryFrame:
    """Move the stage a little to and fro."""

    def decide(self, scene: Scene) -> Iterable[Decision]:
        yield Decision(command=MoveStage(x_um=float(scene.frame.index % 2)), reason="every frame")
