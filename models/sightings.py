"""What was found in a stack of strips, as a struct of arrays: row i of every array is one look at one cell."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.cells import Floats, UnknownName

ALWAYS = ("area_um2", "contrast")


@dataclass(frozen=True)
class Sightings:
    """N looks, ordered by strip and, within a strip, by x; F extra features.

    Positions are pixels of the strip, x first, and a cell's centre is that of its contrast, to a fraction of a pixel.
    """

    strip: npt.NDArray[np.int32]  # [N] place in the stack, 0 first
    t_ns: npt.NDArray[np.int64]  # [N] end of exposure of that strip
    xy_px: Floats  # [N, 2]
    bbox_px: npt.NDArray[np.int32]  # [N, 4] x0, y0, x1, y1; the last row and column are outside
    whole: npt.NDArray[np.bool_]  # [N] not cut off by the view's left or right edge
    area_um2: Floats  # [N]
    contrast: Floats  # [N] mean of |pixel − background| / background over the cell
    features: Floats  # [N, F]
    feature_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.strip)

    def feature(self, name: str) -> Floats:
        """A measured column by name: `area_um2`, `contrast` or any of `feature_names`, `[N]`."""
        if name == "area_um2":
            return self.area_um2
        if name == "contrast":
            return self.contrast
        if name not in self.feature_names:
            raise UnknownName(f"{name!r} is not measured; a sort measures {', '.join((*ALWAYS, *self.feature_names))}")
        return self.features[:, self.feature_names.index(name)]
