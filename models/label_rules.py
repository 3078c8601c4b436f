"""How maps become labels: the numbers that are chosen on validation data and kept beside a network's weights."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(gt=0, lt=1)]


class LabelRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How maps become labels; chosen on validation data and kept beside the weights."""

    method: Literal["deep_watershed", "pixel_classes"] = "deep_watershed"
    foreground: Share = 0.45
    """A pixel belongs to a cell above this probability."""
    prominence: Share = 0.42
    """How far a cell's summit must rise above the pass to a higher one; otherwise the two are one cell."""
    peak: Share = 0.5
    """Cells whose summit is lower than this are dropped."""
    certainty: Share = 0.8
    """Cells whose mean foreground probability is below this are dropped."""
    min_area_px: Annotated[int, Meta(ge=1)] = 21
    """Smaller cells are dropped."""
