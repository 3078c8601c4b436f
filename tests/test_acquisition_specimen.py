"""The simulated specimen: cells that wander, keep their distance, divide, and look like it."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from acquisition.simulated.biology import ANAPHASE, G2, METAPHASE, PHASES, PROPHASE, TELOPHASE
from acquisition.simulated.drawn import DrawnAtlas
from acquisition.simulated.nuclei import Nuclei
from acquisition.simulated.random_streams import random_stream
from acquisition.simulated.rendering import View, draw_labels, draw_light
from acquisition.simulated.settings import Biology
from acquisition.simulated.specimen import LARGEST_GROWTH, STEP_MIN, Culture, Specimen

CALM = Culture(
    n_cells=300, size_um=(800.0, 600.0), nucleus_um=9.0, speed_um_min=0.5, persistence_min=20.0,
    cycle_min=1e6, mitosis_min=40.0,
)  # fmt: skip
LIVELY = replace(CALM, n_cells=100, cycle_min=200.0)
ATLAS = DrawnAtlas()


def specimen(culture: Culture, seed: int = 1, **biology: float) -> Specimen:
    return Specimen(culture, random_stream(seed, "specimen"), Biology(**biology))


def nucleus(**changes: Any) -> Nuclei:
    """One at (0, 0), 10 × 6 µm, in G1."""
    one = {
        "id": np.array([7]), "parent": np.array([0]), "xy_um": np.zeros((1, 2)), "semi_um": np.array([[5.0, 3.0]]),
        "angle_rad": np.zeros(1), "brightness": np.ones(1), "radius_um": np.array([math.sqrt(15.0)]),
        "phase": np.array([PHASES.index("G1")]), "share": np.zeros(1), "unbleached": np.ones(1), "reporter": np.ones(1),
        "dose_j_cm2": np.zeros(1), "harmed": np.zeros(1, bool), "rare": np.zeros(1, bool),
    }  # fmt: skip
    return Nuclei(**(one | changes))


def test_its_history_does_not_depend_on_who_looks() -> None:
    busy = {"growth_fraction": 0.8, "death_per_h": 0.2, "rare_per_h": 0.5, "transient_per_h": 2.0}
    often, once = specimen(LIVELY, **busy), specimen(LIVELY, **busy)
    for t_min in np.linspace(0.0, 200.0, 1300):
        often.nuclei_at(t_min)
    watched, alone = often.nuclei_at(200.05), once.nuclei_at(200.05)
    for name in Nuclei.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(watched, name), getattr(alone, name))
    assert often.history(0, 6e10) == once.history(0, 6e10)


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


def test_a_cell_condenses_before_it_becomes_two() -> None:
    world = specimen(LIVELY)
    before: dict[int, tuple[float, float]] = {}
    plates: dict[int, tuple[float, float]] = {}
    where: dict[int, Any] = {}
    parents: dict[int, list[int]] = {}
    for t_min in np.arange(0.0, 260.0, 1.0):
        nuclei = world.nuclei_at(t_min)
        for i, (cell, phase) in enumerate(zip(nuclei.id.tolist(), nuclei.phase.tolist(), strict=True)):
            look = nuclei.brightness[i], nuclei.semi_um[i].prod()
            if phase == G2:
                before[cell] = look
            elif phase == METAPHASE:
                plates[cell] = look
            if cell not in where and nuclei.parent[i]:
                parents.setdefault(int(nuclei.parent[i]), []).append(cell)
                born_um = np.hypot(*(nuclei.xy_um[i] - where[int(nuclei.parent[i])]))
                assert phase == ANAPHASE
                assert born_um < LIVELY.nucleus_um
            where[cell] = nuclei.xy_um[i]
    assert len(parents) > 50
    assert all(len(daughters) == 2 for daughters in parents.values())
    compared = before.keys() & plates.keys()
    assert len(compared) > 50
    for cell in compared:
        (light, area_um2), (plate_light, plate_um2) = before[cell], plates[cell]
        assert plate_light > 3 * light
        assert plate_light * plate_um2 == pytest.approx(light * area_um2), "no chromatin is made or lost"


def test_sisters_part_across_their_plates_and_take_half_of_the_light_each() -> None:
    world = specimen(LIVELY)
    metaphases: dict[int, float] = {}
    apart_um: dict[int, list[float]] = {}
    for t_min in np.arange(0.0, 60.0, 0.2):
        nuclei = world.nuclei_at(t_min)
        last = nuclei.phase == METAPHASE
        metaphases |= dict(zip(nuclei.id[last].tolist(), nuclei.light_um2[last].tolist(), strict=True))
        young = nuclei[nuclei.phase == ANAPHASE]
        for mother in set(young.parent.tolist()):
            one, other = np.flatnonzero(young.parent == mother)
            way_um = young.xy_um[one] - young.xy_um[other]
            apart_um.setdefault(mother, []).append(float(np.hypot(*way_um)))
            poles = np.stack([-np.sin(young.angle_rad), np.cos(young.angle_rad)], axis=1)
            assert poles[one] @ way_um > 0.7 * np.hypot(*way_um), "each goes to its own pole"
            if mother in metaphases:
                assert young.light_um2[[one, other]].sum() == pytest.approx(metaphases[mother], rel=0.5)
    whole = [distances for distances in apart_um.values() if len(distances) > 25]
    assert len(whole) > 5
    for distances in whole:
        assert distances[0] < 0.65 * LIVELY.nucleus_um
        assert 0.75 * LIVELY.nucleus_um < distances[-1] < 1.6 * LIVELY.nucleus_um


def test_a_crowded_culture_stops_growing() -> None:
    world = specimen(replace(LIVELY, n_cells=30, mitosis_min=20.0, cycle_min=100.0))
    counts = [len(world.nuclei_at(t_min).id) for t_min in (0.0, 100.0, 600.0, 1000.0)]
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


# --- drawing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle_rad", [0.0, 0.7, math.pi / 2])
@pytest.mark.parametrize("um_per_px", [0.2, 0.65])
def test_a_nucleus_is_drawn_with_its_size_place_and_angle(angle_rad: float, um_per_px: float) -> None:
    one = nucleus(angle_rad=np.array([angle_rad]), xy_um=np.array([[2.3, -1.1]]))
    view = View((-12.0, -10.0), um_per_px, (round(20 / um_per_px), round(24 / um_per_px)))
    labels, light = draw_labels(one, view, ATLAS), draw_light(one, view, ATLAS)
    assert set(np.unique(labels)) == {0, 7}
    assert (labels > 0).sum() * um_per_px**2 == pytest.approx(math.pi * 15, rel=0.12)
    assert light.sum() * um_per_px**2 == pytest.approx(math.pi * 15, rel=0.02)
    y_um, x_um = (np.argwhere(labels) * um_per_px + [-10.0, -12.0]).T
    assert (x_um.mean(), y_um.mean()) == pytest.approx((2.3, -1.1), abs=um_per_px / 2)
    covariance = np.cov(x_um, y_um)
    along = np.array([math.cos(angle_rad), math.sin(angle_rad)])
    assert along @ covariance @ along == pytest.approx(5.0**2 / 4, rel=0.25)


@pytest.mark.parametrize("xy_um", [(-6.0, 3.0), (6.5, 0.0), (0.0, -6.0), (30.0, 0.0), (-500.0, 500.0)])
def test_nuclei_at_and_beyond_the_rim_are_cut_off(xy_um: tuple[float, float]) -> None:
    one = nucleus(xy_um=np.array([xy_um]))
    view, larger = View((-5.0, -5.0), 0.5, (20, 20)), View((-45.0, -45.0), 0.5, (180, 180))
    for draw in (draw_labels, draw_light):
        np.testing.assert_allclose(draw(one, view, ATLAS), draw(one, larger, ATLAS)[80:100, 80:100], atol=1e-5)


def test_an_empty_view_is_dark() -> None:
    nobody = nucleus()[np.zeros(1, dtype=bool)]
    view = View((0.0, 0.0), 0.5, (8, 9))
    assert draw_light(nobody, view, ATLAS).shape == (8, 9)
    assert draw_light(nobody, view, ATLAS).max() == 0
    assert draw_labels(nobody, view, ATLAS).max() == 0


@pytest.mark.parametrize("phase", range(PROPHASE, TELOPHASE + 1), ids=PHASES[PROPHASE : TELOPHASE + 1])
def test_the_light_of_every_phase_is_all_drawn(phase: int) -> None:
    """Also where a plate is little wider than a pixel."""
    for cell in range(1, 13):
        one = nucleus(
            id=np.array([cell]), phase=np.array([phase]), semi_um=np.array([[4.0, 1.3]]), angle_rad=np.array([cell])
        )
        light = draw_light(one, View((-15.0, -15.0), 0.65, (47, 47)), ATLAS)
        assert light.sum() * 0.65**2 == pytest.approx(one.light_um2[0], rel=0.03)
