"""Pairs of points within reach: all of them and no others, by looking at every pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from models.cells import Floats
from tracking.neighbours import pairs_within

FAR_OUT = 1e6


def placed(seed: int, n: int, clustered: bool, n_outliers: int) -> Floats:
    """Anywhere around the origin, or many in few places, and some far away; the same place may come twice."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(-50, 50, (n, 2)) if not clustered else rng.normal(0, 1, (n, 2)) + 40 * rng.integers(-1, 2, (n, 2))
    xy = xy[rng.integers(0, max(n, 1), n)] if rng.random() < 0.3 else xy
    xy[:n_outliers] = rng.uniform(-FAR_OUT, FAR_OUT, (min(n_outliers, n), 2))
    return xy


@settings(deadline=None)  # the first example compiles
@given(
    seed=st.integers(0, 2**32 - 1),
    n_points=st.integers(0, 60),
    n_others=st.integers(0, 60),
    clustered=st.booleans(),
    n_outliers=st.integers(0, 2),
    reach_um=st.sampled_from([0.01, 3.0, 20.0, 500.0]),
)
def test_as_if_every_pair_were_measured(
    seed: int, n_points: int, n_others: int, clustered: bool, n_outliers: int, reach_um: float
) -> None:
    points, others = placed(seed, n_points, clustered, n_outliers), placed(seed + 1, n_others, clustered, n_outliers)
    reach = np.random.default_rng(seed).uniform(0, 2 * reach_um, n_points)
    distance = cdist(points, others)
    assert not (np.abs(distance - reach[:, None]) < 1e-9).any(), "no pair of these is a matter of rounding"
    expected = np.nonzero(distance <= reach[:, None])
    for column, true in zip(pairs_within(points, reach, others), expected, strict=True):
        assert np.array_equal(column, true)


@pytest.mark.parametrize(
    ("reach_um", "found"),
    [(5.0, [0, 1, 2]), (np.nextafter(5.0, 0), [2]), (0.0, [])],
    ids=["just so far", "a little less", "none"],
)
def test_at_the_end_of_the_reach(reach_um: float, found: list[int]) -> None:
    others = np.array([[3.0, 4.0], [-5.0, 0.0], [1.0, -1.0]])
    assert pairs_within(np.zeros((1, 2)), np.array([reach_um]), others)[1].tolist() == found


def test_a_point_in_the_very_place_is_within_no_reach_at_all() -> None:
    here = np.array([[-7.5, 3.25]])
    assert [column.tolist() for column in pairs_within(here, np.zeros(1), here)] == [[0], [0]]


@pytest.mark.parametrize("across", [0, 1])
def test_others_along_a_line(across: int) -> None:
    """The bins of a field without height or width."""
    others = np.zeros((400, 2))
    others[:, across] = np.arange(400) - 200
    row, other = pairs_within(others, np.full(400, 1.5), others)
    assert len(row) == 3 * 400 - 2
    assert (np.abs(row - other) <= 1).all()


def test_thousands_in_one_place() -> None:
    """More pairs than any first guess of their number."""
    row, other = pairs_within(np.ones((3, 2)), np.ones(3), np.ones((5000, 2)))
    assert np.array_equal(row, np.repeat(np.arange(3), 5000))
    assert np.array_equal(other, np.tile(np.arange(5000), 3))
