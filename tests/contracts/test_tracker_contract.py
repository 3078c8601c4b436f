"""What every tracker promises (tracking/tracker.py), as code.

A new tracker is one more line in TRACKERS. The promises are about identities and bookkeeping in easy scenes;
how well a tracker links in hard ones is for its own tests.
"""

import gc
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS
from models.cells import Cells, Floats
from tests.scenes import cells_at, header
from tracking.tracker import CausalTracker, Tracker
from tracking.tracks import COASTING, Tracks

TRACKERS: dict[str, Callable[[], Tracker]] = {
    "causal": CausalTracker,
}
every_tracker = pytest.mark.parametrize("new", TRACKERS.values(), ids=TRACKERS)
New = Callable[[], Tracker]
STARTS, ENDS = ("born", "entered"), ("lost", "left")
"""Which of them depends on the field, of which not every tracker knows."""
COLUMNS = tuple(
    column.name for column in fields(Tracks) if column.name not in ("frame_index", "t_ns", "class_names", "events")
)
FOUR = np.array([[0.0, 0.0], [60.0, 0.0], [0.0, 60.0], [60.0, 60.0]])


def frame(index: int, xy_um: Floats, t_ms: float | None = None, stage: tuple[float, float] = (0.0, 0.0)) -> Cells:
    return cells_at(header(index, stage, t_ms=t_ms), xy_um)


def ids_by_cell(tracks: Tracks, cells: Cells) -> list[int]:
    """The track of each cell, in the order of cells."""
    return [int(tracks.id[tracks.cell_row == row][0]) for row in range(len(cells))]


def follow(tracker: Tracker, frames: Iterable[Cells]) -> list[Tracks]:
    return [tracker.update(cells) for cells in frames]


def check_rows(tracks: Tracks, cells: Cells) -> None:
    """Everything that must be true of one answer."""
    m, k = len(tracks), len(cells.class_names)
    for name in ("id", "parent", "sigma_um", "age", "missed", "confirmed", "cell_row"):
        assert getattr(tracks, name).shape == (m,), name
    for name, shape in (("xy_um", (m, 2)), ("velocity_um_s", (m, 2)), ("p_class", (m, k))):
        assert getattr(tracks, name).shape == shape, name
    assert (tracks.frame_index, tracks.t_ns) == (cells.frame_index, cells.t_ns)
    assert tracks.class_names == cells.class_names
    seen = tracks.cell_row != COASTING
    assert sorted(tracks.cell_row[seen].tolist()) == list(range(len(cells))), "each cell belongs to exactly one track"
    assert np.array_equal(tracks.xy_um[seen], cells.xy_um[tracks.cell_row[seen]])
    assert np.array_equal(tracks.missed == 0, seen)
    assert len(set(tracks.id.tolist())) == m
    assert (tracks.id > 0).all()
    assert np.isfinite(tracks.xy_um).all()
    assert np.isfinite(tracks.velocity_um_s).all()
    assert (np.isfinite(tracks.sigma_um) & (tracks.sigma_um > 0)).all()
    assert tracks.p_class.sum(axis=1) == pytest.approx(1.0)


@every_tracker
def test_slow_cells_keep_their_identity_whatever_their_order(new: New) -> None:
    rng = np.random.default_rng(0)
    tracker, place = new(), FOUR.copy()
    first = tracker.update(frame(0, place))
    names = ids_by_cell(first, frame(0, place))
    for index in range(1, 50):
        place = place + rng.normal(0, 0.5, place.shape)
        order = rng.permutation(4)
        cells = frame(index, place[order])
        tracks = tracker.update(cells)
        check_rows(tracks, cells)
        assert ids_by_cell(tracks, cells) == [names[i] for i in order]


