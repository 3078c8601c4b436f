"""What happens in scenarios: divisions, clumps, cuts, passing pairs, borders and jumps are what they are said to be."""

import math

import msgspec
import numpy as np
import pytest

from tests.scenario_checks import found_rows
from tracking.scenarios import Recipe, make

EXACT = {"jitter_um": 0.0, "area_noise": 0.0, "intensity_noise": 0.0}
FERTILE = Recipe(n_cells=150, n_frames=40, interval_s=30, division_rate_per_hour=1.0, mitosis_s=300, **EXACT)


def test_daughters_appear_on_both_sides_of_a_rounded_mother() -> None:
    scenario = make(FERTILE, 1)
    truth, diameters, shares = scenario.truth, [], []
    born = {int(truth.track[d]): (m, d) for m, d in truth.births()}
    for one, other in truth.divisions().values():
        (mother, a), (_, b) = born[one], born[other]
        apart_um = np.linalg.norm(truth.xy_um[a] - truth.xy_um[b])
        middle_um = (truth.xy_um[a] + truth.xy_um[b]) / 2
        assert np.linalg.norm(middle_um - truth.xy_um[mother]) < 0.35 * apart_um
        diameters.append(apart_um / (2 * np.sqrt(truth.area_um2[mother] / 0.75 / math.pi)))
        shares += [truth.area_um2[a] / truth.area_um2[mother], truth.area_um2[b] / truth.area_um2[mother]]
    assert len(diameters) > 30
    assert 0.6 < min(diameters) < max(diameters) < 1.1
    assert 0.4 < min(shares) < max(shares) < 0.6


def test_a_mother_rounds_up_brightens_and_stands_still() -> None:
    truth = make(msgspec.structs.replace(FERTILE, n_cells=40), 1).truth
    checked = 0
    for mother in truth.divisions():
        rows = np.flatnonzero(truth.track == mother)
        if len(rows) > 20:  # mitosis takes 10 frames, its first quarter with rounding
            early, last = rows[-16], rows[-1]
            assert truth.area_um2[last] == pytest.approx(0.75 * truth.area_um2[early])
            assert truth.mean_intensity[last] == pytest.approx(1.7 * truth.mean_intensity[early])
            assert np.linalg.norm(truth.xy_um[rows[-6]] - truth.xy_um[last]) < 2.0, "but for neighbours that push"
            checked += 1
    assert checked > 3


def test_the_dying_shrink_brighten_and_vanish() -> None:
    scenario = make(Recipe(death_rate_per_hour=0.2, **EXACT), 1)
    truth, (_, last) = scenario.truth, scenario.truth.spans()
    dead = truth.id[last < scenario.recipe.n_frames - 1]
    assert len(dead) > 20
    for track in dead:
        rows = np.flatnonzero(truth.track == track)
        assert (np.diff(truth.area_um2[rows]) <= 0).all()
        assert (np.diff(truth.mean_intensity[rows]) >= 0).all()
    assert sum(np.count_nonzero(ids == 0) for ids in scenario.detected) > len(dead) / 2, "fragments"


def test_daughters_grow_back_and_grow_pale() -> None:
    truth = make(msgspec.structs.replace(FERTILE, interval_s=300), 1).truth
    _, daughters = truth.births().T
    old = {int(track): row for row, track in enumerate(truth.track)}  # last rows
    first, last = truth.spans()
    lived = (last - first)[np.searchsorted(truth.id, truth.track[daughters])]
    young = daughters[lived > 20]
    grown = np.array([old[int(track)] for track in truth.track[young]])
    assert (truth.area_um2[grown] > 1.5 * truth.area_um2[young]).all()
    assert (truth.mean_intensity[grown] < 0.8 * truth.mean_intensity[young]).all()


def test_two_as_one_have_their_area_and_their_middle() -> None:
    recipe = Recipe(n_cells=100, field_um=200, merge_rate=0.3, clearance=0.9, n_frames=20, **EXACT)
    scenario = make(recipe, 1)
    truth, n = scenario.truth, 0
    offset, area, _ = found_rows(scenario)
    labelled = np.flatnonzero(truth.label > 0)
    whole = np.abs(truth.xy_um[labelled]).max(axis=1) < 80  # not cut by the edge of the field
    for row in labelled[whole & (area > 1.05)]:
        cells = scenario.frames[truth.frame[row]]
        own = int(truth.label[row]) - 1
        others = np.flatnonzero((truth.frame == truth.frame[row]) & (truth.label == 0))
        missing_um2 = cells.area_um2[own] - truth.area_um2[row]
        other = others[np.isclose(truth.area_um2[others], missing_um2)]
        assert len(other) == 1
        assert truth.area_um2[row] >= missing_um2
        pair = np.array([row, other[0]])
        middle_um = np.average(truth.xy_um[pair], axis=0, weights=truth.area_um2[pair])
        assert np.allclose(cells.xy_um[own], middle_um)
        n += 1
    assert n > 20
    assert np.allclose(offset[whole & (area < 1.05)], 0)


