"""follow, in a world of one cell and a stage that is late."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.commands import Command, MoveStage
from models.cells import Floats
from realtime.decisions import Decision
from realtime.policies.follow import Follow
from tests.scenes import cells_at, header, scene, tracks_of
from tracking.tracks import TrackEvent

INTERVAL_MS = 50.0
FOLLOW_SIMPLY = {"gain": 1.0, "deadband_um": 2.0, "step_um": 100.0, "patience_ms": 1000.0}


def commands_of(decisions: Iterable[Decision]) -> list[Command]:
    return [decision.command for decision in decisions]


@dataclass
class StageWorld:
    """One cell that drifts, and a stage that starts a move `latency` frames after it was asked for."""

    cell_um: Floats
    drift_um: Floats  # a frame
    latency: int = 0
    speed_um: float = math.inf  # a frame
    noise_um: float = 0.0
    stage_um: Floats = field(default_factory=lambda: np.zeros(2))
    moves: list[tuple[int, Floats]] = field(default_factory=list)  # (frame, from the stage's position to the target)

    def watch(self, policy: Follow, frames: int) -> Floats:
        """Distance of the cell from the middle at every frame."""
        rng, target_um, asked, errors = np.random.default_rng(1), self.stage_um, [], []
        for k in range(frames):
            seen_um = self.cell_um + rng.uniform(-self.noise_um, self.noise_um, 2)
            view = header(k, (self.stage_um[0], self.stage_um[1]), interval_ms=INTERVAL_MS)
            for move in commands_of(policy.decide(scene(view, cells_at(view, [seen_um])))):
                assert isinstance(move, MoveStage)
                asked.append((k + self.latency, np.array([move.x_um, move.y_um])))
                self.moves.append((k, asked[-1][1] - self.stage_um))
            errors.append(float(np.linalg.norm(self.cell_um - self.stage_um)))
            while asked and asked[0][0] <= k:
                target_um = asked.pop(0)[1]
            self.cell_um = self.cell_um + self.drift_um
            self.stage_um = _towards(self.stage_um, target_um, self.speed_um)
        return np.array(errors)


def _towards(here_um: Floats, target_um: Floats, longest_um: float) -> Floats:
    way_um = target_um - here_um
    length_um = float(np.linalg.norm(way_um))
    return target_um if length_um <= longest_um else here_um + way_um * (longest_um / length_um)


@settings(max_examples=60, deadline=None)
@given(
    latency=st.integers(0, 5),
    drift_um=st.floats(0, 2),
    angle=st.floats(0, 2 * math.pi),
    start_um=st.floats(0, 60),
    gain=st.floats(0.3, 1.0),
)
def test_follow_keeps_a_drifting_cell_within_what_its_latency_allows(
    latency: int, drift_um: float, angle: float, start_um: float, gain: float
) -> None:
    policy = Follow(gain=gain, deadband_um=2.0, step_um=20.0, patience_ms=1000.0)
    direction = np.array([math.cos(angle), math.sin(angle)])
    world = StageWorld(np.array([start_um, 0.0]), direction * drift_um, latency)
    cycle = latency + 1  # frames from asking for a move to seeing its effect
    errors = world.watch(policy, 45 * cycle)

    settled = errors[40 * cycle :]
    at_asking_um = max(policy.deadband_um + drift_um, drift_um * cycle / gain)
    assert settled.max() <= at_asking_um + drift_um * cycle + 0.01
    late = [way for k, way in world.moves if k >= 40 * cycle]
    assert all(way @ direction > 0 for way in late), "a settled stage must never step back against the drift"


@settings(max_examples=60, deadline=None)
@given(
    latency=st.integers(0, 5),
    gain=st.floats(0.3, 1.0),
    speed_um=st.floats(0.7, 50.0),
    patience_ms=st.sampled_from([1.0, 200.0, 5000.0]),
)
def test_follow_never_overshoots_a_cell_that_rests(
    latency: int, gain: float, speed_um: float, patience_ms: float
) -> None:
    policy = Follow(gain=gain, deadband_um=2.0, step_um=15.0, patience_ms=patience_ms)
    world = StageWorld(np.array([40.0, -30.0]), np.zeros(2), latency, speed_um)
    errors = world.watch(policy, 400)
    assert np.all(np.diff(errors) <= 1e-9), "the error may only shrink"
    assert errors[-1] <= policy.deadband_um
    assert max(np.linalg.norm(way) for _, way in world.moves) <= policy.step_um + 1e-9


@pytest.mark.parametrize("latency", range(6))
def test_follow_asks_once_and_waits_for_the_move_to_show(latency: int) -> None:
    world = StageWorld(np.array([10.0, 0.0]), np.zeros(2), latency)
    errors = world.watch(Follow(**FOLLOW_SIMPLY), 20)
    assert [k for k, _ in world.moves] == [0]
    assert errors[latency + 1] == pytest.approx(0)


def test_follow_rests_while_the_position_only_jitters() -> None:
    world = StageWorld(np.array([0.0, 0.0]), np.zeros(2), latency=2, noise_um=1.4)
    world.watch(Follow(**FOLLOW_SIMPLY), 300)
    assert world.moves == []


def test_follow_reckons_a_move_that_never_came_from_where_the_stage_really_is() -> None:
    policy = Follow(**(FOLLOW_SIMPLY | {"patience_ms": 200.0}))
    asked = {}
    for k in range(10):  # a stage that refuses to move
        view = header(k, (5.0, 0.0), interval_ms=INTERVAL_MS)
        for move in commands_of(policy.decide(scene(view, cells_at(view, [(15.0, 3.0)])))):
            asked[k] = move
    assert asked == {k: MoveStage(x_um=15.0, y_um=3.0) for k in (0, 4, 8)}


def test_follow_takes_its_share_of_the_way() -> None:
    view = header(0, (100.0, 50.0))
    (decision,) = Follow(gain=0.5).decide(scene(view, cells_at(view, [(110.0, 46.0)])))
    assert decision.command == MoveStage(x_um=105.0, y_um=48.0)


def test_follow_clips_a_move_and_says_why_it_is_made() -> None:
    view = header(3, (100.0, 50.0))
    (decision,) = Follow(step_um=10.0).decide(scene(view, cells_at(view, [(130.0, 90.0)])))
    assert decision.command == MoveStage(x_um=106.0, y_um=58.0)
    assert decision.track_id == 1
    assert decision.reason == "track 1 is 50.0 µm off the middle"


def test_follow_centres_on_the_part_of_the_sensor_that_is_read() -> None:
    view = header(0, (100.0, 0.0), size_px=101, um_per_px=1.0)
    off_axis = msgspec.structs.replace(view, stage_from_pixel=(1.0, 0.0, 70.0, 0.0, 1.0, -50.0))  # middle at x = 120
    (decision,) = Follow(**FOLLOW_SIMPLY).decide(scene(off_axis, cells_at(off_axis, [(125.0, 0.0)])))
    assert decision.command == MoveStage(x_um=105.0, y_um=0.0)


THREE_CELLS_UM = [(8.0, 0.0), (30.0, 0.0), (60.0, 0.0)]


@pytest.mark.parametrize(
    ("settings_", "ages", "chosen"),
    [
        ({"choose": "nearest"}, [3, 10, 10], 1),
        ({"choose": "nearest"}, [2, 10, 10], 2),
        ({"choose": "nearest"}, [2, 2, 2], None),
        ({"choose": "brightest"}, [10, 10, 10], 3),
        ({"choose": "brightest"}, [10, 10, 2], 2),
        ({"choose": "class", "class_name": "round"}, [10, 10, 10], 2),
        ({"choose": "class", "class_name": "round", "p_min": 0.95}, [10, 10, 10], None),
    ],
)
def test_follow_chooses(settings_: dict[str, object], ages: list[int], chosen: int | None) -> None:
    view = header()
    p = np.array([0.6, 0.9, 0.1])
    cells = cells_at(view, THREE_CELLS_UM, p_class={"round": p, "flat": 1 - p}, mean_intensity=[300, 500, 900])
    decisions = Follow(min_age=3, **settings_).decide(scene(view, cells, tracks_of(cells, age=ages)))
    assert [decision.track_id for decision in decisions] == ([] if chosen is None else [chosen])


def test_follow_chooses_no_track_that_is_not_confirmed() -> None:
    view = header()
    cells = cells_at(view, THREE_CELLS_UM)
    tracks = replace(tracks_of(cells), confirmed=np.array([False, True, False]))
    assert [decision.track_id for decision in Follow().decide(scene(view, cells, tracks))] == [2]


@pytest.mark.parametrize("choose", ["nearest", "brightest"])
def test_follow_goes_on_with_the_nearer_daughter_of_its_cell(choose: str) -> None:
    """Not with the other one, nor with a cell that would now be chosen; that daughter is too young to be chosen."""
    policy = Follow(choose=choose, patience_ms=1.0)
    view = header(0)
    cells = cells_at(view, [(9.0, 0.0), (50.0, 0.0)], mean_intensity=[900, 500])
    assert [d.track_id for d in policy.decide(scene(view, cells, tracks_of(cells, [4, 6])))] == [4]
    view = header(1)
    cells = cells_at(view, [(13.0, 0.0), (7.0, 0.0), (2.5, 0.0)], mean_intensity=[500, 500, 900])
    divided = [TrackEvent("divided", 6, (2, 3)), TrackEvent("divided", 4, (8, 7))]
    tracks = tracks_of(cells, [7, 8, 6], age=[1, 0, 10], events=divided)
    assert [d.track_id for d in policy.decide(scene(view, cells, tracks))] == [8]


def test_follow_chooses_by_the_cell_not_by_the_row() -> None:
    view = header()
    cells = cells_at(view, THREE_CELLS_UM, mean_intensity=[300, 900, 500])
    tracks = tracks_of(cells, unseen={4: ((3.0, 0.0), 1)})
    order = [3, 2, 1, 0]  # the track without a cell first
    columns = ("id", "parent", "xy_um", "velocity_um_s", "age", "missed", "p_class", "cell_row")
    turned = replace(tracks, **{name: getattr(tracks, name)[order] for name in columns})
    chosen = {
        choose: [decision.track_id for decision in Follow(choose=choose).decide(scene(view, cells, turned))]
        for choose in ("nearest", "brightest")
    }
    assert chosen == {"nearest": [1], "brightest": [2]}


def test_follow_keeps_its_cell_until_it_is_lost_or_long_unseen() -> None:
    policy = Follow(give_up_missed=3, patience_ms=1.0)

    def followed(k: int, seen: dict[int, tuple[float, float]], unseen: dict[int, int]) -> list[int | None]:
        view = header(k)
        cells = cells_at(view, list(seen.values()))
        coasting = {track: ((9.0, 0.0), missed) for track, missed in unseen.items()}
        decisions = policy.decide(scene(view, cells, tracks_of(cells, list(seen), unseen=coasting)))
        return [decision.track_id for decision in decisions]

    assert followed(0, {7: (5.0, 0.0), 8: (20.0, 0.0)}, {}) == [7]
    assert followed(1, {7: (50.0, 0.0), 8: (4.0, 0.0)}, {}) == [7], "another cell is nearer now: it stays with its own"
    assert followed(2, {8: (4.0, 0.0)}, {7: 1}) == [], "it does not move on a guess"
    assert followed(3, {7: (50.0, 0.0), 8: (4.0, 0.0)}, {}) == [7]
    assert followed(4, {8: (4.0, 0.0)}, {7: 3}) == [8], "unseen for too long"
    assert followed(5, {9: (3.0, 0.0)}, {}) == [9], "lost"
    assert followed(6, {}, {}) == []
