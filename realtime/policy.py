"""What a policy sees and what it answers. A policy is one small class: no I/O, no clock, no global state."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.frame import FrameHeader
from models.cells import Cells
from realtime.decisions import Decision
from tracking.tracks import Tracks


@dataclass(frozen=True)
class Dose:
    """Light energy spent on the field up to and with this frame."""

    total_mj: float = 0.0


@dataclass(frozen=True)
class Scene:
    """Everything known about one frame: a policy's only input. All of it belongs to `frame`.

    Tracks are there from their first look on: whoever should not act on one look asks `tracks.confirmed`.
    """

    frame: FrameHeader
    cells: Cells
    tracks: Tracks
    dose: Dose = Dose()

    @property
    def t_s(self) -> float:
        """A policy's clock: when the frame's exposure ended, seconds."""
        return self.frame.t_ns / NS_PER_S

    def after_ms(self, milliseconds: float) -> int:
        """A deadline: so long after the end of the frame's exposure, acquisition clock, ns."""
        return self.frame.t_ns + round(milliseconds * NS_PER_MS)


class Policy(Protocol):
    """A dataclass of its settings (the `[[policy]]` table) with one method."""

    def decide(self, scene: Scene) -> Iterable[Decision]:
        """Decisions that this scene calls for, most important first; none is a fine answer."""
