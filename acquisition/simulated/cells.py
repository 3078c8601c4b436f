"""What a specimen remembers of each of its cells, and where a cell is in between two steps."""

import math

import numpy as np
import numpy.typing as npt

from acquisition.simulated.biology import ANAPHASE, Floats, Ints
from acquisition.simulated.nuclei import PARTING

CELL = np.dtype(
    [
        ("id", np.int64),
        ("parent", np.int64),  # 0: was there from the start
        ("xy_um", np.float64, 2),
        ("step_um", np.float64, 2),  # displacement during the present step
        ("velocity_um_min", np.float64, 2),
        ("progress", np.float64),  # through the cell cycle, 0 at birth and 1 at division
        ("pace", np.float64),  # progress during the present step
        ("cycle_min", np.float64),
        ("cycles", np.bool_),  # False: rests in G0
        ("semi_um", np.float64, 2),  # long and short half axis of the nucleus in mid-cycle
        ("angle_rad", np.float64),  # of the long axis
        ("stain", np.float64),  # brightness against other cells
        ("dose_j_cm2", np.float64),
        ("unrepaired_j_cm2", np.float64),
        ("unbleached", np.float64),
        ("harmed", np.bool_),
        ("rare_until_min", np.float64),
        ("flash_min", np.float64),  # when its latest flash began
        ("died_min", np.float64),  # inf: alive
    ]
)
Cells = npt.NDArray[np.void]


def moved_um(cells: Cells, way: float) -> Floats:
    """Where cells are that have gone part of their way in the present step."""
    xy_um: Floats = cells["xy_um"] + way * cells["step_um"]
    return xy_um


def not_yet_parted_um(cells: Cells, phase: Ints, share: Floats) -> Floats:
    """How far sisters in anaphase are from where they will have been drawn to, `[N, 2]`: fast at first, then slower."""
    first, last = PARTING
    radius_um = np.sqrt(cells["semi_um"].prod(axis=1))
    away_um = np.where(phase == ANAPHASE, (last - first) * (1 - np.sqrt(share)) * radius_um, 0.0)
    to_pole = cells["angle_rad"] + math.pi / 2
    return np.stack([away_um * np.cos(to_pole), away_um * np.sin(to_pole)], axis=1)
