"""What the camera could see: cells leave the field, enter it, and vanish inside it, which are three different things."""

from dataclasses import dataclass

import numpy as np

from models.cells import Cells, Floats
from models.labelling import compiled
from tracking.tracks import Bools


@dataclass(frozen=True)
class Field:
    """The frame's rectangle in stage µm, wherever the stage stood and however the camera is turned."""

    px_from_um: Floats | None  # [2, 3]; None if the cells do not say where their frame was
    size_px: Floats  # [2] width, height
    um_per_px: float

    @classmethod
    def of(cls, cells: Cells) -> "Field":
        """The field in which these cells were found."""
        if cells.stage_from_pixel is None or cells.shape is None:
            return cls(None, np.zeros(2), 1.0)
        affine = np.asarray(cells.stage_from_pixel).reshape(2, 3)
        scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
        if not scale > 0:
            raise ValueError(
                f"frame {cells.frame_index}: stage_from_pixel {cells.stage_from_pixel} maps all pixels onto a line; it must "
                "have a width and a height in µm"
            )
        inverse = np.linalg.inv(affine[:, :2])
        return cls(np.column_stack([inverse, -inverse @ affine[:, 2]]), np.array(cells.shape[::-1], float), scale)

    @property
    def area_um2(self) -> float | None:
        """None if it is not known."""
        return None if self.px_from_um is None else float(self.size_px.prod()) * self.um_per_px**2

    def inside_um(self, xy_um: Floats) -> Floats:
        """How far these places are inside the nearest edge, `[N]`; negative outside, infinite if the field is not known."""
        if self.px_from_um is None:
            return np.full(len(xy_um), np.inf)
        return _inside_um(xy_um, self.px_from_um, self.size_px, self.um_per_px)

    def left_behind(self, seen_um: Floats, inside_um: Floats) -> Bools:
        """Cells that the field has moved off: expected outside, `inside_um[N]`, and last seen outside, too; none if it stood."""
        outside: Bools = inside_um < 0
        return outside & (self.inside_um(seen_um) < 0) if outside.any() else outside


@compiled
def _inside_um(xy_um: Floats, px_from_um: Floats, size_px: Floats, um_per_px: float) -> Floats:
    inside_um = np.empty(len(xy_um))
    for row in range(len(xy_um)):
        least_px = np.inf
        for axis in range(2):
            at_px = px_from_um[axis, 0] * xy_um[row, 0] + px_from_um[axis, 1] * xy_um[row, 1] + px_from_um[axis, 2]
            least_px = min(least_px, at_px + 0.5, size_px[axis] - 0.5 - at_px)
        inside_um[row] = um_per_px * least_px
    return inside_um
