"""pace, in a world of a camera that is late and the real Guard before it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.commands import Command, SetExposure, SetInterval
from acquisition.frame import StagePosition
from acquisition.limits import Limits, Refusal, RigState, check
from realtime.decisions import Decision
from realtime.policies.pace import Pace
from realtime.policy import Scene
from tests.scenes import cells_at, header, scene, tracks_of
from tracking.tracks import EventKind, TrackEvent


def commands_of(decisions: Iterable[Decision]) -> list[Command]:
    return [decision.command for decision in decisions]


FAST_MS, SLOW_MS = 50.0, 500.0


def happening(
    view_index: int, t_ms: float, interval_ms: float, exposure_ms: float, kinds: Sequence[EventKind]
) -> Scene:
    view = header(view_index, t_ms=t_ms, interval_ms=interval_ms, exposure_ms=exposure_ms)
    cells = cells_at(view)
    events = [TrackEvent(kind, n + 1) for n, kind in enumerate(kinds)]
    return scene(view, cells, tracks_of(cells, events=events))


@dataclass
class CameraWorld:
    """A camera that obeys `latency` frames later, and the real Guard before it."""

    limits: Limits
    interval_ms: float = SLOW_MS
    exposure_ms: float = 20.0
    latency: int = 0
    refused: list[str] = field(default_factory=list)
    asked: list[tuple[float, Command]] = field(default_factory=list)  # (seconds, command)
    intervals: list[tuple[float, float]] = field(default_factory=list)  # (seconds, interval in force)

    def watch(self, policy: Pace, counts: Sequence[int]) -> None:
        """One frame a count: so many divisions are seen in it."""
        t_ms, waiting = 0.0, []
        for k, count in enumerate(counts):
            seen = happening(k, t_ms, self.interval_ms, self.exposure_ms, ["divided"] * count)
            self.intervals.append((seen.t_s, self.interval_ms))
            for command in commands_of(policy.decide(seen)):
                waiting.append((k + self.latency, command))
                self.asked.append((seen.t_s, command))
            while waiting and waiting[0][0] <= k:
                self._obey(waiting.pop(0)[1])
            t_ms += self.interval_ms

    def _obey(self, command: Command) -> None:
        state = RigState(0, StagePosition(), self.exposure_ms, self.interval_ms, 1.0)
        match check(command, state, self.limits):
            case Refusal(detail):
                self.refused.append(detail)
            case SetInterval(interval_ms):
                self.interval_ms = interval_ms
            case SetExposure(exposure_ms):
                self.exposure_ms = exposure_ms


def limits(duty_cycle: float) -> Limits:
    return Limits(x_um=(0, 0), y_um=(0, 0), duty_cycle=duty_cycle)


def test_pace_turns_fast_at_an_event_and_slow_after_the_dwell() -> None:
    world = CameraWorld(limits(1.0))
    world.watch(Pace(FAST_MS, SLOW_MS, dwell_s=1.0), [0, 0, 1] + [0] * 40)
    assert world.asked == [(1.0, SetInterval(FAST_MS)), (2.0, SetInterval(SLOW_MS))]


def test_pace_stays_fast_while_events_go_on() -> None:
    world = CameraWorld(limits(1.0))
    world.watch(Pace(FAST_MS, SLOW_MS, dwell_s=0.4), ([1] + [0] * 6) * 20)
    assert world.asked == [(0.0, SetInterval(FAST_MS))]


def test_pace_keeps_its_mode_between_the_thresholds() -> None:
    world = CameraWorld(limits(1.0))
    world.watch(Pace(FAST_MS, SLOW_MS, high=3, low=1, dwell_s=0.0), [2, 2, 3, 2, 2, 2, 1, 2, 2])
    assert [command for _, command in world.asked] == [SetInterval(FAST_MS), SetInterval(SLOW_MS)]
    assert [t for t, _ in world.asked] == pytest.approx([1.0, 1.2])


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.sampled_from([0, 0, 0, 0, 1, 2, 3]), min_size=1, max_size=120),
    latency=st.integers(0, 4),
    dwell_s=st.sampled_from([0.0, 0.3, 2.0]),
)
def test_pace_loop_holds_the_duty_cycle_and_the_dwell(counts: list[int], latency: int, dwell_s: float) -> None:
    exposures = {
        "fast_exposure_ms": 5.0,
        "slow_exposure_ms": 50.0,
    }  # both modes use the duty cycle to the full
    policy = Pace(FAST_MS, SLOW_MS, high=2, dwell_s=dwell_s, repeat_ms=5000.0, **exposures)
    world = CameraWorld(limits(0.1), exposure_ms=50.0, latency=latency)
    counts = counts + [0] * 60
    world.watch(policy, counts)
    assert world.refused == []
    assert world.interval_ms == SLOW_MS, "the last quiet frames bring it back"
    modes = _modes([t for t, _ in world.intervals], counts, policy)
    asked = [(t, command.interval_ms) for t, command in world.asked if isinstance(command, SetInterval)]
    assert all(interval_ms == modes[t] for t, interval_ms in asked)
    assert len(asked) <= sum(one != other for one, other in pairwise([SLOW_MS, *modes.values()]))


def _modes(times_s: list[float], counts: list[int], policy: Pace) -> dict[float, float]:
    """The interval that each frame calls for, written plainly."""
    modes, mode, last_high_s = {}, SLOW_MS, -math.inf
    for t, count in zip(times_s, counts, strict=True):
        if count >= policy.high:
            mode, last_high_s = FAST_MS, t
        elif count <= policy.low and t - last_high_s >= policy.dwell_s - 1e-9:
            mode = SLOW_MS
        modes[t] = mode
    return modes


def test_pace_asks_for_exposure_and_interval_in_the_order_that_is_never_too_much_light() -> None:
    policy = Pace(FAST_MS, SLOW_MS, dwell_s=0.0, fast_exposure_ms=5.0, slow_exposure_ms=50.0)
    fast = commands_of(policy.decide(happening(0, 0, SLOW_MS, 50.0, ["divided"])))
    assert fast == [SetExposure(5.0), SetInterval(FAST_MS)]
    slow = commands_of(policy.decide(happening(1, 500, FAST_MS, 5.0, [])))
    assert slow == [SetInterval(SLOW_MS), SetExposure(50.0)]


def test_pace_repeats_an_unanswered_wish_only_after_a_while() -> None:
    policy = Pace(FAST_MS, SLOW_MS, repeat_ms=2000.0, dwell_s=60.0)
    asked_ms = [k * 500 for k in range(11) if policy.decide(happening(k, k * 500, SLOW_MS, 10.0, ["born"]))]
    assert asked_ms == [0, 2000, 4000]


def test_pace_takes_a_rounded_interval_for_the_one_it_asked_for() -> None:
    assert not Pace(33.3, SLOW_MS).decide(happening(0, 0, 33.4, 10.0, ["born"]))


@pytest.mark.parametrize(
    ("settings_", "fast"),
    [
        ({"signal": "events"}, True),
        ({"signal": "events", "events": ("divided",)}, False),
        ({"signal": "class:round", "high": 2}, True),
        ({"signal": "class:round", "high": 3}, False),
        ({"signal": "class:round", "high": 2, "p_min": 0.85}, False),
        ({"signal": "feature:roundness", "high": 0.7}, True),
        ({"signal": "feature:roundness", "high": 0.8}, False),
        ({"signal": "feature:area_um2", "high": 25}, True),
    ],
)
def test_pace_signals(settings_: dict[str, object], fast: bool) -> None:
    view = header(interval_ms=100.0)
    p = np.array([0.9, 0.8, 0.1])
    cells = cells_at(
        view,
        [(8.0, 0.0), (30.0, 0.0), (60.0, 0.0)],
        p_class={"round": p, "flat": 1 - p},
        features={"roundness": [0.2, math.nan, 0.75]},
    )
    tracks = tracks_of(cells, events=[TrackEvent("born", 3), TrackEvent("lost", 9)])
    (command,) = commands_of(Pace(FAST_MS, SLOW_MS, **settings_).decide(scene(view, cells, tracks)))
    assert command == SetInterval(FAST_MS if fast else SLOW_MS)


@pytest.mark.parametrize(
    ("events", "counts"),
    [
        (None, {"born", "divided"}),
        (("divided",), {"divided"}),
        (("confirmed", "split"), {"confirmed", "split"}),
    ],
)
def test_pace_counts_the_events_it_is_told_to(events: tuple[EventKind, ...] | None, counts: set[str]) -> None:
    """By default what happens in the sample, at once; not what the stage, the segmenter or the tracker's doubts make."""
    table = {} if events is None else {"events": events}
    turns = {
        kind for kind in get_args(EventKind) if Pace(FAST_MS, SLOW_MS, **table).decide(happening(0, 0, 500, 10, [kind]))
    }
    assert turns == counts


def test_pace_slows_down_when_nothing_is_left_to_measure() -> None:
    policy = Pace(FAST_MS, SLOW_MS, signal="feature:area_um2", high=20, low=10, dwell_s=0)
    view = header(0, interval_ms=FAST_MS)
    assert not policy.decide(scene(view, cells_at(view, [(0.0, 0.0)])))
    (decision,) = policy.decide(scene(header(1, interval_ms=FAST_MS)))
    assert decision.command == SetInterval(SLOW_MS)
    assert decision.reason == "feature:area_um2 is -inf: slow"
