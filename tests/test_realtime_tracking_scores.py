"""Scores of tracking: counted by hand on drawn movies, the same for masks and sightings, and as a command."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracked_movies import N_FRAMES, Drawn, at, damaged, movie_lineages, write_movie

from models.metrics import Counts
from realtime.offline.ctc_files import write_ctc
from realtime.offline.mask_scores import score_folders
from realtime.offline.track_names import detected
from realtime.offline.tracking_scores import TrackingScores, as_json, quick_score, score_detections
from tracking.lineages import Lineages
from tracking.scenarios import Recipe, Scenario, labels_of, make

pytest.importorskip("ctc_metrics", reason='needs py-ctcmetrics of the extra "evaluate"')

Movie = dict[int, Drawn]
MOTHER, LEFT, RIGHT, ALONE = 1, 2, 3, 4
TRUTH: Movie = {
    MOTHER: Drawn(at("1", 0, 3)),
    LEFT: Drawn(at("0", 4, 7), MOTHER),
    RIGHT: Drawn(at("2", 4, 7), MOTHER),
    ALONE: Drawn(at("4", 0, 7)),
}
N_NODES, N_EDGES = 4 + 4 + 4 + 8, 3 + 3 + 3 + 7 + 2

# What a result did, and what that costs: errors by name, divisions found at 0, 1 and 2 frames, complete tracks, switches.
CASES: dict[str, tuple[Movie, dict[str, int], tuple[int, int, int], int, int]] = {
    "all right": (TRUTH, {}, (1, 1, 1), 4, 0),
    "other ids": ({20 + i: replace(t, parent=t.parent and 20 + t.parent) for i, t in TRUTH.items()}, {}, (1, 1, 1), 4, 0),
    "a cell never seen": (
        {i: t for i, t in TRUTH.items() if i != ALONE}, {"missing_nodes": 8, "missing_edges": 7}, (1, 1, 1), 3, 0,
    ),
    "something that is no cell": (TRUTH | {9: Drawn(at("5", 2, 3))}, {"false_nodes": 2}, (1, 1, 1), 4, 0),
    "two cells confused": (
        TRUTH | {RIGHT: Drawn(at("2", 4, 5) | at("4", 6, 7), MOTHER), ALONE: Drawn(at("4", 0, 5) | at("2", 6, 7))},
        {"missing_edges": 2, "false_edges": 2}, (1, 1, 1), 2, 2,
    ),
    "no division": (
        TRUTH | {LEFT: Drawn(at("0", 4, 7)), RIGHT: Drawn(at("2", 4, 7))}, {"missing_edges": 2}, (0, 0, 0), 4, 0,
    ),
    "the mother goes on as a daughter": (
        {MOTHER: Drawn(at("1", 0, 3) | at("0", 4, 7)), RIGHT: Drawn(at("2", 4, 7)), ALONE: TRUTH[ALONE]},
        {"missing_edges": 1, "wrong_semantics": 1}, (0, 0, 0), 2, 0,
    ),
    "daughters seen as one for a frame": (
        TRUTH | {MOTHER: Drawn(at("1", 0, 3) | {4: "02"}), LEFT: Drawn(at("0", 5, 7), 1), RIGHT: Drawn(at("2", 5, 7), 1)},
        {"splits": 1, "missing_edges": 4}, (0, 1, 1), 1, 2,
    ),
    "a track given up": (
        TRUTH | {ALONE: Drawn(at("4", 0, 2)), 9: Drawn(at("4", 3, 7))}, {"missing_edges": 1}, (1, 1, 1), 3, 1,
    ),
    "a track taken up again after a gap": (
        TRUTH | {ALONE: Drawn(at("4", 0, 2)), 9: Drawn(at("4", 4, 7), ALONE)},
        {"missing_nodes": 1, "missing_edges": 2, "false_edges": 1}, (1, 1, 1), 3, 0,
    ),
    "a division that is none": (
        TRUTH | {ALONE: Drawn(at("4", 0, 3)), 8: Drawn(at("4", 4, 7), ALONE), 9: Drawn(at("5", 4, 7), ALONE)},
        {"false_nodes": 4, "wrong_semantics": 1}, (1, 1, 1), 3, 1,
    ),
}  # fmt: skip
AOGM_WEIGHTS = {
    "missing_nodes": 10,
    "false_nodes": 1,
    "splits": 5,
    "missing_edges": 1.5,
    "false_edges": 1,
    "wrong_semantics": 1,
}
"""Matula et al. 2015, table 1."""


def assert_scores(scores: TrackingScores, case: str) -> None:
    _, errors, divisions, complete, switches = CASES[case]
    counted = as_json(scores)["errors"]
    assert counted == dict.fromkeys(AOGM_WEIGHTS, 0) | errors | {"n_nodes": N_NODES, "n_edges": N_EDGES}
    aogm = sum(AOGM_WEIGHTS[name] * n for name, n in errors.items())
    assert scores.graph.aogm == aogm
    assert scores.graph.tra == pytest.approx(1 - aogm / (10 * N_NODES + 1.5 * N_EDGES))
    assert tuple(counts.found for counts in scores.divisions.values()) == divisions
    assert scores.complete.found == complete
    assert scores.identity_switches == switches


@pytest.mark.parametrize("case", CASES)
def test_masks_score_what_can_be_counted_by_hand(case: str, tmp_path: Path) -> None:
    write_movie(tmp_path / "01_GT" / "TRA", TRUTH, truth=True)
    result = write_movie(tmp_path / "01_RES", CASES[case][0])
    assert_scores(score_folders(tmp_path / "01_GT", result), case)


@pytest.mark.parametrize("case", [case for case in CASES if case != "daughters seen as one for a frame"])
def test_sightings_score_the_same(case: str) -> None:
    assert_scores(score_detections(movie_lineages(TRUTH), movie_lineages(CASES[case][0])), case)


def test_divisions_by_tolerance_and_complete_tracks_by_share(tmp_path: Path) -> None:
    write_movie(tmp_path / "TRA", TRUTH, truth=True)
    result = write_movie(tmp_path / "RES", CASES["daughters seen as one for a frame"][0])
    figures = as_json(score_folders(tmp_path, result))
    assert figures["divisions"]["0"] == {"found": 0, "invented": 1, "missed": 1, "precision": 0, "recall": 0, "f1": 0}
    assert figures["divisions"]["1"] == {"found": 1, "invented": 0, "missed": 0, "precision": 1, "recall": 1, "f1": 1}
    assert figures["divisions_frames_off"] == {"0": 0, "1": 1, "2": 0}
    assert figures["complete_tracks"] == {"complete": 1, "true": 4, "result": 4, "share": 0.25}


LATE = TRUTH | {MOTHER: Drawn(at("1", 0, 3) | at("0", 4, 5)), LEFT: Drawn(at("0", 6, 7), MOTHER)}
"""Told two frames late: until then the mother's id is on the left daughter, and the right one has no mother."""


