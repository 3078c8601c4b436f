"""What really became of every cell at the junction, and how good a sort was by it."""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from acquisition.microscope import PassedCell
from acquisition.simulated.flow_rendering import Stack
from acquisition.simulated.flow_sorter import SimulatedSorter
from acquisition.simulated.flow_world import BLOCK, FlowingCells, FlowWorld

KEPT_CELLS = 200_000
"""Cells that wait to be told; of more, the oldest are forgotten."""


class _Block:
    """Cells of the world that have not all passed."""

    def __init__(self, cells: FlowingCells) -> None:
        self.cells = cells
        self.strips = np.zeros(len(cells), dtype=np.int64)
        self.is_told = np.zeros(len(cells), dtype=np.bool_)


class FlowTruth:
    """Tells of each cell once, after it has passed the junction: its fate is certain then."""

    def __init__(self, world: FlowWorld, sorter: SimulatedSorter) -> None:
        self._world, self._sorter = world, sorter
        self._blocks: deque[_Block] = deque()
        self._passed: deque[PassedCell] = deque(maxlen=KEPT_CELLS)

    def see(self, stack: Stack) -> None:
        """A stack that was handed out: its cells could have been seen."""
        self._take_new()
        if not self._blocks:
            return
        first = int(self._blocks[0].cells.id[0])
        for cell_id, n_strips in zip(stack.ids.tolist(), stack.strips.tolist(), strict=True):
            if cell_id >= first:
                self._blocks[(cell_id - first) // BLOCK].strips[(cell_id - first) % BLOCK] += n_strips

    def settle(self) -> None:
        """Note what became of the cells that have passed by now."""
        now_ns = self._sorter.catch_up()
        self._world.make_until(now_ns)
        self._take_new()
        for block in self._blocks:
            self._tell(block, np.flatnonzero(~block.is_told & (block.cells.arrival_ns < now_ns)))
        while self._blocks and self._blocks[0].is_told.all():
            self._blocks.popleft()

    def passed(self) -> list[PassedCell]:
        """The cells that have passed since the last call, in the order of arrival but for those of different blocks."""
        self.settle()
        told = list(self._passed)
        self._passed.clear()
        return told

    def _take_new(self) -> None:
        while self._world.made:
            self._blocks.append(_Block(self._world.made.popleft()))

    def _tell(self, block: _Block, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> None:
        cells = block.cells
        rows = rows[np.argsort(cells.arrival_ns[rows], kind="stable")]
        block.is_told[rows] = True
        columns = (
            cells.id[rows], cells.kind[rows], cells.arrival_ns[rows], cells.y_um[rows], cells.speed_um_s[rows],
            cells.entered_ns[rows], block.strips[rows], self._sorter.deflects(cells.arrival_ns[rows]),
        )  # fmt: skip
        names = self._world.classes
        for cell_id, kind, *others in zip(*(column.tolist() for column in columns), strict=True):
            self._passed.append(PassedCell(cell_id, names[kind], *others))


@dataclass(frozen=True)
class TrueSort:
    """How good a sort really was; NaN where there was nothing to judge by."""

    n_cells: int
    n_wanted: int
    n_deflected: int
    n_wanted_deflected: int

    @property
    def purity(self) -> float:
        """Share of the deflected cells that were wanted."""
        return _share(self.n_wanted_deflected, self.n_deflected)

    @property
    def yielded(self) -> float:
        """Share of the wanted cells that were deflected."""
        return _share(self.n_wanted_deflected, self.n_wanted)

    @property
    def enrichment(self) -> float:
        """Purity against the share of wanted cells in the sample."""
        return self.purity / (self.n_wanted / self.n_cells) if self.n_wanted else float("nan")


def judged(cells: Iterable[PassedCell], wanted: Collection[str], strips: int = 0) -> TrueSort:
    """The truth of a sort for cells of the classes `wanted`; cells in fewer than so many `strips` do not count as passed.

    What was deflected counts in any case: also a cell that nobody could see makes a sort impure.
    """
    counted = [cell for cell in cells if cell.strips >= strips or cell.deflected]
    deflected = [cell for cell in counted if cell.deflected]
    return TrueSort(
        len(counted), sum(cell.kind in wanted for cell in counted), len(deflected),
        sum(cell.kind in wanted for cell in deflected),
    )  # fmt: skip


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
