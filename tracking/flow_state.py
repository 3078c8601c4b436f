"""What a flow tracker remembers: cells in view, spots where something sticks to the glass, what it has learned.

Along the flow everything is in micrometres from the middle of the view, downstream positive, so that a flow to the left
is the same as one to the right. All arrays are made once; nothing grows.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[Any]
"""A structured array: `records[i].field` in compiled code."""
Record = Any
"""One row of it, which is written through."""

MOST_CELLS = 256
"""In view at once; of further ones nothing is known. A view that holds so many cannot be sorted anyway."""
MOST_SPOTS = 64
"""Remembered at once; the one that was seen longest ago gives way."""
MOST_KEPT = 16
"""Whole looks at a cell that its line is drawn through; of more every second, then every fourth … is kept."""
FIRST_ERROR_PX = 0.3
"""First guess of the standard error of a cell's place."""

CELL = np.dtype([
    ("id", np.int64), ("t0_ns", np.int64), ("last_ns", np.int64),
    ("looks", np.int32), ("whole", np.int32), ("missed", np.int32), ("hidden", np.int32),
    # whole looks, seconds from t0_ns; every `stride`-th is kept. And the latest one that is a mere guess
    ("t", "f8", (MOST_KEPT,)), ("x", "f8", (MOST_KEPT,)), ("kept", np.int32), ("stride", np.int32),
    ("t_guess", "f8"), ("x_guess", "f8"), ("guess_var", "f8"),
    ("y_um", "f8"), ("log_area", "f8"), ("log_contrast", "f8"),
    # the line x = a + v·t and its covariance, and what the looks alone say of v and of the error of a place
    ("a", "f8"), ("v", "f8"), ("aa", "f8"), ("av", "f8"), ("vv", "f8"),
    ("own_v", "f8"), ("own_var", "f8"), ("residual", "f8"), ("freedom", "f8"),
    ("ahead_um", "f8"), ("ahead_var", "f8"), ("wider_var", "f8"),
], align=True)  # fmt: skip
"""A cell in view. The last three: where it is expected in the strip at hand, with what variance, and with what if its
speed is not like that of the others."""

SPOT = np.dtype([("x_um", "f8"), ("y_um", "f8"), ("seen", np.int64), ("last", np.int64)], align=True)
"""A place where something was seen in strip after strip; `last` counts strips."""

LOOK = np.dtype([
    ("x_um", "f8"), ("y_um", "f8"), ("back_um", "f8"), ("front_um", "f8"), ("top_um", "f8"), ("bottom_um", "f8"),
    ("log_area", "f8"), ("log_contrast", "f8"), ("cut_in", np.bool_), ("cut_out", np.bool_),
], align=True)  # fmt: skip
"""A sighting in the flow's own coordinates. Of one that the view's edge cuts off, `x_um` is a guess."""

OUT = np.dtype([
    ("id", np.int64), ("last_ns", np.int64), ("arrival_ns", np.int64), ("y_um", "f8"), ("speed_um_s", "f8"),
    ("sigma_ms", "f8"), ("looks", np.int32), ("gone", np.bool_),
], align=True)  # fmt: skip
"""A row of FlowCells."""

LEARNED = np.dtype([
    ("error_var", "f8"), ("error_n", "f8"),
    ("scatter_var", "f8"), ("scatter_n", "f8"),
    ("usual_s", "f8"), ("last_ns", np.int64), ("strips", np.int64), ("next_id", np.int64), ("cells", np.int64),
    ("before", np.int64),
], align=True)  # fmt: skip
"""One record: variance of a look's place, variance of speeds around the profile, the usual time between strips, and
what is counted. `cells` and `before` say how many rows of the other arrays are in use."""

CHANNEL = np.dtype([
    ("um_per_px", "f8"), ("out_um", "f8"), ("mid_px", "f8"), ("sign", "f8"), ("junction_um", "f8"),
    ("speed_um_s", "f8"), ("spread_um_s", "f8"), ("drift", "f8"),
], align=True)  # fmt: skip
"""One record of what does not change: the view reaches from −out_um to +out_um."""


class FlowMemory:
    """All arrays of a tracker, before it has seen anything."""

    def __init__(self, channel: Records) -> None:
        """`channel`: one record of CHANNEL."""
        self.channel = channel
        self.cells: Records = np.zeros(MOST_CELLS, CELL)
        self.spots: Records = np.zeros(MOST_SPOTS, SPOT)
        self.before: Records = np.zeros(MOST_CELLS, LOOK)
        self.profile = np.zeros((3, 4))
        """Normal equations of speed on 1, u, u²: the matrix, and the right-hand side as the last column."""
        self.learned: Records = np.zeros(1, LEARNED)
        self.learned["error_var"] = (FIRST_ERROR_PX * channel["um_per_px"]) ** 2
        self.learned["scatter_var"] = channel["spread_um_s"] ** 2
        self.learned["next_id"] = 1
