"""How well a recording was tracked: the Cell Tracking Challenge's figures, divisions, identities; of folders or of sightings."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.metrics import Counts
from realtime.offline.ctc_figures import (
    Compared,
    GraphErrors,
    GraphScores,
    complete_tracks,
    division_counts,
    graph_errors,
    graph_scores,
    identity_switches,
    require_library,
)
from realtime.offline.track_names import Named, as_told, detected, in_graph, in_pieces, same_detections
from realtime.offline.track_segments import edges_of
from tracking.lineages import Lineages
from tracking.tracks import Ints

TOLERANCES = (0, 1, 2)
"""Frames by which a division may be off."""


@dataclass(frozen=True)
class TrackingScores:
    """All figures of one result."""

    graph: GraphScores
    errors: GraphErrors
    divisions: dict[int, Counts]
    """Tolerance in frames → divisions, at the time at which the ids changed: late where they were told late."""
    complete: Counts
    """Tracks that one id follows from the first frame to the last. Their `f1` is the Challenge's CT."""
    complete_in_graph: Counts
    """The same of the lineage graph, where a division lies where the daughters began however late it was told."""
    identity_switches: int
    """IDSW of CLEAR MOT, of tracks of the lineage graph, as py-ctcmetrics counts it."""
    fragmentations: int
    """Times that a true track is lost and found again, whatever the id then: Frag of the MOT Challenge."""
    seg: float | None = None
    """Of masks only."""

    @property
    def frames_off(self) -> dict[int, int]:
        """Divisions found by how many frames they are off."""
        found = [self.divisions[t].found for t in TOLERANCES]
        return dict(zip(TOLERANCES, np.diff(found, prepend=0).tolist(), strict=True))


@dataclass(frozen=True)
class QuickScore:
    """What a search of parameters needs, in milliseconds: links as LNK counts them, and divisions of the lineage graph."""

    links: Counts
    divisions: Counts


def score_detections(truth: Lineages, result: Lineages) -> TrackingScores:
    """A tracker that was given detections, against the truth of each: equal frame and label are the same cell.

    True cells that were not detected (label 0) are nobody's mistake: the truth is linked over such gaps (`detected`),
    so that a tracker that bridges one finds a true link, and one that does not misses it. Raises as `score_graphs`.
    """
    seen = detected(truth)
    return score_graphs(seen, result, same_detections(seen, result))


def score_graphs(truth: Lineages, result: Lineages, matched: Ints) -> TrackingScores:
    """Score sightings, of which `matched[P, 2]` says which row of the truth is which row of the result.

    Raises ConfigError without py-ctcmetrics, ValueError if the truth is empty.
    """
    require_library()
    if not len(truth):
        raise ValueError("the truth holds no sighting of a cell: there is nothing to find")
    if not len(result):
        return _nothing_found(truth)
    told, pieces, graph = (_compared(truth, result, matched, names) for names in (as_told, in_pieces, in_graph))
    errors = graph_errors(pieces)
    return TrackingScores(
        graph=graph_scores(errors),
        errors=errors,
        divisions={tolerance: division_counts(told, tolerance) for tolerance in TOLERANCES},
        complete=_complete(told),
        complete_in_graph=_complete(graph),
        identity_switches=identity_switches(graph),
        fragmentations=_fragmentations(graph.true, truth.frame, matched),
    )


def quick_score(truth: Lineages, result: Lineages) -> QuickScore:
    """The same cells as in `score_detections`, without any library; a division is found if its links are, late or not."""
    seen = detected(truth)
    matched = same_detections(seen, result)
    true_row = np.full(len(result), -1)
    true_row[matched[:, 1]] = matched[:, 0]
    true, found = edges_of(seen), true_row[edges_of(result)]
    found = found[(found >= 0).all(axis=1)]
    true_keys, found_keys = (edges[:, 0] * len(seen) + edges[:, 1] for edges in (true, found))
    right = len(np.intersect1d(true_keys, found_keys))
    return QuickScore(Counts(right, len(found) - right, len(true) - right), _quick_divisions(true, found, result))


