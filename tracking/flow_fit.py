"""A cell's line x = a + v·t through its looks, with what is known of the population's speeds as one look more.

Weighted least squares with a normal prior on v, and weights that forget looks which other cells have spoilt: a robust
regression (iteratively reweighted; Huber 1981). A cell that is plainly not like the others loosens the prior.
"""

import numpy as np

from models.cells import Floats
from models.labelling import compiled
from tracking.flow_profile import expected_speed, learn_speed
from tracking.flow_state import MOST_KEPT, Record, Records

TAILS = 3.0
"""Degrees of freedom of Student's t, by which speeds are distributed around the profile."""
OUTLIER = 9.0
"""A squared surprise beyond this, in variances, makes a look count less: it was probably not this cell alone."""
ROUNDS = 3
"""Of reweighting: more change nothing."""
ALIKE = 4.0
"""So many looks' worth of residuals speak for a cell's places being as exact as others' are."""
CUT_ERROR = 0.25
"""Of a cell that is cut off: standard error of its place as a share of its half-length, as long as that is a guess."""
ERROR_MEMORY, MOST_RESIDUAL = 600, 6.0
"""Looks by which the error of a place is learned, and the most that a cell's mean squared residual may teach."""
SLOWEST = 0.05
"""Share of the flow's speed: nothing that moves more slowly ever arrives, as far as a sort goes."""


@compiled
def add_look(cell: Record, look: Record, t_ns: int, alone: bool) -> None:
    """A look that was linked; `alone` False: other cells are in it, so it says next to nothing of this one."""
    t = (t_ns - cell.t0_ns) * 1e-9
    whole = alone and not look.cut_in and not look.cut_out
    if whole:
        _keep(cell, t, look.x_um)
    else:
        cell.t_guess, cell.x_guess, cell.guess_var = t, look.x_um, _guess_variance(look, alone)
    cell.last_ns = t_ns
    cell.missed = 0
    cell.hidden = 0
    if alone:
        cell.looks += 1
        _remember(cell, look, whole)


