"""Links: the largest total gain, checked against SciPy's dense solver; the same answer each time."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from models.cells import Floats
from tracking.assignment import ALONE, assign

Ints = npt.NDArray[np.int64]
Gains = Floats
NO_LINK = -np.inf


def assigned(gains: Gains) -> Ints:
    """From a matrix `[tracks, cells]`; NO_LINK where there is no link."""
    track, cell = np.nonzero(gains > NO_LINK)
    return assign(track, cell, gains[track, cell], *gains.shape)


def total(gains: Gains, cell_of: Ints) -> float:
    linked = np.flatnonzero(cell_of != ALONE)
    return float(gains[linked, cell_of[linked]].sum())


def largest_total(gains: Gains) -> float:
    """Whoever may stay alone gains 0 at worst."""
    worth = np.maximum(gains, 0.0)
    return float(worth[linear_sum_assignment(worth, maximize=True)].sum())


def check(gains: Gains) -> None:
    cell_of = assigned(gains)
    linked = cell_of[cell_of != ALONE]
    assert cell_of.shape == (len(gains),)
    assert len(set(linked.tolist())) == len(linked), "a cell belongs to one track"
    assert (gains[np.flatnonzero(cell_of != ALONE), linked] > 0).all(), "a link that gains nothing is not made"
    assert total(gains, cell_of) == pytest.approx(largest_total(gains), rel=1e-12, abs=1e-9)


def random_gains(rng: np.random.Generator, shape: tuple[int, int], density: float, whole: bool) -> Gains:
    """Whole numbers make ties."""
    gains = rng.integers(-3, 7, shape).astype(float) if whole else rng.normal(1.0, 3.0, shape)
    gains[rng.random(shape) >= density] = NO_LINK
    return gains


@settings(deadline=None)  # the first example compiles
@given(
    seed=st.integers(0, 2**32 - 1),
    n_tracks=st.integers(0, 30),
    n_cells=st.integers(0, 30),
    density=st.sampled_from([0.05, 0.15, 0.4, 1.0]),
    whole=st.booleans(),
)
@example(seed=0, n_tracks=0, n_cells=0, density=1.0, whole=False)
@example(seed=0, n_tracks=0, n_cells=3, density=1.0, whole=False)
@example(seed=0, n_tracks=3, n_cells=0, density=1.0, whole=False)
def test_the_total_gain_is_the_largest_possible(
    seed: int, n_tracks: int, n_cells: int, density: float, whole: bool
) -> None:
    check(random_gains(np.random.default_rng(seed), (n_tracks, n_cells), density, whole))


@settings(deadline=None)
@given(gains=st.lists(st.lists(st.sampled_from([NO_LINK, 0.0, 1.0, 2.0, 1e-12, 1e9]), min_size=5, max_size=5)))
def test_gains_of_very_different_size(gains: list[list[float]]) -> None:
    check(np.array(gains).reshape(-1, 5))


@pytest.mark.parametrize("whole", [False, True])
def test_a_large_crowd(whole: bool) -> None:
    check(random_gains(np.random.default_rng(1), (300, 280), 0.03, whole))


def test_the_nearest_is_not_always_taken() -> None:
    """Track 0 gains most with cell 0 too, but then track 1 would go without."""
    assert assigned(np.array([[5.0, 4.0], [4.5, NO_LINK]])).tolist() == [1, 0]


def test_staying_alone_may_be_best() -> None:
    """Two poor links are worth less than a good one."""
    assert assigned(np.array([[1.0, 5.0], [NO_LINK, 1.0]])).tolist() == [1, ALONE]


def test_a_track_gives_way_and_stays_alone() -> None:
    assert assigned(np.array([[1.0], [3.0], [2.0]])).tolist() == [ALONE, 0, ALONE]


def test_the_last_of_a_long_chain_moves_all_others() -> None:
    """Everyone has found a cell when the last one comes, who must have the first."""
    n = 500
    gains = np.full((n, n), NO_LINK)
    gains[np.arange(n), np.arange(n)] = 2.0
    gains[np.arange(n - 1), np.arange(1, n)] = 1.999
    gains[n - 1] = NO_LINK
    gains[n - 1, 0] = 100.0
    assert assigned(gains).tolist() == [*range(1, n), 0]


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), whole=st.booleans())
def test_what_happens_elsewhere_changes_nothing(seed: int, whole: bool) -> None:
    """Groups that share no link are solved as if they were alone, ties included."""
    rng = np.random.default_rng(seed)
    here, there = (random_gains(rng, (int(rng.integers(1, 9)), int(rng.integers(1, 9))), 0.5, whole) for _ in range(2))
    both = np.full((len(here) + len(there), here.shape[1] + there.shape[1]), NO_LINK)
    both[: len(here), : here.shape[1]] = here
    both[len(here) :, here.shape[1] :] = there
    apart = assigned(there)
    apart[apart != ALONE] += here.shape[1]
    assert assigned(both).tolist() == [*assigned(here), *apart]


def test_many_ties_have_one_answer() -> None:
    """A square of cells where each track may go to four: everyone finds one, the same one each time."""
    side = 30
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(side), np.arange(side)))
    track = np.repeat(np.arange(side * side), 4)
    to_x, to_y = np.minimum(x[:, None] + [0, 1, 0, 1], side), np.minimum(y[:, None] + [0, 0, 1, 1], side)
    cell, gain = (to_y * (side + 1) + to_x).ravel(), np.ones(track.size)
    first = assign(track, cell, gain, side * side, (side + 1) ** 2)
    assert (first != ALONE).all()
    assert len(set(first.tolist())) == side * side
    assert np.array_equal(first, assign(track, cell, gain, side * side, (side + 1) ** 2))


def test_what_it_is_given_is_left_as_it_is() -> None:
    track, cell, gain = np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([2.0, 1.0, 3.0])
    for column in (track, cell, gain):
        column.flags.writeable = False
    assert assign(track, cell, gain, 2, 2).tolist() == [1, 0]
