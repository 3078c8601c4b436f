"""What a policy sees and what it answers. A policy is one small class: no I/O, no clock, no global state."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.dose_map import DoseMap
from acquisition.frame import FrameHeader
from models.cells import Cells, Floats
from realtime.decisions import Decision
from tracking.tracks import Tracks


@dataclass(frozen=True)
class Dose:
    """Light on the sample up to and with this frame. J/cm² is energy by area, as the literature on phototoxicity states it."""

    total_mj: float = 0.0
    """Energy put on whatever was in view since the run began."""
    frame_mj: float = 0.0
    """Of that, since the frame before this one that was looked at."""
    limit_mj: float = math.inf
    """limits.dose_mj: when it is spent the run ends."""
    track_j_cm2: Floats = field(default_factory=lambda: np.empty(0))
    """What fell on each track's cell, in the rows of `Scene.tracks`; daughters begin with their mother's."""
    places: DoseMap | None = None
    """The same for every place of the sample, in stage µm."""
    limit_j_cm2: float = math.inf
    """limits.place_j_cm2: the most that any place may get."""
    unbleached: float = 1.0
    """Share of the fluorescence that is left, estimated from the brightness of tracked cells in the frame's channel."""


@dataclass(frozen=True)
class Scene:
    """Everything known about one frame: a policy's only input. All of it belongs to `frame`.

    Tracks are there from their first look on: whoever should not act on one look asks `tracks.confirmed`.
    """

    frame: FrameHeader
    cells: Cells
    tracks: Tracks
    dose: Dose = Dose()
    segmented: bool = True
    """False: a frame of another channel than perception.channel. Cells and tracks are those of the last frame that was
    segmented, without its events, and what is measured in the cells is of this frame (NaN for those out of view)."""

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
