"""Lineages ↔ `tracks.parquet`: a folder of parts as a session's recorder writes it (realtime/session/tables.py)."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.plugins import ConfigError
from tracking.lineages import Lineages
from tracking.tracks import Ints

NEEDED = ("frame_index", "t_ns", "track_id", "parent_id", "x_um", "y_um", "area_um2", "mean_intensity")
LABEL, LIVE = "label", "live_track_id"
"""Columns that older sessions, and tracks that were not solved again, do not have."""
Columns = dict[str, npt.NDArray[Any]]


def write_track_table(folder: Path, lineages: Lineages) -> None:
    """One row a sighting; `live_track_id` where the lineages know it."""
    import pyarrow
    from pyarrow import parquet

    parent = lineages.parent[np.searchsorted(lineages.id, lineages.track)]
    columns: Columns = {
        "frame_index": lineages.frame, "t_ns": lineages.t_ns, "track_id": lineages.track, "parent_id": parent,
        "x_um": lineages.xy_um[:, 0], "y_um": lineages.xy_um[:, 1], LABEL: lineages.label,
        "area_um2": lineages.area_um2, "mean_intensity": lineages.mean_intensity,
    }  # fmt: skip
    if lineages.live_id is not None:
        columns[LIVE] = lineages.live_id
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir()
    parquet.write_table(pyarrow.table(columns), folder / "part-000000.parquet")


def read_track_table(path: Path) -> Lineages:
    """Where every track was seen; what a table says of tracks that coast is left out. Raises ConfigError."""
    columns = _read(path)
    seen = ~np.isnan(columns["area_um2"])
    columns = {name: column[seen] for name, column in columns.items()}
    frame, track = columns["frame_index"].astype(np.int64), columns["track_id"].astype(np.int64)
    order = np.lexsort((track, frame))
    ids = np.unique(track)
    label = columns.get(LABEL, np.zeros(len(frame)))
    return Lineages(
        frame=frame[order],
        t_ns=columns["t_ns"].astype(np.int64)[order],
        track=track[order],
        label=label.astype(np.int64)[order],
        xy_um=np.stack([columns["x_um"], columns["y_um"]], axis=1).astype(np.float64)[order],
        area_um2=columns["area_um2"].astype(np.float64)[order],
        mean_intensity=columns["mean_intensity"].astype(np.float64)[order],
        id=ids,
        parent=_parents(ids, track[order], columns["parent_id"].astype(np.int64)[order]),
        live_id=columns[LIVE].astype(np.int64)[order] if LIVE in columns else None,
    )


def _read(path: Path) -> Columns:
    import pyarrow
    from pyarrow import parquet

    if not path.exists():
        raise ConfigError(f"{path} does not exist; give a session, or a folder that `reflexscope track` made")
    parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    try:
        tables = [parquet.read_table(part) for part in parts]
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read as parquet: {error}") from error
    for part, table in zip(parts, tables, strict=True):
        if missing := [name for name in NEEDED if name not in table.column_names]:
            raise ConfigError(
                f"{part} has no column {', '.join(missing)}; its columns are {', '.join(table.column_names)}"
            )
    if not tables:
        return {name: np.empty(0) for name in NEEDED}
    common = [name for name in tables[0].column_names if all(name in table.column_names for table in tables)]
    return {name: np.concatenate([table[name].to_numpy() for table in tables]) for name in common}


def _parents(ids: Ints, track: Ints, parent: Ints) -> Ints:
    """The parent of each track as it was known at last, for a division may be told late; none if she was never seen."""
    found = np.zeros(len(ids), np.int64)
    told = (parent != 0) & np.isin(parent, ids)
    found[np.searchsorted(ids, track[told])] = parent[told]
    return found
