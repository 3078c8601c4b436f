"""What is the same for all tracks in a frame: its cells, prepared once, and what is known about cells of this run."""

from dataclasses import dataclass

import numpy as np

from models.cells import Cells, Floats
from tracking.cues import Cues
from tracking.field import Field
from tracking.motion import Motion
from tracking.overlap import Seen
from tracking.rates import Rates

SPARSE = 20.0
"""Without a known field, one cell is expected in this many areas of a cell."""


@dataclass(frozen=True)
class Scenery:
    """One frame, and how cells behave."""

    cells: Cells
    looks: Floats  # [N, 2] logarithms of area and intensity
    inside_um: Floats  # [N] how far inside the field
    mitotic: Floats  # [N] probability; NaN if no class says so
    field: Field
    dt_s: float
    """Since the last frame."""
    motion: Motion
    cues: Cues
    rates: Rates
    diameter_um: float
    edge_um: float
    """As far inside the field cells come from outside, and go there, within a frame."""
    gate_sigmas: float
    seen_before: Seen | None
    seen_now: Seen | None

    @property
    def density_um2(self) -> float:
        """Cells per µm² of the field."""
        n = max(len(self.cells), 1)
        return n / (self.field.area_um2 or SPARSE * np.pi / 4 * self.diameter_um**2 * n)

    def newcomers(self, inside_um: Floats, least: float = 0.0) -> Floats:
        """How many new cells are to be expected, per µm², at places so far inside the field, `[N]`."""
        share = max(self.rates.new, least)
        new: Floats = np.where(inside_um < self.edge_um, max(share, self.rates.new_at_edge), share) * self.density_um2
        return new
