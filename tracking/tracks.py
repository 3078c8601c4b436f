"""The tracks that are alive at one frame, as a struct of arrays: row i of every array is the same track."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.cells import Floats

Ints = npt.NDArray[np.int64]
EventKind = Literal["born", "divided", "lost", "merged"]
COASTING = -1
"""In `cell_row`: this track has no cell in this frame; its position is predicted."""


@dataclass(frozen=True)
class TrackEvent:
    """Something that happened to a track: `divided` carries the daughters, `merged` the surviving track."""

    kind: EventKind
    track_id: int
    others: tuple[int, ...] = ()


@dataclass(frozen=True)
class Tracks:
    """Who is where at one frame; M tracks, K classes. Ids are positive and never used twice in a run."""

    frame_index: int
    t_ns: int
    id: Ints  # [M]
    parent: Ints  # [M] 0 = no known parent
    xy_um: Floats  # [M, 2] stage µm
    velocity_um_s: Floats  # [M, 2]
    age: Ints  # [M] frames since birth
    missed: Ints  # [M] frames in a row without a cell
    p_class: Floats  # [M, K]
    cell_row: Ints  # [M] row in Cells, or COASTING
    class_names: tuple[str, ...]
    events: tuple[TrackEvent, ...] = ()

    def __len__(self) -> int:
        return len(self.id)

    def row(self, track_id: int) -> int | None:
        """The row of a track, or None if it is not alive."""
        rows = np.flatnonzero(self.id == track_id)
        return int(rows[0]) if rows.size else None

    def probability(self, class_name: str) -> Floats:
        """Probability of one class, `[M]`."""
        if class_name not in self.class_names:
            raise KeyError(f"{class_name!r} is not a class of this run; its classes are {', '.join(self.class_names)}")
        return self.p_class[:, self.class_names.index(class_name)]
