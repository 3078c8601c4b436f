"""Scenarios are only worth something if their truth is exact: what they promise, counted and measured again."""

import itertools
import math
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from acquisition.clock import NS_PER_S
from acquisition.frame import stage_um
from tests.scenario_checks import check_exact, found_rows
from tracking.scenarios import (
    PHASES,
    SCENARIOS,
    Recipe,
    Scenario,
    drop_frames,
    endless,
    every_other,
    growth,
    labels_of,
    make,
    miss_detections,
)  # fmt: skip

FAST_LIFE = Recipe(  # some mothers live for a single frame
    n_cells=20, n_frames=40, interval_s=1800, mitosis_s=600, least_cycle_s=600, dying_s=600, steady=True,
    division_rate_per_hour=0.8, death_rate_per_hour=0.8,
)  # fmt: skip
every_scenario = pytest.mark.parametrize("name", SCENARIOS)


def hours(scenario: Scenario) -> float:
    """Hours that cells were watched, all of them together."""
    t_ns = np.array([cells.t_ns for cells in scenario.frames])
    n_cells = np.bincount(scenario.truth.frame, minlength=len(t_ns))
    return float((np.diff(t_ns) * n_cells[:-1]).sum()) / NS_PER_S / 3600


@every_scenario
def test_truth_and_detections_agree(name: str) -> None:
    scenario = make(name, seed=3)
    check_exact(scenario)
    assert (np.diff(scenario.truth.frame[scenario.truth.links()], axis=1) == 1).all(), "whoever was outside is new"
    first, last = scenario.truth.spans()
    for track, parent in zip(scenario.truth.id, scenario.truth.parent, strict=True):
        if parent:
            rows = np.searchsorted(scenario.truth.id, [parent, track])
            assert last[rows[0]] == first[rows[1]] - 1
    for cells in scenario.frames:
        assert np.allclose(stage_um(cells.stage_from_pixel, cells.xy_px), cells.xy_um)
        assert np.array_equal(cells.label, np.arange(1, len(cells) + 1))
    assert len(scenario.frames) == scenario.recipe.n_frames


@every_scenario
def test_the_same_seed_makes_the_same_scenario(name: str) -> None:
    recipe = msgspec.structs.replace(SCENARIOS[name], n_frames=8)
    one, again, other = make(recipe, 5), make(recipe, 5), make(recipe, 6)
    for a, b in zip(one.frames, again.frames, strict=True):
        assert np.array_equal(a.xy_um, b.xy_um)
        assert np.array_equal(a.p_class, b.p_class)
    assert np.array_equal(one.truth.label, again.truth.label)
    assert not np.array_equal(one.frames[0].xy_um[:5], other.frames[0].xy_um[:5])


def test_worse_eyes_look_at_the_same_cells() -> None:
    sharp = make(Recipe(division_rate_per_hour=0.2), 1)
    blind = make(Recipe(division_rate_per_hour=0.2, miss_rate=0.5, false_rate=1, merge_rate=1, jitter_um=2), 1)
    assert np.array_equal(sharp.truth.xy_um, blind.truth.xy_um)
    assert np.array_equal(sharp.truth.parent, blind.truth.parent)


def test_classes_are_all_that_two_named_cases_differ_in() -> None:
    plain, classified = make("dividing", 2), make("dividing_classes", 2)
    for a, b in zip(plain.frames, classified.frames, strict=True):
        assert np.array_equal(a.xy_um, b.xy_um)
    assert classified.frames[0].class_names == PHASES


def test_measurement_errors_are_what_was_asked() -> None:
    offset, area, counts = found_rows(make(Recipe(jitter_um=0.5, area_noise=0.08, intensity_noise=0.03), 1))
    assert offset.std() == pytest.approx(0.5, rel=0.03)
    assert np.abs(offset).max() < 6 * 0.5
    assert np.log(area).std() == pytest.approx(0.08, rel=0.05)
    assert np.log(counts).std() == pytest.approx(0.03, rel=0.05)


def missed(s: Scenario) -> float:
    return float(np.mean(s.truth.label == 0))


def false(s: Scenario) -> float:
    return float(sum(np.count_nonzero(ids == 0) for ids in s.detected)) / len(s.truth)


def divisions_per_hour(s: Scenario) -> float:
    return len(s.truth.divisions()) / hours(s)


def deaths_per_hour(s: Scenario) -> float:
    ended = (s.truth.spans()[1] < s.recipe.n_frames - 1) & ~np.isin(s.truth.id, s.truth.parent)
    return float(np.count_nonzero(ended)) / hours(s)


def speed_um_min(s: Scenario) -> float:
    step = s.truth.xy_um[s.truth.links()]
    return float(np.sqrt(((step[:, 1] - step[:, 0]) ** 2).sum(axis=1).mean())) / s.recipe.interval_s * 60


