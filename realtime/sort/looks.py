"""What has been seen of each cell that is in view: sums over its looks, row by row as the tracker has the cells."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.cells import Floats
from models.sightings import ALWAYS, Sightings
from realtime.sort.evidence import SequentialTest
from tracking.flow_cells import FlowCells

Rows = npt.NDArray[np.intp]
NO_CELL = -1


@dataclass
class Looks:
    """Sums over looks, of M cells; F is area, contrast and the extra features, K the classes."""

    id: npt.NDArray[np.int64]  # [M] ascending
    n_measured: npt.NDArray[np.int64]  # [M] looks that were not cut off
    feature_sums: Floats  # [M, F]
    n_classified: npt.NDArray[np.int64]  # [M] looks that the network has judged
    llr_sum: Floats  # [M] evidence for being wanted
    log_likelihood_sums: Floats  # [M, K]

    @classmethod
    def none(cls, n_features: int, n_classes: int) -> "Looks":
        """Nothing seen yet."""
        none = np.empty(0, np.int64)
        return cls(none, none, np.empty((0, n_features)), none, np.empty(0), np.empty((0, n_classes)))

    def carried_to(self, ids: npt.NDArray[np.int64]) -> "Looks":
        """The same sums in the rows of `ids`, which ascend: new cells begin at nothing, others are forgotten."""
        if not len(self.id):
            known, place = np.zeros(len(ids), np.bool_), np.zeros(len(ids), np.intp)
        else:
            place = np.minimum(np.searchsorted(self.id, ids), len(self.id) - 1)
            known = self.id[place] == ids

        def carried(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            there = np.zeros((len(ids), *values.shape[1:]), values.dtype)
            there[known] = values[place[known]]
            return there

        return Looks(
            ids, carried(self.n_measured), carried(self.feature_sums), carried(self.n_classified),
            carried(self.llr_sum), carried(self.log_likelihood_sums),
        )  # fmt: skip

    def measure(self, sightings: Sightings, rows: Rows) -> None:
        """Add features of looks that are not cut off; `rows` are the cells' rows here."""
        seen = (rows != NO_CELL) & sightings.whole
        np.add.at(self.n_measured, rows[seen], 1)
        np.add.at(self.feature_sums, rows[seen], features_of(sightings)[seen])

    def judge(self, p_class: Floats, rows: Rows, test: SequentialTest) -> None:
        """Add looks that the network has judged; one that gave no numbers counts for nothing."""
        sound = np.isfinite(p_class).all(axis=1) & (p_class.sum(axis=1) > 0)
        rows, p_class = rows[sound], p_class[sound]
        np.add.at(self.n_classified, rows, 1)
        np.add.at(self.llr_sum, rows, test.evidence(p_class))
        np.add.at(self.log_likelihood_sums, rows, test.log_likelihoods(p_class))

    def features(self) -> Floats:
        """Means over looks `[M, F]`; NaN for a cell that was never seen whole."""
        n = np.where(self.n_measured, self.n_measured, np.nan)[:, None]
        means: Floats = self.feature_sums / n
        return means


def features_of(sightings: Sightings) -> Floats:
    """`[N, F]`: area, contrast, then the extra features."""
    return np.column_stack((sightings.area_um2, sightings.contrast, sightings.features))


def feature_names_of(sightings: Sightings) -> tuple[str, ...]:
    """Names of the columns of `features_of`."""
    return (*ALWAYS, *sightings.feature_names)


def rows_of(cells: FlowCells) -> Rows:
    """For each sighting of the stack the row of its cell in `cells`, NO_CELL if it is of none."""
    rows = np.searchsorted(cells.id, cells.cell_of)
    return np.where(cells.cell_of >= 0, rows, NO_CELL)


def chosen(rows: Rows, left: npt.NDArray[np.int64], most: int) -> Rows:
    """Sightings to classify: of each cell its first `left[row]`, in all at most `most`, every cell's first look first.

    `rows` `[N]` is NO_CELL for sightings that cannot be classified.
    """
    candidates = np.flatnonzero(rows != NO_CELL)
    by_cell = candidates[np.argsort(rows[candidates], kind="stable")]
    cell = rows[by_cell]
    rank = np.arange(len(cell)) - np.searchsorted(cell, cell)
    taken = rank < left[cell]
    by_cell, rank = by_cell[taken], rank[taken]
    if len(by_cell) > most:
        by_cell = by_cell[np.argsort(rank, kind="stable")[:most]]
    return np.sort(by_cell)