def test_a_division_told_late_is_late_for_ids_and_in_its_place_in_the_graph() -> None:
    scores = score_detections(movie_lineages(TRUTH), movie_lineages(LATE))
    assert scores.frames_off == {0: 0, 1: 0, 2: 1}
    assert (scores.complete.found, scores.complete_in_graph.found) == (2, 4)
    errors = as_json(scores)["errors"]
    assert errors == dict.fromkeys(AOGM_WEIGHTS, 0) | {"wrong_semantics": 1, "n_nodes": N_NODES, "n_edges": N_EDGES}, (
        "all links are right; the change of ids inside the left daughter is a link of the wrong kind"
    )
    assert (scores.identity_switches, quick_score(movie_lineages(TRUTH), movie_lineages(LATE)).divisions.f1) == (0, 1)


# --- cells without a detection ----------------------------------------------------------------------------------


def unseen(truth: Movie, *gaps: tuple[int, int]) -> Lineages:
    """The truth, where (track, frame) have no detection."""
    lineages = movie_lineages(truth)
    hidden = np.isin(lineages.track * N_FRAMES + lineages.frame, [track * N_FRAMES + frame for track, frame in gaps])
    return replace(lineages, label=np.where(hidden, 0, lineages.label))


def without(movie: Movie, track: int, *frames: int) -> Movie:
    places = {frame: place for frame, place in movie[track].places.items() if frame not in frames}
    return movie | {track: replace(movie[track], places=places)}


def test_a_gap_that_nobody_could_see_into_is_no_mistake_and_bridging_it_is_a_true_link() -> None:
    truth = unseen(TRUTH, (ALONE, 3), (ALONE, 4))
    bridged = score_detections(truth, movie_lineages(without(TRUTH, ALONE, 3, 4)))
    assert (bridged.graph.tra, bridged.graph.lnk, bridged.complete) == (1, 1, Counts(4, 0, 0))
    given_up = TRUTH | {ALONE: Drawn(at("4", 0, 2)), 9: Drawn(at("4", 5, 7))}
    scores = score_detections(truth, movie_lineages(given_up))
    assert (scores.errors.missing_nodes, scores.errors.missing_edges, scores.errors.false_edges) == (0, 1, 0)
    assert (scores.complete.found, scores.identity_switches) == (3, 1)


def test_a_gap_of_the_trackers_own_making_costs_cells_and_links() -> None:
    scores = score_detections(movie_lineages(TRUTH), movie_lineages(without(TRUTH, ALONE, 3)))
    assert (scores.errors.missing_nodes, scores.errors.missing_edges, scores.errors.false_edges) == (1, 2, 1)
    assert (scores.complete.found, scores.fragmentations) == (3, 1), "one id, but lost for a frame"


def test_a_division_is_asked_for_only_if_both_daughters_are_ever_detected() -> None:
    truth = unseen(TRUTH, *((RIGHT, frame) for frame in range(4, 8)))
    goes_on: Movie = {MOTHER: Drawn(at("1", 0, 3) | at("0", 4, 7)), ALONE: TRUTH[ALONE]}
    scores = score_detections(truth, movie_lineages(goes_on))
    assert (scores.graph.tra, scores.complete, scores.divisions[0]) == (1, Counts(2, 0, 0), Counts(0, 0, 0))


