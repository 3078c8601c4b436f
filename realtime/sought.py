"""What several policies look for: a condition on single cells, and in how many of a track's last looks it must hold."""

import math
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from acquisition.commands import AtLeastOne
from acquisition.frame import FrameHeader
from models.cells import Cells
from realtime.policy import Scene
from tracking.tracks import COASTING, Tracks

Bools = npt.NDArray[np.bool_]


@dataclass
class Looks:
    """The last looks at every living track: whether its cell met the condition."""

    of: int
    """How many looks are remembered."""
    bits: dict[int, int] = field(default_factory=dict)
    """Track id → its last looks as bits, newest lowest; in ascending order of the ids."""

    def add(self, tracks: Tracks, met: Bools) -> None:
        """One more frame, of whose cells `met[N]` meet the condition; a cell that was missed does not. Ids never come back."""
        rows = tracks.cell_row
        hits = np.zeros(len(rows), dtype=bool)
        hits[rows != COASTING] = met[rows[rows != COASTING]]
        window = (1 << self.of) - 1
        alive = sorted(zip(tracks.id.tolist(), hits.tolist(), strict=True))
        self.bits = {track: (self.bits.get(track, 0) << 1 | hit) & window for track, hit in alive}

    def agreeing(self, least: int) -> list[int]:
        """Tracks that met the condition in at least so many of their looks, the longest-known first."""
        return [track for track, bits in self.bits.items() if bits.bit_count() >= least]

    def count(self, track: int) -> int:
        """In how many of its looks a track met the condition."""
        return self.bits.get(track, 0).bit_count()


@dataclass(kw_only=True)
class Sought:
    """Settings of a policy that waits for a kind of cell; a subclass is the policy."""

    class_name: str = ""
    """The condition: a cell is of this class with at least `p_min` …"""
    p_min: Annotated[float, Meta(ge=0, le=1)] = 0.8
    feature: str = ""
    """… or this feature lies within [feature_min, feature_max]."""
    feature_min: float = -math.inf
    feature_max: float = math.inf
    looks: AtLeastOne = 3
    """So many frames must meet the condition …"""
    of: AtLeastOne = 5
    """… of the track's last so many. A frame in which the cell was missed does not meet it."""

    _looks: Looks = field(default_factory=lambda: Looks(1), init=False, repr=False)

    def __post_init__(self) -> None:
        if self.class_name and self.feature:
            raise ValueError("give either class_name or feature: one condition decides")
        if self.feature and (self.feature_min, self.feature_max) == (-math.inf, math.inf):
            raise ValueError(f"feature {self.feature!r} needs feature_min, feature_max or both")
        if self.feature_min > self.feature_max:
            low, high = self.feature_min, self.feature_max
            raise ValueError(f"feature_min {low:g} must not be above feature_max {high:g}")
        if self.looks > self.of:
            raise ValueError(f"looks {self.looks} must not be above of {self.of}")
        self._looks = Looks(self.of)

    @property
    def sought(self) -> str:
        """The condition's name, for reasons."""
        return self.class_name or self.feature

    def met(self, cells: Cells) -> Bools:
        """Whether each cell of a frame, by itself, meets the condition, `[N]`; none if there is no condition."""
        if self.class_name:
            return cells.probability(self.class_name) >= self.p_min
        if not self.feature:
            return np.zeros(len(cells), dtype=bool)
        value = cells.feature(self.feature)
        return (self.feature_min <= value) & (value <= self.feature_max)

    def remember(self, scene: Scene) -> None:
        """Add a frame's looks; a frame of another channel holds none."""
        if scene.segmented:
            self._looks.add(scene.tracks, self.met(scene.cells))


def cut_off(cells: Cells, frame: FrameHeader, edge_um: float) -> Bools:
    """Cells whose box comes nearer to the view's edge than `edge_um`, `[N]`: with 0 none."""
    x0, y0, x1, y1 = cells.bbox_px.T.astype(np.float64)
    nearest_px = np.min([x0, y0, frame.width_px - x1, frame.height_px - y1], axis=0)
    return nearest_px * frame.um_per_px < edge_um if edge_um else np.zeros(len(cells), dtype=bool)
