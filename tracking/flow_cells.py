"""Cells in a channel, as a struct of arrays: row i of every array is the same cell."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.cells import Floats


@dataclass(frozen=True)
class FlowCells:
    """M cells that are in view, or have left it with this stack; all as far as they are known after its last strip."""

    id: npt.NDArray[np.int64]  # [M] ascending; never used twice
    looks: npt.NDArray[np.int32]  # [M] sightings so far
    last_ns: npt.NDArray[np.int64]  # [M] end of exposure of the strip in which it was seen last
    y_px: Floats  # [M] across the channel
    speed_um_s: Floats  # [M] along the flow
    arrival_ns: npt.NDArray[np.int64]  # [M] when its centre is at the junction
    sigma_ms: Floats  # [M] standard error of that
    gone: npt.NDArray[np.bool_]  # [M] it will not be seen again: a verdict is due, and this is its last row
    cell_of: npt.NDArray[np.int64]  # [N] for each sighting of the stack: the id of its cell, or −1 if it is of none

    def __len__(self) -> int:
        return len(self.id)
