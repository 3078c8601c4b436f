"""How cells are expected to move: a Kalman filter whose velocities fade, in true time, and which learns its own noise.

A cell keeps its velocity for about `persistence_s`, while chance pushes it so that its speed along an axis stays
around `speed_um_s`: the Ornstein-Uhlenbeck process of persistent random walks (Uhlenbeck and Ornstein 1930; for cells
Selmeczi et al. 2005). With a long persistence it is the constant-velocity model. Both axes are alike and independent,
so a track's covariance is three numbers. Steps may be of any length: frames can be dropped, intervals can change.
"""

from dataclasses import dataclass

import numpy as np

from models.cells import Floats
from models.labelling import compiled
from tracking.robust import median
from tracking.tracks import Bools, Ints

FIRST_STEP = 0.15
"""First guess of the speed: a cell moves by this share of its diameter from one frame to the next."""
FIRST_PERSISTENCE = 5.0
"""First guess, in intervals between frames."""
JITTER = 0.03
"""Standard error of a cell's place, in diameters: about half a pixel of a cell of 16 pixels."""
UNKNOWN = 2.0
"""How many times faster than usual a cell may be that was seen only once: some cells are faster than others."""
STEPS = (0.01, 1.5)
"""Speeds are learned between these steps a frame, in diameters: beyond them there is nothing to tell cells apart by."""
LASTING = (0.5, 200.0)
"""Persistence is learned between these, in intervals."""
TAILS = 3.0
"""Degrees of freedom of Student's t, by which surprises are distributed: now and then a cell jumps."""
PACE_WEIGHT, PACES = 0.12, (0.25, 8.0)
"""How fast a cell's own pace is learned, and its bounds."""
MEDIAN_SURPRISE = 2 * np.log(2)
"""Median of squared surprises in units of their variance, two axes: chi-squared with two degrees of freedom."""


@dataclass(frozen=True)
class Motions:
    """What is known of M moving cells at one time."""

    xy_um: Floats  # [M, 2]
    velocity_um_s: Floats  # [M, 2]
    variance: Floats  # [M, 3] of the place, of place with velocity, of the velocity; the same along both axes
    pace: Floats  # [M] how much more than usual chance pushes this cell: factor of the noise's variance

    def columns(self) -> tuple[Floats, Floats, Floats]:
        """Place, velocity, variance."""
        return self.xy_um, self.velocity_um_s, self.variance

    def __getitem__(self, rows: Ints | Bools) -> "Motions":
        """Some of them."""
        return Motions(self.xy_um[rows], self.velocity_um_s[rows], self.variance[rows], self.pace[rows])


@dataclass(frozen=True)
class Motion:
    """How the cells of a run move, and how well they are located."""

    speed_um_s: float
    """Standard deviation of the velocity along an axis."""
    persistence_s: float
    jitter_um: float
    """Standard error of a measured place along an axis."""

    def predict(self, known: Motions, dt_s: float) -> Motions:
        """Where everybody will be after `dt_s`."""
        keep, reach_s = self._fading(dt_s)
        return Motions(*_predicted(*known.columns(), known.pace, keep, reach_s, *self._noise(dt_s)), known.pace)

    def update(self, expected: Motions, measured_um: Floats, seen: Bools) -> Motions:
        """After the cells of `seen[M]` tracks were at `measured_um[M, 2]`; the others are where they were expected.

        A great surprise says that more than usual has happened to this cell: its velocity is then less sure than the
        filter would have it, and its pace grows (a filter with Student's t for noise: Roth et al. 2013).
        """
        return Motions(*_updated(*expected.columns(), expected.pace, measured_um, seen, self.jitter_um**2))

    def begin(self, xy_um: Floats, velocity_um_s: Floats) -> Motions:
        """Cells seen for the first time, which probably drift as the others do: `velocity_um_s[2]`."""
        variance = np.tile([self.jitter_um**2, 0.0, (UNKNOWN * self.speed_um_s) ** 2], (len(xy_um), 1))
        return Motions(xy_um, np.tile(velocity_um_s, (len(xy_um), 1)), variance, np.ones(len(xy_um)))

    def seen_variance(self, expected: Motions) -> Floats:
        """Of the places where cells are going to be measured, along an axis, `[M]`."""
        return expected.variance[:, 0] + self.jitter_um**2

    def spread_um(self, dt_s: float) -> float:
        """Standard deviation along an axis between two measured places of a cell, `dt_s` apart."""
        _, reach_s = self._fading(dt_s)
        return float(np.sqrt(2 * self.jitter_um**2 + 2 * self.speed_um_s**2 * self.persistence_s * (dt_s - reach_s)))

    def _fading(self, dt_s: float) -> tuple[float, float]:
        """Share of the velocity that is left, and the time for which the whole of it would have had to act."""
        keep = float(np.exp(-dt_s / self.persistence_s))
        return keep, self.persistence_s * (1 - keep)

    def _noise(self, dt_s: float) -> tuple[float, float, float]:
        """What chance adds to the variances of the place, of place with velocity, of the velocity."""
        keep, reach_s = self._fading(dt_s)
        v2, tau_s = self.speed_um_s**2, self.persistence_s
        if dt_s < 0.01 * tau_s:  # else the difference of nearly equal numbers
            return v2 * 2 / 3 * dt_s**3 / tau_s, v2 * dt_s**2 / tau_s, v2 * 2 * dt_s / tau_s
        xx = 2 * tau_s * (dt_s - 2 * reach_s + tau_s / 2 * (1 - keep**2))
        return v2 * xx, v2 * tau_s * (1 - keep) ** 2, v2 * (1 - keep**2)


