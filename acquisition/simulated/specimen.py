"""The world under the simulated microscope: a layer of cells that wander, keep apart, round up and divide.

The specimen's history depends on its seed alone, never on when or where somebody looks at it.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]

STEP_MIN = 1 / 6
"""The world moves on in steps of 10 s of the specimen's time; within a step cells move in straight lines."""
MITOTIC_RADIUS = math.sqrt(0.5)
"""A condensed nucleus has half the area at twice the brightness: the same stained DNA."""
LARGEST_GROWTH = 3.0
"""A culture so many times as dense as at the start is confluent: its cells stop growing, as in a dish."""
CLEARANCE = 1.25
"""Nuclei closer than so many diameters, centre to centre, push each other apart: cytoplasm lies between."""

CELL = np.dtype(
    [
        ("id", np.int64),
        ("parent", np.int64),  # 0: was there from the start
        ("xy_um", np.float64, 2),
        ("step_um", np.float64, 2),  # displacement during the present step
        ("velocity_um_min", np.float64, 2),
        ("phase", np.float64),  # of the cell cycle, 0 at birth and 1 at division
        ("cycle_min", np.float64),
        ("semi_um", np.float64, 2),  # long and short semi-axis of the nucleus in mid-cycle
        ("angle_rad", np.float64),  # of the long axis
        ("brightness", np.float64),  # 1 for an average nucleus between two divisions
    ]
)


@dataclass(frozen=True)
class Culture:
    """What kind of cells grow here; the specimen is centred on (0, 0)."""

    n_cells: int
    size_um: tuple[float, float]
    nucleus_um: float
    speed_um_min: float
    persistence_min: float
    cycle_min: float
    mitosis_min: float


