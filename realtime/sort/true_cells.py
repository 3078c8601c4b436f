"""The truth of a simulated sort, and which event was which true cell."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.cells import Floats
from realtime.session import sort_truth
from realtime.session.tables import Columns, read_parts
from realtime.sort.settings import SortSettings

PASSED = Path(sort_truth.TRUTH) / sort_truth.PASSED
"""In a session folder."""
NOBODY = -1
NEAR_MS = 0.5
"""An event is no true cell whose arrival it misses by more, or by more than SURENESS standard errors."""
SURENESS = 4.0
PLACE_UM = 2.0
"""Standard error of a place across the channel, generously."""
NEIGHBOURS = 4
"""Of true cells in the order of arrival, so many to each side are considered."""


@dataclass(frozen=True)
class TrueCells:
    """C cells that passed the junction, in the order of arrival."""

    arrival_ns: npt.NDArray[np.int64]  # [C]
    entered_ns: npt.NDArray[np.int64]  # [C] the view
    y_um: Floats  # [C] from the channel's axis
    wanted: npt.NDArray[np.bool_]  # [C] of a class that the gate asks for
    deflected: npt.NDArray[np.bool_]  # [C]

    def since(self, t_ns: int) -> "TrueCells":
        """Those that entered the view from then on."""
        rows = self.entered_ns >= t_ns
        return TrueCells(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def read_true_cells(session: Path, settings: SortSettings) -> TrueCells | None:
    """None where nobody knew the truth."""
    folder = session / PASSED
    if not folder.is_dir():
        return None
    columns = read_parts(folder)
    order = np.argsort(columns["arrival_ns"], kind="stable")
    return TrueCells(
        arrival_ns=columns["arrival_ns"][order],
        entered_ns=columns["entered_ns"][order],
        y_um=columns["y_um"][order],
        wanted=np.isin(columns["kind"].astype(str)[order], settings.gate.classes),
        deflected=columns["deflected"].astype(bool)[order],
    )


def matched(events: Columns, truth: TrueCells) -> npt.NDArray[np.intp]:
    """The true cell of each event `[E]`, or NOBODY: the nearest by arrival and place across the channel.

    `events` as in SortRecord.
    """
    if not len(truth.arrival_ns):
        return np.full(len(events["event_id"]), NOBODY, np.intp)
    first = np.searchsorted(truth.arrival_ns, events["arrival_ns"])
    near = first[:, None] + np.arange(-NEIGHBOURS, NEIGHBOURS)
    exists = (near >= 0) & (near < len(truth.arrival_ns))
    near = np.clip(near, 0, len(truth.arrival_ns) - 1)
    late_ms = (events["arrival_ns"][:, None] - truth.arrival_ns[near]) / 1e6
    sigma_ms = np.clip(events["sigma_ms"], 0.02, NEAR_MS)[:, None]
    aside = (events["y_um"][:, None] - truth.y_um[near]) / PLACE_UM
    distance = (late_ms / sigma_ms) ** 2 + aside**2
    distance[~exists | (np.abs(late_ms) > np.minimum(SURENESS * sigma_ms, NEAR_MS)) | (np.abs(aside) > 3)] = np.inf
    best = np.argmin(distance, axis=1)
    rows = np.arange(len(near))
    return np.where(np.isfinite(distance[rows, best]), near[rows, best], NOBODY)
