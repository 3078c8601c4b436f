"""The truth beside a sort: `truth/passed.parquet`, every cell that passed the junction and whether it was deflected."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.faulty_microscope import FaultyMicroscope
from acquisition.frame import FrameHeader
from acquisition.microscope import Microscope, PassedCell, TellsSorted
from acquisition.sorter_beside import MicroscopeWithSorter
from realtime.session.aside import Aside, lacking, unfinished
from realtime.session.tables import Columns, PartTable, read_parts, warm_up

TRUTH, PASSED = "truth", "passed.parquet"
EVERY_NS = 100 * NS_PER_MS
"""How often cells are asked for: few at a time, so that asking is not felt in the loop."""
PART_NS = 5 * NS_PER_S
MOST_WAITING = 1000
TYPES = {
    "id": np.int64, "arrival_ns": np.int64, "y_um": np.float64, "speed_um_s": np.float64, "entered_ns": np.int64,
    "strips": np.int64, "deflected": np.bool_,
}  # fmt: skip
"""Columns beside `kind`, named as in PassedCell; `t_ns` is the arrival again, as every table of a session has it."""


class SortTruthWriter:
    """Asks for the cells that have passed, and writes them. With `threaded` the caller never waits for the disk."""

    def __init__(self, folder: Path, microscope: TellsSorted, clock: Clock, threaded: bool) -> None:
        self.n_lost = 0
        """Cells whose truth is not written, since the disk was too slow or failed."""
        self._problem = ""
        self._folder, self._microscope, self._due_ns = folder / TRUTH, microscope, 0
        self._folder.mkdir(parents=True)
        warm_up()
        self._table = PartTable(self._folder / PASSED, clock, part_ns=PART_NS, kinds={"kind": "string"})
        self._aside: Aside[Sequence[PassedCell]] = Aside(self._write, "truth-writer", MOST_WAITING, threaded)

    def see(self, header: FrameHeader) -> None:
        """A frame is over: ask for the cells that have passed, if it is time."""
        if header.t_ns < self._due_ns:
            return
        self._due_ns = header.t_ns + EVERY_NS
        cells = self._microscope.passed()
        if not self._aside.put(cells):
            self.n_lost += len(cells)

    def close(self) -> str:
        """Write the rest while the microscope is still open; what is missing, in words. Cells on their way are not in it."""
        if not self.stop():
            return unfinished(self._folder)
        self._write(self._microscope.passed())
        try:
            self._table.close_part()
        except OSError as error:
            self._problem = self._problem or str(error)
        if not self.n_lost and not self._problem:
            return ""
        return lacking(f"{self.n_lost} cells", self._folder, self._problem)

    def stop(self) -> bool:
        """Once what waits is written; False if the disk does not take that. Stopping twice is harmless."""
        return self._aside.stop()

    def _write(self, cells: Sequence[PassedCell]) -> None:
        """A disk that fails loses the truth, and ends no run: the recorder is there for that."""
        if self._problem:
            self.n_lost += len(cells)
            return
        try:
            self._table.add_rows(passed_columns(cells) if cells else {})
        except OSError as error:
            self._problem = str(error)
            self.n_lost += len(cells)


def sort_teller(microscope: Microscope) -> TellsSorted | None:
    """The microscope if it knows what became of cells, with faults or without; None if it does not.

    What a sorter beside it deflects a microscope does not know.
    """
    if isinstance(microscope, MicroscopeWithSorter):
        return None
    inner = microscope.inner if isinstance(microscope, FaultyMicroscope) else microscope
    return inner if isinstance(inner, TellsSorted) else None


def passed_columns(cells: Sequence[PassedCell]) -> Columns:
    """Cells as a table, `[N]` each."""
    columns: Columns = {
        name: np.array([getattr(cell, name) for cell in cells], dtype=kind) for name, kind in TYPES.items()
    }
    return {"t_ns": columns["arrival_ns"], "kind": np.array([cell.kind for cell in cells], dtype=object)} | columns


def read_passed(session: Path) -> list[PassedCell]:
    """All cells of `passed.parquet`, in the order of arrival. Raises RecordingError."""
    columns = read_parts(session / TRUTH / PASSED)
    order = np.argsort(columns["arrival_ns"], kind="stable")
    names = PassedCell.__dataclass_fields__
    return [PassedCell(*row) for row in zip(*(columns[name][order].tolist() for name in names), strict=True)]
