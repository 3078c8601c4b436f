"""The cells of a scenario as they truly are: they wander, keep apart, divide and die.

A world is a structured array of all cells, the ones around the field included, and moves on in steps.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from models.cells import Floats
from tracking.scenario_recipes import Recipe
from tracking.tracks import Bools, Ints

STEP_S = 150.0
"""Longer intervals are gone in several steps, none longer than this."""
YIELD_S = 120.0
"""Time in which two crowded nuclei make up for most of what they lack in distance."""
ROUND_AREA = 0.75
"""Area of a condensed nucleus, as a share of what it was before mitosis."""
CONDENSED = 0.7
"""A condensed nucleus is brighter by this share."""
UNFOLD_S = 1200.0
"""Time in which the nucleus of a daughter loses most of its condensation."""
SHRIVELLED_AREA, SHRIVELLED = 0.5, 0.8
"""At the end of dying: area as a share, and the share by which it is brighter."""
LEAST_SHARE = 0.42
"""The smaller daughter gets at least this share of the mother's area."""
APART = (0.6, 1.0)
"""Distance between fresh daughters, in diameters of the mother between divisions."""
PARTING = 0.25
"""So many diameters each daughter goes away from the other in the time of one persistence."""
LIKENESS = 0.7
"""How much of a mother's deviation from the average her daughters keep."""

CELL = np.dtype(
    [
        ("xy_um", np.float64, 2),  # without drift and jumps
        ("velocity_um_s", np.float64, 2),
        ("speed_um_s", np.float64),
        ("area_um2", np.float64),  # between divisions
        ("counts", np.float64),
        ("straight", np.bool_),  # goes on and on, and gives way to nobody
        ("age_s", np.float64),  # since the mother's division; inf: not born in this world
        ("birth_area", np.float64),  # at birth, as a share of area_um2
        ("divides_in_s", np.float64),  # inf: not in mitosis
        ("dies_in_s", np.float64),  # inf: not dying
        ("track", np.int64),  # 0: was not in the field in the last frame
        ("origin", np.int64),  # the mother's track, until this cell has its own; 0: none
        ("seen_um", np.float64, 2),  # where it, or its mother, was in the last frame
    ]
)
Culture = npt.NDArray[np.void]


@dataclass(frozen=True)
class Nuclei:
    """True nuclei with their centres in the field in one frame; row i of every array is the same one."""

    track: Ints  # [N]
    parent: Ints  # [N] 0 = none
    xy_um: Floats  # [N, 2] stage µm
    area_um2: Floats  # [N]
    counts: Floats  # [N]
    condensed: Floats  # [N] 0 … 1
    decay: Floats  # [N] 0 … 1, 1 when it is gone
    fresh: Bools  # [N] a daughter, still condensed

    def __len__(self) -> int:
        return len(self.track)