def test_daughters_of_a_mother_that_was_never_detected_come_from_her_own_mother() -> None:
    family = TRUTH | {5: Drawn(at("4", 0, 1)), ALONE: Drawn(at("4", 2, 3), 5), 6: Drawn(at("5", 2, 7), 5)}
    family |= {7: Drawn(at("3", 4, 7), ALONE), 8: Drawn(at("4", 4, 7), ALONE)}
    seen = detected(unseen(family, (ALONE, 2), (ALONE, 3)))
    assert dict(zip(seen.id.tolist(), seen.parent.tolist(), strict=True)) == {1: 0, 2: 1, 3: 1, 5: 0, 6: 5, 7: 5, 8: 5}


# --- any result ---------------------------------------------------------------------------------------------------

SMALL = Recipe(n_cells=12, n_frames=16, field_um=160.0, um_per_px=1.0, division_rate_per_hour=1.0)


@pytest.fixture(scope="module")
def small() -> Scenario:
    scenario = make(SMALL, seed=3)
    assert len(scenario.truth.divisions()) >= 5
    return scenario


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_quick_score_counts_the_same_links(small: Scenario, seed: int) -> None:
    result = damaged(small.truth, seed)
    quick, scores = quick_score(small.truth, result), score_detections(small.truth, result)
    assert (quick.links.missed, quick.links.invented) == (scores.errors.missing_edges, scores.errors.false_edges)
    assert (
        0
        <= quick.divisions.found
        <= min(len(small.truth.divisions()), quick.divisions.found + quick.divisions.invented)
    )


@pytest.mark.parametrize("seed", range(3))
def test_masks_and_sightings_of_a_scenario_score_the_same(small: Scenario, seed: int, tmp_path: Path) -> None:
    result = damaged(small.truth, seed)
    images = [labels_of(small, frame) for frame in range(len(small.frames))]
    for name, lineages in (("truth", small.truth), ("result", result)):
        (tmp_path / name).mkdir()
        write_ctc(tmp_path / name, lineages, images, len(images))
    assert score_folders(tmp_path / "truth", tmp_path / "result") == score_detections(small.truth, result)


def test_an_empty_result_scores_nothing_and_an_empty_truth_is_refused() -> None:
    truth, nothing = movie_lineages(TRUTH), movie_lineages({})
    scores = score_detections(truth, nothing)
    assert (scores.graph.tra, scores.graph.det, scores.graph.lnk, scores.complete) == (0, 0, 0, Counts(0, 0, 4))
    assert scores.divisions[2] == Counts(0, 0, 1)
    with pytest.raises(ValueError, match="no sighting"):
        score_detections(nothing, truth)


@settings(max_examples=40, deadline=None)
@given(hidden=st.sets(st.integers(0, N_NODES - 1), max_size=N_NODES - 1), seed=st.integers(0, 1000))
def test_any_gaps_and_empty_frames_can_be_scored(hidden: set[int], seed: int) -> None:
    lineages = movie_lineages(TRUTH)
    truth = replace(lineages, label=np.where(np.isin(np.arange(N_NODES), list(hidden)), 0, lineages.label))
    result = damaged(lineages, seed, n_mistakes=4)
    scores, seen = score_detections(truth, result), detected(truth)
    assert scores.errors.n_nodes == N_NODES - len(hidden)
    assert scores.errors.missing_edges == quick_score(truth, result).links.missed
    perfect = score_detections(truth, seen)
    assert (perfect.graph.aogm, perfect.complete, perfect.fragmentations) == (0, Counts(len(seen.id), 0, 0), 0)


def test_a_single_frame_has_cells_but_no_links() -> None:
    frame = movie_lineages({MOTHER: Drawn({0: "1"}), ALONE: Drawn({0: "4"})})
    scores = score_detections(frame, movie_lineages({ALONE: Drawn({0: "4"})}))
    assert (scores.graph.det, scores.graph.tra, scores.graph.lnk) == (0.5, 0.5, None)


def test_seg_is_the_mean_overlap_of_the_cells_that_are_more_than_half_covered(tmp_path: Path) -> None:
    for folder in ("TRA", "SEG"):
        write_movie(tmp_path / folder, TRUTH, truth=True)
    (tmp_path / "SEG" / "man_track.txt").unlink()
    halved = {label: replace(t, rows_px=4 if label == ALONE else 3) for label, t in TRUTH.items()}
    result = write_movie(tmp_path / "RES", halved)
    scores = score_folders(tmp_path, result)
    assert scores.seg == pytest.approx(8 * (4 / 6) / N_NODES), "of six rows, three are not more than half"
    assert scores.errors.missing_nodes == N_NODES - 8


def test_real_cells(shared_data: Path) -> None:
    truth = shared_data / "tracking" / "mitocheck_hela_h2b" / "01_GT"
    scores = score_folders(truth, truth / "TRA")
    assert (scores.graph.tra, scores.seg, scores.divisions[0], scores.complete) == (
        1,
        1,
        Counts(3, 0, 0),
        Counts(31, 0, 0),
    )
