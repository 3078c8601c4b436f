"""How well two sightings go together, by all that is known from before the one and from after the other.

Motion: a Kalman filter that runs forward to the earlier sighting and one that runs backward to the later one must agree
on place and velocity (two-filter smoothing, Fraser and Potter 1969). Looks: medians of several sightings on either side.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import lgamma

import numpy as np

from models.cells import Floats
from tracking.motion import TAILS, Motion, Motions, first_guess, learned
from tracking.refine_graph import NONE, Graph
from tracking.refine_sightings import FEWEST, Sightings
from tracking.tracks import Bools, Ints

WINDOW = 5
"""So many sightings on either side say what a cell looks like."""
AROUND, ODD = 8, 0.22
"""A sighting is odd, a clump or a piece, if the logarithm of its area is so far off that of so many before and after."""
SAME_TIME = 0.02
"""Times between sightings are rounded to this share of an interval: what takes equally long is reckoned together."""
GAINS = (0.05, 0.02)
"""Least weight of a frame in what is learned about motion, in two runs: the first one finds out roughly."""
CHANGED, BEYOND = -4.0, 0.5
"""What looks say against a link counts in full down to here, and by this share beyond: dividing and dying cells change."""
WITHIN_FLOOR = 0.02
BLOCK = 200_000
"""So many links are weighed at a time, which bounds the memory that it takes."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for a link from any sighting to any later one, given the tracks that both are in."""

    sightings: Sightings
    motion: Motion
    forward: Motions  # [R] by everything up to this sighting
    backward: Motions  # [R] by everything from this sighting on
    looks_before: Floats  # [R, 2] medians of up to WINDOW sightings up to this one
    looks_after: Floats  # [R, 2]
    few: Floats  # [R, 2] one over how many those are, before and after
    odd: Bools  # [R]
    within: Floats  # [2, 2] deviation in a track, of single sightings and of such medians; by area and intensity
    between: Floats  # [2] between cells

    def gain(self, row: Ints, after: Ints) -> Floats:
        """Log likelihood ratio of "the same cell" to "another one", `[L]`: of the place per µm², and of the looks."""
        parts = [slice(at, at + BLOCK) for at in range(0, len(row), BLOCK)]
        return np.concatenate(
            [np.empty(0), *(self._by_motion(row[p], after[p]) + self._by_looks(row[p], after[p]) for p in parts)]
        )

    def expected(self, row: Ints, t_s: Floats) -> Motions:
        """Where the cells of these sightings would be at these times."""
        known, dt_s = self.forward[row], t_s - self.sightings.t_s[row]
        there = Motions(known.xy_um.copy(), known.velocity_um_s.copy(), known.variance.copy(), known.pace)
        for duration_s, part in _durations(dt_s, self.sightings):
            _store(there, part, self.motion.predict(known[part], duration_s))
        return there

    def _by_motion(self, row: Ints, after: Ints) -> Floats:
        """Density of place and velocity together, over that of the velocity of any cell; with the tails of Student's t."""
        expected, there = self.expected(row, self.sightings.t_s[after]), self.backward[after]
        apart_um, faster = there.xy_um - expected.xy_um, there.velocity_um_s - expected.velocity_um_s
        xx, xv, vv = (expected.variance + there.variance).T
        determinant = np.maximum(xx * vv - xv**2, 1e-12 * xx * vv)
        squared = (vv[:, None] * apart_um**2 - 2 * xv[:, None] * apart_um * faster + xx[:, None] * faster**2).sum(
            axis=1
        )
        constant = lgamma(TAILS / 2 + 2) - lgamma(TAILS / 2) - 2 * np.log(TAILS * np.pi)
        together = constant - np.log(determinant) - (TAILS / 2 + 2) * np.log1p(squared / determinant / TAILS)
        any_speed = self.motion.speed_um_s**2 + there.variance[:, 2]
        anyone = -np.log(2 * np.pi * any_speed) - np.square(there.velocity_um_s).sum(axis=1) / (2 * any_speed)
        ratio: Floats = together - anyone
        return ratio

    def _by_looks(self, row: Ints, after: Ints) -> Floats:
        """By what is usual before and after or, in neighbouring frames, by the two sightings themselves."""
        few = ((self.few[row, 0] + self.few[after, 1]) / 2 - 1 / WINDOW) / (1 - 1 / WINDOW)
        single, several = np.square(self.within)
        within = np.sqrt(several + np.clip(few, 0, 1)[:, None] * (single - several))
        told = self._told(self.looks_after[after] - self.looks_before[row], within)
        now = self._told(self.sightings.looks[after] - self.sightings.looks[row], self.within[0])
        next_frame = self.sightings.frame[after] == self.sightings.frame[row] + 1
        told = np.where(next_frame, np.maximum(told, now), told)
        return np.where(told < CHANGED, CHANGED + BEYOND * (told - CHANGED), told)

    def _told(self, difference: Floats, within: Floats) -> Floats:
        """Log likelihood ratio of such differences in a track to those between cells, `[L]`; Student's t for both."""
        same, other = (
            -np.log(wide) - (TAILS + 1) / 2 * np.log1p((difference / wide) ** 2 / TAILS)
            for wide in (within, self.between)
        )
        told: Floats = np.where(within < 0.9 * self.between, same - other, 0.0).sum(axis=1)
        return told


