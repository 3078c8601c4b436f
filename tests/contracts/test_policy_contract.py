"""What every policy promises, as code: the built-in ones, and yours with `--policy module:Class`.

Yours must be constructible with its defaults. The scenes have the classes `round` and `flat` and the feature
`roundness`.
"""

import dataclasses
import functools
import gc
import importlib
import itertools
import tracemalloc
from collections.abc import Callable, Iterable, Iterator

import msgspec
import numpy as np
import pytest

from acquisition.commands import COMMAND_NAMES
from realtime.decisions import Decision
from realtime.policies.budget import Budget
from realtime.policies.burst import Burst
from realtime.policies.channel import Channel
from realtime.policies.exposure import Exposure
from realtime.policies.follow import Follow
from realtime.policies.pace import Pace
from realtime.policies.revisit import Revisit
from realtime.policies.trigger import Trigger
from realtime.policy import Policy, Scene
from realtime.wire import DecisionMade, decode, encode
from tests.scenes import header, random_scene, scene

INTERVAL_MS = 50.0
KEPT_BYTES = 16 * 1024  # what a policy's state may grow by in 1,000 frames, in which 600 ids have come and gone


@dataclasses.dataclass(frozen=True)
class Entry:
    """A policy under contract: how one is made, and which commands it declares."""

    make: Callable[[], Policy]
    commands: frozenset[str] = COMMAND_NAMES