def as_json(scores: TrackingScores) -> dict[str, Any]:
    """All figures by name; tolerances as text keys."""
    return {
        "TRA": scores.graph.tra,
        "DET": scores.graph.det,
        "LNK": scores.graph.lnk,
        "SEG": scores.seg,
        "AOGM": scores.graph.aogm,
        "errors": asdict(scores.errors),
        "divisions": {str(tolerance): _counts(counts) for tolerance, counts in scores.divisions.items()},
        "divisions_frames_off": {str(off): n for off, n in scores.frames_off.items()},
        "complete_tracks": _tracks(scores.complete),
        "complete_tracks_in_graph": _tracks(scores.complete_in_graph),
        "identity_switches": scores.identity_switches,
        "fragmentations": scores.fragmentations,
    }


def _compared(truth: Lineages, result: Lineages, matched: Ints, names: Callable[[Lineages], Named]) -> Compared:
    n_frames = max(truth.n_frames, result.n_frames)
    return Compared(names(truth), names(result), truth.frame, result.frame, matched, n_frames)


def _complete(compared: Compared) -> Counts:
    found, n_true, n_found = complete_tracks(compared), len(compared.true.table), len(compared.found.table)
    return Counts(found, n_found - found, n_true - found)


def _fragmentations(true: Named, frame: Ints, matched: Ints) -> int:
    """Stretches in which a true track is found, beyond the first one of each."""
    order = np.lexsort((frame, true.of_sighting))
    track, is_found = true.of_sighting[order], np.isin(order, matched[:, 0])
    goes_on = (track[1:] == track[:-1]) & is_found[:-1]
    n_stretches = int(is_found[:1].sum() + (is_found[1:] & ~goes_on).sum())
    return n_stretches - len(np.unique(track[is_found]))


def _nothing_found(truth: Lineages) -> TrackingScores:
    """py-ctcmetrics does not take an empty result."""
    n_edges, n_divisions = len(edges_of(truth)), len(truth.divisions())
    errors = GraphErrors(
        missing_nodes=len(truth), false_nodes=0, splits=0, missing_edges=n_edges, false_edges=0, wrong_semantics=0,
        n_nodes=len(truth), n_edges=n_edges,
    )  # fmt: skip
    return TrackingScores(
        graph=graph_scores(errors),
        errors=errors,
        divisions={tolerance: Counts(0, 0, n_divisions) for tolerance in TOLERANCES},
        complete=Counts(0, 0, len(truth.id)),
        complete_in_graph=Counts(0, 0, len(in_graph(truth).table)),
        identity_switches=0,
        fragmentations=0,
    )


def _quick_divisions(true: Ints, found: Ints, result: Lineages) -> Counts:
    """Mothers whose daughters are all linked to them, and no other cell."""
    true_births, found_births = _births(true), _births(found)
    right = sum(found_births.get(mother) == daughters for mother, daughters in true_births.items())
    n_found = len(_births(edges_of(result)))
    return Counts(right, n_found - right, len(true_births) - right)


def _births(edges: Ints) -> dict[int, set[int]]:
    """Rows of mothers and of their two or more daughters."""
    mothers, n = np.unique(edges[:, 0], return_counts=True)
    rows = edges[np.isin(edges[:, 0], mothers[n > 1])]
    births: dict[int, set[int]] = {}
    for mother, daughter in rows.tolist():
        births.setdefault(mother, set()).add(daughter)
    return births


def _counts(counts: Counts) -> dict[str, float]:
    return asdict(counts) | {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1}


def _tracks(counts: Counts) -> dict[str, float]:
    """`share` is the Challenge's CT: 2 complete / (true + result's)."""
    n_true, n_result = counts.found + counts.missed, counts.found + counts.invented
    return {"complete": counts.found, "true": n_true, "result": n_result, "share": counts.f1}
