"""burst, before a camera that obeys late or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from acquisition.commands import AcquireBurst
from realtime.policies.burst import Burst
from tests.scenes import cells_at, header, scene, tracks_of
from tracking.tracks import EventKind, TrackEvent

SLOW_MS, FAST_MS, N = 200.0, 20.0, 5


@dataclass
class Camera:
    """Takes the bursts that it is asked for `latency` frames later, but for those in `deaf_to`."""

    latency: int = 0
    deaf_to: Sequence[int] = ()
    blind: bool = False
    """Nobody looks at the frames of a burst."""
    asked: list[tuple[int, int | None]] = field(default_factory=list)  # (frame, track)

    def watch(
        self, policy: Burst, frames: Sequence[Sequence[float]], events: dict[int, list[TrackEvent]] | None = None
    ) -> None:
        """`frames[k][n]`: how round track n + 1 is while nothing else happens; during a burst the last look stays."""
        t_ms, k, left, reason, begins = 0.0, 0, 0, "start", list[tuple[int, str]]()
        for step, row in enumerate(frames):
            while True:
                view = header(k, t_ms=t_ms, interval_ms=FAST_MS if left else SLOW_MS, reason=reason)
                p = np.array(row)
                cells = cells_at(view, [(20.0 * n, 0.0) for n in range(len(row))], p_class={"round": p, "flat": 1 - p})
                told = (events or {}).get(step, []) if not left else []
                seen = scene(view, cells, tracks_of(cells, events=told))
                for decision in [] if self.blind and left else policy.decide(seen):
                    assert decision.command == AcquireBurst(N, FAST_MS)
                    self.asked.append((k, decision.track_id))
                    if len(self.asked) - 1 not in self.deaf_to:
                        begins.append((k + self.latency, f"{k}.burst.0"))
                left = max(0, left - 1)
                if begins and begins[0][0] <= k:
                    left, reason = N, begins.pop(0)[1]
                t_ms, k = t_ms + (FAST_MS if left else SLOW_MS), k + 1
                if not left:
                    break


def burst(**settings: object) -> Burst:
    table = {"class_name": "round", "looks": 2, "of": 3, "n_frames": N, "interval_ms": FAST_MS, "refractory_s": 1.0}
    return Burst(**(table | settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("latency", [0, 1, 2])
def test_a_burst_follows_agreeing_looks_once_for_each_track(latency: int) -> None:
    camera = Camera(latency)
    camera.watch(burst(), [[0.1, 0.1], [0.9, 0.1], [0.9, 0.1], *[[0.9, 0.9]] * 30])
    assert [track for _, track in camera.asked] == [1, 2]
    assert camera.asked[0][0] == 2


def test_bursts_keep_their_distance() -> None:
    camera = Camera()
    camera.watch(burst(most_per_track=3), [[0.9]] * 40)
    frames = [k for k, _ in camera.asked]
    assert len(frames) == 3
    assert all(later - earlier >= N + 1000 / SLOW_MS for earlier, later in pairwise(frames))


def test_a_run_has_no_more_than_most() -> None:
    camera = Camera()
    camera.watch(burst(most=2, refractory_s=0.0), [[0.9] * 5] * 30)
    assert len(camera.asked) == 2


def test_a_refused_burst_is_asked_for_again_and_not_counted() -> None:
    camera = Camera(deaf_to=(0, 1))
    camera.watch(burst(most=1, refractory_s=60.0, repeat_ms=1000.0), [[0.9]] * 30)
    assert [k for k, _ in camera.asked] == [1, 6, 11]


@pytest.mark.parametrize(("latency", "n_asked"), [(0, 1), (2, 1)])
def test_a_burst_that_nobody_looked_at_took_place_all_the_same(latency: int, n_asked: int) -> None:
    """Inference is slow: of each burst it sees no frame, only that indices have gone on."""
    camera = Camera(latency, blind=True)
    camera.watch(burst(repeat_ms=600.0), [[0.9]] * 30)
    assert len(camera.asked) == n_asked


def test_another_burst_that_was_asked_for_before_is_not_taken_for_this_one() -> None:
    policy = burst(looks=1, of=1, repeat_ms=600.0, refractory_s=60.0)
    asked = []
    for k in range(10):  # another policy made frames fast since frame 0
        view = header(k, t_ms=k * SLOW_MS, interval_ms=FAST_MS, reason="1.pace.0")
        cells = cells_at(view, [(0.0, 0.0)], p_class={"round": [0.9], "flat": [0.1]})
        asked += [k for _ in policy.decide(scene(view, cells))]
    assert asked == [0, 3, 6, 9]


@pytest.mark.parametrize(("kind", "track"), [("confirmed", 1), ("divided", None)])
def test_events_fire_at_once_and_name_only_tracks_that_live(kind: EventKind, track: int | None) -> None:
    camera = Camera()
    policy = burst(class_name="", events=("confirmed", "divided"))
    event = TrackEvent(kind, 1 if kind == "confirmed" else 7, (1, 2) if kind == "divided" else ())
    camera.watch(policy, [[0.1, 0.1]] * 6, {2: [event], 3: [TrackEvent("born", 2)]})
    assert camera.asked == [(2, track)]


@pytest.mark.parametrize(
    "settings", [{"class_name": ""}, {"events": ("born",)}, {"feature": "area_um2", "feature_min": 1}]
)
def test_one_condition_decides(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="one condition decides"):
        burst(**settings)
