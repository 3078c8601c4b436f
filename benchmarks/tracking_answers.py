"""What a tracker of any kind says about a recording, as lineages. Part of benchmarks/tracking.py."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models.cells import Cells
from tracking.lineages import Lineages
from tracking.tracks import Ints


def tracked(frames: Sequence[Cells], ids: Sequence[Ints], parents: dict[int, int]) -> Lineages:
    """Lineages of cells whose tracks are known: `ids[f]` is the track of every row of frame f, 0 = of none."""
    rows, counts = [], []
    for track in ids:
        row = np.flatnonzero(track)
        rows.append(row[np.argsort(track[row])])
        counts.append(len(row))

    def column(of: Callable[[Cells], np.ndarray], width: tuple[int, ...] = ()) -> Any:
        parts = [of(cells)[row] for cells, row in zip(frames, rows, strict=True)]
        return np.concatenate([np.empty((0, *width)), *parts])

    all_ids = np.concatenate([np.empty(0, np.int64), *(t[row] for t, row in zip(ids, rows, strict=True))])
    known = np.unique(all_ids)
    return Lineages(
        frame=np.repeat(np.arange(len(frames)), counts),
        t_ns=np.repeat(np.array([cells.t_ns for cells in frames], np.int64), counts),
        track=all_ids,
        label=column(lambda cells: cells.label).astype(np.int64),
        xy_um=column(lambda cells: cells.xy_um, (2,)),
        area_um2=column(lambda cells: cells.area_um2),
        mean_intensity=column(lambda cells: cells.mean_intensity),
        id=known,
        parent=np.array([parents.get(track, 0) for track in known.tolist()], dtype=np.int64),
    )


def without_stubs(lineages: Lineages, least_sightings: int) -> Lineages:
    """Without tracks of fewer sightings that have neither mother nor daughters."""
    counts = np.bincount(np.searchsorted(lineages.id, lineages.track), minlength=len(lineages.id))
    related = (lineages.parent != 0) | np.isin(lineages.id, lineages.parent)
    return only_tracks(lineages, set(lineages.id[(counts >= least_sightings) | related].tolist()))


def only_tracks(lineages: Lineages, wanted: set[int]) -> Lineages:
    """Without the other tracks; whose parent is not wanted has none."""
    kept = np.isin(lineages.id, list(wanted))
    row = np.isin(lineages.track, lineages.id[kept])
    names = ("frame", "t_ns", "track", "label", "xy_um", "area_um2", "mean_intensity")
    columns = {name: getattr(lineages, name)[row] for name in names}
    parent = np.where(np.isin(lineages.parent, lineages.id[kept]), lineages.parent, 0)
    return Lineages(**columns, id=lineages.id[kept], parent=parent[kept])
