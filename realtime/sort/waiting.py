"""Wanted cells that have left the view, but whose pulse is planned with the next stack, when more is known."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tracking.flow_cells import FlowCells

PER_CELL = ("id", "looks", "last_ns", "y_px", "speed_um_s", "arrival_ns", "sigma_ms", "gone")


def only(cells: FlowCells, rows: npt.NDArray[np.intp]) -> FlowCells:
    """These cells, of which there is no sighting."""
    columns = {name: getattr(cells, name)[rows] for name in PER_CELL}
    return FlowCells(**columns, cell_of=np.empty(0, np.int64))


def not_yet_gone(cells: FlowCells, rows: npt.NDArray[np.intp]) -> FlowCells:
    """The same, but these cells are not done with."""
    gone = cells.gone.copy()
    gone[rows] = False
    return replace(cells, gone=gone)


def joined(cells: FlowCells, waiting: FlowCells | None) -> FlowCells:
    """The cells of a stack and those that have waited for it, by their ids."""
    if waiting is None or not len(waiting):
        return cells
    columns = {name: np.concatenate((getattr(cells, name), getattr(waiting, name))) for name in PER_CELL}
    order = np.argsort(columns["id"])
    return replace(cells, **{name: values[order] for name, values in columns.items()})
