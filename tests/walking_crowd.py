"""Any number of cells that walk about, and a tracker that looks at them at any time: what is told, and who kept its track."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from models.cells import Cells, Floats
from tests.named_cells import AREA_UM2
from tests.scenes import cells_at, header
from tracking.tracker import CausalTracker
from tracking.tracks import Ints, Tracks

PITCH_UM = 20.0
Changed = Callable[[Cells], Cells]


def as_it_is(cells: Cells) -> Cells:
    return cells


class Crowd:
    """Cells that walk to and fro around places on a loose lattice, and a tracker that looks at them."""

    def __init__(self, n: int, step_um: float = 1.0, looseness_um: float = 2.0) -> None:
        self.rng = np.random.default_rng(0)
        self.tracker = CausalTracker()
        side = int(np.ceil(np.sqrt(n)))
        lattice = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)[:n]
        self.size_um = int(PITCH_UM * side)
        self.xy_um = PITCH_UM * (lattice + 0.5) - self.size_um / 2 + self.rng.normal(0, looseness_um, (n, 2))
        self.step_um, self.velocity_um = step_um, self.rng.normal(0, step_um, (n, 2))
        self.area, self.counts = AREA_UM2 * self._spread(0.15), 500 * self._spread(0.15)
        self.frame = -1
        self.owners: list[Ints] = []

    def go(self, steps: float = 1.0) -> None:
        """Persistent random walk: directions last for five steps."""
        keep, limit_um = np.exp(-steps / 5), self.size_um / 2
        self.xy_um = self.xy_um + self.velocity_um * steps
        noise = self.rng.normal(0, self.step_um * np.sqrt(1 - keep**2), self.xy_um.shape)
        outside = np.abs(self.xy_um) > limit_um
        self.xy_um = np.where(outside, np.sign(self.xy_um) * 2 * limit_um - self.xy_um, self.xy_um)
        self.velocity_um = np.where(outside, -1, 1) * (keep * self.velocity_um + noise)

    def cells(self, t_s: float) -> Cells:
        view = header(self.frame, t_ms=1000 * t_s, size_px=self.size_um, um_per_px=1.0)
        noise_um = self.rng.normal(0, 0.2, self.xy_um.shape)
        area, counts = self.area * self._spread(0.05), self.counts * self._spread(0.05)
        return cells_at(view, self.xy_um + noise_um, area_um2=area, mean_intensity=counts)

    def see(self, t_s: float, looked: Changed = as_it_is) -> Tracks:
        """The next frame; who has each cell is kept, unless `looked` has made other cells of them."""
        self.frame += 1
        tracks = self.tracker.update(looked(self.cells(t_s)))
        owner, has = np.zeros(len(self.xy_um), np.int64), tracks.cell_row >= 0
        if has.sum() == len(owner):
            owner[tracks.cell_row[has]] = tracks.id[has]
            self.owners.append(owner)
        return tracks

    def watch(self, times_s: Sequence[float]) -> list[float]:
        """Frames a step apart at these times; share of cells that kept their track, frame to frame."""
        for t_s in times_s:
            self.see(t_s)
            self.go()
        return self.kept()

    def kept(self) -> list[float]:
        return [float((now == last).mean()) for last, now in pairwise(self.owners)]

    def _spread(self, deviation: float) -> Floats:
        spread: Floats = np.exp(self.rng.normal(0, deviation, len(self.xy_um)))
        return spread


def white(cells: Cells) -> Cells:
    """All of the frame as one cell, as after a flash."""
    assert cells.shape is not None
    view = header(cells.frame_index, t_ms=cells.t_ns / 1e6, size_px=cells.shape[0], um_per_px=1.0)
    return cells_at(view, [(0.0, 0.0)], area_um2=[float(np.prod(cells.shape))])


def empty(cells: Cells) -> Cells:
    assert cells.shape is not None
    return cells_at(header(cells.frame_index, t_ms=cells.t_ns / 1e6, size_px=cells.shape[0], um_per_px=1.0))
