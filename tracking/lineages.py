"""A recording that was tracked, by whomever: where every track was, and who came from whom.

This is what formats read and write, what is scored, drawn, and solved again with hindsight.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from models.cells import Cells, Floats
from tracking.tracks import COASTING, Ints, Tracks


@dataclass(frozen=True)
class Lineages:
    """R sightings (a track in a frame, in the order of frames, then of track ids) and the T tracks they make up."""

    frame: Ints  # [R] 0, 1, 2 …
    t_ns: Ints  # [R]
    track: Ints  # [R] id of the track
    label: Ints  # [R] value of its pixels in that frame's label image; 0 = not known
    xy_um: Floats  # [R, 2] stage µm
    area_um2: Floats  # [R]
    mean_intensity: Floats  # [R]
    id: Ints  # [T] ascending
    parent: Ints  # [T] 0 = none known
    live_id: Ints | None = None  # [R] of lineages solved with hindsight: the track's id in the live answer

    def __post_init__(self) -> None:
        r = len(self.frame)
        columns = {"t_ns": self.t_ns, "track": self.track, "label": self.label, "area_um2": self.area_um2}
        columns |= {"mean_intensity": self.mean_intensity}
        wrong = [f"{name} is {list(c.shape)}, not [{r}]" for name, c in columns.items() if c.shape != (r,)]
        wrong += [] if self.xy_um.shape == (r, 2) else [f"xy_um is {list(self.xy_um.shape)}, not [{r}, 2]"]
        wrong += [] if self.parent.shape == self.id.shape else ["id and parent differ in length"]
        if wrong:
            raise ValueError(f"lineages: {'; '.join(wrong)}")
        order = np.lexsort((self.track, self.frame))
        if not np.array_equal(order, np.arange(r)):
            raise ValueError("lineages: sightings must be in the order of frames, then of track ids")
        known = np.unique(self.track)
        if not np.array_equal(known, self.id):
            raise ValueError("lineages: id must hold every track that is sighted, ascending, and no other")
        strangers = np.setdiff1d(self.parent[self.parent != 0], self.id)
        if strangers.size:
            raise ValueError(f"lineages: parents {strangers[:5].tolist()} are never sighted")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def n_frames(self) -> int:
        """Frames from the first of the recording to the last sighting."""
        return int(self.frame[-1]) + 1 if len(self) else 0

    def spans(self) -> tuple[Ints, Ints]:
        """First and last frame of each track, `[T]`."""
        row = np.searchsorted(self.id, self.track)
        first = np.full(len(self.id), np.iinfo(np.int64).max)
        last = np.full(len(self.id), -1)
        np.minimum.at(first, row, self.frame)
        np.maximum.at(last, row, self.frame)
        return first, last

    def links(self) -> Ints:
        """Rows of sightings that follow one another in a track, `[L, 2]`, gaps included."""
        order = np.lexsort((self.frame, self.track))
        same = self.track[order[1:]] == self.track[order[:-1]]
        return np.stack([order[:-1][same], order[1:][same]], axis=1)

    def births(self) -> Ints:
        """From the mother's last sighting to each daughter's first one, `[B, 2]` rows."""
        order = np.lexsort((self.frame, self.track))
        first = order[np.searchsorted(self.track[order], self.id, side="left")]
        last = order[np.searchsorted(self.track[order], self.id, side="right") - 1]
        has = self.parent != 0
        return np.stack([last[np.searchsorted(self.id, self.parent[has])], first[has]], axis=1)

    def divisions(self) -> dict[int, list[int]]:
        """Mothers of two or more tracks, and their daughters."""
        mothers, counts = np.unique(self.parent[self.parent != 0], return_counts=True)
        return {int(m): self.id[self.parent == m].tolist() for m in mothers[counts >= 2]}


class LineagesWriter:
    """Collects the live answer, frame by frame; what it was told is never changed afterwards."""

    def __init__(self) -> None:
        self._frames: list[tuple[Ints, ...]] = []
        self._measured: list[tuple[Floats, ...]] = []
        self._parent: dict[int, int] = {}

    def add(self, cells: Cells, tracks: Tracks) -> None:
        """The tracks that have a cell in this frame."""
        seen = np.flatnonzero(tracks.cell_row != COASTING)
        seen = seen[np.argsort(tracks.id[seen])]
        row, n = tracks.cell_row[seen], len(seen)
        self._frames.append(
            (
                np.full(n, tracks.frame_index),
                np.full(n, tracks.t_ns),
                tracks.id[seen],
                cells.label[row].astype(np.int64),
            )
        )
        self._measured.append((cells.xy_um[row], cells.area_um2[row], cells.mean_intensity[row]))
        has = tracks.parent != 0
        self._parent.update(zip(tracks.id[has].tolist(), tracks.parent[has].tolist(), strict=True))

    def lineages(self) -> Lineages:
        """Everything so far."""
        none, nothing = np.empty(0, np.int64), np.empty(0)
        frame, t_ns, track, label = (np.concatenate([none, *(f[i] for f in self._frames)]) for i in range(4))
        xy_um = np.concatenate([np.empty((0, 2)), *(m[0] for m in self._measured)])
        area_um2, mean_intensity = (np.concatenate([nothing, *(m[i] for m in self._measured)]) for i in (1, 2))
        ids = np.unique(track)
        parent = np.array([self._parent.get(i, 0) for i in ids.tolist()], dtype=np.int64)
        parent[~np.isin(parent, ids)] = 0
        return Lineages(frame, t_ns, track, label, xy_um, area_um2, mean_intensity, ids, parent)


def live_lineages(frames: Iterable[tuple[Cells, Tracks]]) -> Lineages:
    """The live answer to a whole recording."""
    writer = LineagesWriter()
    for cells, tracks in frames:
        writer.add(cells, tracks)
    return writer.lineages()