def interval_s(s: Scenario) -> float:
    return float(np.mean(np.diff([cells.t_ns for cells in s.frames]))) / NS_PER_S


def diameter_um(s: Scenario) -> float:
    return float(2 * np.sqrt(s.truth.area_um2.mean() / math.pi))


def wrong_classes(s: Scenario) -> float:
    return float(np.mean(np.concatenate([cells.p_class[:, 1] for cells in s.frames]) > 0.5))


MANY = {"n_cells": 300, "field_um": 800.0, "n_frames": 80}
MORE = {"n_cells": 900, "field_um": 1400.0, "mitosis_s": 600, "dying_s": 600}
RATES: list[tuple[str, dict[str, object], Callable[[Scenario], float], float]] = [
    ("missed", {"miss_rate": 0.1}, missed, 0.1),
    ("in gaps", {"gap_rate": 0.01, "gap_frames": 4}, missed, 0.029),
    ("false", {"false_rate": 0.2}, false, 0.2),
    ("false, lasting", {"false_rate": 0.2, "false_frames": 3}, false, 0.2),
    ("halves", {"cut_rate": 0.05}, false, 0.05),
    ("divisions", {**MORE, "division_rate_per_hour": 0.1, "least_cycle_s": 0}, divisions_per_hour, 0.1),
    ("deaths", {**MORE, "death_rate_per_hour": 0.1}, deaths_per_hour, 0.1),
    ("speed", {"interval_s": 20, "clearance": 0, "speed_spread": 0.5}, speed_um_min, 0.3),
    ("drift", {"speed_um_s": 0, "clearance": 0, "drift_um_s": 0.01, "border_um": 50}, speed_um_min, 0.6),
    ("interval", {"interval_spread": 0.9}, interval_s, 300),
    ("skipped frames", {"skip_rate": 0.25, "n_cells": 10, "n_frames": 1000}, interval_s, 450),
    ("size", {}, diameter_um, 15.2),
    ("wrong classes", {"class_names": PHASES, "class_error": 0.06}, wrong_classes, 0.06),
]


@pytest.mark.parametrize(("knobs", "measured", "asked"), [r[1:] for r in RATES], ids=[r[0] for r in RATES])
def test_rates_are_near_what_was_asked(
    knobs: dict[str, object], measured: Callable[[Scenario], float], asked: float
) -> None:
    assert measured(make(msgspec.convert(MANY | knobs, Recipe), 4)) == pytest.approx(asked, rel=0.12)


DEGRADED: dict[str, Callable[[Scenario], Scenario]] = {
    "every other frame": every_other,
    "frames dropped": lambda s: drop_frames(s, 0.3, seed=1),
    "detections missed": lambda s: miss_detections(s, 0.2, seed=1),
    "all of it": lambda s: miss_detections(drop_frames(every_other(s), 0.1), 0.05),
}


def ancestors(scenario: Scenario, track: int) -> Iterator[int]:
    """Mother, grandmother and so on; last 0."""
    parent_of = dict(zip(scenario.truth.id.tolist(), scenario.truth.parent.tolist(), strict=True))
    while track:
        track = parent_of[track]
        yield track


@pytest.mark.parametrize("worse", DEGRADED.values(), ids=DEGRADED)
@pytest.mark.parametrize("recipe", [SCENARIOS["everything"], FAST_LIFE], ids=["everything", "fast life"])
def test_degraded_scenarios_are_exact(recipe: Recipe, worse: Callable[[Scenario], Scenario]) -> None:
    whole = make(recipe, 1)
    degraded = worse(whole)
    check_exact(degraded)
    kept = {0, *degraded.truth.id.tolist()}
    for track, parent in zip(degraded.truth.id.tolist(), degraded.truth.parent.tolist(), strict=True):
        assert parent == next(a for a in ancestors(whole, track) if a in kept)
    times = {cells.t_ns for cells in degraded.frames}
    sightings = [
        {(t, i) for t, i in zip(s.truth.t_ns.tolist(), s.truth.track.tolist(), strict=True) if t in times}
        for s in (whole, degraded)
    ]
    assert sightings[0] == sightings[1]


def test_degraded_scenarios_lack_what_was_asked() -> None:
    scenario = make("everything", 1)
    n = sum(map(len, scenario.frames))
    assert len(every_other(scenario).frames) == 30
    assert len(drop_frames(scenario, 0.1).frames) == 54
    assert sum(map(len, miss_detections(scenario, 0.05).frames)) == pytest.approx(0.95 * n, rel=0.01)
    assert miss_detections(scenario, 0.0).truth.label.tolist() == scenario.truth.label.tolist()


