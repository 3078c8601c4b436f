"""The dose map of a run, from what every process can see: headers of frames and the rig's own count of millijoules."""

import numpy as np
import numpy.typing as npt

from acquisition.dose_map import Box, Corner, DoseMap, DoseSettings, LitField, around_both, point
from acquisition.frame import Affine, FrameHeader

NO_PLACE: Box = (0.0, 0.0, 0.0, 0.0)


class DosePlaces:
    """Light of each frame falls on the whole field around the stage's position, whichever part of it is read.

    Light between two frames counts with the later one. Where the stage moved in between, all of it counts for every
    place that was, or may have been, in view: no place has had more than it says here.
    """

    def __init__(self, settings: DoseSettings) -> None:
        self.map = DoseMap(settings.square_um)
        self.total_mj = 0.0
        self.sensor_px: tuple[int, int] | None = None
        """Rows and columns of the whole sensor; None: taken to be what the first frame shows."""
        self._settings = settings
        self._index, self._here = -1, NO_PLACE  # of the frame before
        self._camera: Affine | None = None

    def add(self, header: FrameHeader, dose_mj: float, lit_from_um: Box | None) -> tuple[Corner, Corner, float] | None:
        """Count the light up to and with this frame; on which rectangle (two corners) it fell, and its J/cm².

        `dose_mj` is the rig's count since the run began; `lit_from_um` where the stage was while the light fell that is
        new since the frame before, None if it stood where the header says. None if there was no new light.
        """
        here = point(header.stage)
        box = around_both(here, lit_from_um or here)
        if 0 <= self._index != header.index - 1:
            box = around_both(box, self._here)  # what was published in between is not known
        self._index, self._here, self._camera = header.index, here, header.stage_from_pixel
        self.sensor_px = self.sensor_px or header.shape
        return self._count(dose_mj, box)

    def add_rest(self, dose_mj: float) -> None:
        """Light after the last frame, until the rig was safe."""
        self._count(dose_mj, self._here)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """All of it, to be saved."""
        place = np.array(
            [self.total_mj, self._index, *(self.sensor_px or (0, 0)), *self._here[:2], *(self._camera or ())]
        )
        return self.map.arrays() | {"place": place}

    def restore(self, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
        """Go on from what `arrays` gave."""
        total_mj, index, rows, columns, x_um, y_um, *camera = arrays["place"].tolist()
        self.map.restore(arrays)
        self.total_mj, self._index, self._here = total_mj, int(index), (x_um, y_um, x_um, y_um)
        self.sensor_px = (int(rows), int(columns)) if rows else None
        self._camera = tuple(camera) or None

    def _count(self, dose_mj: float, stage: Box) -> tuple[Corner, Corner, float] | None:
        new_mj = dose_mj - self.total_mj
        if new_mj <= 0:
            return None
        self.total_mj = dose_mj
        if self._camera is None or self.sensor_px is None:
            return None  # no frame has said where
        field = LitField.of(self._settings, self.sensor_px, self._camera)
        self.map.add_lit(field, stage, new_mj)
        return *field.around(stage), field.j_cm2(new_mj)
