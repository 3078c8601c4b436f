"""Other trackers behind one call, for benchmarks/tracking.py: frames of cells and settings in, lineages out.

    pip install laptrack==0.17.1 btrack==0.7.0 trackpy==0.7      # into the project's environment; not declared by us

All see the same detections in the same order: places in µm, area, mean intensity, classes where there are any. laptrack and
trackpy link points of any dimension, so the logarithms of area and intensity are offered to them as further coordinates,
whose weights the search chooses (0 leaves them out). btrack gets them as visual features, and its own classes of mitosis.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, Literal

import msgspec
import numpy as np

from benchmarks.tracking_answers import tracked, without_stubs
from benchmarks.tracking_btrack import BtrackSettings, btrack
from models.cells import Cells, Floats
from tracking.lineages import Lineages


class LapTrackSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Jaqaman's two steps: frame to frame, then ends of tracks to beginnings. Merging stays off: truth has none."""

    reach_um: float = 15.0
    """Farthest from frame to frame."""
    gap_reach_um: float = 15.0
    """Farthest across a gap; 0 closes none."""
    gap_frames: int = 2
    """Frames from the last sighting before a gap to the first one after it, at most."""
    split_reach_um: float = 15.0
    """Farthest from the mother to the daughter that is attached to her; 0 finds no divisions."""
    split_area_um: float = 0.0
    """What it costs a daughter not to have half the mother's area: µm for a factor e."""
    area_um: float = 0.0
    """µm that a change of area by a factor e is worth."""
    intensity_um: float = 0.0
    """µm that a change of mean intensity by a factor e is worth."""
    percentile: float = 90.0
    """Of the costs of the second step: what leaving an end alone costs."""
    least_sightings: int = 1
    """Tracks of fewer, without relatives, are taken out afterwards: what users of offline trackers do about false cells."""


class TrackpySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Crocker and Grier's linking, with adaptive search so that no crowd is too much for it."""

    reach_um: float = 15.0
    memory: int = 3
    """Frames that a cell may be missed."""
    predictor: Literal["none", "nearest", "drift"] = "none"
    """Where cells are expected: where they were; moved as their nearest neighbour was; as all were on average."""
    span: int = 1
    """Frames that the predictor looks back."""
    area_um: float = 0.0
    intensity_um: float = 0.0
    least_sightings: int = 1


AnySettings = LapTrackSettings | TrackpySettings | BtrackSettings


# --- the same to all ---------------------------------------------------------------------------------------------------


def points(cells: Cells, area_um: float, intensity_um: float) -> Floats:
    """`[N, 4]`: the place, and what area and intensity count for, all in µm."""
    area = area_um * np.log(np.maximum(cells.area_um2, 1e-6))
    intensity = intensity_um * np.log(np.maximum(cells.mean_intensity, 1e-6))
    return np.column_stack([cells.xy_um, area, intensity])


# --- laptrack ----------------------------------------------------------------------------------------------------------


def laptrack(frames: Sequence[Cells], settings: LapTrackSettings) -> Lineages:
    from laptrack import LapTrack

    s = settings
    tracker = LapTrack(
        cutoff=s.reach_um**2,
        gap_closing_cutoff=s.gap_reach_um**2 or False,
        gap_closing_max_frame_count=s.gap_frames,
        splitting_cutoff=s.split_reach_um**2 or False,
        splitting_metric=_split_metric(s.area_um, s.split_area_um) if s.split_area_um else _place_metric,
        merging_cutoff=False,
        alternative_cost_percentile=s.percentile,
    )
    tree = tracker.predict([points(cells, s.area_um or 1e-9, s.intensity_um) for cells in frames])
    return _from_tree(frames, tree)


def _place_metric(daughter: Floats, mother: Floats) -> float:
    return float((daughter[0] - mother[0]) ** 2 + (daughter[1] - mother[1]) ** 2)


def _split_metric(area_um: float, split_area_um: float) -> Callable[[Floats, Floats], float]:
    """Squared µm between a daughter and her mother; half the mother's area costs nothing."""
    unit = area_um or 1e-9

    def metric(daughter: Floats, mother: Floats) -> float:
        factor = (daughter[2] - mother[2]) / unit + math.log(2)
        return _place_metric(daughter, mother) + float(split_area_um * factor) ** 2

    return metric


def _from_tree(frames: Sequence[Cells], tree: Any) -> Lineages:
    """A spot with two successors ends its track; each of them begins one."""
    ids = [np.zeros(len(cells), np.int64) for cells in frames]
    parents: dict[int, int] = {}
    n_tracks = 0
    for frame, row in sorted(tree.nodes):
        before = next(iter(tree.predecessors((frame, row))), None)
        if before is not None and tree.out_degree(before) == 1:
            ids[frame][row] = ids[before[0]][before[1]]
            continue
        n_tracks += 1
        ids[frame][row] = n_tracks
        if before is not None:
            parents[n_tracks] = int(ids[before[0]][before[1]])
    return tracked(frames, ids, parents)


# --- trackpy -----------------------------------------------------------------------------------------------------------

COLUMNS = ["x", "y", "a", "i"]


def trackpy(frames: Sequence[Cells], settings: TrackpySettings) -> Lineages:
    """Knows nothing of divisions. Its time is in ms, so that its predictors know how long an interval took."""
    import trackpy as tp

    tp.quiet()
    levels = _levels(frames, settings)
    known = {"memory": settings.memory, "adaptive_stop": settings.reach_um / 20, "adaptive_step": 0.9}
    if settings.predictor == "none":
        linked = tp.link_df_iter(levels, settings.reach_um, pos_columns=COLUMNS, t_column="t", **known)
    else:
        kind = {"nearest": tp.predict.NearestVelocityPredict, "drift": tp.predict.DriftPredict}[settings.predictor]
        predictor = kind(span=settings.span, pos_columns=COLUMNS)
        linked = predictor.link_df_iter(levels, settings.reach_um, t_column="t", **known)
    ids = [np.zeros(0, np.int64) if level.empty else level["particle"].to_numpy(np.int64) + 1 for level in linked]
    return tracked(frames, ids, {})


def _levels(frames: Sequence[Cells], settings: TrackpySettings) -> Iterator[Any]:
    import pandas as pd

    for cells in frames:
        table = pd.DataFrame(points(cells, settings.area_um, settings.intensity_um), columns=COLUMNS)
        yield table.assign(t=round(cells.t_ns / 1e6))


# --- who is there ------------------------------------------------------------------------------------------------------

PEERS: dict[str, tuple[Callable[[Sequence[Cells], Any], Lineages], type[AnySettings]]] = {
    "laptrack": (laptrack, LapTrackSettings),
    "btrack": (btrack, BtrackSettings),
    "trackpy": (trackpy, TrackpySettings),
}


def track_by(peer: str, frames: Sequence[Cells], settings: AnySettings) -> Lineages:
    """What a peer makes of these frames."""
    return without_stubs(PEERS[peer][0](frames, settings), settings.least_sightings)


def present() -> tuple[list[str], str]:
    """Names of the peers that are installed, and a line about those that are not."""
    here = [name for name in PEERS if find_spec(name)]
    absent = [name for name in PEERS if name not in here]
    return here, f" Not run, for it is not installed: {', '.join(absent)}." if absent else ""
