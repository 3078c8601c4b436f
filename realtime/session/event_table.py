"""The cells of a sort → `events.parquet`: one row a cell that left the view, with its picture where that was kept."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.clock import Clock
from realtime.session.disk import RecordingError
from realtime.session.tables import Columns, PartTable
from realtime.sort.deciding import POLICY
from realtime.sort.events import NO_PULSE
from realtime.sort.verdicts import Verdict
from realtime.wire import StripsSorted

VERDICTS = tuple(verdict.word for verdict in sorted(Verdict))
"""In the order of their numbers, which are the places in this list."""


class EventTable(PartTable):
    """`t_ns` (of the stack with which it was gone), the columns of SortEvents, `decision_id` and `crop`.

    A crop is `crop_side_px` × `crop_side_px` numbers of `crop_dtype`, row by row; both stand in the table's metadata.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(
            folder, clock, {"verdict": VERDICTS}, kinds={"decision_id": "string", "crop": "binary"}
        )  # fmt: skip

    def add(self, message: StripsSorted) -> None:
        """The cells that were gone with a stack."""
        if message.crops is not None:
            side_px, dtype = message.crops.shape[-1], message.crops.dtype
            self.metadata |= {"crop_side_px": str(side_px), "crop_dtype": dtype}
        self.add_rows(_columns(message))


def _columns(message: StripsSorted) -> Columns:
    n = sum(message.verdicts.values())
    arrays = {name: column.array() for name, column in message.events.items()}
    if wrong := {name: list(array.shape) for name, array in arrays.items() if array.shape != (n,)}:
        raise RecordingError(f"events of stack {message.frame_index}: every column must be [{n}], not {wrong}")
    if n == 0:
        return {}
    decision_id = _decision_ids(message.frame_index, arrays.pop("decision_n"))
    return {"t_ns": np.full(n, message.t_ns)} | arrays | {"decision_id": decision_id, "crop": _crops(message, n)}


def _decision_ids(frame_index: int, numbers: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    """Of the pulse that was planned for each cell, also if it was never fired; None for the others."""
    ids = np.full(len(numbers), None, dtype=object)
    for row in np.flatnonzero(numbers != NO_PULSE):
        ids[row] = f"{frame_index}.{POLICY}.{numbers[row]}"
    return ids


def _crops(message: StripsSorted, n: int) -> npt.NDArray[np.object_]:
    """The bytes of each picture; None where none was kept."""
    crops = np.full(n, None, dtype=object)
    if message.crops is not None and message.crop_rows is not None:
        for row, picture in zip(message.crop_rows.array().tolist(), message.crops.array(), strict=True):
            crops[row] = picture.tobytes()
    return crops
