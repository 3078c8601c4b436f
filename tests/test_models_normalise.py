"""Counts → network input: levels from a sample, every bit depth, frames without anything."""

from typing import Any

import numpy as np
import pytest

from models.normalise import MIN_SPAN, levels, normalised


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
    assert normalised(rounding, *levels(rounding)).max() <= 1 / MIN_SPAN
    black = np.zeros((64, 64), np.uint8)
    assert not normalised(black, *levels(black)).any()


def test_not_a_number_and_infinities_do_not_move_the_levels() -> None:
    pixels = np.random.default_rng(0).random((200, 200)).astype(np.float32) * 100
    broken = pixels.copy()
    broken[::7, ::3] = np.nan
    broken[1::7, ::3] = np.inf
    np.testing.assert_allclose(levels(broken), levels(pixels), rtol=0.05)
    assert levels(np.full((5, 5), np.nan, np.float32)) == (0.0, MIN_SPAN)


def test_levels_of_a_large_frame_are_those_of_its_sorted_pixels() -> None:
    pixels = np.random.default_rng(1).poisson(100, (2048, 2048)).astype(np.uint16)
    assert levels(pixels) == pytest.approx(tuple(np.quantile(pixels, [0.01, 0.998])), abs=2.5)
