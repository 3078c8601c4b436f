"""Sightings in the flow's own coordinates: micrometres from the middle of the view, downstream positive."""

import numpy as np
import numpy.typing as npt

from models.cells import Floats
from models.labelling import compiled
from models.sightings import Sightings
from tracking.flow_links import Rows
from tracking.flow_state import LOOK, Records


def looks_of(sightings: Sightings, n_strips: int, channel: Records) -> tuple[Records, Rows]:
    """One record a sighting, and where those of each strip begin, `[n_strips + 1]`."""
    looks: Records = np.empty(len(sightings), LOOK)
    start = np.zeros(n_strips + 1, np.int64)
    _fill(
        sightings.strip, sightings.xy_px, sightings.bbox_px, sightings.whole, sightings.area_um2, sightings.contrast,
        channel, looks, start,
    )  # fmt: skip
    return looks, start


@compiled
def _fill(
    strip: npt.NDArray[np.int32], xy_px: Floats, bbox_px: npt.NDArray[np.int32], whole: npt.NDArray[np.bool_],
    area_um2: Floats, contrast: Floats, channel: Records, looks: Records, start: Rows,
) -> None:  # fmt: skip
    um, sign, mid = channel[0].um_per_px, channel[0].sign, channel[0].mid_px
    for i in range(len(strip)):
        start[strip[i] + 1] += 1
        look = looks[i]
        left, right = sign * (bbox_px[i, 0] - 0.5 - mid) * um, sign * (bbox_px[i, 2] - 0.5 - mid) * um
        look.back_um, look.front_um = min(left, right), max(left, right)
        look.top_um, look.bottom_um = (bbox_px[i, 1] - 0.5) * um, (bbox_px[i, 3] - 0.5) * um
        look.x_um, look.y_um = sign * (xy_px[i, 0] - mid) * um, xy_px[i, 1] * um
        look.log_area, look.log_contrast = np.log(max(area_um2[i], 1e-3)), np.log(max(contrast[i], 1e-3))
        nearer_entry = look.back_um + look.front_um < 0
        look.cut_in, look.cut_out = not whole[i] and nearer_entry, not whole[i] and not nearer_entry
        half = (look.bottom_um - look.top_um) / 2
        if look.cut_in:  # its front and, if it is round, its height say where the centre is
            look.x_um = min(look.x_um, look.front_um - half)
        if look.cut_out:
            look.x_um = max(look.x_um, look.back_um + half)
    for k in range(len(start) - 1):
        start[k + 1] += start[k]
