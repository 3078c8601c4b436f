"""The local background and the neighbours: against brute force, and what they are for."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.cells import Floats, Labels
from models.measure import measure, warm_up
from models.regions import NEIGHBOUR_UM, RING_FROM_UM, RING_TO_UM
from models.runs import Image
from tests.label_images import any_labels, counts_like, view_of

CORRECTED = ("background_intensity", "corrected_mean_intensity", "corrected_integrated_intensity")


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    warm_up()


def boxes(shape: tuple[int, int], *corners: tuple[int, int, int, int]) -> Labels:
    """Cells 1, 2, … from x0, y0 up to x1, y1."""
    labels = np.zeros(shape, np.int32)
    for number, (x0, y0, x1, y1) in enumerate(corners, start=1):
        labels[y0:y1, x0:x1] = number
    return labels


def neighbours(labels: Labels, um_per_px: float) -> list[float]:
    cells = measure(view_of(labels, um_per_px), counts_like(labels), labels, ("neighbours",))
    return cells.feature("neighbours").tolist()


# --- the same by brute force ----------------------------------------------------------------------------------


def distances_px(labels: Labels) -> Floats:
    """From each pixel to each cell, `[H, W, N]`: 1 a step to the side, 4/3 a step to the corner."""
    y, x = np.indices(labels.shape)
    to_cells = []
    for label in np.unique(labels[labels > 0]):
        there_y, there_x = np.nonzero(labels == label)
        dy, dx = np.abs(y[..., None] - there_y), np.abs(x[..., None] - there_x)
        to_cells.append((np.maximum(dx, dy) + np.minimum(dx, dy) / 3).min(axis=2))
    return np.stack(to_cells, axis=2)


def backgrounds(image: Image, labels: Labels, um_per_px: float) -> list[float]:
    away_px = distances_px(labels)
    nearest, least_px = away_px.argmin(axis=2), away_px.min(axis=2)
    inner_px = RING_FROM_UM / um_per_px
    ring = (least_px > inner_px) & (least_px <= max(RING_TO_UM / um_per_px, inner_px + 1))
    free = image[labels == 0]
    of_frame = np.median(free) if free.size else image.min()
    rings = [image[ring & (nearest == cell)] for cell in range(away_px.shape[2])]
    return [float(np.median(counts) if counts.size else of_frame) for counts in rings]


def meetings(labels: Labels, um_per_px: float) -> list[float]:
    away_px = distances_px(labels)
    owner = np.where(away_px.min(axis=2) <= NEIGHBOUR_UM / 2 / um_per_px, away_px.argmin(axis=2), -1)
    sides = np.concatenate(
        [np.stack([owner[1:], owner[:-1]]).reshape(2, -1), np.stack([owner[:, 1:], owner[:, :-1]]).reshape(2, -1)],
        axis=1,
    )
    met = {frozenset(pair) for pair in sides.T.tolist() if -1 not in pair and pair[0] != pair[1]}
    return [float(sum(cell in pair for pair in met)) for cell in range(away_px.shape[2])]


um_per_px_of_any = st.sampled_from([0.3, 0.65, 1.0, 2.2, 7.0])


@settings(deadline=None)
@given(any_labels.filter(np.any), um_per_px_of_any)
@example(np.full((4, 4), 1, np.int32), 0.65)  # nothing but one cell
@example(np.pad(np.arange(1, 10, dtype=np.int32).reshape(3, 3), 4), 0.65)  # one without any free pixel beside it
def test_backgrounds_and_neighbours_as_by_brute_force(labels: Labels, um_per_px: float) -> None:
    image = counts_like(labels)
    cells = measure(view_of(labels, um_per_px), image, labels, ("background_intensity", "neighbours"))
    assert cells.feature("background_intensity").tolist() == backgrounds(image, labels, um_per_px)
    assert cells.feature("neighbours").tolist() == meetings(labels, um_per_px)


# --- what they are for ----------------------------------------------------------------------------------------


def test_corrected_intensity_does_not_depend_on_uneven_light() -> None:
    """Two equal cells, one on a bright side of the frame; a third beside the first must not count as background."""
    labels = boxes((40, 90), (10, 10, 25, 25), (65, 10, 80, 25), (10, 27, 25, 35))
    image = np.where(labels > 0, 50.0, 0.0) + np.linspace(100, 600, 90)
    image[labels == 3] = 5000.0
    cells = measure(view_of(labels, 0.5), image.astype(np.float32), labels, CORRECTED)
    background, mean, integrated = (cells.feature(name)[:2] for name in CORRECTED)
    assert background[1] - background[0] == pytest.approx(55 * 500 / 89, rel=0.05)
    assert mean == pytest.approx([50, 50], abs=10)
    assert integrated == pytest.approx(mean * 15**2)
    assert cells.mean_intensity[:2] == pytest.approx(background + mean)


def test_a_cell_without_free_pixels_around_it_takes_the_background_of_the_frame() -> None:
    labels = boxes((30, 30), (5, 5, 25, 25), (10, 10, 20, 20))
    image = np.where(labels > 0, 900, 40).astype(np.float32)
    image[12:18, 12:18] = 1000
    assert measure(view_of(labels), image, labels, CORRECTED).feature("background_intensity").tolist() == [40, 40]


def test_a_frame_full_of_cells_has_its_lowest_count_as_background() -> None:
    labels = boxes((8, 8), (0, 0, 8, 4), (0, 4, 8, 8))
    image = counts_like(labels)
    measured = measure(view_of(labels), image, labels, CORRECTED).feature("background_intensity")
    assert measured.tolist() == [image.min(), image.min()]


@pytest.mark.parametrize("um_per_px", [0.2, 0.5, 1.0])
@pytest.mark.parametrize(("gap_um", "met"), [(0, 1), (4, 1), (6, 0)])
def test_neighbours_are_near_on_the_stage_whatever_the_magnification(um_per_px: float, gap_um: int, met: int) -> None:
    size, gap = 6, round(gap_um / um_per_px)
    labels = boxes((8, 2 * size + gap), (0, 1, size, 7), (size + gap, 1, 2 * size + gap, 7))
    assert neighbours(labels, um_per_px) == [met, met]


def test_a_cell_in_between_keeps_others_from_being_neighbours() -> None:
    assert neighbours(boxes((30, 30), (0, 0, 10, 30), (10, 0, 13, 30), (13, 0, 30, 30)), 1.0) == [1, 2, 1]


def test_one_cell_among_many() -> None:
    """A flower: eight petals, each of which meets the middle and two others."""
    y, x = np.mgrid[-20:21, -20:21]
    petal = np.floor((np.arctan2(y, x) + math.pi) / (2 * math.pi) * 8).clip(0, 7)
    labels = np.where(np.hypot(x, y) < 8, 9, 1 + petal).astype(np.int32)
    assert neighbours(labels, 100.0) == [3.0] * 8 + [8.0]
