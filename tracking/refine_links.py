"""Links that live was too early to see: gaps that close, and tracks that exchange what follows.

Every possible link has a worth: how much likelier it is than that one track ends there and another one begins, as in the
second step of Jaqaman et al. 2008.
"""

from dataclasses import dataclass

import numpy as np

from models.cells import Floats
from tracking.assignment import assign
from tracking.refine_evidence import WINDOW, Evidence
from tracking.refine_graph import NONE, Graph
from tracking.tracks import Bools, Ints

GATE = 5.0
"""Links are looked for within so many standard errors."""
LEAP = 1.5
"""From an end to a start in the next frame, so many diameters farther: now and then a cell jumps."""
SURE = 3.0
"""Live's links are exchanged if others are so much likelier, as a logarithm."""
CUT = 1.0
"""They are cut if two tracks are so much likelier."""
EDGE = 0.5
"""Nearer to the field's edge than so many diameters, and two steps, cells come and go."""
LASTING = 3
"""Inside the field, only ends and starts of tracks of so many sightings are counted: what is shorter mostly is no cell."""
RARELY = 0.0005
"""Tracks end at least so often, per frame, and as many cells are new: of what never happened one cannot be sure."""


@dataclass(frozen=True)
class Habits:
    """How often tracks end, begin and have gaps, as logarithms; counted in the recording as it was solved so far."""

    end: Floats  # [R] a track ends with this sighting
    start: Floats  # [R] a track begins with it, per µm²
    seen: float
    """A cell is there in the next frame."""
    gap: float
    """A cell is not."""
    longer: float
    """A cell that was missed is missed in the next frame, too."""

    @classmethod
    def of(cls, graph: Graph, evidence: Evidence) -> "Habits":
        sightings, edge = evidence.sightings, at_edge(evidence)
        frame, n = sightings.frame, len(sightings.frame)
        counted = edge | (graph.length() >= LASTING)
        end = _log_rate(graph.ends(), counted, frame < frame[-1], edge)
        start = _log_rate(graph.starts(), counted, frame > frame[0], edge)
        density_um2 = n / (frame[-1] - frame[0] + 1) / sightings.field_um2
        row = np.flatnonzero(graph.after != NONE)
        missed = frame[graph.after[row]] - frame[row] - 1
        n_gaps, n_missed = np.count_nonzero(missed), int(missed.sum())
        gap = np.clip((n_gaps + 0.5) / (n + 1), 1e-4, 0.3)
        longer = np.clip((n_missed - n_gaps + 1) / (n_missed + 3), 0.2, 0.8)
        return cls(end, start + np.log(density_um2), float(np.log1p(-gap)), float(np.log(gap)), float(np.log(longer)))

    def worth(self, evidence: Evidence, row: Ints, after: Ints) -> Floats:
        """Of links, `[L]`: log likelihood ratio to two tracks, of which one ends and the other begins."""
        lag = evidence.sightings.frame[after] - evidence.sightings.frame[row]
        missed = np.where(lag > 1, self.gap + np.log1p(-np.exp(self.longer)) + (lag - 2) * self.longer, self.seen)
        worth: Floats = evidence.gain(row, after) + missed - self.end[row] - self.start[after]
        return worth


def at_edge(evidence: Evidence) -> Bools:
    """Sightings so near to the edge of the field that the cell may come from outside, or go there, `[R]`."""
    sightings = evidence.sightings
    reach_um = EDGE * sightings.diameter_um + 2 * evidence.motion.spread_um(sightings.interval_s)
    edge: Bools = sightings.inside_um < reach_um
    return edge


def _log_rate(rows: Ints, counted: Bools, could: Bools, edge: Bools) -> Floats:
    """Of what happened at `rows`, by whether it is at the field's edge, `[R]`."""
    happened = np.zeros(len(edge), np.bool_)
    happened[rows] = True
    happened &= counted & could
    inside, outer = (
        np.log((np.count_nonzero(happened & place) + 0.5) / (np.count_nonzero(could & place) + 1) + RARELY)
        for place in (~edge, edge)
    )
    rates: Floats = np.where(edge, outer, inside)
    return rates


# --- what is possible --------------------------------------------------------------------------------------------------


def _loose_links(evidence: Evidence, graph: Graph, longest_gap: int) -> tuple[Ints, Ints]:
    """From ends to starts."""
    ends, starts = graph.ends(), graph.starts()
    found = [_near(evidence, ends, starts, 1, LEAP * evidence.sightings.diameter_um)]
    found += [_near(evidence, ends, starts, lag) for lag in range(2, longest_gap + 2)]
    row, after = np.concatenate(found, axis=1)
    return row, after


