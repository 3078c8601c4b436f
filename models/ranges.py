"""Classes by ranges of measured features: a classifier that anyone can check by eye."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.special import expit

from acquisition.commands import Positive
from models.cells import Cells, Floats
from models.measure import check_features

ALWAYS_MEASURED = ("area_um2", "mean_intensity")


class ClassRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One condition of a class: `low` ≤ feature ≤ `high`. Conditions of the same name must all hold."""

    name: str
    feature: str
    """`area_um2`, `mean_intensity` or a feature of models/measure.py."""
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        where = f"class {self.name!r}, feature {self.feature!r}"
        if self.low is None and self.high is None:
            raise ValueError(f"{where}: give low, high or both; without them every cell is in the class")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"{where}: low {self.low:g} must be below high {self.high:g}")


@dataclass
class RangeClassifier:
    """Each class is a box in feature space with soft edges; what is in no box is the remainder class.

    A cell on an edge counts half. Memberships of a cell and the remainder are scaled to add up to 1.
    """

    classes: tuple[ClassRange, ...]
    remainder: str = "other"
    """Name of the class of cells that fit no other."""
    softness: Positive = 0.05
    """Width of an edge as a share of its value: with 0.05, a feature 5 % inside the edge counts as 73 %."""

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("classes must name at least one class with a feature and a range, not be empty")
        names = _unique(condition.name for condition in self.classes)
        if self.remainder in names:
            raise ValueError(f"remainder {self.remainder!r} is also the name of a class; choose another name")
        self.class_names: tuple[str, ...] = (*names, self.remainder)
        used = _unique(condition.feature for condition in self.classes)
        self.needs: tuple[str, ...] = tuple(feature for feature in used if feature not in ALWAYS_MEASURED)
        """Features that must be measured for this classifier, beyond those that always are."""
        check_features(self.needs)

    def classify(self, image: npt.NDArray[np.float32], cells: Cells) -> Floats:
        """`[N, K]`, rows sum to 1, the remainder last."""
        inside = np.ones((len(cells), len(self.class_names) - 1))
        for condition in self.classes:
            column = self.class_names.index(condition.name)
            inside[:, column] *= _membership(cells.feature(condition.feature), condition, self.softness)
        members = np.column_stack([inside, np.prod(1.0 - inside, axis=1)])
        share: Floats = members / members.sum(axis=1, keepdims=True)
        return share


def _membership(value: Floats, condition: ClassRange, softness: float) -> Floats:
    """How much each value is inside the range, 0 … 1."""
    inside = np.ones_like(value)
    if condition.low is not None:
        inside *= expit((value - condition.low) / _width(condition.low, softness))
    if condition.high is not None:
        inside *= expit((condition.high - value) / _width(condition.high, softness))
    return inside


def _width(edge: float, softness: float) -> float:
    return max(softness * abs(edge), 1e-12)  # an edge at zero is hard: a share of zero is no width


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
