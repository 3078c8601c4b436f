"""How well the tracker of a run kept true cells apart: links kept, identities exchanged, divisions told."""

from dataclasses import dataclass, field

import numpy as np

from acquisition.frame import FrameHeader
from acquisition.simulated.biology import ANAPHASE
from acquisition.simulated.nuclei import Nuclei
from models.cells import Cells, Floats
from realtime.policy import Scene
from tracking.tracks import COASTING, Ints, Tracks

NOBODY = 0
PATIENCE_FRAMES = 60
"""A division that was told is a false one if no two daughters of one mother are found in its tracks by then."""


@dataclass(frozen=True)
class TrackingFigures:
    """Sums over a run's analysed frames."""

    links: int = 0
    """True cells that are in view in two frames in a row."""
    links_kept: int = 0
    """Of these, those that both frames give the same track."""
    id_switches: int = 0
    """Times that a true cell has another track than when it was last found."""
    divisions: int = 0
    """True divisions whose mother and both daughters were in view."""
    divisions_found: int = 0
    divisions_false: int = 0


@dataclass
class TrackingWatch:
    """Looks at every analysed frame beside the truth."""

    _before: dict[int, int] = field(default_factory=dict)
    """True cell → track in the frame before, NOBODY if it was not found."""
    _last: dict[int, int] = field(default_factory=dict)
    """True cell → the track it was last found as."""
    _children: dict[int, set[int]] = field(default_factory=dict)
    _told: dict[tuple[int, ...], int] = field(default_factory=dict)
    """Daughter tracks of divisions that the tracker told → frames for which they have waited to be recognised."""
    _found: set[int] = field(default_factory=set)
    _n_links: int = 0
    _n_kept: int = 0
    _n_switches: int = 0
    _n_false: int = 0

    def see(self, scene: Scene, nuclei: Nuclei) -> None:
        """One frame; `nuclei` are those whose middle is in view.

        Cells in anaphase are left out: whether they are one or two is a matter of taste.
        """
        nuclei = nuclei[nuclei.phase != ANAPHASE]
        tracks = track_of_each(scene.cells, scene.tracks, scene.frame, nuclei)
        now = dict(zip(nuclei.id.tolist(), tracks.tolist(), strict=True))
        self._count_links(now)
        for child, parent in zip(nuclei.id.tolist(), nuclei.parent.tolist(), strict=True):
            if parent:
                self._children.setdefault(parent, set()).add(child)
        self._told |= {event.others: 0 for event in scene.tracks.events if event.kind == "divided"}
        self._recognise({track: cell for cell, track in now.items() if track})
        self._before = now
        self._last |= {cell: track for cell, track in now.items() if track}

    def figures(self) -> TrackingFigures:
        """The sums so far."""
        whole = {mother for mother, children in self._children.items() if len(children) == 2 and mother in self._last}
        return TrackingFigures(
            links=self._n_links, links_kept=self._n_kept, id_switches=self._n_switches,
            divisions=len(whole | self._found), divisions_found=len(self._found), divisions_false=self._n_false,
        )  # fmt: skip

    def _count_links(self, now: dict[int, int]) -> None:
        for cell, track in now.items():
            if cell in self._before:
                self._n_links += 1
                self._n_kept += track != NOBODY and track == self._before[cell]
            self._n_switches += track != NOBODY and self._last.get(cell, track) != track

    def _recognise(self, cell_of: dict[int, int]) -> None:
        """A division may be told when the chromatids part, which is before two cells are there: so it may wait."""
        mother_of = {child: mother for mother, children in self._children.items() for child in children}
        for daughters, waited in list(self._told.items()):
            cells = {cell_of.get(track, NOBODY) for track in daughters}
            mothers = {mother_of.get(cell, NOBODY) for cell in cells}
            mother = mothers.pop() if len(cells) == 2 and len(mothers) == 1 else NOBODY
            if mother not in {NOBODY, *self._found}:
                self._found.add(mother)
                del self._told[daughters]
            elif waited >= PATIENCE_FRAMES:
                self._n_false += 1
                del self._told[daughters]
            else:
                self._told[daughters] = waited + 1


def track_of_each(cells: Cells, tracks: Tracks, frame: FrameHeader, nuclei: Nuclei) -> Ints:
    """The track of each true cell, `[N]`: of the cell that covers its middle, NOBODY where none does.

    Of several true cells under one label only the nearest has been found.
    """
    track_of_row = np.full(len(cells) + 1, NOBODY, np.int64)
    seen = tracks.cell_row != COASTING
    track_of_row[tracks.cell_row[seen]] = tracks.id[seen]
    track_of_row[-1] = NOBODY
    return track_of_row[rows_of(cells, frame, nuclei)]


def rows_of(cells: Cells, frame: FrameHeader, nuclei: Nuclei) -> Ints:
    """The row in `cells` of each true cell, `[N]`; −1 where no cell covers its middle or another true cell is nearer."""
    rows = np.full(len(nuclei.id), -1, np.int64)
    if cells.labels is None or not len(cells) or not len(rows):
        return rows
    label = _label_at(cells, frame, nuclei.xy_um)
    covered = np.flatnonzero(label)
    row = np.searchsorted(cells.label, label[covered])
    apart_um = np.hypot(*(cells.xy_um[row] - nuclei.xy_um[covered]).T)
    order = np.lexsort((apart_um, row))
    nearest = order[np.concatenate([[True], np.diff(row[order]) > 0])] if len(order) else order
    rows[covered[nearest]] = row[nearest]
    return rows


def _label_at(cells: Cells, frame: FrameHeader, xy_um: Floats) -> Ints:
    matrix = np.reshape(frame.stage_from_pixel, (2, 3))
    xy_px = np.rint(np.linalg.solve(matrix[:, :2], (xy_um - matrix[:, 2]).T).T).astype(np.int64)
    inside = np.all((xy_px >= 0) & (xy_px < (frame.width_px, frame.height_px)), axis=1)
    label = np.zeros(len(xy_um), np.int64)
    assert cells.labels is not None
    label[inside] = cells.labels[xy_px[inside, 1], xy_px[inside, 0]]
    return label
