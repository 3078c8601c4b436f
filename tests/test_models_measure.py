"""Measurements: the same numbers as scikit-image's regionprops, in stage micrometres."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import regionprops
from skimage.segmentation import relabel_sequential

from acquisition.frame import FrameHeader, StagePosition, affine_at, stage_um
from models.cells import Labels
from models.measure import FEATURES, Image, measure
from tests.scenes import header

ALL = tuple(FEATURES)
SIZE_PX = 96
UM_PER_PX = 0.65


def view(stage: tuple[float, float] = (0.0, 0.0), um_per_px: float = UM_PER_PX, size_px: int = SIZE_PX) -> FrameHeader:
    return header(stage=stage, size_px=size_px, um_per_px=um_per_px)


def scene(seed: int = 0) -> tuple[Image, Labels]:
    """Ellipses of all directions, some overlapping, some cut by the border; labels without gaps."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    labels = np.zeros((SIZE_PX, SIZE_PX), np.int32)
    for number in range(1, 13):
        (y0, x0), angle = rng.uniform(0, SIZE_PX, 2), rng.uniform(0, math.pi)
        along, across = (
            (x - x0) * math.cos(angle) + (y - y0) * math.sin(angle),
            (y - y0) * math.cos(angle) - (x - x0) * math.sin(angle),
        )
        labels[(along / rng.uniform(6, 12)) ** 2 + (across / rng.uniform(3, 6)) ** 2 < 1] = number
    return rng.gamma(2.0, 500.0, labels.shape).astype(np.float32), relabel_sequential(labels)[0]


@pytest.mark.parametrize("seed", range(4))
def test_values_equal_regionprops(seed: int) -> None:
    image, labels = scene(seed)
    cells = measure(view(), image, labels, ALL)
    known = regionprops(labels, image.astype(np.float64))
    assert len(cells) == len(known) > 5
    for row, region in enumerate(known):
        assert cells.label[row] == region.label
        assert cells.xy_px[row] == pytest.approx(region.centroid[::-1])
        assert cells.area_um2[row] == pytest.approx(region.area * UM_PER_PX**2)
        assert cells.bbox_px[row].tolist() == [region.bbox[i] for i in (1, 0, 3, 2)]
        assert cells.mean_intensity[row] == pytest.approx(region.intensity_mean)
        expected = {
            "eccentricity": region.eccentricity,
            "major_um": region.axis_major_length * UM_PER_PX,
            "minor_um": region.axis_minor_length * UM_PER_PX,
            "max_intensity": region.intensity_max,
            "integrated_intensity": region.intensity_mean * region.area,
            "sd_intensity": region.image_intensity[region.image].std(),
        }
        measured = {name: cells.feature(name)[row] for name in expected}
        assert measured == pytest.approx(expected)
        # scikit-image counts from the row axis; a direction has no front, so the doubled angles are compared
        theirs = math.pi / 2 - region.orientation
        assert math.cos(2 * (cells.feature("orientation_rad")[row] - theirs)) == pytest.approx(1.0)


def test_positions_go_through_the_headers_affine() -> None:
    """A camera turned by 90° and flipped, on a stage far from zero."""
    image, labels = scene()
    stage = StagePosition(1000.0, -2000.0)
    turned = affine_at(stage, (0.0, UM_PER_PX, UM_PER_PX, 0.0), labels.shape)
    head = header(stage=(1000.0, -2000.0), size_px=SIZE_PX, um_per_px=UM_PER_PX, stage_from_pixel=turned)
    straight, cells = measure(view(), image, labels, ALL), measure(head, image, labels, ALL)
    assert cells.xy_um == pytest.approx(stage_um(turned, cells.xy_px))
    assert cells.xy_um - (1000.0, -2000.0) == pytest.approx(straight.xy_um[:, ::-1])
    for name in ("major_um", "minor_um", "eccentricity"):
        assert cells.feature(name) == pytest.approx(straight.feature(name))
    swapped = math.pi / 2 - straight.feature("orientation_rad")
    assert np.cos(2 * (cells.feature("orientation_rad") - swapped)) == pytest.approx(1.0)


@given(st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)))
def test_a_stage_move_shifts_positions_and_nothing_else(stage: tuple[float, float]) -> None:
    image, labels = scene()
    there, here = measure(view(stage), image, labels, ALL), measure(view(), image, labels, ALL)
    assert there.xy_um - here.xy_um == pytest.approx(np.broadcast_to(stage, there.xy_um.shape), abs=1e-6)
    assert np.array_equal(there.area_um2, here.area_um2)
    assert np.array_equal(there.features, here.features)


def test_an_empty_frame_has_no_cells_but_all_columns() -> None:
    nothing = np.zeros((SIZE_PX, SIZE_PX), np.int32)
    cells = measure(view(), nothing.astype(np.float32), nothing, ALL)
    assert len(cells) == 0
    assert cells.features.shape == (0, len(ALL))
    assert cells.xy_um.shape == (0, 2)
    assert cells.bbox_px.shape == (0, 4)


def test_labels_with_gaps_keep_their_numbers() -> None:
    image, labels = scene()
    sparse = np.where(labels > 0, labels * 7, 0).astype(np.int32)
    cells, known = measure(view(), image, sparse, ALL), measure(view(), image, labels, ALL)
    assert cells.label.tolist() == (known.label * 7).tolist()
    assert np.array_equal(cells.features, known.features)
    assert np.array_equal(cells.bbox_px, known.bbox_px)


def test_one_pixel_is_a_round_cell_of_no_length() -> None:
    labels = np.zeros((SIZE_PX, SIZE_PX), np.int32)
    labels[7, 30] = 1
    cells = measure(view(), labels.astype(np.float32), labels, ALL)
    assert cells.xy_px.tolist() == [[30.0, 7.0]]
    assert np.isfinite(cells.features).all()
    assert cells.feature("eccentricity")[0] == cells.feature("major_um")[0] == 0.0


def test_every_cell_is_simply_a_cell_at_first() -> None:
    cells = measure(view(), *scene())
    assert cells.class_names == ("cell",)
    assert (cells.p_class == 1.0).all()
    assert cells.features.shape == (len(cells), 0)


def test_unknown_feature_is_named_with_the_nearest_known() -> None:
    with pytest.raises(ValueError, match=r"'excentricity' is not known; did you mean 'eccentricity'\?.*major_um"):
        measure(view(), *scene(), features=("excentricity",))


def test_shapes_must_agree() -> None:
    image, labels = scene()
    with pytest.raises(ValueError, match=r"image \[95, 96\] and labels \[96, 96\].*header's shape \[96, 96\]"):
        measure(view(), image[1:], labels)
