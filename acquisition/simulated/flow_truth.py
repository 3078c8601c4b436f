"""What really became of every cell at the junction."""

from collections import deque

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