@every_tracker
def test_births_and_losses_are_told_once(new: New) -> None:
    tracker = new()
    answers = follow(tracker, [frame(0, FOUR)] + [frame(index, FOUR[:3]) for index in range(1, 60)])
    told = [event for tracks in answers for event in tracks.events]
    assert sorted(event.track_id for event in told if event.kind in STARTS) == answers[0].id.tolist()
    assert [event.track_id for event in told if event.kind in ENDS] == [answers[0].id[3]]
    assert {event.kind for event in told} <= {*STARTS, *ENDS, "confirmed"}
    assert len(answers[-1]) == 3


@every_tracker
def test_a_track_is_confirmed_once_and_stays_so(new: New) -> None:
    answers = follow(new(), [frame(index, FOUR) for index in range(20)])
    assert answers[-1].confirmed.all()
    told = [event.track_id for tracks in answers for event in tracks.events if event.kind == "confirmed"]
    assert len(told) == len(set(told))
    for before, after in pairwise(answers):
        assert not (before.confirmed & ~after.confirmed).any()


@every_tracker
def test_a_missing_cell_coasts_and_comes_back_as_itself(new: New) -> None:
    tracker = new()
    before, gap, after = follow(tracker, [frame(0, FOUR), frame(1, FOUR[1:]), frame(2, FOUR)])
    missing = gap.row(int(before.id[0]))
    assert missing is not None
    assert gap.cell_row[missing] == COASTING
    assert gap.missed[missing] == 1
    assert after.id.tolist() == before.id.tolist()
    assert (after.missed == 0).all()


@every_tracker
def test_a_cell_out_of_reach_is_another_cell(new: New) -> None:
    tracker = new()
    first, second = follow(tracker, [frame(0, FOUR[:1]), frame(1, FOUR[:1] + 5000.0)])
    born = [event.track_id for event in second.events if event.kind in STARTS]
    assert len(born) == 1
    assert born[0] not in first.id


@every_tracker
def test_frames_without_cells(new: New) -> None:
    tracker, nothing = new(), np.empty((0, 2))
    for index in range(20):
        cells = frame(index, FOUR if index == 3 else nothing)
        check_rows(tracker.update(cells), cells)
    assert len(tracker.update(frame(20, nothing))) == 0


@every_tracker
def test_dropped_frames_and_irregular_intervals(new: New) -> None:
    """A cell at a steady 1 µm/s; only true time steps explain where it is."""
    tracker, names = new(), set()
    for index, t_ms in [
        (0, 0),
        (1, 500),
        (2, 1000),
        (3, 1500),
        (4, 2000),
        (9, 4500),
        (10, 4510),
        (11, 4520),
        (15, 6500),
    ]:
        cells = frame(index, np.array([[t_ms / 1000.0, 0.0], [100.0, 0.0]]), t_ms=t_ms)
        tracks = tracker.update(cells)
        check_rows(tracks, cells)
        names.update(tracks.id.tolist())
    assert len(names) == 2


@every_tracker
def test_two_frames_of_the_same_time_are_no_reason_to_fail(new: New) -> None:
    tracker = new()
    first, second = follow(tracker, [frame(0, FOUR, t_ms=0), frame(1, FOUR + 0.1, t_ms=0)])
    assert first.id.tolist() == second.id.tolist()
    assert np.isfinite(second.velocity_um_s).all()


@every_tracker
def test_a_moving_stage_is_invisible(new: New) -> None:
    """Cells come in stage µm: where the view is does not matter."""
    still, moving = new(), new()
    rng = np.random.default_rng(0)
    for index in range(20):
        place = FOUR + rng.normal(0, 0.3, FOUR.shape)
        one = still.update(frame(index, place))
        other = moving.update(frame(index, place, stage=(3.0 * index, -1.5 * index)))
        assert one.id.tolist() == other.id.tolist()
        assert np.array_equal(one.xy_um, other.xy_um)


