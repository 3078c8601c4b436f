"""For a sort that asks for measured features alone: no network looks at the pictures, every cell is a `particle`."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.cells import Floats

PARTICLE = "particle"
SURE = 0.9999
SIDE_PX = 48
"""Of pictures that only people look at: some three diameters of a cell of 8 to 15 µm at 0.5 to 1 µm a pixel."""


@dataclass
class FeaturesOnly:
    """Says of each picture that it is one of a particle, so that a gate's `where` decides."""

    def __post_init__(self) -> None:
        self.class_names = (PARTICLE, "nothing")
        self.class_prior = (0.5, 0.5)
        self.side_px = SIDE_PX
        self.look_correlation = 1.0
        self.um_per_px = None
        self.description = "features only: every cell counts as a particle"

    def prepare(self, height_px: int, width_px: int) -> None:
        """Nothing to open."""

    def probabilities(self, crops: npt.NDArray[np.float32]) -> Floats:
        """`[n, 2]`"""
        return np.tile([SURE, 1 - SURE], (len(crops), 1))