@compiled
def _keep(cell: Record, t: float, x: float) -> None:
    """A whole look, if it is its turn; if there is no room, every second one gives way."""
    if cell.whole % cell.stride:
        return
    if cell.kept == MOST_KEPT:
        for k in range(MOST_KEPT // 2):
            cell.t[k], cell.x[k] = cell.t[2 * k], cell.x[2 * k]
        cell.kept = MOST_KEPT // 2
        cell.stride *= 2
    cell.t[cell.kept], cell.x[cell.kept] = t, x
    cell.kept += 1


@compiled
def _guess_variance(look: Record, alone: bool) -> float:
    """Of the place of a cell that is cut off, by its height, or that is seen together with others."""
    if alone:
        return float((CUT_ERROR * (look.bottom_um - look.top_um) / 2) ** 2 + 1e-6)
    return float((0.5 * (look.front_um - look.back_um)) ** 2 + 1e-6)


@compiled
def _remember(cell: Record, look: Record, whole: bool) -> None:
    """Means over the looks: place across the channel, and appearance; of a cut one only while there is no other."""
    if whole or cell.whole == 0:
        share = 1.0 if whole and cell.whole == 0 else 1.0 / (cell.looks if not whole else cell.whole + 1)
        cell.y_um += share * (look.y_um - cell.y_um)
        cell.log_area += share * (look.log_area - cell.log_area)
        cell.log_contrast += share * (look.log_contrast - cell.log_contrast)
    cell.whole += whole


@compiled
def fit(cell: Record, profile: Floats, learned: Records, channel: Records) -> None:
    """The line and its covariance, with the profile as it is known now."""
    expected, spread = expected_speed(cell.y_um, profile, learned, channel)
    error = learned[0].error_var
    cell.v, cell.vv = expected, spread
    cell.a = _middle(cell, expected)
    cell.aa, cell.av = error, 0.0
    prior_var = spread
    for _ in range(ROUNDS if cell.kept > 2 else 1):
        w, wt, wtt, wx, wtx = _sums(cell, error)
        determinant = w * wtt - wt * wt
        if cell.kept > 1 and determinant > 0:
            cell.own_v, cell.own_var = (w * wtx - wt * wx) / determinant, error * w / determinant
            squared = (cell.own_v - expected) ** 2 / (spread + cell.own_var)
            prior_var = spread * max(1.0, (TAILS + squared) / (TAILS + 1))
        prior = error / prior_var
        determinant = w * (wtt + prior) - wt * wt
        v = (w * (wtx + prior * expected) - wt * wx) / determinant
        cell.v = max(v, SLOWEST * channel[0].speed_um_s)
        cell.a = (wx - wt * cell.v) / w
        cell.aa, cell.av, cell.vv = (wtt + prior) / determinant, -wt / determinant, w / determinant
        cell.aa, cell.av, cell.vv = error * cell.aa, error * cell.av, error * cell.vv
    _judge(cell, error)


@compiled
def _middle(cell: Record, speed: float) -> float:
    """Where the line begins if the cell goes at this speed: the median over its looks, which no single one can spoil."""
    if cell.kept == 0:
        return float(cell.x_guess - speed * cell.t_guess)
    return float(np.median(cell.x[: cell.kept] - speed * cell.t[: cell.kept]))


@compiled
def _weight(cell: Record, k: int, error_var: float) -> float:
    """Of a kept look: 1, or less if it is not where the line says, and the line does not know better."""
    if cell.kept < 3:
        return 1.0
    t = cell.t[k]
    surprise = cell.x[k] - cell.a - cell.v * t
    squared = surprise * surprise / (error_var + max(cell.aa + 2 * t * cell.av + t * t * cell.vv, 0.0))
    return float(OUTLIER / squared if squared > OUTLIER else 1.0)


@compiled
def _sums(cell: Record, error_var: float) -> tuple[float, float, float, float, float]:
    """Weighted sums of 1, t, t², x, t·x; a guess counts until there are two whole looks."""
    w = wt = wtt = wx = wtx = 0.0
    for k in range(cell.kept):
        weight, t, x = _weight(cell, k, error_var), cell.t[k], cell.x[k]
        w, wt, wtt, wx, wtx = w + weight, wt + weight * t, wtt + weight * t * t, wx + weight * x, wtx + weight * t * x
    if cell.kept < 2 and cell.guess_var > 0:
        weight, t, x = error_var / (error_var + cell.guess_var), cell.t_guess, cell.x_guess
        w, wt, wtt, wx, wtx = w + weight, wt + weight * t, wtt + weight * t * t, wx + weight * x, wtx + weight * t * x
    return w, wt, wtt, wx, wtx


@compiled
def _judge(cell: Record, error_var: float) -> None:
    """How well the looks lie on the line: of a cell that tumbles or is a clump, all is less certain than of others."""
    cell.residual, cell.freedom = 0.0, 0.0
    if cell.kept < 3:
        return
    for k in range(cell.kept):
        surprise = cell.x[k] - cell.a - cell.v * cell.t[k]
        weight = _weight(cell, k, error_var)
        cell.residual += weight * surprise * surprise
        cell.freedom += weight
    cell.freedom = max(cell.freedom - 2, 0.0)
    worse = max(1.0, (ALIKE + cell.residual / error_var) / (ALIKE + cell.freedom))
    cell.aa, cell.av, cell.vv = worse * cell.aa, worse * cell.av, worse * cell.vv


@compiled
def expect(cell: Record, t_ns: int, channel: Records) -> None:
    """Where it will be at `t_ns`, with what variance."""
    t = (t_ns - cell.t0_ns) * 1e-9
    cell.ahead_um = cell.a + cell.v * t
    cell.ahead_var = max(cell.aa + 2 * t * cell.av + t * t * cell.vv, 0.0)
    since = (t_ns - cell.last_ns) * 1e-9
    cell.wider_var = cell.ahead_var + (since * channel[0].spread_um_s) ** 2


@compiled
def arrival(cell: Record, channel: Records) -> tuple[int, float]:
    """When its centre is at the junction, in ns, and the standard error of that in ms."""
    travel = (channel[0].junction_um - cell.a) / cell.v
    variance = max(cell.aa + 2 * travel * cell.av + travel * travel * cell.vv, 0.0) / (cell.v * cell.v)
    unseen = travel - (cell.last_ns - cell.t0_ns) * 1e-9
    variance += (channel[0].drift * unseen) ** 2
    return cell.t0_ns + int(np.rint(travel * 1e9)), 1e3 * np.sqrt(variance)


@compiled
def learn(cell: Record, profile: Floats, learned: Records, channel: Records) -> None:
    """What a cell that has left teaches about all others: the error of places, and the profile of speeds."""
    if cell.kept < 3 or cell.freedom < 0.5:
        return
    error, residual = learned[0].error_var, cell.residual / cell.freedom
    n = min(learned[0].error_n + cell.freedom, float(ERROR_MEMORY))
    learned[0].error_n = n
    learned[0].error_var += (min(residual, MOST_RESIDUAL * error) - error) * cell.freedom / (n + 10)
    if residual < MOST_RESIDUAL * error and cell.own_v > SLOWEST * channel[0].speed_um_s:
        learn_speed(cell.y_um, cell.own_v, cell.own_var, profile, learned, channel)
