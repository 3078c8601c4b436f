"""Where the view of a frame lies on the stage."""

import numpy as np

from acquisition.frame import FrameHeader, stage_um
from models.cells import Floats


def middle_um(frame: FrameHeader) -> Floats:
    """The middle of the view, stage µm `[2]`; with a part of the sensor it is not where the stage stands."""
    return stage_um(frame.stage_from_pixel, np.array([(frame.width_px - 1) / 2, (frame.height_px - 1) / 2]))


def half_view_um(frame: FrameHeader) -> Floats:
    """Half the extent of the view along the stage's axes, `[2]`."""
    um_from_px = np.abs(np.asarray(frame.stage_from_pixel).reshape(2, 3)[:, :2])
    half: Floats = um_from_px @ np.array([frame.width_px, frame.height_px]) / 2
    return half


def shows(frame: FrameHeader, xy_um: Floats) -> bool:
    """Whether a place `[2]` is in view."""
    return bool(np.all(np.abs(xy_um - middle_um(frame)) < half_view_um(frame)))
