"""Measurements: the same numbers as scikit-image's, on smooth cells and on the oddest label images."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import regionprops

from acquisition.frame import FrameHeader, stage_um
from models.cells import Cells, Labels
from models.features import FEATURES
from models.measure import measure, warm_up
from models.runs import Image
from tests.label_images import UM_PER_PX, any_labels, counts_like, scene, view, view_of

ALL = tuple(FEATURES)
ROUNDING = 1e-6
"""A length of zero is the root of a variance that is zero but for rounding."""


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    warm_up()


def assert_equal_to_regionprops(header: FrameHeader, image: Image, labels: Labels) -> None:
    cells, known = measure(header, image, labels, ALL), regionprops(labels, image.astype(np.float64))
    assert cells.label.tolist() == [region.label for region in known]
    for row, region in enumerate(known):
        assert cells.xy_px[row] == pytest.approx(region.centroid[::-1])
        assert cells.area_um2[row] == pytest.approx(region.area * UM_PER_PX**2)
        assert cells.bbox_px[row].tolist() == [region.bbox[i] for i in (1, 0, 3, 2)]
        assert cells.mean_intensity[row] == pytest.approx(region.intensity_mean)
        expected = {
            "eccentricity": region.eccentricity,
            "major_um": region.axis_major_length * UM_PER_PX,
            "minor_um": region.axis_minor_length * UM_PER_PX,
            "perimeter_um": region.perimeter * UM_PER_PX,
            "solidity": region.solidity,
            "max_intensity": region.intensity_max,
            "min_intensity": region.intensity_min,
            "integrated_intensity": region.intensity_mean * region.area,
            "sd_intensity": region.intensity_std,
        }
        measured = {name: cells.feature(name)[row] for name in expected}
        assert measured == pytest.approx(expected, abs=ROUNDING)
        # scikit-image counts from the row axis; a direction has no front, so the doubled angles are compared
        apart = 2 * (cells.feature("orientation_rad")[row] - (math.pi / 2 - region.orientation))
        assert region.eccentricity < 0.01 or math.cos(apart) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(4))
def test_smooth_cells_as_in_regionprops(seed: int) -> None:
    image, labels = scene(seed)
    assert labels.max() > 5
    assert_equal_to_regionprops(view(), image, labels)


@settings(deadline=None)
@given(any_labels)
@example(np.full((5, 7), 2, np.int32))  # one cell that is the whole frame
@example(np.eye(8, dtype=np.int32))  # a diagonal
@example(np.array([[1, 0, 2, 0, 0, 1]], np.int32))  # a frame of one row, a cell in two parts
@example(np.array([[3], [3], [0], [1]], np.int32))  # of one column
@example(np.arange(1, 17, dtype=np.int32).reshape(4, 4))  # pixel by pixel another cell
def test_any_labels_as_in_regionprops(labels: Labels) -> None:
    assert_equal_to_regionprops(view_of(labels), counts_like(labels), labels)


@settings(max_examples=40, deadline=None)
@given(any_labels)
@example(np.full((4, 4), 1, np.int32))
def test_texture_as_in_grey_level_matrices(labels: Labels) -> None:
    image = counts_like(labels)
    cells = measure(view_of(labels), image, labels, ("texture_contrast", "texture_correlation"))
    for row, label in enumerate(cells.label):
        alone = np.where(labels == label, image, 0).astype(np.uint8)
        directions = [0, math.pi / 4, math.pi / 2, 3 * math.pi / 4]
        matrix = graycomatrix(alone, [1], directions, levels=256, symmetric=True)[1:, 1:].sum(axis=3, keepdims=True)
        contrast, correlation = (graycoprops(matrix, name).item() for name in ("contrast", "correlation"))
        assert cells.feature("texture_contrast")[row] == pytest.approx(contrast)
        assert cells.feature("texture_correlation")[row] == pytest.approx(correlation)


# --- on the stage ---------------------------------------------------------------------------------------------

numbers = st.floats(-2.0, 2.0)


@settings(deadline=None)
@given(any_labels, st.tuples(*[numbers] * 6))
def test_axes_are_those_of_the_pixels_on_the_stage(labels: Labels, affine: tuple[float, ...]) -> None:
    """Turned, mirrored, sheared or squeezed: pixel by pixel moved to the stage, then measured there."""
    cells = measure(view_of(labels, stage_from_pixel=affine), counts_like(labels), labels, ALL)
    for row, label in enumerate(cells.label):
        y_px, x_px = np.nonzero(labels == label)
        on_stage = stage_um(affine, np.column_stack([x_px, y_px]).astype(np.float64))
        assert cells.xy_um[row] == pytest.approx(on_stage.mean(axis=0), abs=ROUNDING)
        covariance = np.cov(on_stage.T, bias=True)
        short, long = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance), 0))
        assert cells.feature("major_um")[row] == pytest.approx(4 * long, abs=ROUNDING)
        assert cells.feature("minor_um")[row] == pytest.approx(4 * short, abs=ROUNDING)
        assert_along(cells, row, covariance)


def assert_along(cells: Cells, row: int, covariance: Image) -> None:
    """The orientation is the direction in which the cell is longest."""
    angle = cells.feature("orientation_rad")[row]
    direction = np.array([math.cos(angle), math.sin(angle)])
    assert 4 * math.sqrt(max(direction @ covariance @ direction, 0)) == pytest.approx(
        cells.feature("major_um")[row], abs=ROUNDING
    )


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 2 * math.pi))
def test_a_turned_camera_changes_the_orientation_alone(angle: float) -> None:
    image, labels = scene()
    cos, sin = UM_PER_PX * math.cos(angle), UM_PER_PX * math.sin(angle)
    straight = measure(view(), image, labels, ALL)
    turned = measure(view_of(labels, stage_from_pixel=(cos, -sin, 30.0, sin, cos, 7.0)), image, labels, ALL)
    for name in ALL:
        if name != "orientation_rad":
            assert turned.feature(name) == pytest.approx(straight.feature(name))
    change = turned.feature("orientation_rad") - straight.feature("orientation_rad")
    assert np.cos(2 * (change - angle)) == pytest.approx(1.0)
