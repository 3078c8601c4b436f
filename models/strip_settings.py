"""What may be set about finding cells in strips, and what is measured of them; loads nothing that is compiled."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from acquisition.commands import NotNegative, Positive

FEATURES = ("length_um", "width_um", "elongation", "texture", "max_contrast")
"""Along the flow, across it, long by short axis, spread of the contrast within the cell, its darkest (brightest) pixel."""


class FinderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How cells are told from the background."""

    polarity: Literal["dark", "bright", "both"] = "dark"
    threshold: Positive = 5.0
    """In standard deviations of the background's noise, averaged over 3×3 pixels."""
    least_area_um2: NotNegative = 3.0
    background_strips: Annotated[int, Meta(ge=8)] = 96
    """The background is learned from so many strips before any cell is judged, and follows slowly afterwards."""
