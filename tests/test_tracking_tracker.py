"""The linear-assignment tracker: prediction, reach, divisions, classes; a real movie with known tracks."""

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from models.cells import Labels
from models.measure import measure
from tests.scenes import cells_at, header
from tracking.division import Spots, find_divisions
from tracking.motion import smoothed_velocity
from tracking.tracker import LinearAssignmentTracker
from tracking.tracks import Tracks

SECOND_MS = 1000.0


def update(
    tracker: LinearAssignmentTracker,
    t_s: float,
    *cells: tuple[float, float],
    areas: list[float] | None = None,
) -> Tracks:
    frame = header(round(t_s * 1000), t_ms=t_s * SECOND_MS)
    return tracker.update(cells_at(frame, cells, area_um2=areas))


def test_velocity_is_learnt_and_used_while_coasting() -> None:
    tracker = LinearAssignmentTracker(max_speed_um_s=4.0, gate_um=2.0, velocity_weight=0.5)
    for t_s in range(10):
        tracks = update(tracker, t_s, (3.0 * t_s, 0.0))
    assert tracks.velocity_um_s[0] == pytest.approx([3.0, 0.0], rel=0.01)
    assert update(tracker, 10).xy_um[0] == pytest.approx([30.0, 0.0], rel=0.01)
    assert update(tracker, 11.5).xy_um[0] == pytest.approx([34.5, 0.0], rel=0.01)


def test_two_cells_pass_each_other() -> None:
    """At the meeting each is nearest to the other's track; only their velocities tell them apart."""
    tracker = LinearAssignmentTracker(max_speed_um_s=5.0, gate_um=2.0, velocity_weight=0.7)
    for t_s in range(12):
        tracks = update(tracker, t_s, (3.0 * t_s, 0.0), (33.0 - 3.0 * t_s, 1.0))
    assert tracks.id[tracks.cell_row.argsort()].tolist() == [1, 2]
    assert tracks.velocity_um_s[:, 0] == pytest.approx([3.0, -3.0], rel=0.1)


@pytest.mark.parametrize(
    ("moved_um", "after_s", "same"),
    [(2.9, 1.0, True), (3.1, 1.0, False), (10.9, 9.0, True), (11.1, 9.0, False)],
)
def test_reach_is_the_gate_and_the_way_at_top_speed(moved_um: float, after_s: float, same: bool) -> None:
    tracker = LinearAssignmentTracker(max_speed_um_s=1.0, gate_um=2.0)
    update(tracker, 0, (0.0, 0.0))
    tracks = update(tracker, after_s, (moved_um, 0.0))
    assert (tracks.id[tracks.cell_row == 0].tolist() == [1]) is same


def test_a_coasting_track_is_lost_after_max_missed_frames() -> None:
    tracker = LinearAssignmentTracker(max_missed=2)
    update(tracker, 0, (0.0, 0.0))
    assert [len(update(tracker, t_s)) for t_s in (1, 2, 3)] == [1, 1, 0]


def test_jitter_at_a_short_interval_makes_no_great_velocity() -> None:
    before = np.array([[0.5, 0.0], [0.0, 0.0]])
    moved_um, took_s = np.array([[0.2, 0.0], [0.2, 0.0]]), np.array([0.001, 0.0])
    velocity = smoothed_velocity(before, moved_um, took_s, weight=0.3, top_um_s=1.0)
    assert velocity == pytest.approx(np.array([[1.0, 0.0], [0.0, 0.0]]))


def test_class_probabilities_are_smoothed() -> None:
    tracker = LinearAssignmentTracker(class_weight=0.25)
    for index, p in enumerate([0.0, 1.0, 1.0]):
        tracks = tracker.update(cells_at(header(index), [(0.0, 0.0)], p_class={"a": [p], "b": [1.0 - p]}))
    assert tracks.probability("a")[0] == pytest.approx(1 - 0.75**2)


def test_a_division_ends_the_mother_and_starts_two() -> None:
    tracker = LinearAssignmentTracker()
    update(tracker, 0, (0.0, 0.0), (100.0, 0.0), areas=[100.0, 100.0])
    tracks = update(tracker, 1, (-4.0, 0.0), (4.0, 1.0), (100.0, 0.0), areas=[52.0, 48.0, 100.0])
    [event] = tracks.events
    assert (event.kind, event.track_id, event.others) == ("divided", 1, (3, 4))
    assert tracks.id.tolist() == [2, 3, 4]
    assert tracks.parent.tolist() == [0, 1, 1]
    assert tracks.age.tolist() == [1, 0, 0]
    assert sorted(tracks.cell_row.tolist()) == [0, 1, 2]


