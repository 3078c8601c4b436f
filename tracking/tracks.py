"""The tracks that are alive at one frame, as a struct of arrays: row i of every array is the same track."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.cells import Floats, UnknownName

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
EventKind = Literal["born", "entered", "confirmed", "divided", "merged", "split", "left", "lost"]
COASTING = -1
"""In `cell_row`: this track has no cell in this frame; its position is predicted."""


@dataclass(frozen=True)
class TrackEvent:
    """Something that happened to a track.

    born, entered    it begins, inside the field or at its edge; it is tentative until `confirmed`, as daughters are at once
    divided          it has ended; `others` are its two daughters
    merged           its cell is segmented as one with that of `others[0]`; it goes on, coasting with the clump
    split            it is no longer hidden; `others[0]` is the track it was merged with, which may have ended
    left, lost       it has ended, at the edge of the field or beyond it, or inside
    """

    kind: EventKind
    track_id: int
    others: tuple[int, ...] = ()
    confidence: float = 1.0
    """Of a division: the probability that it is one."""
    late_frames: int = 0
    """Of a division: frames between the first one with both daughters and this one."""


@dataclass(frozen=True)
class Tracks:
    """Who is where at one frame; M tracks, K classes. Ids are positive and never used twice in a run."""

    frame_index: int
    t_ns: int
    id: Ints  # [M]
    parent: Ints  # [M] 0 = no known parent
    xy_um: Floats  # [M, 2] stage µm: where its cell is, or where it is expected
    velocity_um_s: Floats  # [M, 2]
    sigma_um: Floats  # [M] standard error of its expected place along one axis
    age: Ints  # [M] frames since birth
    missed: Ints  # [M] frames in a row without a cell
    confirmed: Bools  # [M] seen often enough to be believed
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
            raise UnknownName(
                f"{class_name!r} is not a class of this run; its classes are {', '.join(self.class_names)}"
            )
        return self.p_class[:, self.class_names.index(class_name)]


def no_tracks(frame_index: int, t_ns: int, class_names: tuple[str, ...]) -> Tracks:
    """Nobody is alive."""
    none, numbers, places = np.empty(0, np.int64), np.empty(0), np.empty((0, 2))
    return Tracks(
        frame_index=frame_index, t_ns=t_ns, id=none, parent=none, xy_um=places, velocity_um_s=places, sigma_um=numbers,
        age=none, missed=none, confirmed=np.empty(0, bool), p_class=np.empty((0, len(class_names))), cell_row=none,
        class_names=class_names,
    )  # fmt: skip
