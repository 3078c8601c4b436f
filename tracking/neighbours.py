"""Who is near whom: pairs of points within reach, by a grid of bins, in time linear in points and pairs."""

import numpy as np
import numpy.typing as npt

from models.cells import Floats
from models.labelling import compiled
from tracking.tracks import Ints

_Bins = npt.NDArray[np.int64]


def pairs_within(points_um: Floats, reach_um: Floats, others_um: Floats) -> tuple[Ints, Ints]:
    """Rows of `points_um[M, 2]` and of `others_um[N, 2]` at most `reach_um[M]` apart; ordered by both rows."""
    if len(points_um) == 0 or len(others_um) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    low, side_um, n_bins = _bins(others_um, float(reach_um.mean()))
    start, members = _binned(others_um, low, side_um, n_bins)
    return _pairs(points_um, reach_um, others_um, low, side_um, n_bins, start, members)


@compiled
def _bins(others_um: Floats, reach_um: float) -> tuple[Floats, float, _Bins]:
    """Corner, side and numbers of bins: about one other a bin, and bins not much smaller than what is searched."""
    low, high = others_um[0].copy(), others_um[0].copy()
    for row in range(len(others_um)):
        for axis in range(2):
            low[axis] = min(low[axis], others_um[row, axis])
            high[axis] = max(high[axis], others_um[row, axis])
    extent_um = max(high[0] - low[0], high[1] - low[1], 1e-9)
    area_um2 = max(high[0] - low[0], 1e-3 * extent_um) * max(high[1] - low[1], 1e-3 * extent_um)
    side_um = max(np.sqrt(area_um2 / len(others_um)), reach_um / 2, extent_um / 4096)
    n_bins = np.empty(2, np.int64)
    for axis in range(2):
        n_bins[axis] = int((high[axis] - low[axis]) / side_um) + 1
    return low, side_um, n_bins


@compiled
def _binned(others_um: Floats, low: Floats, side_um: float, n_bins: _Bins) -> tuple[_Bins, _Bins]:
    """Rows sorted by bin, and where each bin begins."""
    n = len(others_um)
    where = np.empty(n, np.int64)
    start = np.zeros(n_bins[0] * n_bins[1] + 1, np.int64)
    for row in range(n):
        x = int((others_um[row, 0] - low[0]) / side_um)
        y = int((others_um[row, 1] - low[1]) / side_um)
        where[row] = y * n_bins[0] + x
        start[where[row] + 1] += 1
    start = np.cumsum(start)
    place = start[:-1].copy()
    members = np.empty(n, np.int64)
    for row in range(n):
        members[place[where[row]]] = row
        place[where[row]] += 1
    return start, members


@compiled
def _pairs(
    points_um: Floats,
    reach_um: Floats,
    others_um: Floats,
    low: Floats,
    side_um: float,
    n_bins: _Bins,
    start: _Bins,
    members: _Bins,
) -> tuple[_Bins, _Bins]:
    size = 4 * len(points_um) + 16
    one, other = np.empty(size, np.int64), np.empty(size, np.int64)
    n = 0
    for row in range(len(points_um)):
        x_um, y_um, reach = points_um[row, 0], points_um[row, 1], reach_um[row]
        first = n
        x0 = max(int(np.floor((x_um - reach - low[0]) / side_um)), 0)
        x1 = min(int(np.floor((x_um + reach - low[0]) / side_um)), n_bins[0] - 1)
        y0 = max(int(np.floor((y_um - reach - low[1]) / side_um)), 0)
        y1 = min(int(np.floor((y_um + reach - low[1]) / side_um)), n_bins[1] - 1)
        for y in range(y0, y1 + 1):
            for k in range(
                start[y * n_bins[0] + x0] if x0 <= x1 else 0, start[y * n_bins[0] + x1 + 1] if x0 <= x1 else 0
            ):
                candidate = members[k]
                dx, dy = others_um[candidate, 0] - x_um, others_um[candidate, 1] - y_um
                if dx * dx + dy * dy <= reach * reach:
                    if n == size:
                        size *= 2
                        one, other = _longer(one, size), _longer(other, size)
                    one[n], other[n] = row, candidate
                    n += 1
        other[first:n] = np.sort(other[first:n])
    return one[:n], other[:n]


@compiled
def _longer(column: _Bins, size: int) -> _Bins:
    longer = np.empty(size, np.int64)
    longer[: len(column)] = column
    return longer
