"""Tracks begin, are believed, and end: what is told of them, and when."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.named_cells import HALF_UM, INTERVAL_S, Spot, Watch, bystanders
from tracking.tracker import CausalTracker
from tracking.tracks import COASTING, EventKind


def test_cells_of_the_first_frame_are_born_or_enter_at_the_edge() -> None:
    watch = Watch()
    watch.see(
        {"inside": Spot(0, 0), "at the edge": Spot(HALF_UM - 3, 0), "in the corner": Spot(-HALF_UM + 2, HALF_UM - 2)}
    )
    assert [(event.kind, event.track_id) for event in watch.told()] == [("born", 1), ("entered", 2), ("entered", 3)]
    assert not watch.tracks[0].confirmed.any()


def test_a_cell_that_comes_later() -> None:
    watch = Watch()
    watch.wait({})
    for step in range(6):
        watch.see(bystanders(watch.frame + 1) | {"inside": Spot(0, 0), "coming": Spot(HALF_UM - 3 - 2.0 * step, 0)})
    assert watch.kinds(watch.id_of("inside")) == ["born", "confirmed"]
    assert watch.kinds(watch.id_of("coming")) == ["entered", "confirmed"]


@pytest.mark.parametrize("confirm_after", [1, 2, 4])
def test_confirmed_is_told_once(confirm_after: int) -> None:
    watch = Watch(CausalTracker(confirm_after=confirm_after))
    for frame in range(12):
        watch.see(bystanders(frame))
    told = Counter(event.track_id for event in watch.told("confirmed"))
    assert [bool(tracks.confirmed.all()) for tracks in watch.tracks] == [n + 1 >= confirm_after for n in range(12)]
    assert set(told.values()) <= {1}
    assert set(told) == set(range(1, 37))


def test_a_track_is_believed_after_so_many_looks_whether_or_not_it_was_missed_between() -> None:
    watch = Watch(CausalTracker(confirm_after=3))
    for frame in range(6):
        watch.see(bystanders(frame) | ({} if frame == 1 else {"missed": Spot(0, 0)}))
    assert len(watch.ids_of("missed")) == 1
    told = [n for n, tracks in enumerate(watch.tracks) for e in tracks.events if e.track_id == watch.id_of("missed")]
    assert told == [0, 3]


def test_false_detections_are_never_believed() -> None:
    """Something here in one frame and gone in the next, twice in the same place at the most."""
    watch, rng = Watch(), np.random.default_rng(0)
    watch.wait({})
    n = len(bystanders(0))
    for _ in range(40):
        x_um, y_um = rng.choice([-80, -40, 0, 40, 80], 2) + rng.uniform(-6, 6, 2)
        watch.see(bystanders(watch.frame + 1) | {f"false {watch.frame}": Spot(x_um, y_um, area=0.5)})
    believed = {event.track_id for event in watch.told("confirmed")}
    false = {ids[name] for ids in watch.ids for name in ids if name.startswith("false")}
    assert len(false) == 40
    assert len(believed & false) <= 1, "in the same place by chance"
    assert len(watch.tracks[-1]) <= n + 3, "they do not coast for long"
    assert not watch.told("divided", "merged", "split")


@pytest.mark.parametrize("max_missed", [0, 1, 5])
def test_vanishing_inside_is_lost(max_missed: int) -> None:
    watch = Watch(CausalTracker(max_missed=max_missed))
    watch.wait({"victim": Spot(0, 0)})
    lost = watch.id_of("victim")
    since = watch.frame + 1
    for _ in range(8):
        watch.see(bystanders(watch.frame + 1))
    told = [(n, e.kind) for n, tracks in enumerate(watch.tracks) for e in tracks.events if e.track_id == lost]
    assert told[-1] == (since + max_missed, "lost")
    coasting = watch.tracks[since:]
    assert [tracks.row(lost) is not None for tracks in coasting] == [n < max_missed for n in range(8)]
    for n, tracks in enumerate(coasting[:max_missed]):
        row = tracks.row(lost)
        assert row is not None
        assert (tracks.cell_row[row], tracks.missed[row]) == (COASTING, n + 1)


def test_going_over_the_edge_is_leaving() -> None:
    watch = Watch()
    for frame in range(30):
        x_um = 60 + 4.0 * frame
        watch.see(bystanders(frame, columns=4) | ({"leaver": Spot(x_um, 0)} if x_um < HALF_UM else {}))
    (gone,) = watch.ids_of("leaver")
    assert watch.kinds(gone) == ["born", "confirmed", "left"]


def test_a_cell_seen_once_is_soon_forgotten() -> None:
    watch = Watch()
    watch.wait({})
    watch.see(bystanders(watch.frame + 1) | {"speck": Spot(0, 0, area=0.3)})
    speck = watch.id_of("speck")
    for _ in range(3):
        watch.see(bystanders(watch.frame + 1))
    assert watch.kinds(speck) == ["born", "lost"]
    assert watch.tracks[-2].row(speck) is None


def test_age_counts_frames_since_birth_and_missed_those_without_a_cell() -> None:
    watch = Watch()
    watch.wait({"cell": Spot(0, 0)}, frames=4)
    for hidden in (True, True, False):
        watch.see(bystanders(watch.frame + 1) | ({} if hidden else {"cell": Spot(0, 0)}))
    rows = [(tracks, tracks.row(watch.id_of("cell"))) for tracks in watch.tracks]
    assert [int(tracks.age[row]) for tracks, row in rows if row is not None] == list(range(7))
    assert [int(tracks.missed[row]) for tracks, row in rows if row is not None] == [0, 0, 0, 0, 1, 2, 0]


def test_classes_are_smoothed_over_time() -> None:
    watch = Watch(CausalTracker(class_weight=0.25), classes=True)
    watch.wait({"cell": Spot(0, 0)})
    shown = []
    for mitotic in (1.0, 1.0, 0.0):
        tracks = watch.see(bystanders(watch.frame + 1) | {"cell": Spot(0, 0, mitotic=mitotic)})
        row = tracks.row(watch.id_of("cell"))
        assert row is not None
        shown.append(float(tracks.probability("mitotic")[row]))
    assert shown == pytest.approx([0.25, 0.4375, 0.328125])


def test_a_weight_of_one_takes_each_look_as_it_is() -> None:
    watch = Watch(CausalTracker(class_weight=1.0), classes=True)
    for mitotic in (0.0, 0.9, 0.2):
        tracks = watch.see({"cell": Spot(0, 0, mitotic=mitotic)})
        assert tracks.probability("mitotic") == pytest.approx([mitotic])


def test_a_coasting_track_keeps_its_class() -> None:
    watch = Watch(classes=True)
    watch.wait({"cell": Spot(0, 0, mitotic=0.3)})
    cell = watch.id_of("cell")
    tracks = watch.see(bystanders(watch.frame + 1))
    row = tracks.row(cell)
    assert row is not None
    assert tracks.probability("mitotic")[row] == pytest.approx(0.3)


MOVES: dict[str, tuple[dict[str, Any], EventKind | None]] = {
    "by the gate": ({"gate_sigmas": 0.5}, "born"),
    "by the speed": ({"speed_um_s": 0.001, "jitter_um": 0.1}, "born"),
    "within reach": ({"speed_um_s": 0.2}, None),
}


@pytest.mark.parametrize(("settings", "told"), MOVES.values(), ids=MOVES)
def test_how_far_a_cell_may_go_is_a_setting(settings: dict[str, Any], told: EventKind | None) -> None:
    """8 µm in a minute, by a cell that stood still so far."""
    watch = Watch(CausalTracker(**settings))
    watch.see(bystanders(0) | {"cell": Spot(0, 0)}, after_s=0.0)
    watch.see(bystanders(0) | {"cell": Spot(0, 8)}, after_s=INTERVAL_S)
    assert [event.kind for event in watch.told("born", "entered", since=1)] == ([told] if told else [])
