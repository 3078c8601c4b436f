"""Tiles: every pixel kept once, far from cut edges; stitched maps equal whole ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from models.tiling import Grid, Image, Maps, padded, rounded_up, tiles, whole_maps

SIDE = st.integers(4, 10).map(lambda n: 4 * n)


@given(height=st.integers(1, 150), width=st.integers(1, 150), rows=SIDE, columns=SIDE, overlap=st.integers(0, 8))
def test_every_pixel_is_kept_once_and_far_from_cut_edges(
    height: int, width: int, rows: int, columns: int, overlap: int
) -> None:
    kept = np.zeros((height, width), int)
    for tile in tiles(height, width, Grid((rows, columns), overlap, 4)):
        kept[tile.kept] += 1
        for read, keep, length, side in zip(tile.read, tile.kept, (height, width), (rows, columns), strict=True):
            assert 0 <= read.start <= keep.start < keep.stop <= read.stop <= length
            assert read.stop - read.start <= side
            assert read.start % 4 == 0
            assert read.start == 0 or keep.start - read.start >= overlap // 2
            assert read.stop == length or read.stop - keep.stop >= overlap // 2
    assert (kept == 1).all()


def blurred(image: Image) -> Maps:
    """A stand-in for a network that sees 3 px around each pixel."""
    return np.stack([uniform_filter(image, 7, mode="mirror"), image]).astype(np.float32)


@pytest.mark.parametrize("shape", [(64, 64), (65, 64), (200, 64), (130, 257), (20, 300), (7, 9), (1, 1), (1, 90)])
def test_stitched_maps_equal_whole_ones(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    stitched = whole_maps(image, 2, Grid((64, 64), 8, 4), blurred)
    np.testing.assert_allclose(stitched, blurred(image), atol=1e-6)


def test_too_little_overlap_shows() -> None:
    image = np.random.default_rng(0).random((130, 257)).astype(np.float32)
    assert np.abs(whole_maps(image, 2, Grid((64, 64), 2, 1), blurred) - blurred(image)).max() > 0.01


@pytest.mark.parametrize("shape", [(1, 1), (20, 90), (32, 32), (33, 32), (100, 70)])
def test_tiles_of_one_multiple_serve_every_size(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    stitched = whole_maps(image, 1, Grid((32, 32), 16, 32), lambda tile: tile[None])
    np.testing.assert_array_equal(stitched[0], image)


def test_tiles_are_contiguous_whatever_the_image_is() -> None:
    def infer(tile: Image) -> Maps:
        assert tile.flags.c_contiguous
        return tile[None]

    image = np.asfortranarray(np.random.default_rng(0).random((64, 64)).astype(np.float32))
    for side_px in ((64, 64), (32, 32), (80, 80)):
        np.testing.assert_array_equal(whole_maps(image, 1, Grid(side_px, 8, 4), infer)[0], image)


def test_padding_mirrors_and_keeps_a_full_tile_as_it_is() -> None:
    image = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert padded(image, (2, 3)) is image
    assert padded(image, (4, 5)).tolist() == np.pad(image, ((0, 2), (0, 2)), mode="reflect").tolist()


@pytest.mark.parametrize(("length", "multiple", "expected"), [(1, 32, 32), (32, 32, 32), (33, 32, 64), (5, 1, 5)])
def test_rounding_up(length: int, multiple: int, expected: int) -> None:
    assert rounded_up(length, multiple) == expected
