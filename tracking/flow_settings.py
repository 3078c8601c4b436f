"""What is known of a flow beforehand; loads nothing that is compiled."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from acquisition.commands import Positive


class FlowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where cells go."""

    direction: Literal["right", "left"] = "right"
    """Along x, as the image shows it."""
    junction_um: Positive
    """From the middle of the view to the place where cells are deflected."""
    speed_um_s: Positive
    """About how fast cells go; the true speeds are learned."""
    speed_spread: Annotated[float, Meta(gt=0, le=1)] = 0.3
    """Cells may be faster or slower by this share before anything is learned."""
    drift: Annotated[float, Meta(ge=0, le=1)] = 0.0005
    """On the way from the view to the junction a cell's speed changes by about this share, which nobody sees."""
