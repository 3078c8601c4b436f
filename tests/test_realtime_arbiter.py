"""The arbiter: one command an actuator, the earlier decision wins, and the loser is told who won."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS
from acquisition.commands import (
    AcquireBurst,
    Command,
    MoveStage,
    Pause,
    PulseSorter,
    Resume,
    SafeState,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
    Stop,
)
from realtime.arbiter import actuators, arbitrate
from realtime.decisions import Decision

ROI = SetRoi(0, 0, 8, 8)


def pulse(at_ms: float, width_ms: float = 1.0) -> PulseSorter:
    return PulseSorter(round(at_ms * NS_PER_MS), width_ms)


def decided(commands: Sequence[Command]) -> list[Decision]:
    return [
        Decision(command=command, reason="test", id=f"7.p{n}.0", policy=f"p{n}") for n, command in enumerate(commands)
    ]


@dataclass(frozen=True)
class Case:
    commands: tuple[Command, ...]
    kept: tuple[int, ...]
    lost: str = ""  # the actuator in dispute


CASES = {
    "nothing": Case((), ()),
    "two moves in the plane": Case((MoveStage(x_um=1), MoveStage(y_um=2)), (0,), "stage in xy"),
    "a move in the plane and one of the focus": Case((MoveStage(x_um=1, y_um=1), MoveStage(z_um=2)), (0, 1)),
    "two moves of the focus": Case((MoveStage(z_um=1), MoveStage(z_um=2)), (0,), "stage in z"),
    "a move of all axes takes both": Case((MoveStage(1, 1, 1), MoveStage(z_um=2)), (0,), "stage in z"),
    "a move is dropped whole": Case((MoveStage(z_um=1), MoveStage(1, 1, 2)), (0,), "stage in z"),
    "a move of no axis disturbs nobody": Case((MoveStage(), MoveStage(), MoveStage(x_um=1)), (0, 1, 2)),
    "two intervals": Case((SetInterval(10), SetInterval(20)), (0,), "frame interval"),
    "a burst is an interval": Case((AcquireBurst(5, 10), SetInterval(20)), (0,), "frame interval"),
    "an interval keeps a burst out": Case((SetInterval(20), AcquireBurst(5, 10)), (0,), "frame interval"),
    "two exposures": Case((SetExposure(1), SetExposure(2)), (0,), "exposure"),
    "exposure and interval": Case((SetExposure(1), SetInterval(20)), (0, 1)),
    "two lights": Case((SetLight(1), SetLight(1)), (0,), "light"),
    "two channels": Case((SetChannel("a"), SetChannel("b")), (0,), "channel"),
    "two regions": Case((ROI, ROI), (0,), "region of interest"),
    "pulses one after the other": Case((pulse(10), pulse(11), pulse(9)), (0, 1, 2)),
    "pulses that overlap": Case((pulse(10, 2.0), pulse(11)), (0,), "gate"),
    "an earlier pulse that reaches into a later one": Case((pulse(10), pulse(8, 2.5)), (0,), "gate"),
    "two pulses at once": Case((pulse(10), pulse(10)), (0,), "gate"),
    "pause and stop": Case((Pause(), Stop()), (0,), "run state"),
    "a burst and an interval": Case((AcquireBurst(9, 9), SetInterval(9)), (0,), "frame interval"),
    "a burst and a channel": Case((AcquireBurst(9, 9), SetChannel("a")), (0,), "channel"),
    "an interval and a burst": Case((SetInterval(9), AcquireBurst(9, 9)), (0,), "frame interval"),
    "a channel brings its exposure": Case((SetChannel("a"), SetExposure(1)), (0,), "exposure"),
    "a channel brings its light": Case((SetChannel("a"), SetLight(1)), (0,), "light"),
    "exposure goes before a channel that comes later": Case((SetExposure(1), SetChannel("a")), (0,), "exposure"),
    "all different": Case((MoveStage(1, 1, 1), SetInterval(9), SetExposure(1), SetLight(1),
                           ROI, pulse(5), Pause()), tuple(range(7))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_command_an_actuator(name: str) -> None:
    case = CASES[name]
    decisions = decided(case.commands)
    kept, dropped = arbitrate(decisions)
    assert kept == [decisions[n] for n in case.kept]
    assert len(dropped) == len(decisions) - len(kept)
    if case.lost:
        winner, loser = (f"7.p{n}.0 ({type(case.commands[n]).__name__})" for n in (0, 1))
        assert dropped == [f"{loser} lost the {case.lost} to {winner}"]


def test_the_safe_state_goes_before_everything() -> None:
    decisions = decided([MoveStage(x_um=1), Resume(), SafeState()])
    kept, dropped = arbitrate(decisions)
    assert kept == [decisions[2], decisions[0]]
    assert dropped == ["7.p1.0 (Resume) lost the run state to 7.p2.0 (SafeState)"]


def named(policy: str, *commands: Command) -> list[Decision]:
    return [
        Decision(command=command, reason="test", id=f"7.{policy}.{n}", policy=policy)
        for n, command in enumerate(commands)
    ]


def test_the_higher_priority_wins_and_the_loser_is_told_so() -> None:
    first, second = decided([SetInterval(9), AcquireBurst(5, 2)])
    kept, dropped = arbitrate([first, second], {"p1": 2.0})
    assert kept == [second]
    assert dropped == ["7.p0.0 (SetInterval) lost the frame interval to 7.p1.0 (AcquireBurst), priority 2 against 0"]
    assert arbitrate([first, second], {"p0": 1.0, "p1": 1.0})[0] == [first], "among equals the order decides"
    assert arbitrate([first, second], {"p0": -1.0})[0] == [second], "a policy may stand behind all others"
    safe = decided([SetInterval(9), SafeState(), Resume()])
    assert arbitrate(safe, {"p2": 9.0})[0][0] == safe[1]


def test_a_channel_comes_with_its_exposure_and_light_or_not_at_all() -> None:
    look = named("look", SetChannel("b"), SetExposure(50), SetLight(2))
    other = named("exposure", SetExposure(9))
    assert arbitrate([*look, *other]) == (
        look, ["7.exposure.0 (SetExposure) lost the exposure to 7.look.0 (SetChannel)"]
    )  # fmt: skip
    kept, dropped = arbitrate([*other, *look])
    assert kept == other
    assert dropped == [
        "7.look.0 (SetChannel) lost the exposure to 7.exposure.0 (SetExposure)",
        "7.look.1 (SetExposure) lost the exposure to 7.exposure.0 (SetExposure)",
        "7.look.2 (SetLight) lost the light with its channel",
    ]


def test_in_a_frame_of_another_channel_only_who_switches_back_changes_the_light() -> None:
    back = named("look", SetChannel("a"), SetExposure(10))
    others = named("exposure", SetExposure(9), SetLight(1), SetInterval(50))
    kept, dropped = arbitrate([*others, *back], other_channel="b")
    assert kept == [others[2], *back]
    assert dropped == [
        "7.exposure.0 (SetExposure) lost the exposure to the look in channel b",
        "7.exposure.1 (SetLight) lost the light to the look in channel b",
    ]


def test_a_loser_blocks_nobody() -> None:
    decisions = decided([MoveStage(x_um=1), MoveStage(2, 2, 2), MoveStage(z_um=3)])
    kept, dropped = arbitrate(iter(decisions))
    assert kept == [decisions[0], decisions[2]], "the dropped move's focus is free again"
    assert len(dropped) == 1


commands = st.one_of(
    st.builds(MoveStage, *[st.none() | st.integers(0, 9).map(float)] * 3),
    st.sampled_from([SetInterval(9), AcquireBurst(2, 9), SetExposure(1), SetLight(1), SetChannel("a"), ROI, Stop()]),
    st.builds(pulse, st.integers(0, 30), st.integers(1, 5).map(float)),
)


@given(st.lists(commands, max_size=12))
def test_what_is_kept_fits_together_and_what_is_dropped_does_not(asked: list[Command]) -> None:
    decisions = decided(asked)
    kept, dropped = arbitrate(decisions)
    assert kept == [decision for decision in decisions if decision in kept], "in order of priority"
    assert kept[:1] == decisions[:1], "the first is never dropped"
    assert len(kept) + len(dropped) == len(decisions)
    assert arbitrate(kept) == (kept, [])
    for decision in decisions:
        if decision not in kept:
            earlier = [winner for winner in kept if decisions.index(winner) < decisions.index(decision)]
            assert len(arbitrate([*earlier, decision])[1]) == 1

    held = [actuator for decision in kept for actuator in actuators(decision.command) if actuator != "gate"]
    assert len(held) == len(set(held))
    open_ms = [ms for decision in kept for ms in _open_ms(decision.command)]
    assert len(open_ms) == len(set(open_ms))


def _open_ms(command: Command) -> list[int]:
    if not isinstance(command, PulseSorter):
        return []
    start_ms = command.at_ns // NS_PER_MS
    return list(range(start_ms, start_ms + int(command.width_ms)))
