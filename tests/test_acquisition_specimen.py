"""The simulated specimen: cells that wander, round up, divide and keep their distance."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from acquisition.simulated.rendering import View, draw_labels, draw_light, random_stream
from acquisition.simulated.specimen import LARGEST_GROWTH, STEP_MIN, Culture, Nuclei, Specimen

CALM = Culture(
    n_cells=300, size_um=(800.0, 600.0), nucleus_um=9.0, speed_um_min=0.5, persistence_min=20.0,
    cycle_min=1e6, mitosis_min=40.0,
)  # fmt: skip
LIVELY = replace(CALM, n_cells=100, cycle_min=200.0)


def specimen(culture: Culture, seed: int = 1) -> Specimen:
    return Specimen(culture, random_stream(seed, "specimen"))


def ellipse(**changes: object) -> Nuclei:
    """One nucleus at (0, 0), 10 × 6 µm."""
    one = {
        "id": np.array([7]), "parent": np.array([0]), "xy_um": np.zeros((1, 2)),
        "semi_um": np.array([[5.0, 3.0]]), "angle_rad": np.zeros(1), "brightness": np.ones(1),
        "mitosis": np.zeros(1),
    }  # fmt: skip
    return Nuclei(**(one | changes))  # type: ignore[arg-type]


def test_its_history_does_not_depend_on_who_looks() -> None:
    often, once = specimen(LIVELY), specimen(LIVELY)
    for t_min in np.linspace(0.0, 300.0, 2000):
        often.nuclei_at(t_min)
    watched, alone = often.nuclei_at(300.05), once.nuclei_at(300.05)
    for name in Nuclei.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(watched, name), getattr(alone, name))


def test_other_seeds_grow_other_specimens() -> None:
    assert not np.array_equal(specimen(CALM, 1).nuclei_at(0).xy_um, specimen(CALM, 2).nuclei_at(0).xy_um)


def test_cells_move_continuously_at_the_set_speed_and_forget_their_direction() -> None:
    sparse = replace(CALM, n_cells=1500, size_um=(20_000.0, 20_000.0))
    world = specimen(sparse)
    xy_um = np.array([world.nuclei_at(t).xy_um for t in np.arange(0.0, 60.0, STEP_MIN) + 0.01])
    v_um_min = np.diff(xy_um, axis=0) / STEP_MIN
    speed_um_min = math.sqrt(np.mean(np.sum(v_um_min**2, axis=-1)))
    assert speed_um_min == pytest.approx(0.5, rel=0.05)
    lag = round(sparse.persistence_min / STEP_MIN)
    correlation = np.mean(np.sum(v_um_min[lag:] * v_um_min[:-lag], axis=-1)) / speed_um_min**2
    assert correlation == pytest.approx(1 / math.e, abs=0.06)


def test_cells_stay_in_the_dish_and_apart() -> None:
    world = specimen(replace(CALM, speed_um_min=5.0))
    for t_min in range(0, 60, 3):
        xy_um = world.nuclei_at(t_min).xy_um
        assert np.all(np.abs(xy_um) <= np.array(CALM.size_um) / 2 + 1e-9)
        nearest_um = cKDTree(xy_um).query(xy_um, k=2)[0][:, 1]
        assert np.mean(nearest_um < 0.6 * CALM.nucleus_um) < 0.02


def test_a_cell_brightens_and_rounds_up_before_it_becomes_two() -> None:
    world = specimen(LIVELY)
    seen: dict[int, list[tuple[float, float, float]]] = {}
    parents: dict[int, list[int]] = {}
    where: dict[int, np.ndarray] = {}  # type: ignore[type-arg]
    for t_min in np.arange(0.0, 260.0, 1.0):
        nuclei = world.nuclei_at(t_min)
        for i, cell in enumerate(nuclei.id.tolist()):
            long_um, short_um = nuclei.semi_um[i]
            seen.setdefault(cell, []).append((nuclei.brightness[i], long_um * short_um, long_um / short_um))
            if cell not in where and nuclei.parent[i]:
                parents.setdefault(int(nuclei.parent[i]), []).append(cell)
                born_um = np.hypot(*(nuclei.xy_um[i] - where[int(nuclei.parent[i])]))
                assert born_um < LIVELY.nucleus_um
            where[cell] = nuclei.xy_um[i]
    assert len(parents) > 50
    for mother, daughters in parents.items():
        assert len(daughters) == 2
        (start_light, start_area, _), (end_light, end_area, end_shape) = seen[mother][0], seen[mother][-1]
        if len(seen[mother]) > 60:  # seen since before its mitosis began
            assert end_light == pytest.approx(2 * start_light)
            assert end_area < 0.9 * start_area
        assert end_shape == pytest.approx(1.0)


def test_a_crowded_culture_stops_growing() -> None:
    world = specimen(replace(LIVELY, n_cells=30, mitosis_min=20.0))
    counts = [len(world.nuclei_at(t_min).id) for t_min in (0.0, 200.0, 2000.0, 3000.0)]
    assert counts[0] == 30
    assert counts[1] > 45
    assert LARGEST_GROWTH * 30 <= counts[2] == counts[3] < LARGEST_GROWTH * 30 * 1.5


def test_ids_are_positive_and_never_used_twice() -> None:
    world, owner = specimen(replace(LIVELY, n_cells=20)), {}
    for t_min in range(600):
        nuclei = world.nuclei_at(t_min)
        assert len(set(nuclei.id.tolist())) == len(nuclei.id)
        for cell, parent in zip(nuclei.id.tolist(), nuclei.parent.tolist(), strict=True):
            assert cell > parent >= 0
            assert owner.setdefault(cell, parent) == parent


@pytest.mark.parametrize("angle_rad", [0.0, 0.7, math.pi / 2])
@pytest.mark.parametrize("um_per_px", [0.2, 0.65])
def test_a_nucleus_is_drawn_with_its_size_place_and_angle(angle_rad: float, um_per_px: float) -> None:
    nucleus = ellipse(angle_rad=np.array([angle_rad]), xy_um=np.array([[2.3, -1.1]]))
    view = View((-12.0, -10.0), um_per_px, (round(20 / um_per_px), round(24 / um_per_px)))
    labels = draw_labels(nucleus, view)
    light = draw_light(nucleus, view, 1.0, 1.0)
    assert set(np.unique(labels)) == {0, 7}
    assert (labels > 0).sum() * um_per_px**2 == pytest.approx(math.pi * 15, rel=0.06)
    assert light.sum() * um_per_px**2 == pytest.approx(math.pi * 15, rel=0.06)
    assert light.max() == pytest.approx(1.0)
    y_um, x_um = (np.argwhere(labels) * um_per_px + [-10.0, -12.0]).T
    assert (x_um.mean(), y_um.mean()) == pytest.approx((2.3, -1.1), abs=um_per_px / 2)
    covariance = np.cov(x_um, y_um)
    along = np.array([math.cos(angle_rad), math.sin(angle_rad)])
    assert along @ covariance @ along == pytest.approx(5.0**2 / 4, rel=0.08)


@pytest.mark.parametrize("xy_um", [(-6.0, 3.0), (6.5, 0.0), (0.0, -6.0), (30.0, 0.0), (-500.0, 500.0)])
def test_nuclei_at_and_beyond_the_rim_are_cut_off(xy_um: tuple[float, float]) -> None:
    nucleus = ellipse(xy_um=np.array([xy_um]))
    view, larger = View((-5.0, -5.0), 0.5, (20, 20)), View((-45.0, -45.0), 0.5, (180, 180))
    whole = draw_labels(nucleus, larger)
    np.testing.assert_array_equal(draw_labels(nucleus, view), whole[80:100, 80:100])
    np.testing.assert_allclose(
        draw_light(nucleus, view, 1.0, 1.2), draw_light(nucleus, larger, 1.0, 1.2)[80:100, 80:100], atol=1e-5
    )


def test_an_empty_view_is_dark() -> None:
    nobody = ellipse()[np.zeros(1, dtype=bool)]
    view = View((0.0, 0.0), 0.5, (8, 9))
    assert draw_light(nobody, view, 1.0, 1.2).shape == (8, 9)
    assert draw_light(nobody, view, 1.0, 1.2).max() == 0
    assert draw_labels(nobody, view).max() == 0
