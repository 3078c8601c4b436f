"""Windows around cells: what is copied, what lies beyond the edge, and levels that depend on nothing but the crop."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.crops import CEILING, HIGH_SHARE, LOW_SHARE, MIN_SPAN, crops, normalise, normalised_crops

KINDS = (np.uint8, np.uint16, np.int32, np.float32, np.float64)


def textured(height: int, width: int, kind: Any = np.float32) -> npt.NDArray[Any]:
    """Every pixel has another value than its neighbours."""
    return (np.arange(height * width).reshape(height, width) % 251 + 1).astype(kind)


def cut_slowly(image: npt.NDArray[Any], x: float, y: float, side: int) -> npt.NDArray[np.float32]:
    """A window of an image that numpy has mirrored far enough."""
    margin = 150
    padded = np.pad(image, margin, mode="symmetric").astype(np.float32)
    left, top = (int(np.ceil(at - side / 2)) + margin for at in (x, y))
    return padded[top : top + side, left : left + side]


@pytest.mark.parametrize("kind", KINDS)
def test_a_crop_is_a_copy_of_the_pixels_around(kind: Any) -> None:
    image = textured(90, 120, kind)
    (crop,) = crops(image, np.array([[60.0, 40.0]]), 16)
    assert crop.dtype == np.float32
    np.testing.assert_array_equal(crop, image[32:48, 52:68])


@settings(max_examples=60, deadline=None)
@given(st.floats(-30, 80), st.floats(-30, 60), st.sampled_from([4, 8, 20]))
def test_equals_a_slow_copy_anywhere(x: float, y: float, side: int) -> None:
    image = textured(30, 50)
    np.testing.assert_array_equal(crops(image, np.array([[x, y]]), side)[0], cut_slowly(image, x, y, side))


def test_the_position_is_in_the_middle_to_half_a_pixel() -> None:
    image = np.zeros((100, 100), np.float32)
    image[50, 30] = 1
    for dx in (-0.49, 0.0, 0.49):
        (crop,) = crops(image, np.array([[30 + dx, 50.0]]), 32)
        (row,), (column,) = np.nonzero(crop)
        assert abs(row - 15.5) <= 1
        assert abs(column - dx - 15.5) <= 1


def test_a_cell_cut_by_the_edge_is_completed_by_its_mirror_image() -> None:
    y, x = np.mgrid[:64, :64]
    frame = (100 * np.exp(-((x - 2.0) ** 2 + (y - 30.0) ** 2) / 50)).astype(np.float32)
    (crop,) = crops(frame, np.array([[2.0, 30.0]]), 32)
    np.testing.assert_array_equal(crop[:, :14], crop[:, 27:13:-1])


@pytest.mark.parametrize("scale", [0.5, 2.0, 4.0])
def test_a_coarser_or_finer_camera_gives_the_same_crop(scale: float) -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    coarse = np.exp(-(x**2 / 60 + y**2 / 150)).astype(np.float32) * 100
    fine_side = int(64 * scale)
    y, x = (np.mgrid[:fine_side, :fine_side] + 0.5) / scale - 32
    frame = np.exp(-(x**2 / 60 + y**2 / 150)).astype(np.float32) * 100
    (crop,) = crops(frame, np.full((1, 2), fine_side / 2 - 0.5 + 1e-9), 64, scale)
    wanted = crops(coarse, np.full((1, 2), 31.5 + 1e-9), 64)[0]
    inner = slice(4, -4)
    assert np.abs(crop[inner, inner] - wanted[inner, inner]).max() < 100 * (0.15 if scale < 1 else 0.1)
    assert np.abs(crop[inner, inner] - wanted[inner, inner]).mean() < 1


def test_levels_equal_sorted_shares() -> None:
    counts = np.random.default_rng(0).gamma(2.0, 100.0, (7, 64, 64)).astype(np.float32)
    wanted = []
    for crop in counts:
        dark, bright = np.sort(crop[::2, ::2].ravel()), np.sort(crop[16:48, 16:48].ravel())[::-1]
        low = dark[int(np.ceil(LOW_SHARE * dark.size)) - 1]
        high = bright[int(np.ceil(HIGH_SHARE * bright.size)) - 1]
        wanted.append(np.minimum((crop - low) / (high - low), CEILING))
    np.testing.assert_allclose(normalise(counts.copy()), wanted, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 200), st.floats(-100, 5000))
def test_gain_and_offset_of_the_camera_do_not_matter(gain: float, offset: float) -> None:
    counts = np.random.default_rng(0).gamma(2.0, 100.0, (1, 64, 64)).astype(np.float32)
    changed = normalise((counts * gain + offset).astype(np.float32))
    np.testing.assert_allclose(changed, normalise(counts.copy()), atol=2e-3)


def test_a_brighter_neighbour_and_a_hot_pixel_change_little() -> None:
    y, x = np.mgrid[:64, :64]
    cell = 100 * np.exp(-((x - 32) ** 2 + (y - 32) ** 2) / 100) + 10
    neighbour = 3000 * np.exp(-((x - 62) ** 2 + (y - 32) ** 2) / 40)
    hot = cell.copy()
    hot[30, 30] = 60_000
    alone, beside, spoiled = normalise(np.stack([cell, cell + neighbour, hot]).astype(np.float32))
    middle = (slice(24, 40), slice(24, 40))
    np.testing.assert_allclose(beside[middle], alone[middle], atol=0.05)
    assert beside.max() == CEILING
    spoiled[30, 30] = alone[30, 30]
    np.testing.assert_allclose(spoiled, alone, atol=0.02)


def test_an_empty_crop_is_not_stretched() -> None:
    rounding = np.random.default_rng(0).integers(100, 102, (2, 64, 64)).astype(np.float32)
    assert np.abs(normalise(rounding)).max() <= 1 / MIN_SPAN
    assert not normalise(np.zeros((1, 64, 64), np.float32)).any()


def test_no_cells_no_crops() -> None:
    assert normalised_crops(np.zeros((50, 50), np.uint16), np.empty((0, 2))).shape == (0, 64, 64)


@pytest.mark.parametrize(
    ("image", "xy", "side", "scale", "message"),
    [
        (np.zeros((5, 5, 3)), np.zeros((1, 2)), 64, 1.0, r"image\[H, W\]"),
        (np.zeros((5, 5)), np.zeros(2), 64, 1.0, r"xy_px\[N, 2\]"),
        (np.zeros((5, 5)), np.zeros((1, 2)), 30, 1.0, "multiple of 4"),
        (np.zeros((5, 5)), np.zeros((1, 2)), 64, 0.0, "scale positive"),
        (np.zeros((5, 5)), np.zeros((1, 2)), 64, float("nan"), "scale positive"),
    ],
)
def test_what_cannot_be_cut_is_refused(image: Any, xy: Any, side: int, scale: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crops(image, xy, side, scale)
