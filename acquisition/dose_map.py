"""How much light every place of the sample has had, in stage micrometres: it stays when the stage moves on and comes back."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from acquisition.commands import Positive
from acquisition.frame import Affine, StagePosition

UM2_PER_CM2 = 1e8
TILE = 64
WHOLE = (slice(0, TILE), slice(0, TILE))
MOST_UM = 200_000.0
"""A stage that seems to have gone further is not where it says: the places between are then not counted as lit."""

Floats = npt.NDArray[np.float64]
Corner = tuple[float, float]
Box = tuple[float, float, float, float]
"""x and y of the lower corner, then of the upper one, stage µm: where the stage may have been."""


class DoseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[dose]` table: which part of the sample is lit, and how finely its light is counted."""

    lit_um: tuple[Positive, Positive] | None = None
    """Width and height of what the light falls on, around the stage's position; left out, all that the sensor sees."""
    square_um: Positive = 10.0
    """Side of the squares of the dose map."""


@dataclass(frozen=True)
class LitField:
    """What every exposure lights: a rectangle around the stage's position, whichever part of the sensor is read."""

    half_um: Corner
    area_um2: float

    @classmethod
    def of(cls, settings: DoseSettings, sensor_px: tuple[int, int], stage_from_pixel: Affine) -> "LitField":
        """Of a sensor of (rows, columns); one that is turned against the stage lights the box around its view."""
        a, b, _, d, e, _ = stage_from_pixel
        height_px, width_px = sensor_px
        if settings.lit_um is not None:
            width_um, height_um = settings.lit_um
            return cls((width_um / 2, height_um / 2), width_um * height_um)
        half_um = (abs(a) * width_px + abs(b) * height_px) / 2, (abs(d) * width_px + abs(e) * height_px) / 2
        return cls(half_um, abs(a * e - b * d) * width_px * height_px)

    def around(self, stage: Box) -> tuple[Corner, Corner]:
        """Corners of all that is lit while the stage is somewhere in a box."""
        (x, y), (low_x, low_y, high_x, high_y) = self.half_um, stage
        return (low_x - x, low_y - y), (high_x + x, high_y + y)

    def j_cm2(self, energy_mj: float) -> float:
        """Energy spread evenly over the field."""
        return j_cm2(energy_mj, self.area_um2)


