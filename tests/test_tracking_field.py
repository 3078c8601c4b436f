"""What the camera could see, however it is turned; how much cells cover one another, pixel by pixel."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from acquisition.frame import Affine, StagePosition, affine_at, stage_um
from models.cells import Floats, Labels
from tests.scenes import cells_at, header
from tracking.field import Field
from tracking.overlap import Seen, uncovered
from tracking.tracks import Ints

SHAPE = (60, 90)
UM_PER_PX = 0.4


def camera(turned: float, flipped: bool, um_per_px: float = UM_PER_PX) -> tuple[float, float, float, float]:
    cosine, sine = um_per_px * np.cos(turned), um_per_px * np.sin(turned)
    return (-cosine, -sine, -sine, cosine) if flipped else (cosine, -sine, sine, cosine)


def field_of(affine: Affine | None) -> Field:
    return Field.of(replace(cells_at(header()), stage_from_pixel=affine, shape=SHAPE))


@given(
    turned=st.floats(-np.pi, np.pi),
    flipped=st.booleans(),
    x_um=st.floats(-1e5, 1e5),
    y_um=st.floats(-1e5, 1e5),
)
def test_the_distance_to_the_edge_is_that_in_the_image(turned: float, flipped: bool, x_um: float, y_um: float) -> None:
    affine = affine_at(StagePosition(x_um, y_um), camera(turned, flipped), SHAPE)
    xy_px = np.array([[44.5, 29.5], [0.0, 10.0], [-0.5, 10.0], [30.0, 59.5], [89.5, 59.5], [50.0, 62.0], [-9.5, 20.0]])
    inside_px = [30.0, 0.5, 0.0, 0.0, 0.0, -2.5, -9.0]
    field = field_of(affine)
    assert field.inside_um(stage_um(affine, xy_px)) == pytest.approx(np.array(inside_px) * UM_PER_PX, abs=1e-6)
    assert field.area_um2 == pytest.approx(60 * 90 * UM_PER_PX**2)


def test_without_a_known_field_everywhere_is_inside() -> None:
    field = field_of(None)
    assert field.inside_um(np.array([[0.0, 0.0], [1e9, -1e9]])).tolist() == [np.inf, np.inf]
    assert field.area_um2 is None


LABELS = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4))
PAIRS = [(old, new) for old in range(5) for new in range(1, 5)]
OLD, NEW = np.array(PAIRS, np.int64).T


def measured(before: Seen | None, now: Seen | None, old: Ints = OLD, new: Ints = NEW) -> Floats:
    return uncovered(before, now, old, new)


def pixels(labels: Labels, label: int, shift: tuple[int, int]) -> set[tuple[int, int]]:
    rows, columns = np.nonzero(labels == label)
    return {(int(x) + shift[0], int(y) + shift[1]) for x, y in zip(columns, rows, strict=True)}


@settings(deadline=None)  # the first example compiles
@given(
    before=LABELS,
    now=LABELS,
    shift=st.tuples(st.integers(-10, 10), st.integers(-10, 10)),
    turned=st.floats(-np.pi, np.pi),
    flipped=st.booleans(),
)
def test_uncovered_is_what_counting_pixels_says(
    before: Labels, now: Labels, shift: tuple[int, int], turned: float, flipped: bool
) -> None:
    """Pixel (0, 0) of the new image lies on pixel `shift` of the old one, wherever the camera looks."""
    a, b, d, e = camera(turned, flipped)
    c, f = stage_um((a, b, 0.0, d, e, 0.0), np.array([shift], float))[0]
    share = measured(Seen(before, (a, b, 7.0, d, e, -3.0)), Seen(now, (a, b, 7.0 + c, d, e, -3.0 + f)))
    for (old, new), told in zip(PAIRS, share.tolist(), strict=True):
        one, other = pixels(before, old, (0, 0)), pixels(now, new, shift)
        if old == 0:
            assert np.isnan(told)
        elif one | other:
            assert told == pytest.approx(1 - len(one & other) / len(one | other))


STILL: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, Seen(np.ones((3, 3), np.int32), STILL)),
        (Seen(np.ones((3, 3), np.int32), STILL), None),
        (Seen(np.ones((3, 3), np.int32), STILL), Seen(np.ones((3, 3), np.int32), (0.0, -1.0, 0.0, 1.0, 0.0, 0.0))),
        (Seen(np.ones((3, 3), np.int32), STILL), Seen(np.ones((3, 3), np.int32), (2.0, 0.0, 0.0, 0.0, 2.0, 0.0))),
    ],
    ids=["no image before", "none now", "camera turned", "other magnification"],
)
def test_what_cannot_be_compared_is_not_known(before: Seen | None, now: Seen | None) -> None:
    assert np.isnan(measured(before, now, np.array([1]), np.array([1]))).all()


def test_no_pairs() -> None:
    image, none = Seen(np.ones((3, 3), np.int32), STILL), np.empty(0, np.int64)
    assert measured(image, image, none, none).shape == (0,)