@dataclass(frozen=True)
class Nuclei:
    """Nuclei as they are at one moment; row i of every array is the same cell."""

    id: npt.NDArray[np.int64]  # [N]
    parent: npt.NDArray[np.int64]  # [N]
    xy_um: Floats  # [N, 2] stage µm
    semi_um: Floats  # [N, 2]
    angle_rad: Floats  # [N]
    brightness: Floats  # [N]
    mitosis: Floats  # [N] 0 between divisions, 1 when fully rounded

    def __getitem__(self, rows: npt.NDArray[np.bool_]) -> "Nuclei":
        return Nuclei(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


class Specimen:
    """Cells in a dish. Not thread-safe: one thread asks for `nuclei_at`, with times that mostly grow."""

    def __init__(self, culture: Culture, rng: np.random.Generator) -> None:
        self.culture = culture
        self._rng = rng
        self._n_ids = 0
        self._t_min = 0.0  # when the present step began
        self._cells = self._seeded()

    def nuclei_at(self, t_min: float) -> Nuclei:
        """All nuclei at `t_min` after the start; times must grow, but for a fraction of a step."""
        while t_min >= self._t_min + STEP_MIN:
            self._advance()
        cells = self._cells
        mitosis = self._mitosis(cells)[:, None]
        growth = np.sqrt(0.75 + 0.5 * cells["phase"])[:, None]
        round_um = MITOTIC_RADIUS * np.sqrt(cells["semi_um"].prod(axis=1, keepdims=True))
        return Nuclei(
            id=cells["id"].copy(),
            parent=cells["parent"].copy(),
            xy_um=cells["xy_um"] + cells["step_um"] * (t_min - self._t_min) / STEP_MIN,
            semi_um=growth * ((1 - mitosis) * cells["semi_um"] + mitosis * round_um),
            angle_rad=cells["angle_rad"].copy(),
            brightness=cells["brightness"] * (1 + mitosis[:, 0]),
            mitosis=mitosis[:, 0],
        )

    def _seeded(self) -> npt.NDArray[np.void]:
        """The culture at the start: cells anywhere, of the ages that a steadily growing culture has."""
        culture = self.culture
        cells = self._newborn(culture.n_cells)
        half_um = np.array(culture.size_um) / 2
        cells["xy_um"] = self._rng.uniform(-half_um, half_um, (culture.n_cells, 2))
        cells["phase"] = -np.log2(1 - self._rng.random(culture.n_cells) / 2)
        for _ in range(30):
            cells["xy_um"] += self._push_um(cells["xy_um"])
            np.clip(cells["xy_um"], -half_um, half_um, out=cells["xy_um"])
        self._plan_step(cells)
        return cells

    def _newborn(self, n: int) -> npt.NDArray[np.void]:
        """Cells with everything drawn but a place and a parent."""
        rng, culture = self._rng, self.culture
        cells = np.zeros(n, dtype=CELL)
        cells["id"] = self._n_ids + 1 + np.arange(n)
        self._n_ids += n
        cells["velocity_um_min"] = rng.normal(0.0, culture.speed_um_min / math.sqrt(2), (n, 2))
        cells["cycle_min"] = culture.cycle_min * rng.lognormal(0.0, 0.1, n)
        radius_um = culture.nucleus_um / 2 * rng.lognormal(0.0, 0.07, n)
        elongation = np.sqrt(rng.uniform(1.0, 1.6, n))
        cells["semi_um"] = np.stack([radius_um * elongation, radius_um / elongation], axis=1)
        cells["angle_rad"] = rng.uniform(0.0, math.pi, n)
        cells["brightness"] = rng.lognormal(0.0, 0.12, n)
        return cells

    def _advance(self) -> None:
        """One step on: every cell arrives where it was going, ages, perhaps divides, and plans again."""
        cells = self._cells
        cells["xy_um"] += cells["step_um"]
        confluent = len(cells) >= LARGEST_GROWTH * self.culture.n_cells
        growing = (self._mitosis(cells) > 0) | (not confluent)
        cells["phase"] += growing * STEP_MIN / cells["cycle_min"]
        cells = self._divided(cells)
        self._turn(cells)
        self._plan_step(cells)
        self._cells = cells
        self._t_min += STEP_MIN

    def _mitosis(self, cells: npt.NDArray[np.void]) -> Floats:
        """0 until a cell enters mitosis, then rising to 1 within the first quarter of it."""
        share = self.culture.mitosis_min / cells["cycle_min"]
        into_mitosis: Floats = (cells["phase"] - (1 - share)) / share
        return np.clip(into_mitosis * 4, 0.0, 1.0)

    def _divided(self, cells: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The culture with each cell at the end of its cycle replaced by two daughters, side by side."""
        ready = cells["phase"] >= 1.0
        if not ready.any():
            return cells
        mothers = np.repeat(cells[ready], 2)
        daughters = self._newborn(len(mothers))
        side = np.where(np.arange(len(mothers)) % 2, 1.0, -1.0) * self.culture.nucleus_um * 0.45
        away = np.stack([np.cos(mothers["angle_rad"]), np.sin(mothers["angle_rad"])], axis=1)
        daughters["parent"] = mothers["id"]
        daughters["xy_um"] = mothers["xy_um"] + side[:, None] * away
        daughters["angle_rad"] = mothers["angle_rad"] + math.pi / 2
        daughters["brightness"] = mothers["brightness"]
        return np.concatenate([cells[~ready], daughters])

    def _turn(self, cells: npt.NDArray[np.void]) -> None:
        """A persistent random walk: velocities fade within `persistence_min` and are renewed at random."""
        kept = math.exp(-STEP_MIN / self.culture.persistence_min)
        fresh_um_min = self.culture.speed_um_min / math.sqrt(2) * math.sqrt(1 - kept**2)
        noise = self._rng.normal(0.0, fresh_um_min, (len(cells), 2))
        cells["velocity_um_min"] = kept * cells["velocity_um_min"] + noise

    def _plan_step(self, cells: npt.NDArray[np.void]) -> None:
        """Where each cell goes in the coming step: its own way, away from others, never out of the dish."""
        half_um = np.array(self.culture.size_um) / 2
        own_um = cells["velocity_um_min"] * STEP_MIN * (1 - self._mitosis(cells))[:, None]
        target_um = cells["xy_um"] + own_um + self._push_um(cells["xy_um"])
        cells["velocity_um_min"][np.abs(target_um) > half_um] *= -1.0
        cells["step_um"] = np.clip(target_um, -half_um, half_um) - cells["xy_um"]

    def _push_um(self, xy_um: Floats) -> Floats:
        """How far crowded cells give way, `[N, 2]`: each of a pair a quarter of what is missing."""
        clearance_um = CLEARANCE * self.culture.nucleus_um
        push_um = np.zeros_like(xy_um)
        pairs = cKDTree(xy_um).query_pairs(clearance_um, output_type="ndarray")
        apart_um = xy_um[pairs[:, 1]] - xy_um[pairs[:, 0]]
        distance_um = np.maximum(np.hypot(apart_um[:, 0], apart_um[:, 1]), 1e-6)[:, None]
        give_um = apart_um / distance_um * (clearance_um - distance_um) / 4
        np.add.at(push_um, pairs[:, 0], -give_um)
        np.add.at(push_um, pairs[:, 1], give_um)
        return push_um
