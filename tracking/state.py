"""What a tracker remembers of its tracks from frame to frame: plain arrays, one row a living track."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from models.cells import Floats
from tracking.motion import Motions
from tracking.tracks import Bools, Ints

MEMORY = 3
"""Frames back for which a track's place, area and phase are kept: a division is told at most so late."""


@dataclass(frozen=True)
class TrackState:
    """M living tracks, ids ascending. Never changed in place; only arrays, so it can be saved as it is."""

    id: Ints  # [M]
    parent: Ints  # [M] 0 = no known parent
    age: Ints  # [M] frames since birth
    hits: Ints  # [M] frames with a cell
    missed: Ints  # [M] frames in a row without a cell
    away: Ints  # [M] of which it was out of view
    seen_ns: Ints  # [M] when it last had a cell
    seen_um: Floats  # [M, 2] and where
    there: Floats  # [M] probability that it is still there, though it may have no cell
    confirmed: Bools  # [M]
    xy_um: Floats  # [M, 2] at the last frame, as are the next two
    velocity_um_s: Floats  # [M, 2]
    variance: Floats  # [M, 3]
    pace: Floats  # [M]
    looks: Floats  # [M, 2] smoothed logarithms of area and intensity
    p_class: Floats  # [M, K]
    embedding: Floats  # [M, E]
    label: Ints  # [M] of its cell in the last frame, 0 = none
    past: Floats  # [M, MEMORY, 4] x, y, log area, mitotic: after the last frame, after the one before, …
    host: Ints  # [M] id of the track in whose cell it is hidden, 0 = none
    clump: Floats  # [M, 3] place of the clump it is in from its own place, and the clump's log area; NaN = none

    def __len__(self) -> int:
        return len(self.id)

    @property
    def motions(self) -> Motions:
        """Place, velocity and their variances."""
        return Motions(self.xy_um, self.velocity_um_s, self.variance, self.pace)

    @property
    def host_of_clump(self) -> Bools:
        """Tracks whose cell, when last seen, was a clump, `[M]`."""
        hosts: Bools = ~np.isnan(self.clump[:, 2]) & (self.host == 0)
        return hosts

    def rows(self, which: Ints | Bools) -> "TrackState":
        """Some of the tracks, in the order asked for."""
        return TrackState(*(column[which] for column in self._columns()))

    def followed_by(self, other: "TrackState") -> "TrackState":
        """These tracks, then the others."""
        pairs = zip(self._columns(), other._columns(), strict=True)
        return TrackState(*(np.concatenate(pair) for pair in pairs))

    def check(self) -> None:
        """Raise ValueError if this cannot be the state of a tracker."""
        if ragged := [f.name for f in fields(self) if len(getattr(self, f.name)) != len(self.id)]:
            raise ValueError(f"the state's {', '.join(ragged)} have other numbers of tracks; start with a new tracker")
        if (np.diff(self.id, prepend=0) <= 0).any() or not np.isfinite(self.xy_um + self.variance[:, :1]).all():
            raise ValueError("the state's ids or places are not those of a tracker; start with a new tracker")

    def _columns(self) -> list[npt.NDArray[Any]]:
        return [getattr(self, field.name) for field in fields(self)]


def no_tracks(n_classes: int, n_embedding: int) -> TrackState:
    """The state before the first frame."""
    none, numbers = np.empty(0, np.int64), np.empty(0)
    return TrackState(
        id=none, parent=none, age=none, hits=none, missed=none, away=none, seen_ns=none,
        seen_um=numbers.reshape(0, 2), there=numbers, confirmed=none.astype(bool), xy_um=numbers.reshape(0, 2),
        velocity_um_s=numbers.reshape(0, 2), variance=numbers.reshape(0, 3), pace=numbers, looks=numbers.reshape(0, 2),
        p_class=np.empty((0, n_classes)), embedding=np.empty((0, n_embedding)), label=none,
        past=np.empty((0, MEMORY, 4)), host=none, clump=numbers.reshape(0, 3),
    )  # fmt: skip
