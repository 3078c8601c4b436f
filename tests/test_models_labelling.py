"""Maps → labels: against the same written with scikit-image, and the rules one by one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace
from scipy.ndimage import gaussian_filter
from skimage.measure import label as connected_parts
from skimage.segmentation import watershed

from models.label_rules import LabelRules
from models.labelling import LEVELS, compiled, hills, in_steps, label_maps
from models.labelling import Maps as Map

Ints = npt.NDArray[np.int64]
Pixel = tuple[int, int]
TOLERANT = LabelRules(foreground=0.5, prominence=0.2, peak=0.4, certainty=0.5, min_area_px=16)
SURELY = 4.0


def reference(foreground: Map, height: Map, prominence: int) -> Ints:
    """Watershed of all summits by scikit-image, then its regions joined pass by pass, the highest first."""
    inside = foreground > 0
    step = np.float32(LEVELS - 1)
    level = np.floor(np.clip(height, 0, 1) * step + np.float32(0.5)).astype(np.int64)
    key = level * inside.size - np.arange(inside.size).reshape(inside.shape)  # no two pixels alike
    key[~inside] = key.min() - 1
    basin: Ints = watershed(-key, mask=inside, connectivity=1)
    basins = [int(b) for b in np.unique(basin[inside])]
    summit = {b: int(key[basin == b].max()) for b in basins}
    summit_level = {b: int(level[basin == b].max()) for b in basins}
    part_of, chain = {b: b for b in basins}, {b: b for b in basins}
    for here, there in sorted(_touching(basin, inside), key=lambda pair: -min(level[pair[0]], level[pair[1]])):
        one, other = int(basin[here]), int(basin[there])
        high, low = _end(chain, one), _end(chain, other)
        if high == low:
            continue
        if summit[high] < summit[low]:
            high, low, one, other = low, high, other, one
        chain[low] = high
        if summit_level[low] - min(level[here], level[there]) < prominence:
            part_of[_end(part_of, other)] = _end(part_of, one)
    return np.array([0, *(_end(part_of, b) for b in basins)])[basin]


def _touching(basin: Ints, inside: npt.NDArray[np.bool_]) -> Iterator[tuple[Pixel, Pixel]]:
    """Neighbouring pixels of different basins, in the order of the image."""
    rows, columns = basin.shape
    for y, x in zip(*(side.tolist() for side in np.nonzero(inside)), strict=True):
        for there in ((y, x + 1), (y + 1, x)):
            if there[0] < rows and there[1] < columns and inside[there] and basin[there] != basin[y, x]:
                yield (y, x), there


def _end(chain: dict[int, int], i: int) -> int:
    while chain[i] != i:
        i = chain[i]
    return i


def in_order(labels: Ints) -> Ints:
    """The same regions numbered by their first pixel."""
    values, first = np.unique(labels[labels > 0], return_index=True)
    number = np.zeros(labels.max() + 1, np.int64)
    number[values[np.argsort(first)]] = np.arange(1, len(values) + 1)
    return number[labels]


def cone(x: float, y: float, radius: float, shape: tuple[int, int] = (60, 80)) -> Map:
    """A cell's distance map: 1 in the middle, 0 at `radius` and beyond."""
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return np.maximum(0, 1 - np.hypot(xx - x, yy - y) / radius).astype(np.float32)


def surely(height: Map) -> Map:
    """Foreground logits of a map whose cells end where it is 0."""
    return np.where(height > 0, SURELY, -SURELY).astype(np.float32)