def first_guess(diameter_um: float, dt_s: float) -> Motion:
    """From the size of cells and the interval, so that nobody has to know how fast cells are."""
    return Motion(FIRST_STEP * diameter_um / dt_s, FIRST_PERSISTENCE * dt_s, JITTER * diameter_um)


def learned(
    motion: Motion,
    expected: Motions,
    measured_um: Floats,
    dt_s: float,
    usual_dt_s: float,
    diameter_um: float,
    gain: float,
) -> Motion:
    """A motion under which these sightings would surprise as much as expected, and not along the direction of motion.

    The filter's surprises are white if its noise is right (Mehra 1970). Their median is used, so that a few wrong links
    teach nothing; `gain` is the share of the step taken. What cells can be told apart by bounds what is learned, at the
    usual interval: a single odd one teaches little.
    """
    size, ahead = _surprises(*expected.columns(), measured_um, dt_s, motion.jitter_um**2)
    per_frame_um, (slow, fast), (brief, long) = diameter_um / usual_dt_s, STEPS, LASTING
    faster = min(max(size, 0.1), 10.0) ** (gain / 2)
    longer = float(np.exp(gain * min(max(ahead, -1.0), 1.0)))
    return Motion(
        motion.speed_um_s * _bounded(faster, motion.speed_um_s, (slow * per_frame_um, fast * per_frame_um)),
        motion.persistence_s * _bounded(longer, motion.persistence_s, (brief * usual_dt_s, long * usual_dt_s)),
        motion.jitter_um,
    )


def _bounded(factor: float, value: float, bounds: tuple[float, float]) -> float:
    """A factor that takes a value no further out of its bounds than it is."""
    low, high = bounds
    if value * factor < low:
        return min(max(low / value, factor), 1.0) if value >= low else max(factor, 1.0)
    if value * factor > high:
        return max(min(high / value, factor), 1.0) if value <= high else min(factor, 1.0)
    return factor


@compiled
def _surprises(
    xy_um: Floats, velocity_um_s: Floats, variance: Floats, measured_um: Floats, dt_s: float, jitter: float
) -> tuple[float, float]:
    """Median squared surprise as a share of what is expected; surprise along the way that was to be gone, as its share."""
    squared = np.empty(len(xy_um))
    along, went = 0.0, 1e-12
    for row in range(len(xy_um)):
        square = 0.0
        for axis in range(2):
            surprise, step = measured_um[row, axis] - xy_um[row, axis], velocity_um_s[row, axis] * dt_s
            square += surprise * surprise
            along += surprise * step
            went += step * step
        squared[row] = square / (variance[row, 0] + jitter)
    return median(squared) / MEDIAN_SURPRISE, along / went


@compiled
def _predicted(
    xy_um: Floats, velocity_um_s: Floats, variance: Floats, pace: Floats,
    keep: float, reach_s: float, noise_xx: float, noise_xv: float, noise_vv: float,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    there, velocity, after = np.empty_like(xy_um), np.empty_like(xy_um), np.empty_like(variance)
    for row in range(len(xy_um)):
        xx, xv, vv = variance[row]
        for axis in range(2):
            there[row, axis] = xy_um[row, axis] + reach_s * velocity_um_s[row, axis]
            velocity[row, axis] = keep * velocity_um_s[row, axis]
        after[row, 0] = xx + 2 * reach_s * xv + reach_s**2 * vv + pace[row] * noise_xx
        after[row, 1] = keep * (xv + reach_s * vv) + pace[row] * noise_xv
        after[row, 2] = keep**2 * vv + pace[row] * noise_vv
    return there, velocity, after


@compiled
def _updated(
    xy_um: Floats, velocity_um_s: Floats, variance: Floats, pace: Floats, measured_um: Floats, seen: Bools,
    jitter: float,
) -> tuple[Floats, Floats, Floats, Floats]:  # fmt: skip
    there, velocity, after, paced = xy_um.copy(), velocity_um_s.copy(), variance.copy(), pace.copy()
    for row in np.flatnonzero(seen):
        dx, dy = measured_um[row, 0] - xy_um[row, 0], measured_um[row, 1] - xy_um[row, 1]
        squared = (dx * dx + dy * dy) / (variance[row, 0] + jitter)
        xx, xv, vv = variance[row] * max(1.0, (TAILS + squared) / (TAILS + 2))
        gain_x, gain_v = xx / (xx + jitter), xv / (xx + jitter)
        there[row, 0] += gain_x * dx
        there[row, 1] += gain_x * dy
        velocity[row, 0] += gain_v * dx
        velocity[row, 1] += gain_v * dy
        after[row, 0], after[row, 1], after[row, 2] = (1 - gain_x) * xx, (1 - gain_x) * xv, vv - gain_v * xv
        # The logarithm of half a chi-squared of two degrees has minus Euler's constant for a mean.
        grown = pace[row] * np.exp(PACE_WEIGHT * (np.log(max(squared / 2, 0.02)) + np.euler_gamma))
        paced[row] = min(max(grown, PACES[0]), PACES[1])
    return there, velocity, after, paced
