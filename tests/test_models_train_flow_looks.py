"""Crops from which a classifier of cells in flow learns: what passes, and how a camera sees it."""

import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")

from discs_in_flow import disc, discs
from numpy.testing import assert_allclose

from models.training.data import DataError
from models.training.flow_looks import Camera, LookSettings, centre_of, crop, crops_of, found_piece, smeared
from models.training.flow_passing import (
    CANVAS_PX,
    Image,
    Passing,
    PassingSettings,
    doublet,
    moved,
    passing,
    placed,
    reach_px,
    speck,
)

PAIRS = PassingSettings(pairs={"large+small": 1.0}, neighbour_share=0.0)
CLEAR = Camera(background=200, counts_per_e=1e-9, read_noise=0.0, smear_px=0.0, background_error=0.0, wall_px=0.0)


# --- what passes ------------------------------------------------------------------------------------------------


def test_a_picture_is_turned_about_the_middle_of_its_canvas() -> None:
    bar = np.zeros((21, 21), np.float32)
    bar[10, 2:19] = 1
    upright = placed(bar, math.pi / 2, 1.0)
    assert upright.shape == (CANVAS_PX, CANVAS_PX)
    across, along = upright.sum(axis=0), upright.sum(axis=1)
    assert np.count_nonzero(along > 0.4) > 3 * np.count_nonzero(across > 0.4)
    assert_allclose(weighed(upright), (CANVAS_PX - 1) / 2, atol=0.05)
    assert_allclose(weighed(moved(upright, 3.25, -2)), (CANVAS_PX - 1) / 2 + np.array([3.25, -2]), atol=0.05)
    assert placed(bar, 0, 2.0).sum() == pytest.approx(4 * bar.sum(), rel=0.05)


def test_the_cells_of_a_doublet_touch(rng: np.random.Generator) -> None:
    for _ in range(10):
        pair = doublet(discs(), PAIRS, rng)
        n, _ = cv2.connectedComponents((pair > 0.02).astype(np.uint8), connectivity=8)
        assert n <= 3
        assert np.count_nonzero(pair > 0.1) > 1.05 * np.count_nonzero(disc(12, 0.5) > 0.1) / PAIRS.size**2
        assert pair.max() <= 1


def test_debris_is_small_and_irregular(rng: np.random.Generator) -> None:
    specks = [speck(PAIRS, rng) for _ in range(20)]
    assert max(map(reach_px, specks)) < 1.6 * PAIRS.debris_px[1]
    assert len({round(float(each.sum()), 3) for each in specks}) == 20


def test_a_neighbour_keeps_its_distance(rng: np.random.Generator) -> None:
    settings = PassingSettings(pairs={"large+small": 1.0}, neighbour_share=1.0)
    for _ in range(10):
        seen = passing("large", discs(), settings, rng)
        assert seen.neighbour is not None
        gap_px = math.hypot(*seen.away_px) - reach_px(seen.picture) - reach_px(seen.neighbour)
        assert settings.neighbour_gap_px[0] <= gap_px <= settings.neighbour_gap_px[1]


def test_kinds_that_are_lacking_are_named() -> None:
    with pytest.raises(DataError, match='smear, val: no clean cell of kind "huge"'):
        discs().require(["large", "huge"], "smear, val")


# --- how it is seen ---------------------------------------------------------------------------------------------


def test_a_crop_holds_contrast_with_the_cell_in_its_middle(rng: np.random.Generator) -> None:
    seen = Passing(placed(disc(6, 0.4), 0.0, 1.0), None)
    shown = crop(seen, CLEAR, 0.0, 0.0, 48, rng)
    assert shown.shape == (48, 48)
    assert shown.max() == pytest.approx(0.4, abs=0.01)
    assert_allclose(weighed(shown), 24, atol=0.55)
    assert abs(shown[0]).max() < 0.01


@pytest.mark.parametrize(("wall_px", "rows"), [(5.0, slice(0, 5)), (-7.0, slice(41, 48))])
def test_beyond_the_view_there_is_nothing(wall_px: float, rows: slice, rng: np.random.Generator) -> None:
    through = Camera(200, 0.05, 2.0, 1.0, 0.05, wall_px)
    shown = crop(Passing(placed(disc(4, 0.4), 0, 1), None), through, 0.0, 1.0, 48, rng)
    assert not shown[rows].any()
    assert np.count_nonzero(shown.any(axis=1)) == 48 - round(abs(wall_px))


@pytest.mark.parametrize("smear_px", [0.0, 0.7, 1.0, 2.4, 3.0])
def test_motion_smears_along_x_alone(smear_px: float) -> None:
    line = np.zeros((9, 31), np.float32)
    line[4, 15] = 1
    seen = smeared(line, smear_px)
    assert seen.sum() == pytest.approx(1, abs=1e-5)
    assert np.count_nonzero(seen.any(axis=1)) == 1
    assert seen.max() == pytest.approx(1 / max(1, smear_px), abs=1e-5)


def test_the_cell_itself_is_found_and_else_nothing() -> None:
    own, other = placed(disc(5, 0.4), 0, 1, 1.5, -1.0), placed(disc(9, 0.4), 0, 1, 25, 0)
    middle = np.full(2, (CANVAS_PX - 1) / 2)
    piece = found_piece(own + other, 0.01, own > 0.02)
    assert not np.any(piece & (other > 0.02))
    assert_allclose(centre_of(own + other, piece), middle + np.array([1.5, -1.0]), atol=0.05)
    for faint in (other, 0 * own):
        assert not found_piece(faint, 0.01, own > 0.02).any()
    assert_allclose(centre_of(other, np.zeros(other.shape, np.bool_)), middle)


def test_a_neighbour_that_would_be_found_as_one_with_the_cell_is_left_out(rng: np.random.Generator) -> None:
    own, near = placed(disc(5, 0.4), 0, 1), placed(disc(5, 0.4), 0, 1)
    for away_px, is_there in ((11.0, False), (18.0, True)):
        shown = crop(Passing(own, near, (away_px, 0.0)), CLEAR, 0.0, 0.0, 48, rng)
        assert bool(np.any(shown[:, 24 + round(away_px) - 3 : 24 + round(away_px) + 3] > 0.2)) == is_there


def test_looks_at_one_cell_differ_less_than_cells(rng: np.random.Generator) -> None:
    settings = LookSettings(turn_deg=0, jitter_px=0, wall_share=0)
    crops = np.stack([crops_of(passing("large", discs(2, 4), PAIRS, rng), settings, 48, 3, rng) for _ in range(12)])
    within, between = crops.var(axis=1).mean(), crops.mean(axis=1).var(axis=0).mean()
    assert 0 < within < between


def weighed(picture: Image) -> npt.NDArray[np.float64]:
    y, x = np.indices(picture.shape)
    return np.asarray(np.array([(x * picture).sum(), (y * picture).sum()]) / picture.sum(), np.float64)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)
