"""Who is who in a flow, how fast, and when at the junction: looks at cells → cells with arrival times."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from acquisition.commands import Positive
from models.sightings import Sightings
from tracking.flow_cells import FlowCells


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


class FlowTracker:
    """Follows cells that all go one way, each at a speed of its own that hardly changes on its way to the junction."""

    def __init__(self, settings: FlowSettings, um_per_px: float, width_px: int) -> None:
        raise NotImplementedError

    def update(self, sightings: Sightings, strips_t_ns: tuple[int, ...]) -> FlowCells:
        """One stack on; `strips_t_ns` are the times of all its strips, with or without cells."""
        raise NotImplementedError