def random_frames(seed: int, n_frames: int, n_cells: int, size_um: float = 200.0) -> list[Cells]:
    """Crowded, jumpy cells that come and go, with areas that make divisions possible."""
    rng = np.random.default_rng(seed)
    place, frames, t_ms = rng.uniform(-size_um / 2, size_um / 2, (n_cells, 2)), [], 0.0
    for index in range(n_frames):
        t_ms += rng.exponential(50.0)
        place = place + rng.normal(0, 3.0, place.shape)
        gone = rng.random(n_cells) < 0.05
        place[gone] = rng.uniform(-size_um / 2, size_um / 2, (int(gone.sum()), 2))
        seen = place[rng.random(n_cells) > 0.1]
        frames.append(cells_at(header(index, t_ms=t_ms), seen, area_um2=rng.uniform(20, 120, len(seen))))
    return frames


@every_tracker
@settings(deadline=None)  # the first example may have to compile something
@given(seed=st.integers(0, 2**16), n_cells=st.integers(0, 60))
def test_rows_are_consistent_and_ids_never_used_again(new: New, seed: int, n_cells: int) -> None:
    tracker, alive, ever = new(), set[int](), set[int]()
    for cells in random_frames(seed, 15, n_cells):
        tracks = tracker.update(cells)
        check_rows(tracks, cells)
        now = set(tracks.id.tolist())
        fresh = now - alive
        assert not fresh & ever, "an id came back"
        announced = {event.track_id for event in tracks.events if event.kind in STARTS}
        daughters = {daughter for event in tracks.events if event.kind == "divided" for daughter in event.others}
        assert not announced & daughters
        assert fresh == announced | daughters - alive, "a daughter may have had a track of her own before"
        ended = {event.track_id for event in tracks.events if event.kind in (*ENDS, "divided")}
        assert alive - now == ended
        for event in tracks.events:
            if event.kind == "divided":
                rows = [tracks.row(daughter) for daughter in event.others]
                assert [tracks.parent[row] for row in rows] == [event.track_id] * 2
        alive, ever = now, ever | now


@every_tracker
def test_same_cells_same_tracks(new: New) -> None:
    frames = random_frames(3, 30, 80)
    for one, other in zip(follow(new(), frames), follow(new(), frames), strict=True):
        assert one.events == other.events
        for name in COLUMNS:
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


@every_tracker
def test_past_answers_do_not_change(new: New) -> None:
    tracker, frames = new(), random_frames(4, 10, 40)
    answers = follow(tracker, frames[:9])
    kept = {name: getattr(answers[-1], name).copy() for name in COLUMNS}
    tracker.update(frames[9])
    for name in COLUMNS:
        assert np.array_equal(getattr(answers[-1], name), kept[name]), name


@every_tracker
def test_classes_must_stay_the_same(new: New) -> None:
    tracker = new()
    tracker.update(frame(0, FOUR))
    with pytest.raises(ValueError, match="classes"):
        tracker.update(cells_at(header(1), FOUR, p_class={"a": [0.5] * 4, "b": [0.5] * 4}))


@every_tracker
def test_time_must_not_go_back(new: New) -> None:
    tracker = new()
    tracker.update(frame(0, FOUR, t_ms=100))
    with pytest.raises(ValueError, match="order of their time"):
        tracker.update(frame(1, FOUR, t_ms=50))


@every_tracker
def test_memory_is_bounded_over_5000_frames(new: New) -> None:
    """Cells are born and lost all the time; after 4,700 frames, 300 more leave nothing behind."""
    tracker, loop = new(), random_frames(5, 25, 12)

    def turns(numbers: range) -> None:
        for step in range(numbers.start * len(loop), numbers.stop * len(loop)):
            cells = loop[step % len(loop)]
            tracker.update(replace(cells, frame_index=step, t_ns=step * 50 * NS_PER_MS))

    turns(range(188))
    tracemalloc.start()
    try:
        turns(range(188, 190))
        early, _ = tracemalloc.get_traced_memory()
        turns(range(190, 200))
        gc.collect()
        late, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert late - early < 5_000
