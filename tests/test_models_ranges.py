"""Classes by ranges: soft edges, rows that sum to 1, mistakes named before a run starts."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.cells import Floats
from models.perception import Classifier
from models.ranges import ClassRange, RangeClassifier
from tests.scenes import cells_at, header

IMAGE = np.zeros((4, 4), np.float32)


def classify(classifier: Classifier, **features: list[float]) -> Floats:
    n = len(next(iter(features.values())))
    intensity = features.pop("mean_intensity", None)
    cells = cells_at(header(), [(0.0, 0.0)] * n, features=features, mean_intensity=intensity)
    return classifier.classify(IMAGE, cells)


BRIGHT = ClassRange(name="bright", feature="mean_intensity", low=1000.0)


def test_inside_outside_and_on_the_edge() -> None:
    p = classify(RangeClassifier((BRIGHT,)), mean_intensity=[2000.0, 1000.0, 10.0])
    assert p[:, 0] == pytest.approx([1.0, 0.5, 0.0], abs=1e-6)
    assert p.sum(axis=1) == pytest.approx(1.0)


def test_softness_is_a_share_of_the_edge() -> None:
    p = classify(RangeClassifier((BRIGHT,), softness=0.1), mean_intensity=[1100.0])
    assert p[0, 0] == pytest.approx(1 / (1 + np.exp(-1)))


def test_conditions_of_one_name_must_all_hold() -> None:
    round_too = ClassRange(name="bright", feature="eccentricity", high=0.5)
    p = classify(
        RangeClassifier((BRIGHT, round_too)),
        mean_intensity=[2000.0, 2000.0, 10.0],
        eccentricity=[0.1, 0.9, 0.1],
    )
    assert p[:, 0] == pytest.approx([1.0, 0.0, 0.0], abs=1e-3)


def test_classes_that_overlap_share() -> None:
    big = ClassRange(name="big", feature="mean_intensity", low=500.0)
    classifier = RangeClassifier((BRIGHT, big), remainder="none")
    assert classifier.class_names == ("bright", "big", "none")
    assert classify(classifier, mean_intensity=[5000.0]) == pytest.approx(np.array([[0.5, 0.5, 0.0]]))


def test_an_edge_at_zero_is_hard() -> None:
    p = classify(
        RangeClassifier((ClassRange(name="right", feature="orientation_rad", low=0.0),)),
        orientation_rad=[-1e-6, 0.0, 1e-6],
    )
    assert p[:, 0] == pytest.approx([0.0, 0.5, 1.0])


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1e5, 1e5)), min_size=1, max_size=4),
)
def test_rows_always_sum_to_one(values: list[float], edges: list[tuple[str, float]]) -> None:
    ranges = tuple(ClassRange(name=name, feature="eccentricity", low=low, high=low + 1) for name, low in edges)
    p = classify(RangeClassifier(ranges), eccentricity=values)
    assert p.sum(axis=1) == pytest.approx(1.0)
    assert (p >= 0).all()


def test_no_cells_no_rows() -> None:
    assert RangeClassifier((BRIGHT,)).classify(IMAGE, cells_at(header())).shape == (0, 2)


def test_needs_are_the_features_beyond_those_always_measured() -> None:
    ranges = (
        BRIGHT,
        ClassRange(name="x", feature="eccentricity", low=0.5),
        ClassRange(name="y", feature="area_um2", high=9.0),
    )
    assert RangeClassifier(ranges).needs == ("eccentricity",)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"classes": []}, "at least one class"),
        ({"classes": [{"name": "a", "feature": "eccentricty", "low": 1.0}]}, "did you mean 'eccentricity'"),
        ({"classes": [{"name": "a", "feature": "area_um2"}]}, "give low, high or both"),
        (
            {"classes": [{"name": "a", "feature": "area_um2", "low": 2.0, "high": 1.0}]},
            "low 2 must be below high 1",
        ),
        (
            {"classes": [{"name": "a", "feature": "area_um2", "low": 2.0}], "remainder": "a"},
            "also the name of a class",
        ),
        ({"classes": [{"name": "a", "feature": "area_um2", "low": 2.0}], "softness": 0.0}, "> 0"),
        ({"classes": [{"name": "a", "feature": "area_um2", "lo": 2.0}]}, "unknown field `lo`"),
    ],
)
def test_mistakes_in_the_config_are_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(table, RangeClassifier)
