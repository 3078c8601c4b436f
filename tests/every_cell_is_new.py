"""A tracker for tests: it recognises nothing, so that its answer is known."""

from dataclasses import dataclass

import numpy as np

from models.cells import Cells
from tracking.tracks import TrackEvent, Tracks


@dataclass
class EveryCellIsNew:
    """Each cell of each frame is a track of its own."""

    first: int = 1
    """The id of the first track."""

    def update(self, cells: Cells) -> Tracks:
        """A track a cell, all born now."""
        n = len(cells)
        ids, zeros = np.arange(self.first, self.first + n), np.zeros(n, np.int64)
        self.first += n
        return Tracks(
            frame_index=cells.frame_index, t_ns=cells.t_ns, id=ids, parent=zeros, xy_um=cells.xy_um,
            velocity_um_s=np.zeros((n, 2)), sigma_um=np.ones(n), age=zeros, missed=zeros, confirmed=zeros > 0,
            p_class=cells.p_class, cell_row=np.arange(n), class_names=cells.class_names,
            events=tuple(TrackEvent("born", track) for track in ids.tolist()),
        )  # fmt: skip
