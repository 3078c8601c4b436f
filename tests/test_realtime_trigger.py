"""trigger, on tracks whose looks are written down."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.commands import PulseSorter
from realtime.policies.trigger import Trigger
from tests.scenes import cells_at, header, scene, tracks_of

INTERVAL_MS = 50.0


def fired(policy: Trigger, looks: Sequence[Sequence[float | None]]) -> list[tuple[int, int | None]]:
    """(frame, track) of every pulse; `looks[k][n]`: how round track n + 1 is in frame k, None if missed."""
    pulses = []
    for k, row in enumerate(looks):
        view = header(k, interval_ms=INTERVAL_MS)
        seen = {n + 1: p for n, p in enumerate(row) if p is not None}
        missed = {n + 1: ((0.0, 0.0), 1) for n, p in enumerate(row) if p is None}
        p = np.array(list(seen.values()))
        cells = cells_at(view, [(n, 0.0) for n in seen], p_class={"round": p, "flat": 1 - p})
        decisions = policy.decide(scene(view, cells, tracks_of(cells, list(seen), unseen=missed)))
        pulses += [(k, decision.track_id) for decision in decisions]
    return pulses


@pytest.mark.parametrize(
    ("one_track", "expected"),
    [
        ([0.9, 0.9, 0.9], [2]),
        ([0.9, 0.9, 0.1], []),
        ([0.9, 0.1, 0.9, 0.1, 0.9], [4]),
        ([0.9, 0.1, 0.1, 0.9, 0.1, 0.9, 0.1], []),
        ([0.9, None, 0.9, None, 0.9], [4]),
        ([0.9, None, None, 0.9, None, 0.9], []),
        ([0.9] * 50, [2]),
        ([], []),
    ],
)
def test_trigger_needs_several_looks_and_fires_once(one_track: list[float | None], expected: list[int]) -> None:
    policy = Trigger(class_name="round", p_min=0.8, looks=3, of=5)
    assert fired(policy, [[p] for p in one_track]) == [(k, 1) for k in expected]


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 6), st.integers(0, 6))
def test_trigger_counts_looks_like_a_plain_window(hits: list[bool], looks: int, spare: int) -> None:
    of = looks + spare
    policy = Trigger(class_name="round", looks=looks, of=of, once_per_track=False)
    expected = [k for k in range(len(hits)) if sum(hits[max(0, k - of + 1) : k + 1]) >= looks]
    assert [k for k, _ in fired(policy, [[0.9 if hit else 0.1] for hit in hits])] == expected


def test_trigger_pulse_comes_a_fixed_delay_after_the_frame_and_expires_then() -> None:
    view = header(4, t_ms=1000.0)
    cells = cells_at(view, [(0.0, 0.0)], p_class={"round": [1.0]})
    (decision,) = Trigger(class_name="round", looks=1, of=1, delay_ms=12.5, width_ms=2.0).decide(scene(view, cells))
    at_ns = NS_PER_S + 12 * NS_PER_MS + NS_PER_MS // 2
    assert decision.command == PulseSorter(at_ns=at_ns, width_ms=2.0)
    assert decision.deadline_ns == at_ns
    assert decision.reason == "track 1: round in 1 of its last 1 frames"


def test_trigger_keeps_the_gap_between_pulses_and_forgets_nobody_who_waits() -> None:
    policy = Trigger(class_name="round", looks=1, of=3, refractory_ms=2 * INTERVAL_MS)
    assert fired(policy, [[0.9, 0.9, 0.1]] * 8) == [(0, 1), (2, 2)]
    policy = Trigger(class_name="round", looks=1, of=3, refractory_ms=0.0, width_ms=10.0)
    assert fired(policy, [[0.9, 0.9]] * 3) == [(0, 1), (1, 2)], "two pulses at the same time would be one"
    policy = Trigger(class_name="round", looks=1, of=3, refractory_ms=0.0, width_ms=1.5 * INTERVAL_MS)
    assert fired(policy, [[0.9, 0.9]] * 3) == [(0, 1), (2, 2)], "pulses do not overlap"


@pytest.mark.parametrize(("looks", "fires_in_frame"), [(1, 0), (2, 1)])
def test_trigger_counts_the_looks_at_a_track_that_is_not_confirmed(looks: int, fires_in_frame: int) -> None:
    """A cell may have flowed past before its track is confirmed; a single look is enough only for who asks for one."""
    policy, pulses = Trigger(class_name="round", looks=looks, of=looks), []
    for k in range(3):
        view = header(k)
        cells = cells_at(view, [(0.0, 0.0)], p_class={"round": [1.0]})
        tracks = replace(tracks_of(cells, age=k), confirmed=np.array([False]))
        pulses += [k for _ in policy.decide(scene(view, cells, tracks))]
    assert pulses == [fires_in_frame]


def test_trigger_does_not_act_on_a_single_look_unless_asked() -> None:
    assert Trigger(class_name="round").looks > 1


def test_trigger_on_a_feature_range() -> None:
    policy = Trigger(feature="roundness", feature_min=0.4, feature_max=0.6, looks=1, of=1)
    view = header()
    cells = cells_at(view, [(n, 0.0) for n in range(4)], features={"roundness": [0.3, math.nan, 0.6, 0.9]})
    (decision,) = policy.decide(scene(view, cells))
    assert decision.track_id == 3
