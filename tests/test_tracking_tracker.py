"""The tracker as a whole: what must not matter does not, bad input is refused, twenty thousand cells are no problem."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.clock import NS_PER_S
from models.cells import Cells
from realtime.offline.tracking_scores import quick_score
from realtime.plugins import ConfigError, convert_settings
from tests.contracts.test_tracker_contract import check_rows
from tests.named_cells import Spot, Watch, bystanders, moved, seen
from tests.scenes import cells_at, header
from tracking.lineages import Lineages, live_lineages
from tracking.scenario_recipes import SCENARIOS
from tracking.scenarios import Scenario, growth, make
from tracking.tracker import CausalTracker

SMALL = {
    "everything": msgspec.structs.replace(SCENARIOS["everything"], n_cells=60, field_um=220, n_frames=30),
    "touching": msgspec.structs.replace(SCENARIOS["touching"], n_cells=50, field_um=160, n_frames=25),
    "flow": msgspec.structs.replace(SCENARIOS["flow"], n_cells=60, field_um=190, n_frames=25),
}
Changed = Callable[[Cells], Cells]


def live(frames: list[Cells], tracker: CausalTracker | None = None) -> Lineages:
    tracker = tracker or CausalTracker()
    return live_lineages((cells, tracker.update(cells)) for cells in frames)


def partition(
    lineages: Lineages,
) -> tuple[set[frozenset[tuple[int, int]]], set[tuple[tuple[int, int], tuple[int, int]]]]:
    """Who is who and who came from whom, whatever the ids: sightings of each track, and sightings along births."""
    sightings = list(zip(lineages.frame.tolist(), lineages.label.tolist(), strict=True))
    tracks = {frozenset(sightings[row] for row in np.flatnonzero(lineages.track == i)) for i in lineages.id}
    return tracks, {(sightings[one], sightings[other]) for one, other in lineages.births().tolist()}


def in_other_units(cells: Cells, um: float, s: float) -> Cells:
    """As if lengths were written in micrometres divided by `um`, and times in seconds divided by `s`."""
    assert cells.stage_from_pixel is not None
    a, b, c, d, e, f = (um * number for number in cells.stage_from_pixel)
    return replace(
        cells,
        xy_um=um * cells.xy_um,
        area_um2=um**2 * cells.area_um2,
        t_ns=round(s * cells.t_ns),
        stage_from_pixel=(a, b, c, d, e, f),
    )


def elsewhere(cells: Cells, x_um: float, y_um: float, later_s: float) -> Cells:
    assert cells.stage_from_pixel is not None
    a, b, c, d, e, f = cells.stage_from_pixel
    affine, way_um = (a, b, c + x_um, d, e, f + y_um), np.array([x_um, y_um])
    return replace(
        cells, xy_um=cells.xy_um + way_um, t_ns=cells.t_ns + round(later_s * NS_PER_S), stage_from_pixel=affine
    )


def in_other_order(cells: Cells) -> Cells:
    rows = np.random.default_rng(cells.frame_index).permutation(len(cells))
    columns = ("label", "xy_um", "xy_px", "area_um2", "bbox_px", "mean_intensity", "features", "p_class")
    return replace(cells, **{name: getattr(cells, name)[rows] for name in columns})


WHAT_DOES_NOT_MATTER: dict[str, tuple[Changed, dict[str, Any]]] = {
    "units": (lambda cells: in_other_units(cells, 1000.0, 60.0), {"max_away_s": 120.0 * 60}),
    "small units": (lambda cells: in_other_units(cells, 0.1, 0.01), {"max_away_s": 1.2}),
    "where and when": (lambda cells: elsewhere(cells, 5e4, -3e4, 1e6), {}),
    "the camera's gain": (lambda cells: replace(cells, mean_intensity=37 * cells.mean_intensity), {}),
    "the order of cells": (in_other_order, {}),
    "names of frames": (lambda cells: replace(cells, frame_index=3 * cells.frame_index + 7), {}),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("changed", "settings"), WHAT_DOES_NOT_MATTER.values(), ids=WHAT_DOES_NOT_MATTER)
def test_what_does_not_matter(name: str, changed: Changed, settings: dict[str, Any]) -> None:
    """The same cells are linked, and the same have divided."""
    frames = make(SMALL[name], 1).frames
    index = {changed(cells).frame_index: cells.frame_index for cells in frames}
    one, other = live(frames), live([changed(cells) for cells in frames], CausalTracker(**settings))
    other = replace(other, frame=np.array([index[frame] for frame in other.frame.tolist()]))
    assert partition(one) == partition(other)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), name=st.sampled_from(sorted(SMALL)))
def test_answers_are_consistent_and_ids_never_come_back(seed: int, name: str) -> None:
    tracker, alive, ever = CausalTracker(), set[int](), set[int]()
    for cells in make(SMALL[name], seed).frames:
        tracks = tracker.update(cells)
        check_rows(tracks, cells)
        now = set(tracks.id.tolist())
        assert not (now - alive) & ever
        ever |= now
        assert set(tracks.parent[tracks.parent > 0].tolist()) <= ever, "parents were tracks"
        for event in tracks.events:
            assert 0 < event.confidence <= 1
            assert 0 <= event.late_frames <= 2
            if event.kind in ("merged", "split"):
                assert {event.track_id, *event.others} <= alive
        alive = now


def test_the_answer_to_a_frame_does_not_depend_on_what_comes() -> None:
    frames = make(SMALL["everything"], 2).frames
    whole, start = live(frames), live(frames[:20])
    same = whole.frame < 20
    assert np.array_equal(whole.track[same], start.track)


def coasting_errors(scenario: Scenario) -> list[float]:
    """How far from where they were expected the unseen were, in standard errors; of tracks that were right before."""
    tracker, errors, owner = CausalTracker(), list[float](), dict[int, int]()
    for index, (cells, detected) in enumerate(zip(scenario.frames, scenario.detected, strict=True)):
        tracks = tracker.update(cells)
        rows = np.flatnonzero(scenario.truth.frame == index)
        place = dict(zip(scenario.truth.track[rows].tolist(), scenario.truth.xy_um[rows], strict=True))
        for row, i in enumerate(tracks.id.tolist()):
            if tracks.cell_row[row] >= 0:
                owner[i] = int(detected[tracks.cell_row[row]])
            elif owner[i] in place and tracks.confirmed[row]:
                off_um = np.linalg.norm(tracks.xy_um[row] - place[owner[i]])
                errors.append(float(off_um / tracks.sigma_um[row]))
    return errors


def test_the_unseen_are_as_near_as_their_standard_error_says() -> None:
    recipe = msgspec.structs.replace(SCENARIOS["misses"], gap_rate=0.03)
    errors = [error for seed in range(3) for error in coasting_errors(make(recipe, seed))]
    assert len(errors) > 500
    assert 0.6 < np.median(errors) / 1.1774 < 1.4, "1.1774: the median of Rayleigh's distribution"


def test_velocities_are_those_of_the_cells() -> None:
    watch = Watch()
    for frame in range(30):
        shift_um = (1.5 * frame - 20, -0.9 * frame)
        tracks = watch.see(bystanders(frame, shift_um, columns=4))
    seen_now = tracks.missed == 0
    assert np.median(tracks.velocity_um_s[seen_now], axis=0) * 60 == pytest.approx([1.5, -0.9], abs=0.3)


def test_a_newcomer_is_expected_to_drift_with_the_others() -> None:
    watch = Watch()
    for frame in range(12):
        newcomer = {"newcomer": Spot(100, 100)} if frame == 11 else {}
        tracks = watch.see(bystanders(frame, (2.0 * frame - 12, 0.0), columns=4) | newcomer)
    row = tracks.row(watch.id_of("newcomer"))
    assert row is not None
    assert tracks.velocity_um_s[row] * 60 == pytest.approx([2.0, 0.0], abs=0.4)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_cells(n: int) -> None:
    tracker = CausalTracker()
    for index in range(20):
        cells = cells_at(header(index), [(0.2 * index, 0.0), (40.0, 0.1 * index)][:n])
        tracks = tracker.update(cells)
        check_rows(tracks, cells)
        assert tracks.id.tolist() == [1, 2][:n]


@pytest.mark.parametrize("empty", [1, 2, 10])
def test_a_movie_that_begins_without_cells(empty: int) -> None:
    """How large cells are, and so how far they may go, is known when the first ones are seen."""
    watch = Watch()
    for frame in range(empty + 12):
        watch.see({} if frame < empty else bystanders(frame))
    assert watch.tracks[-1].id.max() == 36


def test_a_movie_that_begins_with_a_speck_of_dust() -> None:
    watch = Watch()
    for frame in range(18):
        watch.see({"speck": Spot(0, 0, area=0.02)} if frame < 6 else bystanders(frame))
    assert set(watch.ids[-1].values()) <= set(watch.ids[8].values())


@pytest.mark.parametrize("pause_s", [600.0, 36_000.0])
def test_after_a_long_pause_cells_are_looked_for_further_away(pause_s: float) -> None:
    """Wanderers that went as far as they do in that time, in no direction."""
    watch, rng, far_um = Watch(), np.random.default_rng(0), 0.6 * np.sqrt(pause_s / 60)
    for frame in range(10):
        watch.see(bystanders(frame))
    spots = {name: moved(spot, *rng.normal(0, min(far_um, 6.0), 2)) for name, spot in bystanders(10).items()}
    watch.see(spots, after_s=pause_s)
    kept = [watch.id_of(name) == watch.ids[0][name] for name in spots]
    assert np.mean(kept) > 0.9


def test_cells_in_the_very_same_place() -> None:
    tracker = CausalTracker()
    for index in range(10):
        cells = cells_at(header(index), np.zeros((12, 2)), area_um2=np.zeros(12), mean_intensity=np.zeros(12))
        check_rows(tracker.update(cells), cells)


def test_twenty_thousand_cells() -> None:
    scenario = growth(20_000, 3, seed=0)
    assert quick_score(scenario.truth, live(scenario.frames)).links.f1 > 0.99


def test_the_memory_of_a_long_run_is_that_of_its_living_tracks() -> None:
    watch, rng = Watch(classes=True), np.random.default_rng(0)
    sizes = []
    for frame in range(300):
        visitor = {f"visitor {frame // 3}": Spot(*rng.choice([-40.0, 0.0, 40.0], 2))}
        watch.see(bystanders(frame, columns=2) | visitor)
        if frame % 100 == 99:
            sizes.append(len(watch.tracker.saved()) / len(watch.tracks[-1]))
    assert watch.tracks[-1].id.max() > 100
    assert max(sizes) < 1.3 * min(sizes)


def test_time_must_not_go_back() -> None:
    tracker = CausalTracker()
    tracker.update(seen(bystanders(0), 0, t_s=100))
    state = tracker.saved()
    with pytest.raises(ValueError, match="frame 1 is of 99000000000 ns, before the last one of 100000000000 ns"):
        tracker.update(seen(bystanders(1), 1, t_s=99))
    assert tracker.saved() == state


def test_classes_must_stay_the_same() -> None:
    tracker = CausalTracker()
    tracker.update(seen(bystanders(0), 0, t_s=0))
    state = tracker.saved()
    with pytest.raises(ValueError, match=r"classes \['interphase', 'mitotic'\], but the run began with \['cell'\]"):
        tracker.update(seen(bystanders(1), 1, t_s=1, classes=True))
    assert tracker.saved() == state


@pytest.mark.parametrize(
    "table",
    [
        {"confirm_after": 0}, {"max_missed": -1}, {"max_away_s": 0.0}, {"gate_sigmas": -1.0}, {"class_weight": 0.0},
        {"class_weight": 1.1}, {"speed_um_s": 0.0}, {"persistence_s": -3.0}, {"jitter_um": 0.0}, {"divisions": 1},
        {"mitotic_classes": "mitotic"}, {"max_speed_um_s": 3.0}, {"next_id": 5},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(table: dict[str, Any]) -> None:
    (name,) = table
    with pytest.raises(ConfigError, match=name):
        convert_settings(CausalTracker, table, "tracker")


def test_settings_from_a_table() -> None:
    tracker = convert_settings(
        CausalTracker, {"speed_um_s": 0.2, "mitotic_classes": ["prophase", "metaphase"]}, "tracker"
    )
    assert (tracker.speed_um_s, tracker.mitotic_classes) == (0.2, ("prophase", "metaphase"))
    assert tracker.persistence_s is None
