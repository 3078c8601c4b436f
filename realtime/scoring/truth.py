"""Who knows the truth, and which cells a frame could show."""

import numpy as np
import numpy.typing as npt

from acquisition.frame import FrameHeader
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.nuclei import Nuclei
from models.cells import Floats
from realtime.plugins import ConfigError, Plugin


def simulated(microscope: Plugin) -> SimulatedMicroscope:
    """A fresh one, of which the truth is known. Raises ConfigError for any other kind."""
    built = microscope.build()
    if not isinstance(built, SimulatedMicroscope):
        raise ConfigError(
            f'microscope.use = "{microscope.use}" cannot be scored: nobody knows what it really saw. Score policies with '
            'use = "simulated"; what they would have done on a recording says `reflexscope replay SESSION --policy NAME`'
        )
    return built


def in_view(nuclei: Nuclei, frame: FrameHeader) -> npt.NDArray[np.bool_]:
    """Whose middle is in a frame, `[N]`."""
    return _inside(nuclei.xy_um, frame)


def shows(frame: FrameHeader, xy_um: tuple[float, float]) -> bool:
    """Whether a place is in a frame."""
    return bool(_inside(np.array([xy_um]), frame)[0])


def _inside(xy_um: Floats, frame: FrameHeader) -> npt.NDArray[np.bool_]:
    matrix = np.reshape(frame.stage_from_pixel, (2, 3))
    xy_px = np.linalg.solve(matrix[:, :2], (xy_um - matrix[:, 2]).T).T
    inside: npt.NDArray[np.bool_] = np.all(
        (xy_px >= -0.5) & (xy_px <= (frame.width_px - 0.5, frame.height_px - 0.5)), axis=1
    )
    return inside
