"""Lineages ↔ GEFF, the graph exchange format (https://liveimagetrackingtools.org/geff): a node a sighting, an edge a link.

Edges run forward in time, from mothers to daughters, too. What GEFF calls a tracklet is an unbranched stretch, and what
it calls a lineage is a family; our own track ids stand beside them as `track_id`.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.clock import NS_PER_S
from realtime.offline.track_segments import edges_of, families_of, tracklets_of
from realtime.plugins import ConfigError
from tracking.lineages import Lineages
from tracking.tracks import Ints

Columns = dict[str, npt.NDArray[Any]]
NONE = -1
"""No node before this one."""


def write_geff(path: Path, lineages: Lineages) -> None:
    """A zarr folder; axes are t (frames), y and x (stage µm)."""
    import geff_spec
    from geff.core_io import write_arrays

    columns: Columns = {
        "t": lineages.frame, "y": lineages.xy_um[:, 1], "x": lineages.xy_um[:, 0], "time_s": lineages.t_ns / NS_PER_S,
        "track_id": lineages.track, "tracklet_id": tracklets_of(lineages), "lineage_id": families_of(lineages),
        "label": lineages.label, "area_um2": lineages.area_um2, "mean_intensity": lineages.mean_intensity,
    }  # fmt: skip
    if np.isnan(lineages.mean_intensity).all():
        del columns["mean_intensity"]
    if lineages.live_id is not None:
        columns["live_track_id"] = lineages.live_id
    axes = [geff_spec.Axis(name="t", type="time", unit="frame")]
    axes += [geff_spec.Axis(name=name, type="space", unit="micrometer") for name in ("y", "x")]
    metadata = geff_spec.GeffMetadata(
        directed=True, axes=axes, node_props_metadata={}, edge_props_metadata={},
        track_node_props={"tracklet": "tracklet_id", "lineage": "lineage_id"},
    )  # fmt: skip
    if path.is_dir():
        shutil.rmtree(path)
    nodes = np.arange(len(lineages), dtype=np.uint64)
    props: Any = {name: {"values": values, "missing": None} for name, values in columns.items()}
    write_arrays(path, nodes, props, edges_of(lineages).astype(np.uint64), {}, metadata)


def read_geff(path: Path, interval_s: float = 1.0) -> Lineages:
    """A graph of ours, or of another program if no two of its cells merge. Raises ConfigError.

    Space must be in µm, time in frames; `interval_s` is asked for only where nodes have no `time_s`. Without our
    `track_id` an unbranched stretch is a track.
    """
    graph = _opened(path)
    nodes, columns = graph["node_ids"], {name: prop["values"] for name, prop in graph["node_props"].items()}
    edges = np.searchsorted(nodes, graph["edge_ids"].reshape(-1, 2), sorter=np.argsort(nodes))
    edges = np.argsort(nodes)[edges]
    before = _before(path, edges, len(nodes))
    t, y, x = (columns[name] for name in _axes(path, graph["metadata"]))
    track = columns["track_id"].astype(np.int64) if "track_id" in columns else _stretches(before)
    frame = t.astype(np.int64)
    order = np.lexsort((track, frame))
    ids, first = np.unique(track[order], return_index=True)
    mother = before[order[first]]
    unknown = np.full(len(nodes), np.nan)
    seconds = columns.get("time_s", frame * interval_s)
    return Lineages(
        frame=frame[order],
        t_ns=np.round(seconds * NS_PER_S).astype(np.int64)[order],
        track=track[order],
        label=columns.get("label", np.zeros(len(nodes))).astype(np.int64)[order],
        xy_um=np.stack([x, y], axis=1).astype(np.float64)[order],
        area_um2=columns.get("area_um2", unknown)[order],
        mean_intensity=columns.get("mean_intensity", unknown)[order],
        id=ids,
        parent=np.where(mother == NONE, 0, track[mother]),
        live_id=columns["live_track_id"].astype(np.int64)[order] if "live_track_id" in columns else None,
    )


def _opened(path: Path) -> Any:
    from geff.core_io import read_to_memory

    if not path.is_dir():
        raise ConfigError(f"{path} does not exist; a GEFF is a folder such as tracks.geff")
    try:
        return read_to_memory(path)
    except (ValueError, KeyError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as GEFF: {' '.join(str(error).split())}") from error


def _axes(path: Path, metadata: Any) -> tuple[str, str, str]:
    """Names of the time axis, then of the last two axes of space, which are y and x."""
    axes = metadata.axes or []
    time = [axis.name for axis in axes if axis.type == "time"]
    space = [axis.name for axis in axes if axis.type == "space"]
    if len(time) != 1 or len(space) < 2:
        names = ", ".join(f"{axis.name} ({axis.type})" for axis in axes) or "none"
        raise ConfigError(f"{path}: one axis of time and two of space are needed, y before x; its axes are {names}")
    return time[0], space[-2], space[-1]


def _before(path: Path, edges: Ints, n_nodes: int) -> Ints:
    """The node before each node, or NONE."""
    sources, targets = edges.T
    repeated = np.flatnonzero(np.bincount(targets, minlength=n_nodes) > 1)
    if repeated.size:
        raise ConfigError(f"{path}: {repeated.size} nodes have more than one node before them; lineages only divide")
    before = np.full(n_nodes, NONE)
    before[targets] = sources
    return before


def _stretches(before: Ints) -> Ints:
    """Numbers of unbranched stretches, from 1 on."""
    n_after = np.bincount(before[before != NONE], minlength=len(before))
    begins = (before == NONE) | (n_after[before] != 1)
    first = np.where(begins, np.arange(len(before)), before)
    while not np.array_equal(first, first[first]):
        first = first[first]  # twice as far back each time
    return np.unique(first, return_inverse=True)[1] + 1
