"""Figures of the Cell Tracking Challenge (https://celltrackingchallenge.net/evaluation-methodology), by py-ctcmetrics.

It is kept by the Challenge itself, and its functions take names frame by frame, so that masks and bare sightings are
scored by the same code. traccuracy 0.4.3 was read and run beside it; where the two differ, the Challenge's way was taken:

- A detection over three true cells needs two splits (Matula et al. 2015, doi 10.1371/journal.pone.0144959); traccuracy
  counts the detection once. It gives no figures of divisions for such results at all.
- A link to an only daughter is one from mother to daughter; traccuracy takes it for a link within a track.
- traccuracy knows links over gaps, the Challenge cuts a track there: see `detected` in track_names.py for what is fair
  where a detection is missing.

traccuracy also needs click below 8.2, and the command line here is tested with a newer one. Two parts of py-ctcmetrics are
left out: its comparison of masks adds in the masks' own type, so that labels near the end of 16 bits wrap and match
nothing; its check of folders warns and then gives no figure. models/metrics.py and ctc_files.py do these instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.metrics import Counts
from realtime.offline.track_names import Named
from realtime.plugins import ConfigError
from tracking.tracks import Ints

Names = list[list[int]]
"""Per frame."""


@dataclass(frozen=True)
class GraphErrors:
    """What must be mended in the result's graph of sightings to make it the true one (Matula et al. 2015)."""

    missing_nodes: int
    false_nodes: int
    splits: int
    """Cuts through detections that cover several true cells."""
    missing_edges: int
    false_edges: int
    """Between sightings of true cells that do not follow one another."""
    wrong_semantics: int
    """Links within a track that lead from a mother to a daughter, and the reverse."""
    n_nodes: int
    """Of the truth."""
    n_edges: int


@dataclass(frozen=True)
class GraphScores:
    """1 = perfect; 0 = no better than an empty result. None where the truth has no links."""

    tra: float
    det: float
    lnk: float | None
    aogm: float
    """Errors weighted: missing node 10, split 5, missing edge 1.5, each other 1."""


@dataclass(frozen=True)
class Compared:
    """Truth and result under one kind of names, and which sighting is which."""

    true: Named
    found: Named
    true_frame: Ints  # [R]
    found_frame: Ints  # [S]
    matched: Ints  # [P, 2] rows of truth and result; a row of the result may occur more than once
    n_frames: int

    @cached_property
    def names(self) -> tuple[Names, Names, Names, Names]:
        """Of all true sightings, of all found ones, and of the matched pairs, true and found."""
        true_row, found_row = self.matched[np.argsort(self.true_frame[self.matched[:, 0]], kind="stable")].T
        pair_frame = self.true_frame[true_row]
        return (
            self._by_frame(self.true_frame, self.true.of_sighting, in_order=True),
            self._by_frame(self.found_frame, self.found.of_sighting, in_order=True),
            self._by_frame(pair_frame, self.true.of_sighting[true_row]),
            self._by_frame(pair_frame, self.found.of_sighting[found_row]),
        )

    def _by_frame(self, frame: Ints, name: Ints, in_order: bool = False) -> Names:
        if in_order:  # py-ctcmetrics looks names up by bisection
            name = name[np.lexsort((name, frame))]
        n_frames = max(2, self.n_frames)  # it cannot look for links in a single frame; an empty one adds nothing
        ends = np.searchsorted(frame, np.arange(1, n_frames))
        return [part.tolist() for part in np.split(name, ends)]


def require_library() -> None:
    """Raises ConfigError where py-ctcmetrics is not installed."""
    try:
        import ctc_metrics  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'scores of tracking need the package py-ctcmetrics ({error}): pip install "reflexscope[evaluate]"'
        ) from error


def graph_errors(compared: Compared) -> GraphErrors:
    """Errors of nodes and edges; tracks in pieces, as files hold them."""
    from ctc_metrics.utils.representations import count_acyclic_graph_correction_operations

    found = count_acyclic_graph_correction_operations(compared.true.table, compared.found.table, *compared.names)
    numbers = (found[key] for key in ("FN", "FP", "NS", "EA", "ED", "EC", "num_vertices", "num_edges"))
    return GraphErrors(*(int(number) for number in numbers))


def graph_scores(errors: GraphErrors) -> GraphScores:
    """TRA, DET, LNK and AOGM of counted errors."""
    from ctc_metrics.metrics.technical.det import det
    from ctc_metrics.metrics.technical.lnk import lnk
    from ctc_metrics.metrics.technical.tra import tra

    numbers = {
        "FN": errors.missing_nodes, "FP": errors.false_nodes, "NS": errors.splits, "EA": errors.missing_edges,
        "ED": errors.false_edges, "EC": errors.wrong_semantics, "num_vertices": errors.n_nodes, "num_edges": errors.n_edges,
    }  # fmt: skip
    score, aogm, _ = tra(**numbers)
    return GraphScores(score, det(**numbers), lnk(**numbers) if errors.n_edges else None, float(aogm))


def division_counts(compared: Compared, tolerance_frames: int) -> Counts:
    """Divisions found as in the Challenge's BC(i): mother and daughters are the true ones, times at most i frames off."""
    from ctc_metrics.metrics.biological.bc import raw_division_metrics

    _, _, true, found = compared.names
    counted = raw_division_metrics(compared.found.table, compared.true.table, true, found, tolerance_frames)
    return Counts(*(int(number) for number in counted))


def complete_tracks(compared: Compared) -> int:
    """True tracks that one track of the result follows from their first frame to their last: those that CT counts."""
    from ctc_metrics.metrics.biological.ct import ct

    true, _, matched_true, matched_found = compared.names
    share = ct(compared.found.table, compared.true.table, true, matched_true, matched_found)
    return round(float(share) * (len(compared.found.table) + len(compared.true.table)) / 2)


def identity_switches(compared: Compared) -> int:
    """How often a true track is continued under another name: IDSW of CLEAR MOT (doi 10.1155/2008/246309)."""
    from ctc_metrics.metrics.clearmot.mota import mota

    return int(mota(*compared.names)["IDSW"])


def seg(n_true: Sequence[int], ious: Sequence[Sequence[float]]) -> float:
    """Mean IoU of true cells with the result's cell over more than half of them, 0 without one; lists of images."""
    from ctc_metrics.metrics.technical.seg import seg

    return float(seg([range(n) for n in n_true], ious))
