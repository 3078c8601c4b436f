"""Which sighting is which cell: one to one, the most likely links of a strip together.

A link gains the logarithm of how much more likely the sighting is as this cell than as one that was never seen (a
log-likelihood ratio, as in multiple hypothesis tracking; Blackman 2004). New cells are common where the flow enters and
rare elsewhere.
"""

import numpy as np
import numpy.typing as npt

from models.labelling import compiled
from tracking.assignment import best_links
from tracking.flow_state import Record, Records

NEW_AT_ENTRY, NEW_ELSEWHERE = 1e-3, 2e-5
"""New cells per µm² and strip, roughly."""
SEEN = 3.0
"""Logarithm of the odds that a cell that is in view is found."""
ODD, SPOILT_UM = 0.03, 1.5
"""Share of looks that are not where they should be, and the error of their place: another cell touches this one, or its
speed is far from the profile."""
AREA_SPREAD, CONTRAST_SPREAD, MOST_UNLIKE = 0.25, 0.25, 6.0
"""Standard deviations of the logarithms between looks at one cell, and the most that appearance may speak against."""
WANDER_UM = 0.4
"""Standard deviation of a cell's place across the channel from look to look, beside the error of its place."""
SPEEDS = (0.2, 3.0)
"""A link that would mean a speed outside these shares of the expected one is none: what sticks does not flow."""
SLACK_UM = 1.5
"""Error of a step by which that is judged."""
Rows = npt.NDArray[np.int64]


@compiled
def linked(
    cells: Records, n_cells: int, looks: Records, n_looks: int, taken: npt.NDArray[np.bool_], t_ns: int,
    after_gap: bool, learned: Records, channel: Records,
) -> Rows:  # fmt: skip
    """The sighting of each cell, or −1. `expect` must have been called for the cells; `taken[n_looks]` are nobody's."""
    start = np.empty(n_cells + 1, np.int64)
    look_of = np.empty(n_cells * n_looks, np.int64)
    cost = np.empty(n_cells * n_looks)
    n = 0
    for i in range(n_cells):
        start[i] = n
        for j in range(n_looks):
            if taken[j] or not _may_be(cells[i], looks[j], t_ns, channel):
                continue
            gain = _gain(cells[i], looks[j], after_gap, learned, channel)
            if gain > 0:
                look_of[n], cost[n] = j, -gain
                n += 1
    start[n_cells] = n
    return best_links(start, look_of[:n], cost[:n], n_looks)


@compiled
def _may_be(cell: Record, look: Record, t_ns: int, channel: Records) -> bool:
    """By the step since the cell was seen last: a cheap test that leaves few pairs."""
    since = (t_ns - cell.last_ns) * 1e-9
    went = look.x_um - (cell.ahead_um - cell.v * since)
    slow, fast = SPEEDS
    step = cell.v * since
    return bool(slow * step - SLACK_UM < went < fast * step + SLACK_UM)


@compiled
def _gain(cell: Record, look: Record, after_gap: bool, learned: Records, channel: Records) -> float:
    error = learned[0].error_var
    if look.cut_in or look.cut_out:
        half = 0.35 * (look.bottom_um - look.top_um)
        error += half * half
    across = look.y_um - cell.y_um
    across_var = learned[0].error_var * (1 + 1 / cell.looks) + WANDER_UM * WANDER_UM
    along = look.x_um - cell.ahead_um
    likely = _log_normal(along, cell.ahead_var + error)
    other_var = cell.wider_var if cell.whole < 2 else cell.ahead_var
    likely = max(likely, np.log(ODD) + _log_normal(along, other_var + error + SPOILT_UM * SPOILT_UM))
    likely += _log_normal(across, across_var) - _unlikeness(cell, look)
    entering = after_gap or look.x_um < -channel[0].out_um + 1.5 * cell.v * learned[0].usual_s
    return float(likely + SEEN - np.log(NEW_AT_ENTRY if entering else NEW_ELSEWHERE))


@compiled
def _log_normal(difference: float, variance: float) -> float:
    return float(-0.5 * (difference * difference / variance + np.log(2 * np.pi * variance)))


@compiled
def _unlikeness(cell: Record, look: Record) -> float:
    """What the look's size and contrast say against the link; of a cell that is cut off the size says nothing."""
    contrast = (look.log_contrast - cell.log_contrast) / CONTRAST_SPREAD
    against = 0.5 * contrast * contrast
    if cell.whole > 0 and not look.cut_in and not look.cut_out:
        area = (look.log_area - cell.log_area) / AREA_SPREAD
        against += 0.5 * area * area
    return float(min(against, MOST_UNLIKE))
