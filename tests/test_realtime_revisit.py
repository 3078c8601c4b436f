"""revisit, with a stage that is late, refuses, or takes its time, over places of which some are interesting."""

import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.commands import MoveStage
from acquisition.dose_map import DoseMap, j_cm2
from realtime.policies.revisit import Revisit
from realtime.policy import Dose, Scene
from tests.scenes import cells_at, header, scene, tracks_of
from tracking.tracks import TrackEvent

INTERVAL_MS = 100.0
SIDE_UM = 256.0  # of a view


@dataclass
class Stage:
    """Moves `um_per_frame` towards the latest target; moves whose number is in `deaf_to` are refused."""

    happens: Callable[[int, float], bool] = lambda place, t_s: False  # place, seconds
    latency: int = 0
    um_per_frame: float = math.inf
    deaf_to: Collection[int] = ()
    forbidden: Collection[int] = ()  # places out of the stage's reach
    places: DoseMap | None = None
    limit_j_cm2: float = math.inf
    at_um: tuple[float, float] = (0.0, 0.0)
    seen: list[int | None] = field(default_factory=list)  # the place that a frame shows
    longest_um: float = 0.0

    def watch(self, policy: Revisit, n_frames: int) -> list[int]:
        """The places in the order of the visits."""
        target_um, waiting, n_asked = self.at_um, list[tuple[int, tuple[float, float]]](), 0
        for k in range(n_frames):
            for decision in policy.decide(self._scene(policy, k)):
                move = decision.command
                assert isinstance(move, MoveStage)
                assert move.x_um is not None
                assert move.y_um is not None
                there_um = (move.x_um, move.y_um)
                self.longest_um = max(self.longest_um, *np.abs(np.subtract(there_um, self.at_um)))
                if n_asked not in self.deaf_to and self._place(policy, there_um) not in self.forbidden:
                    waiting.append((k + self.latency, there_um))
                n_asked += 1
            while waiting and waiting[0][0] <= k:
                target_um = waiting.pop(0)[1]
            self.at_um = _towards(self.at_um, target_um, self.um_per_frame)
        shown = [place for place in self.seen if place is not None]
        return [place for i, place in enumerate(shown) if i == 0 or place != shown[i - 1]]

    def _scene(self, policy: Revisit, k: int) -> Scene:
        view = header(k, self.at_um, interval_ms=INTERVAL_MS)
        here = self._place(policy, self.at_um)
        self.seen.append(here)
        if self.places is not None:
            low, high = (tuple(float(a + sign * SIDE_UM / 2) for a in self.at_um) for sign in (-1, 1))
            self.places.add(low, high, j_cm2(0.01, SIDE_UM**2))  # type: ignore[arg-type]
        p = [0.95] if here is not None and self.happens(here, k * INTERVAL_MS / 1000) else [0.05]
        cells = cells_at(view, [self.at_um], p_class={"rare": p, "other": [1 - p[0]]})
        return replace(scene(view, cells), dose=Dose(places=self.places, limit_j_cm2=self.limit_j_cm2))

    @staticmethod
    def _place(policy: Revisit, at_um: tuple[float, float]) -> int | None:
        return next((i for i, place in enumerate(policy._places) if math.dist(place.xy_um, at_um) <= 1.0), None)


def _towards(here_um: tuple[float, float], target_um: tuple[float, float], longest_um: float) -> tuple[float, float]:
    way_um = math.dist(here_um, target_um)
    share = 1.0 if way_um <= longest_um else longest_um / way_um
    return tuple(a + share * (b - a) for a, b in zip(here_um, target_um, strict=True))  # type: ignore[return-value]


def grid(**table: object) -> Revisit:
    settings_ = {"class_name": "rare", "columns": 3, "rows": 2, "pitch_um": (300.0, 300.0), "step_um": 1000.0}
    return Revisit(**(settings_ | table))  # type: ignore[arg-type]


ROUND = [0, 1, 2, 3, 4, 5]


def test_the_scan_goes_round_each_place_next_to_the_one_before() -> None:
    assert Stage().watch(grid(), 18) == ROUND * 3
    assert [place.xy_um for place in grid()._places] == [(0, 0), (300, 0), (600, 0), (600, 300), (300, 300), (0, 300)]


@pytest.mark.parametrize("latency", [0, 1, 3])
def test_so_many_frames_are_taken_at_a_place(latency: int) -> None:
    stage = Stage(latency=latency)
    stage.watch(grid(frames=3, skip_frames=1), 60)
    assert stage.seen[: 4 + latency] == [0] * (4 + latency)
    assert stage.seen[4 + latency] == 1


def test_a_hot_place_is_visited_more_often_until_it_has_cooled_down() -> None:
    visits = Stage(lambda place, t_s: place == 4 and t_s < 6).watch(grid(hot_every=3, cool_s=3.0), 150)
    early, late = Counter(visits[5:60]), Counter(visits[100:])
    assert early[4] > 1.8 * early[0]
    assert max(late.values()) - min(late.values()) <= 1