def test_a_second_daughter_that_is_seen_a_frame_later() -> None:
    tracker = LinearAssignmentTracker()
    update(tracker, 0, (0.0, 0.0), areas=[100.0])
    update(tracker, 1, (-3.0, 0.0), areas=[50.0])
    tracks = update(tracker, 2, (-4.0, 0.0), (5.0, 0.0), areas=[50.0, 50.0])
    assert [event.kind for event in tracks.events] == ["divided"]


def test_divisions_can_be_turned_off() -> None:
    tracker = LinearAssignmentTracker(divisions=False)
    update(tracker, 0, (0.0, 0.0), areas=[100.0])
    tracks = update(tracker, 1, (-4.0, 0.0), (4.0, 1.0), areas=[50.0, 50.0])
    assert [event.kind for event in tracks.events] == ["born"]


def spot(x_um: float, area_um2: float, y_um: float = 0.0) -> Spots:
    return Spots(np.array([[x_um, y_um]]), np.array([area_um2]))


@pytest.mark.parametrize(
    ("why", "first", "newborn", "divided"),
    [
        ("halves on either side", spot(-4, 50), spot(4, 50), True),
        ("the first did not shrink", spot(-4, 90), spot(4, 50), False),
        ("the newborn is too large", spot(-4, 50), spot(4, 90), False),
        ("a crumb", spot(-4, 70), spot(4, 20), False),
        ("both on one side", spot(8, 50), spot(12, 50), False),
        ("too far", spot(-20, 50), spot(20, 50), False),
    ],
)
def test_the_rule_for_divisions(why: str, first: Spots, newborn: Spots, divided: bool) -> None:
    pairs = find_divisions(spot(0, 100), first, newborn, np.array([2.0]))
    assert bool(pairs) is divided, why


def test_each_daughter_has_one_mother() -> None:
    mothers = Spots(np.array([[0.0, 0.0], [9.0, 0.0]]), np.array([100.0, 100.0]))
    firsts = Spots(np.array([[-4.0, 0.0], [13.0, 0.0]]), np.array([50.0, 50.0]))
    assert find_divisions(mothers, firsts, spot(4.2, 50), np.array([5.0, 5.0])) == [(0, 0)]


@pytest.mark.parametrize(
    "table", [{"gate_um": 0.0}, {"max_speed_um_s": -1.0}, {"max_missed": -1}, {"velocity_weight": 1.5}]
)
def test_settings_out_of_range_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(table, LinearAssignmentTracker)


@pytest.mark.parametrize("every", [1, 2])
def test_real_cells_with_known_tracks(shared_data: Path, every: int) -> None:
    """HeLa nuclei, 30 frames, 3 divisions, outlines given; then every second frame only."""
    folder = shared_data / "tracking" / "mitocheck_hela_h2b" / "01_GT" / "TRA"
    table = np.loadtxt(folder / "man_track.txt", dtype=int)  # label, first frame, last frame, parent
    parent_of = {int(label): int(parent) for label, _, _, parent in table}
    mothers = set(parent_of.values()) - {0}
    tracker = LinearAssignmentTracker(max_speed_um_s=15.0, gate_um=5.0)  # here a pixel is 1 µm and a frame 1 s
    label_of: dict[int, int] = {}  # the label that each track had when it was last seen
    links, divided = [], set()
    for index in range(0, 30, every):
        labels = read_labels(folder / f"man_track{index:03d}.tif")
        shape = {"height_px": labels.shape[0], "width_px": labels.shape[1]}
        cells = measure(header(index, interval_ms=1000.0, um_per_px=1.0, **shape), labels.astype(np.float32), labels)
        tracks = tracker.update(cells)
        divided |= {label_of[event.track_id] for event in tracks.events if event.kind == "divided"}
        before = dict(label_of)
        for row in np.flatnonzero(tracks.missed == 0):
            label = int(cells.label[tracks.cell_row[row]])
            source = next((s for s in (label, parent_of[label]) if s in before.values()), None)
            if source is not None:
                links.append(source == before.get(int(tracks.id[row]), before.get(int(tracks.parent[row]))))
            label_of[int(tracks.id[row])] = label
    assert len(links) > 300
    assert np.mean(links) > 0.99
    assert divided == mothers if every == 1 else divided < mothers


def read_labels(path: Path) -> Labels:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return image.astype(np.int32)
