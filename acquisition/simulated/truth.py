"""The truth as a table: what really was in a frame, one row a cell, for those who judge what others saw in it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.faulty_microscope import FaultyMicroscope
from acquisition.frame import FrameHeader
from acquisition.microscope import Microscope, TellsTruth
from acquisition.simulated.nuclei import Nuclei
from acquisition.simulated.rendering import View
from acquisition.sorter_beside import MicroscopeWithSorter

Columns = dict[str, npt.NDArray[Any]]
REACH = 1.3
"""A cell of which something within so many radii is in the frame has a row."""
AS_THEY_ARE = ("brightness", "radius_um", "dose_j_cm2", "unbleached", "reporter", "harmed", "rare")


def teller(microscope: Microscope) -> TellsTruth | None:
    """The microscope if it tells the truth, with faults or a sorter beside it or without; None if it does not."""
    inner = microscope
    while isinstance(inner, (FaultyMicroscope, MicroscopeWithSorter)):
        inner = inner.inner
    return microscope if isinstance(inner, TellsTruth) and isinstance(microscope, TellsTruth) else None


def table_of(nuclei: Nuclei, header: FrameHeader) -> Columns:
    """The cells in view of a frame, `[N]` each: what, where, of which shape, in which of the PHASES and how well."""
    seen = View.of(header).touched(nuclei, REACH)
    return {
        "frame_index": np.full(len(seen.id), header.index), "t_ns": np.full(len(seen.id), header.t_ns),
        "cell_id": seen.id, "parent_id": seen.parent, "x_um": seen.xy_um[:, 0], "y_um": seen.xy_um[:, 1],
        "semi_long_um": seen.semi_um[:, 0], "semi_short_um": seen.semi_um[:, 1], "angle_rad": seen.angle_rad,
        "phase": seen.phase.astype(np.int8), "phase_share": seen.share,
    } | {name: getattr(seen, name) for name in AS_THEY_ARE}  # fmt: skip


def nuclei_of(columns: Columns) -> Nuclei:
    """The cells that a table tells of, to be drawn again; `phase` as places in PHASES."""
    return Nuclei(
        id=columns["cell_id"], parent=columns["parent_id"],
        xy_um=np.stack([columns["x_um"], columns["y_um"]], axis=1),
        semi_um=np.stack([columns["semi_long_um"], columns["semi_short_um"]], axis=1), angle_rad=columns["angle_rad"],
        phase=columns["phase"].astype(np.int64),
        share=columns["phase_share"], **{name: columns[name] for name in AS_THEY_ARE},
    )  # fmt: skip
