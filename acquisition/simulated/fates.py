"""What may happen to a cell besides division: death, a rare phenotype, a flash of its reporter. All by constant risks."""

from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.simulated import biology as bio
from acquisition.simulated.biology import Bools, Floats
from acquisition.simulated.history import History
from acquisition.simulated.settings import Biology


class Fates:
    """Draws who meets what, with random numbers of its own: rates do not change how cells move."""

    def __init__(self, biology: Biology, rng: np.random.Generator) -> None:
        self.biology, self._rng = biology, rng

    def cycling(self, n: int) -> Bools:
        """Which of `n` new cells do not rest in G0."""
        return self._rng.random(n) < self.biology.growth_fraction

    def decide(self, cells: npt.NDArray[Any], quiet: Bools, t_min: float, step_min: float, history: History) -> None:
        """What befalls `cells` within the coming step; in mitosis, where `quiet` is False, neither death nor phenotype."""
        alive = np.isinf(cells["died_min"])
        self._die(cells, quiet & alive, t_min, step_min, history)
        alive = np.isinf(cells["died_min"])
        self._turn_rare(cells, quiet & alive & (cells["rare_until_min"] <= t_min), t_min, step_min, history)
        self._flash(cells, alive, t_min, step_min, history)

    def _die(self, cells: npt.NDArray[Any], may: Bools, t_min: float, step_min: float, history: History) -> None:
        rows = self._struck(bio.death_per_h(cells["unrepaired_j_cm2"], self.biology), may, step_min)
        if rows.size:
            dead = cells[rows]
            cells["died_min"][rows] = t_min
            history.note("death", dead["id"], np.full(rows.size, t_min), np.full(rows.size, t_min), dead["xy_um"])
            for cell_id in dead["id"].tolist():
                history.end("rare", cell_id, t_min)
                history.end("transient", cell_id, t_min)

    def _turn_rare(self, cells: npt.NDArray[Any], may: Bools, t_min: float, step_min: float, history: History) -> None:
        rows = self._struck(self.biology.rare_per_h, may, step_min)
        if rows.size:
            ends_min = t_min + self._rng.exponential(self.biology.rare_min, rows.size)
            cells["rare_until_min"][rows] = ends_min
            history.note("rare", cells["id"][rows], np.full(rows.size, t_min), ends_min, cells["xy_um"][rows])

    def _flash(self, cells: npt.NDArray[Any], alive: Bools, t_min: float, step_min: float, history: History) -> None:
        """Flashes are short beside a step: they begin anywhere within it."""
        lasts_min = bio.FLASH_ENDS * self.biology.transient_s / 60
        rows = self._struck(self.biology.transient_per_h, alive & (cells["flash_min"] + lasts_min <= t_min), step_min)
        if rows.size:
            starts_min = t_min + step_min * self._rng.random(rows.size)
            cells["flash_min"][rows] = starts_min
            history.note("transient", cells["id"][rows], starts_min, starts_min + lasts_min, cells["xy_um"][rows])

    def _struck(self, risk_per_h: float | Floats, may: Bools, step_min: float) -> npt.NDArray[np.intp]:
        """Rows of those whom it hits; without any risk nothing is drawn."""
        if not np.any(risk_per_h):
            return np.empty(0, np.intp)
        return np.flatnonzero(may & (self._rng.random(may.size) < bio.chance_of(risk_per_h, step_min)))
