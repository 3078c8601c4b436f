"""A specimen that has moved as a whole: the shift is found if there is one, and not made up if there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cells import Floats
from tracking.shift import FARTHEST, FEWEST, jumped_um, slipped_um

DIAMETER_UM = 10.0


def scattered(n: int, seed: int) -> Floats:
    """Not so crowded that any shift finds a cell."""
    return np.random.default_rng(seed).uniform(0, 4 * DIAMETER_UM * np.sqrt(n), (n, 2))


@settings(deadline=None)  # the first example compiles
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(12, 200),
    angle=st.floats(0, 2 * np.pi),
    share=st.floats(0, 0.95),
)
def test_a_jump_is_found(seed: int, n: int, angle: float, share: float) -> None:
    """Although a sixth of the cells is missed, others have come, and all have moved on their own."""
    rng, before = np.random.default_rng(seed), scattered(n, seed)
    shift_um = share * (FARTHEST - 1) * DIAMETER_UM * np.array([np.cos(angle), np.sin(angle)])
    still_there = before[: n - n // 6] + shift_um + rng.normal(0, 0.05 * DIAMETER_UM, (n - n // 6, 2))
    found_um = jumped_um(before, np.concatenate([scattered(n // 6, seed + 1), still_there]), DIAMETER_UM)
    assert found_um is not None
    assert np.linalg.norm(found_um - shift_um) < 0.15 * DIAMETER_UM


@pytest.mark.parametrize("seed", range(20))
def test_other_cells_are_not_the_same_ones_elsewhere(seed: int) -> None:
    assert jumped_um(scattered(60, seed), scattered(60, seed + 1000), DIAMETER_UM) is None


def test_too_far_is_not_found() -> None:
    before = scattered(30, 0)
    assert jumped_um(before, before + 1000 * DIAMETER_UM, DIAMETER_UM) is None


@pytest.mark.parametrize("n", [0, 1, FEWEST - 1])
def test_too_few_cannot_tell(n: int) -> None:
    few, many = scattered(n, 0), scattered(30, 0)
    assert jumped_um(few, many, DIAMETER_UM) is None
    assert jumped_um(many, few, DIAMETER_UM) is None
    assert slipped_um(few + 100.0, 1.0) is None


def test_all_pushed_the_same_way() -> None:
    rng = np.random.default_rng(0)
    slipped = slipped_um(rng.normal((3.0, -2.0), 1, (50, 2)), 1.0)
    assert slipped is not None
    assert slipped == pytest.approx([3.0, -2.0], abs=0.5)


def test_each_its_own_way_is_no_slip() -> None:
    rng = np.random.default_rng(1)
    assert all(slipped_um(rng.normal(0, 1, (50, 2)), 1.0) is None for _ in range(200))
