"""How fast cells go across the channel, learned from those that have passed: a parabola, and the scatter around it.

In a channel the flow is fastest in the middle and stands still at the wall, so a cell's speed is known from its place
across the channel far better than from an average (Poiseuille's parabola; a linear term for a view that is off-centre).
Depth is not seen: what it and a cell's size do to its speed is the scatter.
"""

from models.cells import Floats
from models.labelling import compiled
from tracking.flow_state import Records

SCALE_UM = 16.0
"""Places across the channel are counted in this, from the first cell's."""
BEND = 0.5
"""The profile is straight, give or take this share of the speed over SCALE_UM, before anything is learned."""
MEMORY = 300
"""Cells after which two thirds of what was learned are forgotten."""
SURE_CELLS = 5
"""So many cells must have passed before the scatter is believed."""
LEAST_SCATTER = 0.001
"""Share of the speed: no population is more uniform than that."""
WILD = 9.0
"""A squared surprise counts up to so many variances: a wrong link teaches little."""


@compiled
def expected_speed(y_um: float, profile: Floats, learned: Records, channel: Records) -> tuple[float, float]:
    """Speed of a cell at `y_um` that was not measured yet, and its variance."""
    u = y_um / SCALE_UM
    m00, m01, m02, m11, m12, m22, b0, b1, b2 = _with_prior(profile, channel)
    # The inverse of a symmetric 3×3 matrix by its cofactors.
    c00, c01, c02 = m11 * m22 - m12 * m12, m02 * m12 - m01 * m22, m01 * m12 - m02 * m11
    c11, c12, c22 = m00 * m22 - m02 * m02, m01 * m02 - m00 * m12, m00 * m11 - m01 * m01
    determinant = m00 * c00 + m01 * c01 + m02 * c02
    p0, p1, p2 = c00 + u * c01 + u * u * c02, c01 + u * c11 + u * u * c12, c02 + u * c12 + u * u * c22
    speed = channel[0].speed_um_s + (p0 * b0 + p1 * b1 + p2 * b2) / determinant
    variance = _scatter(learned, channel) + (p0 + u * p1 + u * u * p2) / determinant
    return max(speed, 0.1 * channel[0].speed_um_s), min(variance, channel[0].spread_um_s ** 2)


@compiled
def _with_prior(
    profile: Floats, channel: Records
) -> tuple[float, float, float, float, float, float, float, float, float]:
    """Upper triangle and right-hand side; speeds are counted from the one of the settings."""
    level = 1 / channel[0].spread_um_s ** 2
    bend = 1 / (BEND * channel[0].speed_um_s) ** 2
    return (
        profile[0, 0] + level, profile[0, 1], profile[0, 2], profile[1, 1] + bend, profile[1, 2],
        profile[2, 2] + bend, profile[0, 3], profile[1, 3], profile[2, 3],
    )  # fmt: skip


@compiled
def _scatter(learned: Records, channel: Records) -> float:
    """Variance of speeds around the profile; more than was seen while few were."""
    n = learned[0].scatter_n
    if n < SURE_CELLS:
        return float(channel[0].spread_um_s ** 2)
    return float(max(learned[0].scatter_var * (n + 8) / n, (LEAST_SCATTER * channel[0].speed_um_s) ** 2))


@compiled
def learn_speed(
    y_um: float, speed_um_s: float, variance: float, profile: Floats, learned: Records, channel: Records
) -> None:
    """A cell has passed whose own looks gave this speed, with this variance."""
    expected, spread = expected_speed(y_um, profile, learned, channel)
    surprise = speed_um_s - expected
    squared = min(surprise * surprise, WILD * (spread + variance))
    n = min(learned[0].scatter_n + 1, float(MEMORY))
    learned[0].scatter_n = n
    learned[0].scatter_var += (max(squared - variance, -spread) - learned[0].scatter_var) / n
    weight = 1 / (_scatter(learned, channel) + variance)
    if surprise * surprise > squared:
        weight *= squared / (surprise * surprise)
    u = y_um / SCALE_UM
    terms = (1.0, u, u * u)
    for i in range(3):
        for j in range(3):
            profile[i, j] = (1 - 1 / MEMORY) * profile[i, j] + weight * terms[i] * terms[j]
        profile[i, 3] = (1 - 1 / MEMORY) * profile[i, 3] + weight * terms[i] * (speed_um_s - channel[0].speed_um_s)