MOVES, RATES, PULSES, LOOKS = (
    frozenset({"MoveStage"}),
    frozenset({"SetInterval", "SetExposure"}),
    frozenset({"PulseSorter"}),
    frozenset({"SetChannel", "SetExposure", "SetLight"}),
)
POLICIES: dict[str, Entry] = {
    "follow the nearest": Entry(Follow, MOVES),
    "follow the brightest": Entry(lambda: Follow(choose="brightest", patience_ms=1.0), MOVES),
    "follow a class": Entry(lambda: Follow(choose="class", class_name="round"), MOVES),
    "follow three in turn and in focus": Entry(
        lambda: Follow(n_cells=3, dwell_s=0.3, reach_s=0.2, focus_every_s=1.0, focus_feature="roundness"), MOVES
    ),
    "pace by tracks": Entry(
        lambda: Pace(20.0, 200.0, "tracks:round", looks=2, of=3, dwell_s=0.1, most_s=0.4, edge_um=5.0), RATES
    ),
    "pace by tracks until they divide": Entry(
        lambda: Pace(20.0, 200.0, "tracks:round", 9, 3, dwell_s=0.0, p_min=0.9, until_divided=True), RATES
    ),
    "pace by events": Entry(lambda: Pace(20.0, 200.0, dwell_s=0.2), RATES),
    "pace by class": Entry(lambda: Pace(20.0, 200.0, signal="class:round", high=9, low=3, dwell_s=0.0), RATES),
    "pace by feature": Entry(
        lambda: Pace(20.0, 200.0, "feature:roundness", 0.9, 0.5, fast_exposure_ms=2.0, slow_exposure_ms=20.0),
        RATES,
    ),
    "burst on a class": Entry(
        lambda: Burst(
            class_name="round", looks=2, of=3, n_frames=5, interval_ms=5.0, refractory_s=0.1, repeat_ms=200.0
        ),
        frozenset({"AcquireBurst"}),
    ),
    "burst on events": Entry(
        lambda: Burst(events=("divided", "born"), n_frames=5, interval_ms=5.0, refractory_s=0.0),
        frozenset({"AcquireBurst"}),
    ),
    "budget by interval": Entry(lambda: Budget(duration_s=600.0, mj=9.0, least=20.0, most=9e3), RATES),
    "channel for a class": Entry(
        lambda: Channel(class_name="round", looks=1, of=3, channel="red", base="phase", exposure_ms=40.0, every_s=1.0),
        LOOKS,
    ),
    "channel that is in force": Entry(
        lambda: Channel(feature="roundness", feature_min=0.2, channel="phase", base="red", base_light_mw=0.5), LOOKS
    ),
    "exposure": Entry(lambda: Exposure(feature="roundness", target=0.5, least=1.0, most=50.0), RATES),
    "revisit a grid": Entry(
        lambda: Revisit(columns=3, rows=2, pitch_um=(9.0, 9.0), arrived_um=9.0, events=("divided",), cool_s=1.0), MOVES
    ),
    "revisit where there are many": Entry(
        lambda: Revisit(
            positions_um=((0.0, 0.0), (400.0, 0.0)), class_name="round", confirmed_only=True, looks=1, patience_ms=100.0
        ),
        MOVES,
    ),
    "trigger on a class": Entry(lambda: Trigger(class_name="round", p_min=0.4), PULSES),
    "trigger on a feature": Entry(
        lambda: Trigger(feature="roundness", feature_min=0.2, looks=1, of=1, once_per_track=False), PULSES
    ),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    entries = dict(POLICIES)
    if named := metafunc.config.getoption("--policy", default=""):
        module, _, attribute = named.partition(":")
        entries[named] = Entry(getattr(importlib.import_module(module), attribute))
    metafunc.parametrize("entry", entries.values(), ids=[name.replace(" ", "_") for name in entries])


@functools.cache
def scenes(n_frames: int, seed: int = 0, largest: int = 12) -> tuple[Scene, ...]:
    """A stage that wanders, cells that come and go (an id lives some ten frames), now and then no cell."""
    rng = np.random.default_rng(seed)
    stage_um, film = np.zeros(2), list[Scene]()
    for k in range(n_frames):
        stage_um = stage_um + rng.normal(0, 3, 2)
        n = 0 if k % 17 == 0 else int(rng.integers(1, largest))
        at = (float(stage_um[0]), float(stage_um[1]))
        film.append(random_scene(k, n, rng, first_id=1 + k // 2, stage=at, interval_ms=INTERVAL_MS))
    return tuple(film)


def endless_scenes() -> Iterator[Scene]:
    """The same hundred scenes over and over, at later times and with new ids."""
    loop = scenes(100)
    for k in itertools.count():
        seen, new_ids = loop[k % 100], 100 * (k // 100)
        frame = header(k, (seen.frame.stage.x_um, seen.frame.stage.y_um), interval_ms=INTERVAL_MS)
        tracks = dataclasses.replace(seen.tracks, id=seen.tracks.id + new_ids, frame_index=k, t_ns=frame.t_ns)
        yield scene(frame, dataclasses.replace(seen.cells, frame_index=k, t_ns=frame.t_ns), tracks)


def decisions_of(policy: Policy, film: Iterable[Scene]) -> list[list[Decision]]:
    return [list(policy.decide(seen)) for seen in film]


def test_the_same_scenes_give_the_same_decisions(entry: Entry) -> None:
    once = decisions_of(entry.make(), scenes(200))
    assert sum(map(len, once)) > 0, "these scenes must call for something, else nothing is tested"
    assert decisions_of(entry.make(), scenes(200)) == once


def test_two_of_a_kind_share_nothing(entry: Entry) -> None:
    alone = decisions_of(entry.make(), scenes(200))
    one, other = entry.make(), entry.make()
    beside = [(list(one.decide(a)), list(other.decide(b))) for a, b in zip(scenes(200), scenes(200, 9), strict=True)]
    assert [mine for mine, _ in beside] == alone


def test_decisions_are_ones_that_the_loop_can_carry(entry: Entry) -> None:
    policy = entry.make()
    for seen in scenes(200):
        for decision in policy.decide(seen):
            assert type(decision.command).__name__ in entry.commands
            assert 0 < len(decision.reason) <= 200
            assert decision.deadline_ns is None or decision.deadline_ns > seen.frame.t_ns
            assert decision.track_id is None or decision.track_id in seen.tracks.id
            assert (decision.id, decision.frame_index, decision.policy) == ("", -1, ""), "the loop fills these in"
            message = DecisionMade(run="r", decision=decision, exposed_ns=0, decided_ns=0, sent_ns=0)
            assert decode(encode(message), "r") == message


@pytest.mark.parametrize("n_cells", [0, 1, 600])
def test_no_number_of_cells_is_too_few_or_too_many(entry: Entry, n_cells: int) -> None:
    policy, rng = entry.make(), np.random.default_rng(3)
    for k in range(8):
        list(policy.decide(random_scene(k, n_cells, rng, interval_ms=INTERVAL_MS)))


def test_a_field_that_empties_and_fills_again(entry: Entry) -> None:
    policy = entry.make()
    for few, many in itertools.pairwise(scenes(40)):
        list(policy.decide(few))
        empty = random_scene(many.frame.index, 0, np.random.default_rng(0), interval_ms=INTERVAL_MS)
        list(policy.decide(scene(many.frame, empty.cells, empty.tracks)))


def test_memory_is_bounded_while_ids_come_and_go(entry: Entry) -> None:
    policy, film = entry.make(), endless_scenes()
    for seen in itertools.islice(film, 300):
        list(policy.decide(seen))
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for seen in itertools.islice(film, 1000):
            list(policy.decide(seen))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < KEPT_BYTES, f"{grown} bytes more after 1,000 frames"


def test_settings_are_what_a_config_can_say(entry: Entry) -> None:
    policy = entry.make()
    assert dataclasses.is_dataclass(policy), "the config's [[policy]] table becomes the dataclass's fields"
    table = {field.name: getattr(policy, field.name) for field in dataclasses.fields(policy) if field.init}
    assert dataclasses.asdict(msgspec.convert(msgspec.to_builtins(table), type(policy))) == dataclasses.asdict(policy)
