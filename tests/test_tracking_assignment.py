"""Links: the least total cost, checked against a dense solver; nothing beyond reach."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from models.cells import Floats
from tracking.assignment import assign


def points(*xy: tuple[float, float]) -> Floats:
    return np.array(xy, dtype=np.float64).reshape(-1, 2)


def links(expected: Floats, cells: Floats, reach_um: float) -> list[tuple[int, int]]:
    rows, columns = assign(expected, cells, np.full(len(expected), reach_um))
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def total_cost(
    expected: Floats,
    cells: Floats,
    reach: Floats,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
) -> float:
    """Squared distances of the links, and the square of the largest reach for all that are alone."""
    linked_um2 = ((expected[rows] - cells[columns]) ** 2).sum()
    alone = len(expected) + len(cells) - 2 * len(rows)
    return float(linked_um2 + alone * reach.max() ** 2)


def dense_cost(expected: Floats, cells: Floats, reach: Floats) -> float:
    """The least total cost by another way: a dense matrix of what each link saves."""
    distance = cdist(expected, cells)
    saving = np.where(distance <= reach[:, None], 2 * reach.max() ** 2 - distance**2, 0.0)
    rows, columns = linear_sum_assignment(saving, maximize=True)
    possible = saving[rows, columns] > 0
    return total_cost(expected, cells, reach, rows[possible], columns[possible])


@given(
    seed=st.integers(0, 2**16),
    n_tracks=st.integers(1, 25),
    n_cells=st.integers(1, 25),
    size_um=st.floats(1, 100),
)
def test_the_total_cost_is_the_least_possible(seed: int, n_tracks: int, n_cells: int, size_um: float) -> None:
    rng = np.random.default_rng(seed)
    expected, cells = rng.uniform(0, size_um, (n_tracks, 2)), rng.uniform(0, size_um, (n_cells, 2))
    reach = rng.uniform(2, 20, n_tracks)
    rows, columns = assign(expected, cells, reach)
    assert np.all(np.linalg.norm(expected[rows] - cells[columns], axis=1) <= reach[rows])
    assert len(set(rows.tolist())) == len(rows) == len(set(columns.tolist()))
    assert total_cost(expected, cells, reach, rows, columns) == pytest.approx(dense_cost(expected, cells, reach))


def test_the_nearest_is_not_always_taken() -> None:
    """Track 0 is nearest to cell 0 too, but then track 1 would go without."""
    assert links(points((0, 0), (10, 0)), points((4, 0), (-6, 0)), 7.0) == [(0, 1), (1, 0)]


def test_a_cell_in_the_very_place_costs_nothing() -> None:
    assert links(points((0, 0), (5, 5)), points((5, 5), (0, 0)), 1.0) == [(0, 1), (1, 0)]


def test_each_track_has_its_own_reach() -> None:
    expected, cells = points((0, 0), (100, 0)), points((8, 0), (108, 0))
    rows, columns = assign(expected, cells, np.array([5.0, 10.0]))
    assert (rows.tolist(), columns.tolist()) == ([1], [1])


@pytest.mark.parametrize(("n_tracks", "n_cells"), [(0, 0), (0, 3), (3, 0)])
def test_nobody_to_link(n_tracks: int, n_cells: int) -> None:
    assert links(np.zeros((n_tracks, 2)), np.zeros((n_cells, 2)), 5.0) == []


def test_thousands_in_one_place_and_many_ties() -> None:
    """A grid that can be linked in many ways of equal cost gives one answer, the same each time."""
    grid = np.stack(np.meshgrid(np.arange(40.0), np.arange(40.0)), axis=-1).reshape(-1, 2)
    first = links(grid, grid + 0.5, 0.8)
    assert first == links(grid, grid + 0.5, 0.8)
    assert len(first) == 1600
