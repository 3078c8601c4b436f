"""Whose sighting a clump of two cells is, and which piece of a cell that was cut is the cell: the larger one in both cases."""

import numpy as np

from tracking.refine_evidence import Evidence
from tracking.refine_graph import NONE, Graph
from tracking.tracks import Bools

BESIDE = 1.6
"""Cells in a clump were at most so many diameters apart before."""
SUM = (0.7, 1.4)
"""Area of a clump as a share of its members'."""
PIECES = 0.9
"""Pieces of a cell are at most so many diameters apart."""
WHOLE = (0.35, 1.4)
"""Area of a cell's pieces as a share of the cell's: dying ones shrink as they fall apart."""
BRIEF = 3
"""Pieces are seen apart in at most so many frames."""


def hand_over_clumps(graph: Graph, evidence: Evidence) -> int:
    """Give clumps to the larger member, where live gave them to the smaller one and let the larger one be away; how many."""
    sightings, n = evidence.sightings, 0
    large = evidence.odd & (sightings.looks[:, 0] > evidence.looks_before[:, 0])
    begins = large & (graph.before != NONE) & ~large[graph.before]
    for first in np.flatnonzero(begins).tolist():
        last = _end_of_clump(graph, large, first)
        if graph.after[last] != NONE:
            host = _larger_one(graph, evidence, first, last)
            if host != NONE:
                _hand_over(graph, first, last, host)
                n += 1
    return n


def _end_of_clump(graph: Graph, large: Bools, first: int) -> int:
    last = first
    while graph.after[last] != NONE and large[graph.after[last]]:
        last = int(graph.after[last])
    return last


def _larger_one(graph: Graph, evidence: Evidence, first: int, last: int) -> int:
    """The last sighting of a larger cell beside it that is away while there is the clump, or NONE."""
    sightings, before = evidence.sightings, int(graph.before[first])
    recent = np.arange(*np.searchsorted(sightings.frame, [sightings.frame[first] - 2, sightings.frame[first]]))
    away = recent[(graph.after[recent] != NONE) & (recent != before)]
    away = away[sightings.frame[graph.after[away]] > sightings.frame[last]]
    apart_um = np.hypot(*(sightings.xy_um[away] - sightings.xy_um[before]).T)
    away = away[apart_um < BESIDE * sightings.diameter_um]
    own = evidence.looks_before[before, 0]
    theirs = (evidence.looks_before[away, 0] + evidence.looks_after[graph.after[away], 0]) / 2
    together = np.exp(sightings.looks[first, 0] - np.logaddexp(own, theirs))
    fits = (theirs > own) & (together > SUM[0]) & (together < SUM[1])
    return int(away[fits][np.argmin(np.abs(np.log(together[fits])))]) if fits.any() else NONE


def _hand_over(graph: Graph, first: int, last: int, host: int) -> None:
    before = int(graph.before[first])
    graph.cut(before)
    after, back = graph.cut(last), graph.cut(host)
    graph.join(before, after)
    graph.join(host, first)
    graph.join(last, back)


def take_larger_pieces(graph: Graph, evidence: Evidence) -> int:
    """Where a cell was cut and its track goes through the smaller piece, let it go through the larger one; how often.

    The track that the pieces of a cell make beside it is brief.
    """
    sightings, area, n = evidence.sightings, evidence.sightings.looks[:, 0], 0
    brief = graph.length() <= BRIEF
    rows, cells = np.flatnonzero(brief), np.flatnonzero(~brief & (graph.before != NONE))
    reach_um = np.full(len(rows), PIECES * sightings.diameter_um)
    one, other = sightings.near(sightings.xy_um[rows], sightings.frame[rows], reach_um, cells)
    for larger, smaller in zip(rows[one].tolist(), other.tolist(), strict=True):
        if brief[larger] and not brief[smaller] and area[larger] > area[smaller]:
            pieces = np.logaddexp(area[larger], area[smaller])
            if WHOLE[0] < np.exp(pieces - evidence.looks_before[graph.before[smaller], 0]) < WHOLE[1]:
                graph.swap(larger, smaller)
                brief[larger], brief[smaller] = False, True
                n += 1
    return n
