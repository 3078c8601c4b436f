"""Counts → network input: levels from a sample, every bit depth, frames without anything."""

from typing import Any

import numpy as np
import pytest

from models.normalise import CEILING, SAMPLE_PIXELS, USUAL, levels, normalised


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_background_is_near_zero_and_cells_near_one(kind: Any) -> None:
    pixels = np.full((300, 500), 20, kind)
    pixels[50:150, 100:200] = 200
    image = normalised(pixels, *levels(pixels))
    assert image.dtype == np.float32
    assert (image[0, 0], image[100, 150]) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))


def test_gain_and_offset_of_the_camera_do_not_matter() -> None:
    pixels = np.random.default_rng(0).gamma(2.0, 50.0, (256, 256))
    first, second = (normalised(p, *levels(p)) for p in (pixels, 7 * pixels + 300))
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_a_frame_without_contrast_is_not_stretched() -> None:
    rounding = np.random.default_rng(0).integers(100, 102, (256, 256)).astype(np.uint16)
    assert normalised(rounding, *levels(rounding)).max() <= 1 / USUAL.min_span
    black = np.zeros((64, 64), np.uint8)
    assert not normalised(black, *levels(black)).any()


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_a_hot_pixel_is_no_more_than_the_ceiling(kind: Any) -> None:
    pixels = np.random.default_rng(0).poisson(100, (256, 256)).astype(kind)
    hot = pixels.copy()
    hot[100, 50] = 65_535
    image = normalised(hot, *levels(hot))
    assert image[100, 50] == image.max() == CEILING
    image[100, 50] = normalised(pixels, *levels(pixels))[100, 50]
    np.testing.assert_allclose(image, normalised(pixels, *levels(pixels)), atol=0.05)


def test_not_a_number_and_infinities_do_not_move_the_levels() -> None:
    pixels = np.random.default_rng(0).random((200, 200)).astype(np.float32) * 100
    broken = pixels.copy()
    broken[::7, ::3] = np.nan
    broken[1::7, ::3] = np.inf
    np.testing.assert_allclose(levels(broken), levels(pixels), rtol=0.05)
    assert levels(np.full((5, 5), np.nan, np.float32)) == (0.0, USUAL.min_span)


def test_levels_of_a_large_frame_are_those_of_its_sorted_pixels() -> None:
    pixels = np.random.default_rng(1).poisson(100, (2048, 2048)).astype(np.uint16)
    assert levels(pixels) == pytest.approx(tuple(np.quantile(pixels, [0.01, 0.998])), abs=2.5)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_thin_frames_are_sampled_too(rows: int) -> None:
    pixels = np.full((rows, 60 * SAMPLE_PIXELS), 300, np.uint16)
    assert levels(pixels) == (300.0, 300.0 + USUAL.min_span)
