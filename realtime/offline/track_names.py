"""Under which names the sightings of a recording are scored: tracks as told, pieces of tracks, tracks of the lineage graph."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from realtime.offline.track_segments import edges_of, pieces_of
from tracking.lineages import Lineages
from tracking.tracks import Ints


@dataclass(frozen=True)
class Named:
    """A table of tracks in the manner of the Cell Tracking Challenge, and the track of each of R sightings."""

    table: Ints  # [T, 4] name, first frame, last frame, parent (0 = none)
    of_sighting: Ints  # [R]


def as_told(lineages: Lineages) -> Named:
    """The tracks under their own ids. A mother may end after a daughter began: a division that was told late."""
    first, last = lineages.spans()
    return Named(np.stack([lineages.id, first, last, lineages.parent], axis=1), lineages.track)


def in_pieces(lineages: Lineages) -> Named:
    """As the Challenge's files hold them: without gaps, every mother ending before her daughters begin."""
    pieces = pieces_of(lineages)
    return Named(np.stack([pieces.id, pieces.first, pieces.last, pieces.parent], axis=1), pieces.of_sighting)


def in_graph(lineages: Lineages) -> Named:
    """From division to division, gaps included, whatever the ids: an only daughter goes on with her mother's track.

    A division that was told late lies where the daughters began, since a link leads there from the mother.
    """
    edges, n = edges_of(lineages), len(lineages)
    inside = np.bincount(edges[:, 0], minlength=n)[edges[:, 0]] == 1
    links = coo_array((np.ones(int(inside.sum())), edges[inside].T), shape=(n, n))
    n_tracks, track = connected_components(links, directed=False)
    name, births = track.astype(np.int64) + 1, edges[~inside]
    table = np.zeros((n_tracks, 4), np.int64)
    table[:, 0] = np.arange(n_tracks) + 1
    table[name - 1, 2] = lineages.frame  # sightings are in the order of frames: the last one written stays
    table[name[::-1] - 1, 1] = lineages.frame[::-1]
    table[name[births[:, 1]] - 1, 3] = name[births[:, 0]]
    return Named(table, name)


def detected(truth: Lineages) -> Lineages:
    """What a perfect tracker could tell: the sightings that have a detection (`label` is not 0), linked over the gaps.

    A daughter of a cell that was never detected is linked to the nearest ancestor that was. A mother with one detected
    daughter is one track with her, since nobody could see that division.
    """
    keep = np.flatnonzero(truth.label != 0)
    mother = _detected_mothers(truth, set(truth.track[keep].tolist()))
    n_daughters = Counter(mother.values())
    name: dict[int, int] = {}
    for one, her in mother.items():
        name[one] = name[her] if her and n_daughters[her] == 1 else one
    track = np.array([name[one] for one in truth.track[keep].tolist()], dtype=np.int64)
    ids = np.unique(track)
    parent = np.array([name.get(mother[i], 0) for i in ids.tolist()], dtype=np.int64)
    order = np.lexsort((track, truth.frame[keep]))
    rows, track = keep[order], track[order]
    columns = (truth.label[rows], truth.xy_um[rows], truth.area_um2[rows], truth.mean_intensity[rows])
    return Lineages(truth.frame[rows], truth.t_ns[rows], track, *columns, ids, parent)


def _detected_mothers(truth: Lineages, seen: set[int]) -> dict[int, int]:
    """Of each track in `seen`, mothers before their daughters; 0 = none."""
    in_time = np.argsort(truth.spans()[0], kind="stable")
    mother = {0: 0}
    for track, her in zip(truth.id[in_time].tolist(), truth.parent[in_time].tolist(), strict=True):
        mother[track] = her if her in seen else mother[her]
    return {track: her for track, her in mother.items() if track in seen}


def same_detections(truth: Lineages, result: Lineages) -> Ints:
    """Rows of truth and result that are the same detection, by frame and label, `[P, 2]`.

    Of a detection that the result has in two tracks only one row is the true cell.
    """
    width = int(max(truth.label.max(initial=0), result.label.max(initial=0))) + 1
    true_rows, found_rows = np.flatnonzero(truth.label != 0), np.flatnonzero(result.label != 0)
    true_key = truth.frame[true_rows] * width + truth.label[true_rows]
    found_key = result.frame[found_rows] * width + result.label[found_rows]
    _, true, found = np.intersect1d(true_key, found_key, return_indices=True)
    return np.stack([true_rows[true], found_rows[found]], axis=1)