class World:
    """All cells at one moment. The same recipe and generator make the same history."""

    def __init__(self, recipe: Recipe, rng: np.random.Generator) -> None:
        self.recipe = recipe
        self.shift_um = np.zeros(2)
        self._rng = rng
        self._half_um = recipe.half_um + recipe.border_um
        self._n_steady = round(recipe.n_cells * (self._half_um / recipe.half_um) ** 2)
        self._drift_um_s = recipe.drift_um_s * self._directions(1)[0]
        self._next_track = 1
        self.cells = self._seeded(self._n_steady)

    def advance(self, elapsed_s: float) -> None:
        """Time passes."""
        n_steps = math.ceil(elapsed_s / STEP_S)
        for _ in range(n_steps):
            self._step(elapsed_s / n_steps)

    def jump(self) -> None:
        """The whole specimen is shifted at once."""
        self.shift_um += self.recipe.jump_um * self._rng.uniform(0.5, 1.0) * self._directions(1)[0]

    def look(self) -> Nuclei:
        """Who is in the field now. A cell that was outside in any frame, even once, comes back as a new track."""
        cells = self.cells
        xy_um = self._around(cells["xy_um"] + self.shift_um)
        inside = (np.abs(xy_um) < self.recipe.half_um).all(axis=1)
        # Whoever went all the way round the periodic world left the field on one side and came back on the other.
        strangers = ~inside | (np.abs(xy_um - cells["seen_um"]) > self._half_um).any(axis=1)
        cells["track"][strangers] = 0
        cells["origin"][strangers] = 0
        fresh = inside & (cells["track"] == 0)
        cells["track"][fresh] = self._next_track + np.arange(np.count_nonzero(fresh))
        self._next_track += int(np.count_nonzero(fresh))
        cells["seen_um"] = xy_um
        return self._nuclei(np.flatnonzero(inside), xy_um)

    def _nuclei(self, rows: Ints, xy_um: Floats) -> Nuclei:
        cells = self.cells[rows]
        unfolding = np.exp(-cells["age_s"] / UNFOLD_S)
        condensed, decay = np.maximum(self._rounding(cells), unfolding), self._decay(cells)
        return Nuclei(
            track=cells["track"],
            parent=cells["origin"],
            xy_um=xy_um[rows],
            area_um2=self._area_um2(cells),
            counts=cells["counts"] * (1 + CONDENSED * condensed) * (1 + SHRIVELLED * decay),
            condensed=condensed,
            decay=decay,
            fresh=unfolding > 0.5,
        )

    def _rounding(self, cells: Culture) -> Floats:
        """0 until a cell enters mitosis, then rising to 1 within the first quarter of it."""
        share: Floats = (1 - cells["divides_in_s"] / self.recipe.mitosis_s) * 4
        return np.clip(share, 0.0, 1.0)

    def _decay(self, cells: Culture) -> Floats:
        """0 until a cell begins to die, then rising to 1."""
        return np.clip(1 - cells["dies_in_s"] / self.recipe.dying_s, 0.0, 1.0)

    def _area_um2(self, cells: Culture) -> Floats:
        lacking = (1 - cells["birth_area"]) * np.exp(-cells["age_s"] / self.recipe.regrowth_s)
        rounded = 1 - (1 - ROUND_AREA) * self._rounding(cells)
        area_um2: Floats = cells["area_um2"] * (1 - lacking) * rounded
        return area_um2 * (1 - (1 - SHRIVELLED_AREA) * self._decay(cells))

    def _seeded(self, n: int) -> Culture:
        """Cells anywhere, some of them dividing or dying already, so that events begin with the first frame."""
        recipe, rng = self.recipe, self._rng
        cells = self._newborn(n)
        cells["xy_um"] = rng.uniform(-self._half_um, self._half_um, (n, 2))
        cells["age_s"] = np.inf
        self._start_crossings(cells)
        for _ in range(20):
            cells["xy_um"] = self._kept_in(cells, cells["xy_um"] + self._push_um(cells, 0.5))
        cells["seen_um"] = cells["xy_um"]
        dividing = rng.random(n) < recipe.division_rate_per_hour * recipe.mitosis_s / 3600
        dying = ~dividing & (rng.random(n) < recipe.death_rate_per_hour * recipe.dying_s / 3600)
        cells["divides_in_s"][dividing] = rng.uniform(0, recipe.mitosis_s, np.count_nonzero(dividing))
        cells["dies_in_s"][dying] = rng.uniform(0, recipe.dying_s, np.count_nonzero(dying))
        return cells

    def _newborn(self, n: int) -> Culture:
        """Cells with everything drawn but a place."""
        recipe, rng = self.recipe, self._rng
        cells = np.zeros(n, dtype=CELL)
        cells["speed_um_s"] = recipe.speed_um_s * rng.lognormal(-(recipe.speed_spread**2), recipe.speed_spread, n)
        cells["velocity_um_s"] = rng.normal(0.0, math.sqrt(0.5), (n, 2)) * cells["speed_um_s"][:, None]
        cells["area_um2"] = recipe.area_um2 * rng.lognormal(0.0, recipe.area_spread, n)
        cells["counts"] = recipe.counts * rng.lognormal(0.0, recipe.counts_spread, n)
        cells["birth_area"] = 1.0
        cells["divides_in_s"] = cells["dies_in_s"] = np.inf
        return cells

    def _start_crossings(self, cells: Culture) -> None:
        """Put the first cells on straight ways, two by two, that pass each other in the field at some time."""
        recipe, rng = self.recipe, self._rng
        n = int(recipe.crossing * len(cells) / 2)
        one, other = cells[:n], cells[n : 2 * n]  # views
        heading = rng.uniform(0, 2 * math.pi, n)
        turn = rng.uniform(math.pi / 3, 5 * math.pi / 3, n)
        one["velocity_um_s"] = one["speed_um_s"][:, None] * _unit(heading)
        other["velocity_um_s"] = other["speed_um_s"][:, None] * _unit(heading + turn)
        meet_um = rng.uniform(-0.8, 0.8, (n, 2)) * recipe.half_um
        meet_s = rng.uniform(0.15, 0.85, (n, 1)) * recipe.n_frames * recipe.interval_s
        closing = one["velocity_um_s"] - other["velocity_um_s"]
        aside = np.stack([-closing[:, 1], closing[:, 0]], axis=1)
        aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-12)
        aside *= rng.uniform(-0.5, 0.5, (n, 1)) * recipe.passing * recipe.diameter_um
        one["xy_um"] = meet_um + aside - one["velocity_um_s"] * meet_s
        other["xy_um"] = meet_um - aside - other["velocity_um_s"] * meet_s
        cells["straight"][: 2 * n] = True

    def _step(self, step_s: float) -> None:
        """One step on: cells turn, move and give way; some finish what they began, some begin."""
        cells = self.cells
        self._turn(cells, step_s)
        pace = step_s * (1 - self._rounding(cells))[:, None]
        push_um = self._push_um(cells, (1 - math.exp(-step_s / YIELD_S)) / 2)
        cells["xy_um"] = self._kept_in(cells, cells["xy_um"] + cells["velocity_um_s"] * pace + push_um)
        self.shift_um += self._drift_um_s * step_s
        for column, change_s in (("age_s", step_s), ("divides_in_s", -step_s), ("dies_in_s", -step_s)):
            cells[column] += change_s
        self.cells = self._divided(cells[cells["dies_in_s"] > 0])
        self._begin(self.cells, step_s)

    def _turn(self, cells: Culture, step_s: float) -> None:
        """A persistent random walk: velocities fade within the persistence and are renewed at random."""
        kept = math.exp(-step_s / self.recipe.persistence_s)
        fresh_um_s = cells["speed_um_s"][:, None] * math.sqrt((1 - kept**2) / 2)
        turned = kept * cells["velocity_um_s"] + fresh_um_s * self._rng.standard_normal((len(cells), 2))
        cells["velocity_um_s"] = np.where(cells["straight"][:, None], cells["velocity_um_s"], turned)

    def _kept_in(self, cells: Culture, xy_um: Floats) -> Floats:
        """Round the periodic world where there are surroundings, else back from the edge of the field."""
        if self.recipe.border_um > 0:
            return self._around(xy_um)
        wall_um = self.recipe.half_um - self.recipe.diameter_um / 2
        beyond = (np.abs(xy_um) > wall_um) & ~cells["straight"][:, None]
        cells["velocity_um_s"] = np.where(
            beyond, -np.sign(xy_um) * np.abs(cells["velocity_um_s"]), cells["velocity_um_s"]
        )
        return np.where(beyond, np.clip(xy_um, -wall_um, wall_um), xy_um)

    def _around(self, xy_um: Floats) -> Floats:
        if self.recipe.border_um == 0:
            return xy_um
        wrapped: Floats = (xy_um + self._half_um) % (2 * self._half_um) - self._half_um
        return wrapped

    def _push_um(self, cells: Culture, share: float) -> Floats:
        """How far crowded cells give way, `[N, 2]`: each of a pair by this share of what is missing."""
        rows = np.flatnonzero(~cells["straight"])
        radius_um = self.recipe.clearance * np.sqrt(cells["area_um2"] / math.pi)
        push_um = np.zeros((len(cells), 2))
        if self.recipe.clearance == 0 or rows.size < 2:
            return push_um
        side_um = 2 * self._half_um if self.recipe.border_um else None
        xy_um = cells["xy_um"][rows] + (self._half_um if side_um else 0.0)
        tree = cKDTree(xy_um % side_um if side_um else xy_um, boxsize=side_um)
        i, j = rows[tree.query_pairs(2 * radius_um[rows].max(), output_type="ndarray")].T
        apart_um = self._around(cells["xy_um"][j] - cells["xy_um"][i])
        distance_um = np.maximum(np.hypot(apart_um[:, 0], apart_um[:, 1]), 1e-6)
        missing_um = np.maximum(radius_um[i] + radius_um[j] - distance_um, 0.0)
        give_um = apart_um * (share * missing_um / distance_um)[:, None]
        for axis in (0, 1):
            push_um[:, axis] = np.bincount(j, give_um[:, axis], len(cells)) - np.bincount(
                i, give_um[:, axis], len(cells)
            )
        return push_um

    def _divided(self, cells: Culture) -> Culture:
        """The culture with each cell at the end of its mitosis replaced by two daughters, side by side."""
        ready = cells["divides_in_s"] <= 0
        if not ready.any():
            return cells
        mothers = np.repeat(cells[ready], 2)
        n = len(mothers) // 2
        daughters = self._newborn(2 * n)
        self._resemble(daughters, mothers)
        share = self._rng.uniform(LEAST_SHARE, 1 - LEAST_SHARE, n)
        area_um2 = np.stack([share, 1 - share], axis=1).ravel() * self._area_um2(mothers)
        daughters["birth_area"] = area_um2 / daughters["area_um2"]
        diameter_um = 2 * np.sqrt(mothers["area_um2"] / math.pi)[:, None]
        axis = self._directions(n)
        away = np.stack([axis, -axis], axis=1).reshape(-1, 2) * diameter_um
        apart = np.repeat(self._rng.uniform(*APART, n), 2)[:, None]
        daughters["xy_um"] = self._kept_in(daughters, mothers["xy_um"] + away * apart / 2)
        daughters["velocity_um_s"] = away * PARTING / self.recipe.persistence_s
        daughters["origin"] = np.where(mothers["track"] > 0, mothers["track"], mothers["origin"])
        daughters["seen_um"] = mothers["seen_um"]
        return np.concatenate([cells[~ready], daughters])

    def _resemble(self, daughters: Culture, mothers: Culture) -> None:
        """Daughters are between their mother and the average, in area and intensity."""
        for column, mean in (("area_um2", self.recipe.area_um2), ("counts", self.recipe.counts)):
            own, hers = daughters[column] / mean, mothers[column] / mean
            daughters[column] = mean * hers**LIKENESS * own ** math.sqrt(1 - LIKENESS**2)

    def _begin(self, cells: Culture, step_s: float) -> None:
        """Some cells enter mitosis, others begin to die."""
        recipe, rng = self.recipe, self._rng
        divide, die = (
            -math.expm1(-rate * step_s / 3600) for rate in (recipe.division_rate_per_hour, recipe.death_rate_per_hour)
        )
        if recipe.steady:
            divide *= len(cells) <= self._n_steady
            die *= len(cells) >= self._n_steady
        idle = np.isinf(cells["divides_in_s"]) & np.isinf(cells["dies_in_s"])
        chance = rng.random(len(cells))
        dividing = idle & (cells["age_s"] >= recipe.least_cycle_s) & (chance < divide)
        dying = idle & (chance > 1 - die)
        cells["divides_in_s"][dividing] = recipe.mitosis_s
        cells["dies_in_s"][dying] = recipe.dying_s

    def _directions(self, n: int) -> Floats:
        return _unit(self._rng.uniform(0, 2 * math.pi, n))


def _unit(angle_rad: Floats) -> Floats:
    return np.stack([np.cos(angle_rad), np.sin(angle_rad)], axis=1)
