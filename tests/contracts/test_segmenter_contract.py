"""What every segmenter promises (models/perception.py), as code.

A new segmenter is one more line in SEGMENTERS.
"""

from collections.abc import Callable

import numpy as np
import pytest

from models.cells import Labels
from models.perception import Image, Segmenter
from models.segmenter import NetworkSegmenter
from models.threshold import ThresholdSegmenter

SEGMENTERS: dict[str, Callable[[], Segmenter]] = {
    "threshold": ThresholdSegmenter,
    "deep watershed": NetworkSegmenter,
    "pixel classes": lambda: NetworkSegmenter(method="pixel_classes"),
}


@pytest.fixture(params=SEGMENTERS)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    return SEGMENTERS[request.param]()


def labels_of(segmenter: Segmenter, image: Image) -> Labels:
    return segmenter.label(segmenter.infer(image))


def discs(shape: tuple[int, int], n: int = 9, seed: int = 0, background: float = 100.0, height: float = 400.0) -> Image:
    """Bright discs on a noisy background, on a grid so that none touch."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, background)
    columns = int(np.ceil(np.sqrt(n * shape[1] / shape[0])))
    rows = int(np.ceil(n / columns))
    for i in range(n):
        y0, x0 = (i // columns + 0.5) * shape[0] / rows, (i % columns + 0.5) * shape[1] / columns
        image[(y - y0) ** 2 + (x - x0) ** 2 < rng.uniform(7, 10) ** 2] += height
    return rng.poisson(image).astype(np.float32)


def is_valid(labels: Labels, shape: tuple[int, int]) -> bool:
    numbers = np.unique(labels[labels != 0])
    return labels.dtype == np.int32 and labels.shape == shape and numbers.tolist() == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("shape", [(128, 128), (96, 200), (211, 190), (512, 64)])
def test_labels_are_one_to_n_without_gaps(segmenter: Segmenter, shape: tuple[int, int]) -> None:
    labels = labels_of(segmenter, discs(shape))
    assert is_valid(labels, shape)
    assert labels.max() == 9


def test_each_label_lies_on_one_cell_and_background_is_zero(segmenter: Segmenter) -> None:
    image = discs((128, 128))
    labels = labels_of(segmenter, image)
    truth = discs((128, 128), background=0.0) > 0
    assert np.mean((labels > 0) == truth) > 0.97


def test_same_input_same_output(segmenter: Segmenter) -> None:
    first = labels_of(segmenter, discs((128, 128)))
    labels_of(segmenter, discs((96, 200), seed=1))
    again = labels_of(segmenter, discs((128, 128)))
    assert np.array_equal(first, again)


def test_the_image_is_not_changed(segmenter: Segmenter) -> None:
    image = discs((128, 128))
    kept = image.copy()
    image.flags.writeable = False
    labels_of(segmenter, image)
    assert np.array_equal(image, kept)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [0.05, 0.3, 3.0, 100.0, 10_000.0])
def test_an_empty_noisy_frame_has_no_cells(segmenter: Segmenter, rate: float, seed: int) -> None:
    noise = np.random.default_rng(seed).poisson(rate, (256, 256)).astype(np.float32)
    assert labels_of(segmenter, noise).max() == 0


@pytest.mark.parametrize("value", [0.0, 1.0, 255.0, 65535.0])
@pytest.mark.parametrize("shape", [(128, 128), (33, 260)])
def test_a_frame_of_equal_pixels_has_no_cells(segmenter: Segmenter, value: float, shape: tuple[int, int]) -> None:
    labels = labels_of(segmenter, np.full(shape, value, np.float32))
    assert is_valid(labels, shape)
    assert labels.max() == 0


@pytest.mark.parametrize("top", [255.0, 65535.0])
def test_cells_that_saturate_the_camera_are_found(segmenter: Segmenter, top: float) -> None:
    labels = labels_of(segmenter, np.minimum(discs((128, 128), height=10 * top), top))
    assert labels.max() == 9


@pytest.mark.parametrize(("background", "height"), [(5.0, 60.0), (100.0, 150.0), (200.0, 30_000.0)])
def test_8_bit_and_16_bit_counts(segmenter: Segmenter, background: float, height: float) -> None:
    assert labels_of(segmenter, discs((128, 128), background=background, height=height)).max() == 9
