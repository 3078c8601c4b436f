"""How much light every place of the sample has had, in stage micrometres: it stays when the stage moves on and comes back."""

import math

import numpy as np
import numpy.typing as npt

UM2_PER_CM2 = 1e8
TILE = 64


class DoseMap:
    """J/cm² on a grid of squares of `square_um`, made in tiles as places are lit; a night of moves needs little memory.

    A square counts as lit if any part of it is: the map never says less than a place has had.
    """

    def __init__(self, square_um: float = 10.0) -> None:
        self.square_um = square_um
        self._tiles: dict[tuple[int, int], npt.NDArray[np.float64]] = {}

    def add(self, low_um: tuple[float, float], high_um: tuple[float, float], j_cm2: float) -> None:
        """Light on the rectangle between two corners (x, y)."""
        for tile, part in self._parts(low_um, high_um):
            self._tiles.setdefault(tile, np.zeros((TILE, TILE)))[part] += j_cm2

    def most_j_cm2(self, low_um: tuple[float, float], high_um: tuple[float, float]) -> float:
        """The most that any place of a rectangle has had."""
        return max(
            (
                float(self._tiles[tile][part].max())
                for tile, part in self._parts(low_um, high_um)
                if tile in self._tiles
            ),
            default=0.0,
        )

    def at(self, x_um: float, y_um: float) -> float:
        """What one place has had."""
        return self.most_j_cm2((x_um, y_um), (x_um, y_um))

    def _parts(
        self, low_um: tuple[float, float], high_um: tuple[float, float]
    ) -> list[tuple[tuple[int, int], tuple[slice, slice]]]:
        """The tiles of a rectangle, each with the rows and columns of it that the rectangle touches."""
        (first_x, first_y), (last_x, last_y) = (
            tuple(math.floor(value / self.square_um) for value in corner) for corner in (low_um, high_um)
        )
        return [
            ((ty, tx), (_within(first_y, last_y, ty), _within(first_x, last_x, tx)))
            for ty in range(first_y // TILE, last_y // TILE + 1)
            for tx in range(first_x // TILE, last_x // TILE + 1)
        ]


def j_cm2(energy_mj: float, area_um2: float) -> float:
    """Energy spread evenly over an area."""
    return energy_mj / 1000 / (area_um2 / UM2_PER_CM2)


def _within(first: int, last: int, tile: int) -> slice:
    return slice(max(0, first - tile * TILE), min(TILE - 1, last - tile * TILE) + 1)