class DoseMap:
    """J/cm² on a grid of squares of `square_um`, made in tiles as places are lit; a night of moves needs little memory.

    A square counts as lit if any part of it is: the map never says less than a place has had.
    """

    def __init__(self, square_um: float = 10.0) -> None:
        self.square_um = square_um
        self._tiles: dict[tuple[int, int], Floats] = {}
        """By row and column; a tile that is the same everywhere has a single value, `[1, 1]`."""

    def add(self, low_um: Corner, high_um: Corner, j_cm2: float) -> None:
        """Light on the rectangle between two corners (x, y)."""
        for key, part in self._parts(low_um, high_um):
            tile = self._tiles.get(key)
            if part == WHOLE and tile is None:
                self._tiles[key] = np.full((1, 1), j_cm2)
                continue
            if tile is None or (part != WHOLE and tile.size == 1):
                tile = self._tiles[key] = np.full((TILE, TILE), 0.0 if tile is None else tile[0, 0])
            tile[part] += j_cm2

    def add_lit(self, field: LitField, stage: Box, energy_mj: float) -> None:
        """Energy that fell while the stage was somewhere in a box: all of it counts for every place it may have lit.

        How a stage went from one place to another nobody knows; each of its axes has a motor of its own, so that it
        need not be the straight line.
        """
        if max(stage[2] - stage[0], stage[3] - stage[1]) <= MOST_UM:
            self.add(*field.around(stage), field.j_cm2(energy_mj))
            return
        for x, y in (stage[:2], stage[2:]):
            self.add(*field.around((x, y, x, y)), field.j_cm2(energy_mj))

    def most_j_cm2(self, low_um: Corner, high_um: Corner) -> float:
        """The most that any place of a rectangle has had."""
        most = 0.0
        for key, part in self._parts(low_um, high_um):
            tile = self._tiles.get(key)
            if tile is not None:
                most = max(most, float((tile if tile.size == 1 else tile[part]).max()))
        return most

    def at(self, x_um: float, y_um: float) -> float:
        """What one place has had."""
        return self.most_j_cm2((x_um, y_um), (x_um, y_um))

    def at_all(self, xy_um: Floats) -> Floats:
        """What places `[N, 2]` have had, `[N]`."""
        squares = np.floor(xy_um / self.square_um).astype(np.int64)
        within, dose = squares % TILE, np.zeros(len(squares))
        for column, row in set(map(tuple, (squares // TILE).tolist())):
            if (tile := self._tiles.get((row, column))) is not None:
                here = np.all(squares // TILE == (column, row), axis=1)
                dose[here] = tile[0, 0] if tile.size == 1 else tile[within[here, 1], within[here, 0]]
        return dose

    @property
    def highest_j_cm2(self) -> float:
        """The most that any place has had."""
        return max((float(tile.max()) for tile in self._tiles.values()), default=0.0)

    def picture(self, most_px: int = 16_000_000) -> tuple[Floats, Corner, float]:
        """All of it as an image `[rows, columns]`, the corner of its first square in stage µm, and the side of a pixel.

        A map of more squares than `most_px` is drawn with larger ones, each showing the most of those in it.
        """
        if not self._tiles:
            return np.zeros((1, 1)), (0.0, 0.0), self.square_um
        rows, columns = zip(*self._tiles, strict=True)
        first_row, first_column = min(rows), min(columns)
        n_rows, n_columns = max(rows) - first_row + 1, max(columns) - first_column + 1
        fold = 1
        while n_rows * n_columns * (TILE // fold) ** 2 > most_px and fold < TILE:
            fold *= 2
        side = TILE // fold
        image = np.zeros((n_rows * side, n_columns * side))
        for (row, column), tile in self._tiles.items():
            y, x = (row - first_row) * side, (column - first_column) * side
            folded = tile if tile.size == 1 else tile.reshape(side, fold, side, fold).max(axis=(1, 3))
            image[y : y + side, x : x + side] = folded
        corner_um = first_column * TILE * self.square_um, first_row * TILE * self.square_um
        return image, corner_um, self.square_um * fold

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Every tile, to be saved: row, column and how many values; then all values."""
        tiles = [(row, column, tile.size) for (row, column), tile in self._tiles.items()]
        values = [tile.ravel() for tile in self._tiles.values()]
        return {
            "tiles": np.array(tiles, np.int64).reshape(-1, 3),
            "tile_values": np.concatenate(values) if values else np.empty(0),
        }

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on as the map whose arrays these are."""
        ends = np.cumsum(arrays["tiles"][:, 2])
        for (row, column, size), end in zip(arrays["tiles"].tolist(), ends.tolist(), strict=True):
            values = arrays["tile_values"][end - size : end].copy()
            self._tiles[row, column] = values.reshape((1, 1) if size == 1 else (TILE, TILE))

    def _parts(self, low_um: Corner, high_um: Corner) -> Iterator[tuple[tuple[int, int], tuple[slice, slice]]]:
        """The tiles of a rectangle, each with the rows and columns of it that the rectangle touches."""
        side = self.square_um
        first_x, last_x = math.floor(low_um[0] / side), math.floor(high_um[0] / side)
        first_y, last_y = math.floor(low_um[1] / side), math.floor(high_um[1] / side)
        across = [(tx, _within(first_x, last_x, tx)) for tx in range(first_x // TILE, last_x // TILE + 1)]
        for ty in range(first_y // TILE, last_y // TILE + 1):
            rows = _within(first_y, last_y, ty)
            for tx, columns in across:
                yield (ty, tx), (rows, columns)


def j_cm2(energy_mj: float, area_um2: float) -> float:
    """Energy spread evenly over an area."""
    return energy_mj / 1000 / (area_um2 / UM2_PER_CM2)


def point(stage: StagePosition) -> Box:
    """The box of a stage that stands."""
    return stage.x_um, stage.y_um, stage.x_um, stage.y_um


def around_both(one: Box, other: Box) -> Box:
    """The box around two boxes."""
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _within(first: int, last: int, tile: int) -> slice:
    return slice(max(0, first - tile * TILE), min(TILE - 1, last - tile * TILE) + 1)
