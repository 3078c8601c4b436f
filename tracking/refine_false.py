"""Brief tracks that nothing supports: how many of them are no cells is learned from the recording itself."""

import numpy as np

from models.cells import Floats
from tracking.refine_evidence import Evidence
from tracking.refine_graph import NONE, Graph
from tracking.refine_links import at_edge
from tracking.tracks import Bools, Ints

LONGEST = 8
"""What is seen in more frames is a cell."""
SURE = 10.0
"""Tracks whose odds of being false are above this are dropped: in TRA a missing cell counts ten times as much as a
false one (Matula et al. 2015)."""
REAL = 0.02
"""At least this share of brief tracks is taken to be cells."""
FADES = (0.05, 0.7)
"""Bounds of the share of false tracks that are there in the next frame as well."""
FEWEST = 10
"""From fewer false ones nothing is learned about what they look like."""
LOOKS = (-1.5, 4.0)
"""Looks say at most so much against being false, and for it: some false ones look like cells."""
SPREAD_FLOOR = 0.05


def false_tracks(graph: Graph, evidence: Evidence) -> Bools:
    """Sightings of tracks that are to be dropped, `[R]`: brief ones from nowhere to nowhere, without mother and daughters.

    What is seen once or twice well inside the field mostly is false. As many are expected at the field's edge and at the
    recording's ends, in proportion; there cells may be as brief.
    """
    sightings, track = evidence.sightings, graph.track()
    length, edge = np.bincount(track), at_edge(evidence)
    first, last = (np.empty(len(length), np.int64) for _ in range(2))
    for ends, links in ((first, graph.before), (last, graph.after)):
        ends[track[links == NONE]] = np.flatnonzero(links == NONE)
    kin = (graph.mother[first] != NONE) | graph.divides()[last]
    brief = (length <= LONGEST) & ~kin
    outer = np.bincount(track, edge) > 0
    cut_off = (sightings.frame[first] == sightings.frame[0]) | (sightings.frame[last] == sightings.frame[-1])
    n_frames = int(sightings.frame[-1] - sightings.frame[0]) + 1
    odds = _odds(length, brief, outer, cut_off, float(edge.mean()), n_frames)
    surely = brief & ~outer & ~cut_off & (length <= 2)
    odds += _by_looks(sightings.looks, track, surely, ~brief)
    false: Bools = brief & (odds > np.log(SURE))
    return false[track]


def _odds(length: Ints, brief: Bools, outer: Bools, cut_off: Bools, edge: float, n_frames: int) -> Floats:
    """Log odds that a track is false, by its length and place, `[T]`."""
    false = _false_by_length(length[brief & ~outer & ~cut_off])
    still = np.cumsum(false[::-1])[::-1]  # so many were longer, and may be cut off by the recording's ends
    odds = np.full(len(length), -np.inf)
    for n in range(1, LONGEST + 1):
        for at_edge_, at_end in ((False, False), (False, True), (True, False), (True, True)):
            which = brief & (length == n) & (outer == at_edge_) & (cut_off == at_end)
            expected = (2 * still[n] / n_frames if at_end else false[n]) * (
                edge / max(1 - edge, 1e-9) if at_edge_ else 1.0
            )
            real = max(np.count_nonzero(which) - expected, REAL * expected) + 0.5
            odds[which] = np.log(max(expected, 1e-9) / real)
    return odds


def _false_by_length(length: Ints) -> Floats:
    """How many false tracks there are of 0, 1 … LONGEST sightings, inside: as many as brief ones, then fewer and fewer."""
    n = np.bincount(length, minlength=3).astype(float)
    fades = float(np.clip((n[2] + 0.5) / (n[1] + 1), *FADES))
    return np.array([0.0, n[1], *(n[2] * fades**k for k in range(LONGEST - 1))])


def _by_looks(looks: Floats, track: Ints, false: Bools, real: Bools) -> Floats:
    """Log likelihood ratio of looking like the `false[T]` ones to looking like the `real[T]` ones, `[T]`."""
    told = np.zeros(len(false))
    if np.count_nonzero(false) < FEWEST or not real.any():
        return told
    for k in range(looks.shape[1]):
        mean = np.bincount(track, looks[:, k]) / np.bincount(track)
        told += _density(mean, mean[false]) - _density(mean, mean[real])
    return np.clip(told, *LOOKS)


def _density(values: Floats, of: Floats) -> Floats:
    """Log density, but for a constant, in the distribution of which these are examples; Student's t."""
    middle = np.median(of)
    spread = max(1.4826 * float(np.median(np.abs(of - middle))), SPREAD_FLOOR)
    density: Floats = -np.log(spread) - 2 * np.log1p(((values - middle) / spread) ** 2 / 3)
    return density