def evidence_of(sightings: Sightings, graph: Graph, motion: Motion) -> Evidence:
    """Of the tracks as they are now."""
    odd = _odd_ones(sightings.looks[:, 0], graph)
    n = len(graph.after)
    back = np.where(graph.after == NONE, NONE, n - 1 - graph.after)[::-1]
    forward, backward = (
        _filtered(motion, sightings, graph.before, ~odd),
        _filtered(motion, sightings.reversed(), back, ~odd[::-1]),
    )
    backward = Motions(
        backward.xy_um[::-1],
        -backward.velocity_um_s[::-1],
        backward.variance[::-1] * [1.0, -1.0, 1.0],
        backward.pace[::-1],
    )
    before, n_before = _usual(sightings.looks, graph.before, odd)
    after, n_after = _usual(sightings.looks, graph.after, odd)
    few = 1 / np.stack([n_before, n_after], axis=1)
    within, between = _spread(sightings.looks, graph, before, after, few)
    return Evidence(sightings, motion, forward, backward, before, after, few, odd, within, between)


# --- motion ------------------------------------------------------------------------------------------------------------


def learned_motion(sightings: Sightings, graph: Graph) -> Motion:
    """How these cells move."""
    motion = first_guess(sightings.diameter_um, sightings.interval_s)
    for least in GAINS:
        state = motion.begin(sightings.xy_um.copy(), np.zeros(2))
        for at, rows in enumerate(sightings.by_frame()):
            for dt_s, part in _by_duration(sightings, graph.before[rows], rows):
                expected, seen_um = motion.predict(state[graph.before[part]], dt_s), sightings.xy_um[part]
                if len(part) >= FEWEST and dt_s > 0:
                    gain = max(least, 0.5 / (1 + at))
                    motion = learned(motion, expected, seen_um, dt_s, sightings.interval_s, sightings.diameter_um, gain)
                _store(state, part, motion.update(expected, seen_um, np.ones(len(part), np.bool_)))
    return motion


def _filtered(motion: Motion, sightings: Sightings, before: Ints, believed: Bools) -> Motions:
    """What is known of each cell at each sighting by the ones before it in its track, `[R]`."""
    state = motion.begin(sightings.xy_um.copy(), np.zeros(2))
    for rows in sightings.by_frame():
        for dt_s, part in _by_duration(sightings, before[rows], rows):
            expected = motion.predict(state[before[part]], dt_s)
            _store(state, part, motion.update(expected, sightings.xy_um[part], believed[part]))
    return state


def _store(state: Motions, rows: Ints, known: Motions) -> None:
    state.xy_um[rows], state.velocity_um_s[rows] = known.xy_um, known.velocity_um_s
    state.variance[rows], state.pace[rows] = known.variance, known.pace


