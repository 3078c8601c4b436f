"""What a tracker remembers from frame to frame: plain arrays, one row a living track."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from models.cells import Floats
from tracking.tracks import Ints


@dataclass(frozen=True)
class TrackState:
    """M living tracks, ids ascending. Never changed in place; only arrays, so it can be saved as it is."""

    id: Ints  # [M]
    parent: Ints  # [M] 0 = no known parent
    age: Ints  # [M] frames since birth
    missed: Ints  # [M] frames in a row without a cell
    seen_ns: Ints  # [M] when it last had a cell
    seen_um: Floats  # [M, 2] and where that was
    velocity_um_s: Floats  # [M, 2]
    areas_um2: Floats  # [M, 2] of its last cell and of the one before
    p_class: Floats  # [M, K]

    def __len__(self) -> int:
        return len(self.id)

    def only(self, keep: npt.NDArray[np.bool_]) -> "TrackState":
        """The tracks where `keep[M]` is true."""
        return TrackState(*(column[keep] for column in self._columns()))

    def followed_by(self, other: "TrackState") -> "TrackState":
        """These tracks, then the others."""
        pairs = zip(self._columns(), other._columns(), strict=True)
        return TrackState(*(np.concatenate(pair) for pair in pairs))

    def _columns(self) -> list[npt.NDArray[Any]]:
        return [getattr(self, field.name) for field in fields(self)]


def no_tracks(n_classes: int) -> TrackState:
    """The state before the first frame."""
    none, none_um = np.empty(0, np.int64), np.empty((0, 2))
    return TrackState(none, none, none, none, none, none_um, none_um, none_um, np.empty((0, n_classes)))
