"""trigger: fire the output for a cell that was seen to be of a kind in several looks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from acquisition.clock import NS_PER_MS
from acquisition.commands import AtLeastOne, NotNegative, Positive, PulseSorter
from realtime.decisions import Decision
from realtime.policy import Scene
from tracking.tracks import COASTING


@dataclass
class Trigger:
    """A pulse at a fixed delay after the frame in which enough of a track's last looks agreed.

    Several looks, because one wrong look in twenty becomes one in four hundred if two must agree (as far as
    looks err independently). They are all that a track needs: waiting for the tracker to confirm it, too, would cost
    looks that a flowing cell may not have. Only looks = 1 acts on a cell that was seen once. Daughters are new cells,
    whose looks begin with them. The pulse's time is its deadline: if it is refused as late, that was it.
    """

    class_name: str = ""
    """The condition: a cell is of this class with at least `p_min` …"""
    p_min: Annotated[float, Meta(ge=0, le=1)] = 0.8
    feature: str = ""
    """… or this feature lies within [feature_min, feature_max]. Give one of the two."""
    feature_min: float = -math.inf
    feature_max: float = math.inf
    looks: AtLeastOne = 3
    """So many frames must meet the condition …"""
    of: AtLeastOne = 5
    """… of the track's last so many. A frame in which the cell was missed does not meet it."""
    delay_ms: Positive = 20.0
    """From the end of exposure to the pulse: longer than the loop needs, else pulses are refused as late."""
    width_ms: Positive = 1.0
    refractory_ms: NotNegative = 0.0
    """Least time from one pulse's start to the next; never taken as less than `width_ms`."""
    once_per_track: bool = True
    """False: fire for as long as the looks agree, `refractory_ms` apart."""

    _looks: dict[int, int] = field(default_factory=dict, init=False)
    """Track id → its last `of` looks as bits, newest lowest."""
    _fired: set[int] = field(default_factory=set, init=False)
    _free_ns: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if bool(self.class_name) == bool(self.feature):
            raise ValueError("give either class_name or feature: one condition decides")
        if self.feature and (self.feature_min, self.feature_max) == (-math.inf, math.inf):
            raise ValueError(f"feature {self.feature!r} needs feature_min, feature_max or both")
        if self.feature_min > self.feature_max:
            low, high = self.feature_min, self.feature_max
            raise ValueError(f"feature_min {low:g} must not be above feature_max {high:g}")
        if self.looks > self.of:
            raise ValueError(f"looks {self.looks} must not be above of {self.of}")

    def decide(self, scene: Scene) -> Iterable[Decision]:
        """At most one pulse a frame, for the longest-known track that is due one."""
        self._remember(scene)
        at_ns = scene.after_ms(self.delay_ms)
        ready = [track for track in self._looks if self._is_due(track)]
        if not ready or at_ns < self._free_ns:
            return ()
        track_id = ready[0]
        self._fired.add(track_id)
        self._free_ns = at_ns + round(max(self.refractory_ms, self.width_ms) * NS_PER_MS)
        seen = self._looks[track_id].bit_count()
        reason = f"track {track_id}: {self.class_name or self.feature} in {seen} of its last {self.of} frames"
        pulse = PulseSorter(at_ns=at_ns, width_ms=self.width_ms)
        return (Decision(command=pulse, reason=reason, track_id=track_id, deadline_ns=at_ns),)

    def _remember(self, scene: Scene) -> None:
        """Add this frame's look to every living track and forget the others: ids never come back."""
        rows = scene.tracks.cell_row
        met = np.zeros(len(rows), dtype=bool)
        met[rows != COASTING] = self._condition(scene)[rows[rows != COASTING]]
        window = (1 << self.of) - 1
        alive = sorted(zip(scene.tracks.id.tolist(), met.tolist(), strict=True))
        self._looks = {track: (self._looks.get(track, 0) << 1 | hit) & window for track, hit in alive}
        self._fired &= self._looks.keys()

    def _condition(self, scene: Scene) -> npt.NDArray[np.bool_]:
        """Whether each cell of this frame, by itself, meets the condition, `[N]`."""
        if self.class_name:
            return scene.cells.probability(self.class_name) >= self.p_min
        value = scene.cells.feature(self.feature)
        return (self.feature_min <= value) & (value <= self.feature_max)

    def _is_due(self, track: int) -> bool:
        spent = self.once_per_track and track in self._fired
        return not spent and self._looks[track].bit_count() >= self.looks
