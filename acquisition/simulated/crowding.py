"""How crowded cells give way to each other."""

import math

import numpy as np

from acquisition.simulated.biology import Floats, Ints
from acquisition.simulated.compiling import compiled


def push_um(xy_um: Floats, clearance_um: float) -> Floats:
    """How far each cell gives way, `[N, 2]`: each of a pair that is too close a quarter of what is missing."""
    pushed_um = np.zeros_like(xy_um)
    if len(xy_um):
        _push(np.ascontiguousarray(xy_um), clearance_um, pushed_um)
    return pushed_um


@compiled
def _push(xy_um: Floats, clearance_um: float, pushed_um: Floats) -> None:
    """Cells are put into squares no smaller than the clearance: neighbours lie in the same square or in one around it."""
    low_x_um, low_y_um = xy_um[:, 0].min(), xy_um[:, 1].min()
    width_um, height_um = xy_um[:, 0].max() - low_x_um, xy_um[:, 1].max() - low_y_um
    square_um = max(clearance_um, math.sqrt((width_um + clearance_um) * (height_um + clearance_um) / len(xy_um)))
    n_columns, n_rows = int(width_um / square_um) + 1, int(height_um / square_um) + 1
    square = np.empty(len(xy_um), np.int64)
    for i in range(len(xy_um)):
        row, column = int((xy_um[i, 1] - low_y_um) / square_um), int((xy_um[i, 0] - low_x_um) / square_um)
        square[i] = row * n_columns + column
    order, first = _sorted(square, n_columns * n_rows)
    for row in range(n_rows):
        for column in range(n_columns):
            here = row * n_columns + column
            for k in range(first[here], first[here + 1]):
                for m in range(k + 1, first[here + 1]):
                    _part(xy_um, order[k], order[m], clearance_um, pushed_um)
                for other_row, other_column in (
                    (row, column + 1), (row + 1, column - 1), (row + 1, column), (row + 1, column + 1),
                ):  # fmt: skip
                    if other_row < n_rows and 0 <= other_column < n_columns:
                        other = other_row * n_columns + other_column
                        for m in range(first[other], first[other + 1]):
                            _part(xy_um, order[k], order[m], clearance_um, pushed_um)


@compiled
def _sorted(square: Ints, n_squares: int) -> tuple[Ints, Ints]:
    """Cells by square: those of square k are `order[first[k] : first[k + 1]]`."""
    first = np.zeros(n_squares + 1, np.int64)
    for k in square:
        first[k + 1] += 1
    first = np.cumsum(first)
    order, used = np.empty(len(square), np.int64), first[:-1].copy()
    for i in range(len(square)):
        order[used[square[i]]] = i
        used[square[i]] += 1
    return order, first


@compiled
def _part(xy_um: Floats, i: int, j: int, clearance_um: float, pushed_um: Floats) -> None:
    x_um, y_um = xy_um[j, 0] - xy_um[i, 0], xy_um[j, 1] - xy_um[i, 1]
    if x_um * x_um + y_um * y_um >= clearance_um * clearance_um:
        return
    distance_um = max(math.sqrt(x_um * x_um + y_um * y_um), 1e-6)
    share = (clearance_um - distance_um) / distance_um / 4
    pushed_um[i, 0] -= share * x_um
    pushed_um[i, 1] -= share * y_um
    pushed_um[j, 0] += share * x_um
    pushed_um[j, 1] += share * y_um