def _other_links(evidence: Evidence, graph: Graph, longest_gap: int) -> tuple[Ints, Ints]:
    """Links instead of others, of neighbouring frames or over a gap: a new link and what it replaces overlap in time."""
    frame, every = evidence.sightings.frame, np.arange(len(graph.after))
    open_end = (graph.after == NONE) | (frame[graph.after] > frame + 1)
    open_start = (graph.before == NONE) | (frame[graph.before] < frame - 1)
    found = [_near(evidence, every, every, 1)]
    for lag in range(2, longest_gap + 2):
        found.append(_near(evidence, every[open_end], every, lag))
        found.append(_near(evidence, every[~open_end], every[open_start], lag))
    row, after = np.concatenate(found, axis=1)
    follows, before = graph.after[row], graph.before[after]
    taken = ((follows != NONE) | (before != NONE)) & (follows != after)
    overlap = (follows == NONE) | (before == NONE) | (frame[before] < frame[follows])
    possible = taken & overlap & ~graph.divides()[row] & (graph.mother[after] == NONE)
    return row[possible], after[possible]


def _near(evidence: Evidence, rows: Ints, others: Ints, lag: int, farther_um: float = 0.0) -> Ints:
    """Pairs of which the second is where the first is expected `lag` frames later, `[2, L]`."""
    sightings = evidence.sightings
    times_s = np.append(sightings.times_s(), np.full(lag, np.nan))
    rows = rows[~np.isnan(times_s[sightings.frame[rows] + lag])]
    expected = evidence.expected(rows, times_s[sightings.frame[rows] + lag])
    reach_um = GATE * np.sqrt(expected.variance[:, 0] + 2 * evidence.motion.jitter_um**2) + farther_um
    one, other = sightings.near(expected.xy_um, sightings.frame[rows] + lag, reach_um, others)
    return np.stack([rows[one], other])


# --- changes -----------------------------------------------------------------------------------------------------------


def close_gaps(graph: Graph, evidence: Evidence, longest_gap: int) -> int:
    """Join ends with starts where that is likelier than not; how many."""
    row, after = _loose_links(evidence, graph, longest_gap)
    worth = Habits.of(graph, evidence).worth(evidence, row, after)
    ends, track = np.unique(row, return_inverse=True)
    starts, cell = np.unique(after, return_inverse=True)
    order = np.lexsort((cell, track))
    chosen = assign(track[order], cell[order], worth[order], len(ends), len(starts))
    for end, start in zip(ends[chosen >= 0].tolist(), starts[chosen[chosen >= 0]].tolist(), strict=True):
        graph.join(end, start)
    return int((chosen >= 0).sum())


def cut_unlikely(graph: Graph, evidence: Evidence) -> int:
    """Separate what rather is two tracks; how often."""
    row = np.flatnonzero(graph.after != NONE)
    worth = Habits.of(graph, evidence).worth(evidence, row, graph.after[row])
    unlikely = row[worth < -CUT].tolist()
    for one in unlikely:
        graph.cut(one)
    return len(unlikely)


def exchange(graph: Graph, evidence: Evidence, longest_gap: int) -> int:
    """Make other links than live did where they are much likelier, the surest first; how many.

    Where tracks meet, several links say the same: a track is changed once in a while of two windows only.
    """
    row, after = _other_links(evidence, graph, longest_gap)
    follows, before = graph.after[row], graph.before[after]
    habits = Habits.of(graph, evidence)
    gained = habits.worth(evidence, row, after)
    for one, other in ((row, follows), (before, after)):
        made = (one != NONE) & (other != NONE)
        gained[made] -= habits.worth(evidence, one[made], other[made])
    crossed = (follows != NONE) & (before != NONE)
    cross = np.zeros(len(row))
    cross[crossed] = habits.worth(evidence, before[crossed], follows[crossed])
    gained += np.maximum(cross, 0)
    chosen = _apart(graph, evidence.sightings.frame, row, after, gained)
    for k in chosen:
        _relink(graph, int(row[k]), int(after[k]), bool(cross[k] > 0))
    return len(chosen)


def _apart(graph: Graph, frame: Ints, row: Ints, after: Ints, gained: Floats) -> list[int]:
    """The sure ones, so far apart in time or in different tracks that none depends on another."""
    track, changed = graph.track(), dict[int, list[int]]()
    sure, chosen = np.flatnonzero(gained > SURE), list[int]()
    for k in sure[np.lexsort((after[sure], row[sure], -gained[sure]))].tolist():
        at, tracks = int(frame[row[k]]), {int(track[row[k]]), int(track[after[k]])}
        if all(abs(at - then) > 2 * WINDOW for one in tracks for then in changed.get(one, ())):
            chosen.append(k)
            for one in tracks:
                changed.setdefault(one, []).append(at)
    return chosen


def _relink(graph: Graph, row: int, after: int, crosswise: bool) -> None:
    """Make a link instead of those that are in its way; `crosswise`, these exchange their ends."""
    follows, before = int(graph.after[row]), int(graph.before[after])
    for one in (row, before):
        if one != NONE and graph.after[one] != NONE:
            graph.cut(one)
    graph.join(row, after)
    if crosswise and before != NONE and follows != NONE:
        graph.join(before, follows)