def test_a_vanished_mother_is_replaced_by_her_own() -> None:
    whole = make(FAST_LIFE, 1)
    degraded = every_other(whole).truth
    own = dict(zip(whole.truth.id.tolist(), whole.truth.parent.tolist(), strict=True))
    other = [t for t, p in zip(degraded.id.tolist(), degraded.parent.tolist(), strict=True) if own[t] != p]
    assert len(other) > 0, "no mother lived for one frame only: this test shows nothing"


@pytest.mark.parametrize("n_cells", [10, 100, 3000])
def test_growth_keeps_its_density(n_cells: int) -> None:
    scenario = growth(n_cells, 6)
    check_exact(scenario)
    assert np.bincount(scenario.truth.frame) == pytest.approx(n_cells, rel=0.2)
    assert scenario.recipe.field_um**2 / n_cells == pytest.approx(600, rel=0.1)


def test_the_endless_crowd_keeps_its_number_but_not_its_cells() -> None:
    frames = list(itertools.islice(endless(50, seed=1), 1500))
    assert all(20 < len(cells) < 90 for cells in frames)
    assert [cells.frame_index for cells in frames] == list(range(1500))
    truth = make(msgspec.structs.replace(growth(50, 1).recipe, n_frames=1500), 1).truth
    assert truth.id.max() > 300


@every_scenario
def test_every_detection_is_drawn(name: str) -> None:
    scenario = make(msgspec.structs.replace(SCENARIOS[name], n_frames=12), 1)
    for index in (0, 11):
        cells, labels = scenario.frames[index], labels_of(scenario, index)
        assert labels.shape == cells.shape
        assert np.array_equal(np.unique(labels[labels > 0]), np.sort(cells.label))
        size_um2 = np.bincount(labels.ravel())[cells.label] * scenario.recipe.um_per_px**2
        assert np.median(size_um2 / cells.area_um2) == pytest.approx(1.0, abs=0.1)


def test_labels_lie_where_the_cells_are() -> None:
    scenario = make("easy", 1)
    cells, labels = scenario.frames[0], labels_of(scenario, 0)
    column, row = np.rint(cells.xy_px).astype(int).T
    assert np.array_equal(labels[row, column], cells.label)


def test_mistakes_are_named() -> None:
    with pytest.raises(KeyError, match=r"'crwod'; there are easy, walkers, crowd"):
        make("crwod")
    with pytest.raises(ValueError, match=r"field_um = 40 is too small for nuclei 15.1 µm wide"):
        Recipe(field_um=40)
    with pytest.raises(ValueError, match=r"one name or two .* not \['a', 'b', 'c'\]"):
        Recipe(class_names=("a", "b", "c"))


shares = st.sampled_from([0.0, 0.05, 0.5, 1.0])
rates = st.sampled_from([0.0, 0.5, 3.0])
recipes = st.builds(
    Recipe,
    n_cells=st.integers(1, 25), n_frames=st.integers(1, 12), interval_s=st.sampled_from([0.1, 60.0, 3000.0]),
    interval_spread=st.sampled_from([0.0, 0.9]), skip_rate=shares, field_um=st.sampled_from([80.0, 301.3]),
    border_um=st.sampled_from([0.0, 30.0]), um_per_px=st.sampled_from([0.3, 1.0]), speed_um_s=st.sampled_from([0, 0.1]),
    clearance=st.sampled_from([0.0, 1.2]), crossing=shares, drift_um_s=st.sampled_from([0.0, 0.02]), jump_rate=shares,
    jump_um=st.sampled_from([0.0, 20.0]), division_rate_per_hour=rates, least_cycle_s=st.sampled_from([1800.0, 1e5]),
    death_rate_per_hour=rates, steady=st.booleans(), class_names=st.sampled_from([("cell",), PHASES]), miss_rate=shares,
    gap_rate=shares, false_rate=st.sampled_from([0.0, 0.3, 2.0]), false_frames=st.sampled_from([1.0, 3.0]),
    merge_rate=shares, cut_rate=shares,
)  # fmt: skip


MOST_DOUBLINGS = 4.0


def doublings(recipe: Recipe) -> float:
    """How often a culture may double in a recipe: thirty times would be a billion cells."""
    longest_s = recipe.n_frames * recipe.interval_s * (1 + recipe.interval_spread) * (4 if recipe.skip_rate else 1)
    return longest_s / max(recipe.least_cycle_s, 3600 / max(recipe.division_rate_per_hour, 1e-9))


@settings(max_examples=60, deadline=None)
@given(recipe=recipes, seed=st.integers(0, 1000))
def test_any_recipe_makes_an_exact_scenario(recipe: Recipe, seed: int) -> None:
    assume(doublings(recipe) <= MOST_DOUBLINGS)
    scenario = make(recipe, seed)
    check_exact(scenario)
    for worse in DEGRADED.values():
        check_exact(worse(scenario))
    labels_of(scenario, 0)
