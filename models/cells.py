"""The cells of one frame, as a struct of arrays: row i of every array is the same cell."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from acquisition.frame import Affine

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]

NO_FEATURES: tuple[str, ...] = ()
ONE_CLASS: tuple[str, ...] = ("cell",)


class UnknownName(KeyError):
    """A class or a feature that a run does not have; the message says which it has."""

    def __str__(self) -> str:
        """As it was written: a KeyError shows its message as Python would write it in a program."""
        return str(self.args[0])


@dataclass(frozen=True)
class Cells:
    """What perception found in one frame; N cells, F extra features, K classes.

    Positions are in stage micrometres (`xy_um`, x first) and, for drawing, in pixels (`xy_px`). Made by models/measure.py
    alone, which is the one place where pixels become micrometres.
    """

    frame_index: int
    t_ns: int
    label: npt.NDArray[np.int32]  # [N] unique, > 0: the value of the cell's pixels in `labels`
    xy_um: Floats  # [N, 2]
    xy_px: Floats  # [N, 2]
    area_um2: Floats  # [N]
    bbox_px: npt.NDArray[np.int32]  # [N, 4] x0, y0, x1, y1; the last row and column are outside
    mean_intensity: Floats  # [N] camera counts
    features: Floats  # [N, F]
    feature_names: tuple[str, ...]
    p_class: Floats  # [N, K] rows sum to 1
    class_names: tuple[str, ...]
    labels: Labels | None = field(default=None, repr=False)  # [H, W] 0 = background
    embedding: npt.NDArray[np.float32] | None = field(default=None, repr=False)  # [N, E]
    stage_from_pixel: Affine | None = None  # with `shape` (H, W) of the frame: what is in the field and what is not
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        n = len(self.label)
        wrong = [
            f"{name} is {value.shape}, not {shape}"
            for name, value, shape in (
                ("xy_um", self.xy_um, (n, 2)),
                ("xy_px", self.xy_px, (n, 2)),
                ("area_um2", self.area_um2, (n,)),
                ("bbox_px", self.bbox_px, (n, 4)),
                ("mean_intensity", self.mean_intensity, (n,)),
                ("features", self.features, (n, len(self.feature_names))),
                ("p_class", self.p_class, (n, len(self.class_names))),
            )
            if value.shape != shape
        ]
        if wrong:
            raise ValueError(f"cells of frame {self.frame_index}: {'; '.join(wrong)}")

    def __len__(self) -> int:
        return len(self.label)

    def feature(self, name: str) -> Floats:
        """A measured column by name: `area_um2`, `mean_intensity` or any of `feature_names`, `[N]`."""
        if name in ("area_um2", "mean_intensity"):
            column: Floats = getattr(self, name)
            return column
        if name not in self.feature_names:
            known = ", ".join(("area_um2", "mean_intensity", *self.feature_names))
            raise UnknownName(f"{name!r} is not measured; this run measures {known}")
        return self.features[:, self.feature_names.index(name)]

    def probability(self, class_name: str) -> Floats:
        """Probability of one class, `[N]`."""
        if class_name not in self.class_names:
            raise UnknownName(
                f"{class_name!r} is not a class of this run; its classes are {', '.join(self.class_names)}"
            )
        return self.p_class[:, self.class_names.index(class_name)]
