"""Label images → training targets, against scikit-image and scipy where they have the same."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries

from models.training.targets import (
    BACKGROUND,
    BOUNDARY,
    INTERIOR,
    Labels,
    between,
    inner_distance,
    pixel_classes,
    raised,
    weights,
)  # fmt: skip


def discs(*each: tuple[int, int, int]) -> Labels:
    """Discs (x, y, radius) as labels 1, 2 …"""
    y, x = np.mgrid[:60, :80]
    labels = np.zeros((60, 80), np.uint16)
    for value, (cx, cy, radius) in enumerate(each, start=1):
        labels[np.hypot(x - cx, y - cy) <= radius] = value
    return labels


def test_distance_is_that_of_each_object_alone() -> None:
    labels = discs((20, 30, 12), (40, 30, 10), (70, 50, 5))
    distance = inner_distance(labels)
    for value in (1, 2, 3):
        own = distance_transform_edt(labels == value)
        np.testing.assert_allclose(distance[labels == value], (own / own.max())[labels == value], atol=1e-3)
    assert not distance[labels == 0].any()


def test_an_object_cut_by_the_border_is_deepest_there() -> None:
    distance = inner_distance(discs((0, 30, 12)))
    assert distance[30, 0] == 1
    assert distance[30, 10] < 0.3


def test_pixel_classes_are_the_inner_boundaries() -> None:
    labels = discs((20, 30, 12), (40, 30, 10))
    classes = pixel_classes(labels)
    inner = find_boundaries(labels, connectivity=2, mode="inner")
    np.testing.assert_array_equal(classes == BOUNDARY, inner)
    np.testing.assert_array_equal(classes == BACKGROUND, labels == 0)
    np.testing.assert_array_equal(classes == INTERIOR, (labels > 0) & ~inner)


def test_between_is_where_two_objects_are_near_and_nowhere_else() -> None:
    near = between(discs((20, 30, 10), (41, 30, 10), (70, 30, 5)))
    assert near[30, 30]
    assert near[30, 31]
    assert not near[30, 25]
    assert not near[:, 50:].any()


def test_a_raised_rim_leaves_a_valley_between_touching_objects() -> None:
    labels = discs((20, 30, 10), (40, 30, 10))
    height = raised(inner_distance(labels), labels, 0.3)
    assert height[30, 10] > 0.3
    assert height[30, 30] == 0
    assert height.max() == pytest.approx(1)


def test_small_objects_and_gaps_count_more() -> None:
    labels = discs((20, 30, 14), (40, 30, 5), (70, 50, 2))
    weight = weights(labels, touching=3.0, small=0.25)
    assert weight[0, 0] == 1
    assert weight[50, 70] > weight[30, 42] > weight[30, 15]
    assert weight[30, 34] > 3


def test_labels_of_nothing() -> None:
    nothing = np.zeros((20, 20), np.uint16)
    assert not inner_distance(nothing).any()
    assert (weights(nothing, 3.0, 0.25) == 1).all()