def test_without_a_hot_share_it_is_a_plain_round() -> None:
    assert Stage(lambda place, t_s: place == 4).watch(grid(hot_share=0.0), 60) == ROUND * 10


@settings(max_examples=20, deadline=None)
@given(
    hot=st.sets(st.integers(0, 5)), hot_share=st.floats(0, 0.95), hot_every=st.integers(1, 6),
    latency=st.integers(0, 2), um_per_frame=st.sampled_from([math.inf, 150.0]),
    deaf_to=st.frozensets(st.integers(0, 60), max_size=15),
)  # fmt: skip
def test_the_scan_is_never_starved(
    hot: set[int], hot_share: float, hot_every: int, latency: int, um_per_frame: float, deaf_to: frozenset[int]
) -> None:
    policy = grid(hot_share=hot_share, hot_every=hot_every, patience_ms=600.0)
    stage = Stage(lambda place, t_s: place in hot, latency, um_per_frame, deaf_to)
    visits = stage.watch(policy, 500)
    assert len(visits) >= 60
    longest_wait = 2 * math.ceil(len(ROUND) / (1 - hot_share)) + 4
    for place in ROUND:
        at = [-1, *(i for i, seen in enumerate(visits) if seen == place)]
        assert max(np.diff([*at, len(visits)])) <= longest_wait


def test_a_refused_move_is_asked_for_again_and_a_place_out_of_reach_is_passed_over() -> None:
    assert Stage(deaf_to=(0, 1)).watch(grid(patience_ms=300.0), 30)[:4] == [0, 1, 2, 3]
    visits = Stage(forbidden=(2,)).watch(grid(patience_ms=300.0, tries=2), 60)
    assert visits[:6] == [0, 1, 3, 4, 5, 0]
    assert 2 not in visits


def test_long_ways_go_in_steps() -> None:
    stage = Stage()
    assert stage.watch(grid(step_um=200.0), 40)[:6] == ROUND
    assert stage.longest_um <= 200.0


def test_it_begins_wherever_the_stage_stands() -> None:
    assert Stage(at_um=(777.0, -50.0)).watch(grid(), 20)[:6] == ROUND


def test_places_whose_light_is_spent_are_passed_over() -> None:
    places = DoseMap()
    places.add((500.0, -100.0), (700.0, 100.0), 1.0)  # place 2
    stage = Stage(places=places, limit_j_cm2=0.5)
    assert Counter(stage.watch(grid(), 40))[2] == 0
    frame_j_cm2 = j_cm2(0.01, SIDE_UM**2)
    spare = Stage(lambda place, t_s: place == 1, places=DoseMap(), limit_j_cm2=3.5 * frame_j_cm2)
    visits = spare.watch(grid(pitch_um=(400.0, 400.0)), 60)
    assert Counter(visits) == dict.fromkeys(ROUND, 3), "and then there is none left"


def test_one_wrong_look_is_not_enough_where_confirmed_tracks_are_asked_for() -> None:
    def hot_places(looks: list[float], confirmed: bool) -> bool:
        policy = grid(confirmed_only=True, looks=2, of=3, frames=len(looks))
        for k, p in enumerate(looks):
            view = header(k, interval_ms=INTERVAL_MS)
            cells = cells_at(view, [(0.0, 0.0)], p_class={"rare": [p], "other": [1 - p]})
            tracks = replace(tracks_of(cells), confirmed=np.array([confirmed]))
            list(policy.decide(scene(view, cells, tracks)))
        return policy._places[0].hot_until_ns > 0

    assert hot_places([0.9, 0.9, 0.9], True)
    assert not hot_places([0.9, 0.1, 0.1], True)
    assert not hot_places([0.9, 0.9, 0.9], False)


def test_events_make_a_place_hot_but_not_on_the_way() -> None:
    policy = grid(class_name="", events=("divided",))
    for k, (x_um, events) in enumerate([(0.0, []), (150.0, ["divided"]), (300.0, ["divided"]), (300.0, [])]):
        view = header(k, (x_um, 0.0), interval_ms=INTERVAL_MS)
        cells = cells_at(view)
        tracks = tracks_of(cells, events=[TrackEvent(kind, 7, (8, 9)) for kind in events])  # type: ignore[arg-type]
        list(policy.decide(scene(view, cells, tracks)))
    assert [place.hot_until_ns > 0 for place in policy._places] == [False, True, False, False, False, False]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"positions_um": ((0.0, 0.0),)}, "positions_um or a grid"),
        ({"columns": 1, "rows": 1}, "positions_um or a grid"),
        ({"class_name": ""}, "no place is ever hot"),
    ],
)
def test_wrong_settings_are_refused(table: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        grid(**table)