def _by_duration(sightings: Sightings, before: Ints, rows: Ints) -> Iterator[tuple[float, Ints]]:
    """Rows that have one before them, by the time since then."""
    rows, before = rows[before != NONE], before[before != NONE]
    yield from ((dt_s, rows[part]) for dt_s, part in _durations(sightings.t_s[rows] - sightings.t_s[before], sightings))


def _durations(took_s: Floats, sightings: Sightings) -> Iterator[tuple[float, Ints]]:
    """Equal ones of `took_s[L]`, and which those are."""
    unit_s = SAME_TIME * sightings.interval_s
    ticks = np.rint(took_s / unit_s).astype(np.int64)
    order = np.argsort(ticks, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(ticks[order])) + 1):
        if len(part):
            yield float(ticks[part[0]]) * unit_s, part


# --- looks -------------------------------------------------------------------------------------------------------------


def _odd_ones(log_area: Floats, graph: Graph) -> Bools:
    """Sightings that are much larger, or much smaller, than the same cell both before and after, `[R]`."""
    off = []
    for following in (graph.before, graph.after):
        usual, n = _median(_along(log_area, following, AROUND + 1)[1:])
        off.append(np.where(n >= 2, log_area - usual, 0.0))
    odd: Bools = (np.minimum(*off) > ODD) | (np.maximum(*off) < -ODD)
    return odd


def _usual(looks: Floats, following: Ints, odd: Bools) -> tuple[Floats, Ints]:
    """Medians of this sighting and of up to WINDOW - 1 that follow, `[R, 2]`, and of how many; odd ones do not count.

    Where there are only odd ones, it is the sighting itself.
    """
    found, n = _median(_along(np.where(odd[:, None], np.nan, looks), following, WINDOW))
    nothing = n[:, 0] == 0
    return np.where(nothing[:, None], looks, found), np.maximum(n[:, 0], 1)


def _along(values: Floats, following: Ints, n: int) -> Floats:
    """Of each sighting and of those that follow it, `[n, …]`; NaN beyond the end of its track."""
    row, found = np.arange(len(values)), []
    for _ in range(n):
        gone = (row == NONE).reshape(-1, *[1] * (values.ndim - 1))
        found.append(np.where(gone, np.nan, values[row]))
        row = np.where(row == NONE, NONE, following[row])
    return np.stack(found)


def _median(values: Floats) -> tuple[Floats, Ints]:
    """Along the first axis, without NaN, and of how many; NaN of none."""
    ordered = np.sort(values, axis=0)  # NaN come last
    n = (~np.isnan(ordered)).sum(axis=0)
    low, high = (
        np.take_along_axis(ordered, k[None], axis=0)[0]
        for k in (np.maximum(n - 1, 0) // 2, np.minimum(n, len(values) - 1) // 2)
    )
    return (low + np.where(n % 2 == 1, low, high)) / 2, n


def _spread(looks: Floats, graph: Graph, before: Floats, after: Floats, few: Floats) -> tuple[Floats, Floats]:
    """Deviations of looks within tracks, `[2, 2]`, and between cells, `[2]`."""
    row = np.flatnonzero(graph.after != NONE)
    one = looks[graph.after[row]] - looks[row]
    row = row[np.maximum(few[row, 0], few[graph.after[row], 1]) == 1 / WINDOW]
    several = after[graph.after[row]] - before[row]
    single = _deviation(one, 0.0) if len(one) >= FEWEST else np.full(2, 0.1)
    median = _deviation(several, 0.0) if len(several) >= FEWEST else single
    between = np.sqrt(2) * _deviation(looks, np.median(looks, axis=0))
    within = np.maximum(np.stack([single, np.minimum(median, single)]), WITHIN_FLOOR)
    return within, np.maximum(between, WITHIN_FLOOR)


def _deviation(values: Floats, middle: Floats | float) -> Floats:
    """Standard deviation from the median distance: outliers do not count."""
    deviation: Floats = 1.4826 * np.median(np.abs(values - middle), axis=0)
    return deviation
