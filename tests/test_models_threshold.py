"""The reference segmenter: on drawn cells where the truth is known, and on real ones."""

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from skimage.filters import threshold_otsu
from skimage.measure import label as connected_parts

from models.cells import Labels
from models.perception import Image
from models.threshold import ThresholdSegmenter, contrast, otsu
from models.watershed import heights, keep_large, split

SHAPE = (200, 240)


def segment(image: npt.NDArray[Any], **settings: float | str) -> Labels:
    segmenter = ThresholdSegmenter(**settings)  # type: ignore[arg-type]
    return segmenter.label(segmenter.infer(image.astype(np.float32)))


def draw(*discs: tuple[float, float, float, float], background: float = 100.0) -> Image:
    """Discs (x, y, radius, counts above background) with photon noise."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.full(SHAPE, background)
    for x0, y0, radius, counts in discs:
        image[(x - x0) ** 2 + (y - y0) ** 2 < radius**2] = background + counts
    return np.random.default_rng(0).poisson(image).astype(np.float32)


def f1_at_half(truth: npt.NDArray[Any], found: Labels) -> float:
    """F1 of objects matched at an intersection over union above 0.5."""
    pairs, counts = np.unique(np.stack([truth.ravel(), found.ravel()]), axis=1, return_counts=True)
    area_true, area_found = np.bincount(truth.ravel()), np.bincount(found.ravel())
    union = area_true[pairs[0]] + area_found[pairs[1]] - counts
    hits = int(((pairs > 0).all(axis=0) & (counts / union > 0.5)).sum())
    n_true, n_found = np.count_nonzero(area_true[1:]), np.count_nonzero(area_found[1:])
    return 2 * hits / (n_true + n_found)


def test_touching_cells_come_apart_at_the_neck() -> None:
    labels = segment(draw((80, 100, 15, 400), (106, 100, 13, 400)))
    assert labels.max() == 2
    assert labels[100, 80] != labels[100, 106]
    cut = [x for x in range(80, 106) if labels[100, x] == labels[100, 80]][-1]
    assert 92 <= cut <= 96  # the circles cross at x = 94.1


def test_a_dumbbell_whose_middles_are_near_is_one_cell() -> None:
    image = draw((80, 100, 12, 400), (99, 100, 12, 400))
    assert segment(image, min_distance_px=8.0).max() == 2
    assert segment(image, min_distance_px=25.0).max() == 1


def test_cells_apart_are_never_joined_however_near() -> None:
    assert segment(draw((80, 100, 6, 400), (94, 100, 6, 400)), min_distance_px=100.0).max() == 2


def test_small_objects_are_dropped() -> None:
    image = draw((60, 60, 12, 400), (160, 60, 4, 400))
    assert segment(image, min_area_px=20).max() == 2
    assert segment(image, min_area_px=100).max() == 1


def test_a_dim_cell_beside_a_bright_one_and_the_bright_ones_halo() -> None:
    bright = cv2.GaussianBlur(draw((60, 100, 20, 4000), (160, 100, 20, 1000)), (0, 0), 3.0)
    labels = segment(bright)
    areas = np.bincount(labels.ravel())[1:]
    assert labels.max() == 2
    assert areas == pytest.approx(np.pi * 20**2, rel=0.15)


def test_one_small_cell_in_a_large_noisy_field_is_found() -> None:
    """Otsu's method alone halves the noise: the cell is 1/800 of the frame."""
    image = np.random.default_rng(1).normal(100, 5, (512, 512))
    image[300:318, 200:218] += 60
    assert segment(image).max() == 1


def test_a_hot_pixel_is_no_cell_and_hides_none() -> None:
    image = draw((80, 100, 15, 60))
    image[20, 200] = 65535
    labels = segment(image)
    assert labels.max() == 1
    assert labels[100, 80] == 1


def test_an_uneven_background_without_cells_is_no_cell() -> None:
    slope = np.linspace(100, 130, SHAPE[1])[None, :] + np.random.default_rng(0).normal(0, 1, SHAPE)
    assert segment(slope).max() == 0


def test_dark_cells() -> None:
    image = 1000 - draw((80, 100, 15, 400), (160, 100, 15, 400))
    assert segment(image, polarity="dark").max() == 2
    assert segment(image, polarity="dark", threshold=700.0).max() == 2


def test_a_fixed_threshold_is_in_camera_counts() -> None:
    image = draw((60, 100, 15, 400), (160, 100, 15, 150))
    assert segment(image, threshold=200.0).max() == 2
    assert segment(image, threshold=300.0).max() == 1
    assert segment(image, threshold=900.0).max() == 0
    assert segment(image, threshold=0.0).max() == 1  # all of the frame, without any background


@pytest.mark.parametrize("seed", range(3))
def test_otsu_agrees_with_scikit_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.sort(np.concatenate([rng.normal(100, 10, 3000), rng.normal(200, 20, 1000)]))
    n_low = otsu(values)
    assert values[n_low - 1] == pytest.approx(threshold_otsu(values), abs=1.0)
    assert contrast(values, n_low) > 5


def test_otsu_of_equal_values_splits_nothing() -> None:
    assert otsu(np.full(10, 3.0)) == 0
    assert contrast(np.full(10, 3.0), 0) == 0.0


def test_split_partitions_the_foreground() -> None:
    rng = np.random.default_rng(0)
    foreground = (cv2.GaussianBlur(rng.normal(size=(150, 170)), (0, 0), 4.0) > 0.02).astype(np.uint8)
    labels = split(heights(foreground), min_distance_px=5.0)
    assert np.array_equal(labels > 0, foreground > 0)
    for number in range(1, labels.max() + 1):
        assert connected_parts(labels == number, connectivity=2).max() == 1


def test_keep_large_numbers_without_gaps() -> None:
    labels = np.array([[1, 1, 0, 2], [3, 3, 3, 0]], np.int32)
    assert keep_large(labels, 2).tolist() == [[1, 1, 0, 0], [2, 2, 2, 0]]


@pytest.mark.parametrize(
    "table", [{"smoothing_px": 0.0}, {"min_area_px": 0}, {"polarity": "grey"}, {"min_distance_px": -1.0}]
)
def test_settings_out_of_range_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(table, ThresholdSegmenter)


def test_real_nuclei(shared_data: Path) -> None:
    """HeLa H2B, 8 bit: bright mitotic nuclei among dim ones."""
    folder = shared_data / "tracking" / "mitocheck_hela_h2b"
    scores = []
    for index in range(0, 30, 3):
        image = cv2.imread(str(folder / "01" / f"t{index:03d}.tif"), cv2.IMREAD_UNCHANGED)
        truth = cv2.imread(str(folder / "01_GT" / "SEG" / f"man_seg{index:03d}.tif"), cv2.IMREAD_UNCHANGED)
        assert image is not None
        assert truth is not None
        scores.append(f1_at_half(truth.astype(np.int64), segment(image)))
    assert np.mean(scores) > 0.9
