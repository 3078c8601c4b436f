"""Strips of a channel → sightings: background, cells that stand out from it, their places and pictures."""

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from acquisition.commands import NotNegative, Positive
from models.sightings import Sightings

Strips = npt.NDArray[np.integer[Any]]


class FinderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How cells are told from the background."""

    polarity: Literal["dark", "bright", "both"] = "dark"
    threshold: Positive = 5.0
    """In standard deviations of the background's noise."""
    least_area_um2: NotNegative = 3.0
    background_strips: Annotated[int, Meta(ge=8)] = 256
    """The background is learned from so many strips before any cell is judged, and follows slowly afterwards."""


class StripFinder:
    """Finds cells in stack after stack; remembers the background, nothing else. One per process."""

    def __init__(self, settings: FinderSettings, um_per_px: float) -> None:
        raise NotImplementedError

    @property
    def knows_background(self) -> bool:
        """False while it is learned: until then nothing is found."""
        raise NotImplementedError

    def find(self, strips: Strips, t_ns: tuple[int, ...]) -> Sightings:
        """All cells in `strips[B, h, W]`, whose exposures ended at `t_ns`."""
        raise NotImplementedError

    def crops(self, rows: npt.NDArray[np.intp], side_px: int) -> npt.NDArray[np.float32]:
        """Pictures `[n, S, S]` around sightings of the stack found last: (background − pixel) / background, 0 beyond the view."""
        raise NotImplementedError