def test_one_as_two_have_its_area_and_its_middle() -> None:
    scenario = make(Recipe(n_cells=30, n_frames=30, cut_rate=0.05, **EXACT), 1)
    n = 0
    for cells, detected in zip(scenario.frames, scenario.detected, strict=True):
        for second in np.flatnonzero(detected == 0):
            truth_rows = scenario.truth.frame == cells.frame_index
            distance_um = np.linalg.norm(scenario.truth.xy_um[truth_rows] - cells.xy_um[second], axis=1)
            owner = np.flatnonzero(truth_rows)[distance_um.argmin()]
            halves = np.array([second, scenario.truth.label[owner] - 1])
            assert cells.area_um2[halves].sum() == pytest.approx(scenario.truth.area_um2[owner])
            assert cells.area_um2[halves[0]] <= cells.area_um2[halves[1]]
            middle_um = np.average(cells.xy_um[halves], axis=0, weights=cells.area_um2[halves])
            assert np.allclose(middle_um, scenario.truth.xy_um[owner])
            n += 1
    assert n > 20


def test_pairs_pass_each_other_on_straight_lines() -> None:
    recipe = Recipe(n_cells=40, n_frames=200, interval_s=60, crossing=1.0, passing=0.4, speed_um_s=1 / 60, **EXACT)
    truth = make(recipe, 1).truth
    nearest = dict.fromkeys(truth.id.tolist(), math.inf)
    for index in range(recipe.n_frames):
        rows = np.flatnonzero(truth.frame == index)
        distance_um = np.linalg.norm(truth.xy_um[rows][:, None] - truth.xy_um[rows], axis=2)
        np.fill_diagonal(distance_um, np.inf)
        for track, apart_um in zip(truth.track[rows].tolist(), distance_um.min(axis=1).tolist(), strict=True):
            nearest[track] = min(nearest[track], apart_um)
    passed = np.array(list(nearest.values())) < 0.4 * recipe.diameter_um + 2.0  # µm that it goes within a frame
    assert np.count_nonzero(passed) >= 38
    for track in truth.id:
        step_um = np.diff(truth.xy_um[truth.track == track], axis=0)
        assert np.allclose(step_um, step_um[:1])


def test_a_crowd_does_not_sit_on_itself() -> None:
    recipe = Recipe(n_cells=150, field_um=240, speed_um_s=0.2 / 60, n_frames=10)
    truth = make(recipe, 1).truth
    last = truth.xy_um[truth.frame == 9]
    apart_um = np.linalg.norm(last[:, None] - last, axis=2) + 1e3 * np.eye(len(last))
    assert np.percentile(apart_um.min(axis=1), 5) > 0.75 * recipe.diameter_um


def test_cells_come_and_go_over_the_border() -> None:
    scenario = make("border", 1)
    first, last = scenario.truth.spans()
    for time, n in ((first, 0), (last, scenario.recipe.n_frames - 1)):
        ids = scenario.truth.id[time != n]
        rows = [np.flatnonzero(scenario.truth.track == i)[0 if time is first else -1] for i in ids]
        to_edge_um = scenario.recipe.half_um - np.abs(scenario.truth.xy_um[rows]).max(axis=1)
        assert len(rows) > 20
        assert np.median(to_edge_um) < 3.0
        assert to_edge_um.max() < 20.0
    n_cells = np.bincount(scenario.truth.frame)
    assert (np.abs(n_cells - scenario.recipe.n_cells) < 25).all()


def test_a_jump_moves_everybody_alike() -> None:
    recipe = Recipe(n_cells=30, jump_rate=0.2, jump_um=10, border_um=40, speed_um_s=0, clearance=0)
    truth = make(recipe, 1).truth
    links = truth.links()
    step_um = truth.xy_um[links[:, 1]] - truth.xy_um[links[:, 0]]
    lengths = []
    for index in range(1, recipe.n_frames):
        steps = step_um[truth.frame[links[:, 1]] == index]
        assert np.allclose(steps, steps[0])
        lengths.append(float(np.linalg.norm(steps[0])))
    jumps = [length for length in lengths if length > 1e-9]
    assert 5 < len(jumps) < 20
    assert 5.0 <= min(jumps) <= max(jumps) <= 10.0