@pytest.mark.parametrize("kind", ["fine", "middling", "smooth", "plateaus"])
@pytest.mark.parametrize("prominence", [0.002, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_scikit_image(kind: str, prominence: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.random((60, 47)), {"fine": 1.0, "middling": 2.0, "smooth": 5.0, "plateaus": 2.0}[kind])
    height = ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)
    if kind == "plateaus":
        height = np.round(height * 4) / np.float32(4)
    foreground = (gaussian_filter(rng.random((60, 47)), 3) - 0.49).astype(np.float32)
    ours = hills(foreground, height, replace(TOLERANT, prominence=prominence, peak=1e-4, certainty=1e-9, min_area_px=1))
    np.testing.assert_array_equal(ours, in_order(reference(foreground, height, in_steps(prominence))))


def test_two_touching_cells_come_apart_at_the_valley() -> None:
    height = np.maximum(cone(25, 30, 14), cone(50, 30, 14))
    labels = label_maps(np.stack([surely(height), height]), TOLERANT)
    assert labels.max() == 2
    assert labels.dtype == np.int32
    assert (labels[:, :37][labels[:, :37] > 0] == 1).all()
    assert (labels[:, 39:][labels[:, 39:] > 0] == 2).all()


def test_a_bump_of_little_prominence_is_no_cell_of_its_own() -> None:
    height = np.maximum(cone(25, 30, 20), 0.6 * cone(38, 30, 20))
    assert hills(surely(height), height, replace(TOLERANT, prominence=0.2)).max() == 1
    two = np.maximum(cone(25, 30, 14), cone(48, 30, 14))
    assert hills(surely(two), two, replace(TOLERANT, prominence=0.9)).max() == 1


def test_a_cell_with_a_low_summit_is_dropped() -> None:
    height = np.maximum(cone(20, 30, 12), 0.3 * cone(60, 30, 12))
    assert hills(surely(height), height, replace(TOLERANT, peak=0.2)).max() == 2
    assert hills(surely(height), height, replace(TOLERANT, peak=0.4)).max() == 1


def test_an_uncertain_cell_is_dropped() -> None:
    height = np.maximum(cone(20, 30, 12), cone(60, 30, 12))
    foreground = surely(height)
    foreground[:, 40:] = np.where(height[:, 40:] > 0, 0.5, -SURELY)  # p = 0.62
    assert hills(foreground, height, replace(TOLERANT, certainty=0.6)).max() == 2
    assert hills(foreground, height, replace(TOLERANT, certainty=0.7)).max() == 1


def test_small_cells_are_dropped_and_the_rest_numbered_without_gaps() -> None:
    height = np.maximum.reduce([cone(10, 10, 4), cone(40, 15, 10), cone(30, 45, 10)])
    labels = hills(surely(height), height, replace(TOLERANT, min_area_px=100))
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert labels[15, 40] == 1


def test_cells_at_the_border_and_a_frame_full_of_one_cell() -> None:
    height = np.maximum(cone(0, 0, 15), cone(79, 59, 15))
    assert hills(surely(height), height, TOLERANT).max() == 2
    full = np.ones((20, 30), np.float32)
    np.testing.assert_array_equal(hills(full, full, TOLERANT), np.ones((20, 30)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3)])
def test_thin_images(shape: tuple[int, int]) -> None:
    ones = np.ones(shape, np.float32)
    assert hills(ones, ones, replace(TOLERANT, min_area_px=1)).max() == 1


def test_nothing_in_nothing_out() -> None:
    empty = np.full((2, 30, 30), -9.0, np.float32)
    assert label_maps(empty, TOLERANT).max() == 0


def test_not_a_number_is_background() -> None:
    maps = np.full((2, 30, 30), np.nan, np.float32)
    assert label_maps(maps, TOLERANT).max() == 0


def test_pixel_classes_split_cells_at_their_boundary() -> None:
    inside = np.maximum(cone(25, 30, 14), cone(50, 30, 14)) > 0
    interior = np.maximum(cone(25, 30, 14), cone(50, 30, 14)) > 0.2
    maps = np.full((3, 60, 80), -SURELY, np.float32)
    maps[0][~inside], maps[1][inside & ~interior], maps[2][interior] = SURELY, SURELY, SURELY
    labels = label_maps(maps, replace(TOLERANT, method="pixel_classes", min_area_px=1))
    assert labels.max() == connected_parts(interior, connectivity=1).max() == 2
    np.testing.assert_array_equal(labels > 0, inside)


def test_logits_of_any_size_make_pixel_classes_without_a_warning() -> None:
    maps = np.full((3, 20, 20), -1000, np.float32)
    maps[0], maps[:, 5:15, 5:15] = 1000, np.array([-1000, -1000, 1000], np.float32)[:, None, None]
    labels = label_maps(maps, replace(TOLERANT, method="pixel_classes"))
    assert np.array_equal(labels, np.pad(np.ones((10, 10)), 5))


def test_code_is_compiled_even_where_nothing_can_be_kept_on_disk() -> None:
    nowhere: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x\n", nowhere)  # numba finds no folder for what comes from no file
    assert compiled(nowhere["twice"])(21) == 42
