"""The Guard: nothing outside the limits ever passes, and what passes is passed unchanged."""

import math
from collections import deque
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS, NS_PER_S
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
from acquisition.frame import StagePosition
from acquisition.limits import Limits, Refusal, RigState, check

LIMITS = Limits(
    x_um=(-100.0, 100.0), y_um=(-50.0, 50.0), z_um=(0.0, 40.0), step_um=60.0, approach_step_um=5.0,
    exposure_ms=(1.0, 40.0), interval_ms=(10.0, 1000.0), light_mw=(0.0, 2.0), duty_cycle=0.5,
    moves_per_s=2.0, pulses_per_s=4.0, pulse_ms=5.0, burst_frames=20,
)  # fmt: skip
HERE = RigState(
    t_ns=10 * NS_PER_S, stage=StagePosition(10.0, 0.0, 20.0), exposure_ms=10.0, interval_ms=50.0, light_mw=1.0
)
SOON_NS = HERE.t_ns + 20 * NS_PER_MS

ALLOWED: list[Command] = [
    MoveStage(), MoveStage(x_um=70.0, y_um=50.0), MoveStage(x_um=-50.0), MoveStage(z_um=25.0),
    MoveStage(z_um=0.0),
    SetExposure(1.0), SetExposure(25.0), SetInterval(20.0), SetInterval(1000.0), SetLight(0.0), SetLight(2.0),
    AcquireBurst(20, 20.0), PulseSorter(SOON_NS, 5.0), SetChannel("any"), SetRoi(0, 0, 10, 10),
    Pause(), Resume(), Stop(), SafeState(),
]  # fmt: skip

REFUSED: list[tuple[Command, str]] = [
    (MoveStage(x_um=100.1), "x_um 100.1 is outside [-100, 100]"),
    (MoveStage(y_um=-51.0), "y_um -51 is outside [-50, 50]"),
    (MoveStage(x_um=20.0, y_um=51.0), "y_um 51 is outside [-50, 50]"),
    (MoveStage(z_um=-0.5), "z_um -0.5 is outside [0, 40]"),
    (MoveStage(x_um=70.5), "x_um 70.5 is 60.5 µm away, above step_um 60"),
    (MoveStage(x_um=-50.5), "x_um -50.5 is 60.5 µm away, above step_um 60"),
    (MoveStage(x_um=1e308), "x_um 1e+308 is outside [-100, 100]"),
    (MoveStage(z_um=25.5), "z_um 25.5 approaches the sample by 5.5 µm, above approach_step_um 5"),
    (SetExposure(0.5), "exposure_ms 0.5 is outside [1, 40]"),
    (SetExposure(41.0), "exposure_ms 41 is outside [1, 40]"),
    (SetExposure(30.0), "exposure 30 ms every 50 ms is a duty cycle of 0.6, above 0.5"),
    (SetInterval(9.0), "interval_ms 9 is outside [10, 1000]"),
    (SetInterval(1000.5), "interval_ms 1000.5 is outside [10, 1000]"),
    (SetInterval(15.0), "exposure 10 ms every 15 ms is a duty cycle of 0.667, above 0.5"),
    (SetLight(2.01), "light_mw 2.01 is outside [0, 2]"),
    (AcquireBurst(21, 100.0), "n_frames 21 is above burst_frames 20"),
    (AcquireBurst(5, 5.0), "interval_ms 5 is outside [10, 1000]"),
    (AcquireBurst(5, 12.0), "exposure 10 ms every 12 ms is a duty cycle of 0.833, above 0.5"),
    (PulseSorter(SOON_NS, 5.1), "width_ms 5.1 is above pulse_ms 5"),
]


@pytest.mark.parametrize("command", ALLOWED, ids=repr)
def test_what_is_within_the_limits_passes_as_it_is(command: Command) -> None:
    assert check(command, HERE, LIMITS) is command


@pytest.mark.parametrize(("command", "why"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_outside_is_refused_with_what_is_allowed(command: Command, why: str) -> None:
    assert check(command, HERE, LIMITS) == Refusal(why)


BUDGET = msgspec.structs.replace(LIMITS, dose_mj=1.0, place_j_cm2=5.0)
LEFT = replace(
    HERE, dose_mj=0.9, reserve_mj=0.02, place_left_mj=0.05, way_left_mj=lambda move: 0.005 * (move.x_um or 0.0)
)
"""10 ms at 1 mW cost 0.01 mJ a frame; 0.1 mJ are left of the run's budget and 0.05 of the place in view."""
ALLOWED_LIGHT: list[tuple[Command, RigState]] = [
    (SetExposure(25.0), LEFT), (SetLight(2.0), LEFT), (AcquireBurst(2, 20.0), LEFT), (MoveStage(x_um=6.0), LEFT),
    (SetInterval(400.0), LEFT), (PulseSorter(SOON_NS), replace(LEFT, dose_mj=2.0)),
    (SetExposure(9.0), replace(LEFT, dose_mj=1.0)), (SetLight(0.5), replace(LEFT, place_left_mj=0.0)),
    (SetLight(1.9), replace(LEFT, off_delay_ms=5.0)),
]  # fmt: skip
REFUSED_LIGHT: list[tuple[Command, RigState, str]] = [
    (SetLight(1.6), replace(LEFT, exposure_ms=20.0), "it needs 0.052 mJ, but only 0.05 of place_j_cm2 are left here"),
    (SetExposure(25.0), replace(LEFT, dose_mj=0.96), "it needs 0.045 mJ, but only 0.04 of dose_mj are left"),
    (SetLight(2.0), replace(LEFT, off_delay_ms=6.0), "it needs 0.052 mJ, but only 0.05 of place_j_cm2 are left here"),
    (AcquireBurst(3, 20.0), LEFT, "the burst needs 0.06 mJ, but only 0.05 of place_j_cm2 are left here"),
    (
        AcquireBurst(9, 20.0), replace(LEFT, place_left_mj=math.inf),
        "the burst needs 0.12 mJ, but only 0.1 of dose_mj are left",
    ),
    (MoveStage(x_um=5.0), LEFT, "it needs 0.03 mJ, but only 0.025 of place_j_cm2 are left there or on the way"),
    (
        MoveStage(x_um=20.0), replace(LEFT, frames_due=10),
        "it needs 0.12 mJ, but only 0.1 of place_j_cm2 are left there or on the way",
    ),
    (SetInterval(400.0), replace(LEFT, always_lit=True), "it needs 0.42 mJ, but only 0.05 of place_j_cm2 are left here"),
]  # fmt: skip


def _words(part: object) -> str:
    """Names of cases must be the same in every process: a state holds a function, whose address is not."""
    return "a state" if isinstance(part, RigState) else repr(part)


@pytest.mark.parametrize(("command", "state"), ALLOWED_LIGHT, ids=_words)
def test_what_the_light_budgets_cover_or_what_saves_light_passes(command: Command, state: RigState) -> None:
    assert check(command, state, BUDGET) is command


@pytest.mark.parametrize(("command", "state", "why"), REFUSED_LIGHT, ids=lambda v: v if isinstance(v, str) else "")
def test_what_would_cost_more_light_than_is_left_is_refused(command: Command, state: RigState, why: str) -> None:
    assert check(command, state, BUDGET) == Refusal(why)


@pytest.mark.parametrize(
    ("sign", "z_um", "passes"), [(1, 26.0, False), (1, 14.0, True), (-1, 26.0, True), (-1, 14.0, False)]
)
def test_only_the_approach_is_short_and_the_sign_says_which_way_that_is(sign: int, z_um: float, passes: bool) -> None:
    limits = msgspec.structs.replace(LIMITS, approach_sign=sign)
    assert isinstance(check(MoveStage(z_um=z_um), HERE, limits), Refusal) is not passes


def ago(*milliseconds: float) -> tuple[int, ...]:
    return tuple(HERE.t_ns - round(ms * NS_PER_MS) for ms in milliseconds)


@pytest.mark.parametrize(
    ("moves_per_s", "moves_ns", "passes"),
    [
        (2.0, (), True),
        (2.0, ago(900), True),
        (2.0, ago(900, 100), False),
        (2.0, ago(1000, 100), True),
        (2.9, ago(900, 100), False),
        (0.5, ago(1999), False),
        (0.5, ago(2000), True),
    ],
)
def test_moves_are_limited_in_any_second(moves_per_s: float, moves_ns: tuple[int, ...], passes: bool) -> None:
    limits = msgspec.structs.replace(LIMITS, moves_per_s=moves_per_s)
    verdict = check(MoveStage(x_um=11.0), replace(HERE, moves_ns=moves_ns), limits)
    assert isinstance(verdict, Refusal) is not passes
    assert passes or "moves_per_s allows" in verdict.detail  # type: ignore[union-attr]


def test_pulses_are_limited_at_the_time_they_are_due_not_when_they_are_asked_for() -> None:
    due_ns = tuple(HERE.t_ns + i * NS_PER_MS for i in range(4))
    crowded = replace(HERE, pulses_ns=due_ns)
    assert check(PulseSorter(HERE.t_ns + 5 * NS_PER_MS), crowded, LIMITS) == Refusal(
        "4 within 1 s already, pulses_per_s allows 4"
    )
    later = PulseSorter(HERE.t_ns + 2 * NS_PER_S)
    assert check(later, crowded, LIMITS) is later


@pytest.mark.parametrize("command", [Pause(), Resume(), Stop(), SafeState()], ids=repr)
def test_no_limit_stands_in_the_way_of_safety(command: Command) -> None:
    busy = replace(HERE, moves_ns=(HERE.t_ns,) * 100, pulses_ns=(HERE.t_ns,) * 100, dose_mj=1e12)
    assert check(command, busy, LIMITS) is command


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"x_um": [1.0, -1.0]}, r"x_um must be \[low, high\] with low ≤ high, not \[1, -1\]"),
        ({"light_mw": [0.0, float("nan")]}, "light_mw must be"),
        ({"exposure_ms": [5.0]}, "exposure_ms"),
        ({"step_um": 0.0}, "step_um"),
        ({"dose_mj": float("nan")}, "dose_mj"),
        ({"place_j_cm2": 0.0}, "place_j_cm2"),
        ({"duty_cycle": 1.01}, "duty_cycle"),
        ({"approach_sign": 2}, "approach_sign"),
        ({"burst_frames": 0}, "burst_frames"),
        ({"moves_per_s": -1.0}, "moves_per_s"),
        ({"step_mm": 1.0}, "step_mm"),
    ],
)
def test_limits_that_mean_nothing_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named):
        msgspec.convert({"x_um": [0.0, 1.0], "y_um": [0.0, 1.0]} | change, Limits, strict=True)


def test_a_stage_box_has_to_be_given() -> None:
    with pytest.raises(msgspec.ValidationError, match="x_um"):
        msgspec.convert({}, Limits)


# --- properties -------------------------------------------------------------------------------------------

anything = st.floats(allow_nan=False, allow_infinity=False)
near = st.floats(-200.0, 200.0)
number = near | anything
positive = st.floats(1e-3, 2000.0) | st.floats(min_value=5e-324, allow_infinity=False)
commands = st.one_of(
    st.builds(MoveStage, *(st.none() | number for _ in range(3))),
    st.builds(SetExposure, positive),
    st.builds(SetInterval, positive),
    st.builds(SetLight, st.floats(0.0, 4.0) | st.floats(min_value=0.0, allow_infinity=False)),
    st.builds(AcquireBurst, st.integers(1, 40), positive),
    st.builds(PulseSorter, st.integers(-(2**62), 2**62), positive),
)
stages = st.builds(StagePosition, st.floats(-100.0, 100.0), st.floats(-50.0, 50.0), st.floats(0.0, 40.0))
states = st.builds(
    RigState, t_ns=st.just(HERE.t_ns), stage=stages, exposure_ms=st.floats(1.0, 40.0),
    interval_ms=st.floats(10.0, 1000.0), light_mw=st.floats(0.0, 2.0),
)  # fmt: skip


def after(command: Command, state: RigState) -> RigState:
    """The rig once it has obeyed."""
    match command:
        case MoveStage(x_um=x, y_um=y, z_um=z):
            here = state.stage
            axes = ((here.x_um, x), (here.y_um, y), (here.z_um, z))
            return replace(state, stage=StagePosition(*(now if to is None else to for now, to in axes)))
        case SetExposure(exposure_ms=exposure_ms):
            return replace(state, exposure_ms=exposure_ms)
        case SetInterval(interval_ms=interval_ms) | AcquireBurst(interval_ms=interval_ms):
            return replace(state, interval_ms=interval_ms)
        case SetLight(light_mw=light_mw):
            return replace(state, light_mw=light_mw)
    return state


@given(commands, states)
def test_a_rig_that_was_within_its_limits_stays_within(command: Command, state: RigState) -> None:
    verdict = check(command, state, LIMITS)
    if isinstance(verdict, Refusal):
        assert verdict.detail
        return
    assert verdict is command
    rig = after(command, state)
    inside = {
        "x": (rig.stage.x_um, LIMITS.x_um), "y": (rig.stage.y_um, LIMITS.y_um),
        "z": (rig.stage.z_um, LIMITS.z_um),
        "exposure": (rig.exposure_ms, LIMITS.exposure_ms), "interval": (rig.interval_ms, LIMITS.interval_ms),
        "light": (rig.light_mw, LIMITS.light_mw),
    }  # fmt: skip
    assert [name for name, (value, (low, high)) in inside.items() if not low <= value <= high] == []
    assert abs(rig.stage.x_um - state.stage.x_um) <= LIMITS.step_um
    assert abs(rig.stage.y_um - state.stage.y_um) <= LIMITS.step_um
    assert rig.stage.z_um - state.stage.z_um <= LIMITS.approach_step_um
    if isinstance(command, (SetExposure, SetInterval, AcquireBurst)):
        assert rig.exposure_ms / rig.interval_ms <= LIMITS.duty_cycle * 1.000001
    if isinstance(command, AcquireBurst):
        assert command.n_frames <= LIMITS.burst_frames
    if isinstance(command, PulseSorter):
        assert command.width_ms <= LIMITS.pulse_ms


@given(st.floats(-100.0, 100.0), st.floats(-50.0, 50.0))
def test_every_place_in_the_box_can_be_reached_in_steps(x_um: float, y_um: float) -> None:
    """The Guard is not merely always refusing."""
    limits, here = msgspec.structs.replace(LIMITS, step_um=300.0), HERE
    move = MoveStage(x_um=x_um, y_um=y_um)
    assert check(move, here, limits) is move


@given(
    st.lists(st.integers(0, 400), max_size=60),
    st.sampled_from([0.3, 1.0, 2.0, 2.5, 5.0]),
)
def test_never_more_moves_in_any_second_than_allowed(waits_ms: list[int], per_s: float) -> None:
    limits, state = msgspec.structs.replace(LIMITS, moves_per_s=per_s), HERE
    passed_ns: deque[int] = deque()
    for wait_ms in waits_ms:
        state = replace(state, t_ns=state.t_ns + wait_ms * NS_PER_MS, moves_ns=tuple(passed_ns))
        if not isinstance(check(MoveStage(x_um=11.0), state, limits), Refusal):
            passed_ns.append(state.t_ns)
    window_ns = round(NS_PER_S * max(1.0, 1 / per_s))
    for start_ns in passed_ns:
        assert sum(start_ns <= t < start_ns + window_ns for t in passed_ns) <= max(1.0, per_s)


@given(st.lists(st.integers(0, 3000), max_size=40))
def test_never_more_pulses_in_any_second_than_allowed_in_whatever_order_they_come(due_ms: list[int]) -> None:
    passed_ns: list[int] = []
    for ms in due_ms:
        pulse = PulseSorter(HERE.t_ns + ms * NS_PER_MS)
        if not isinstance(check(pulse, replace(HERE, pulses_ns=sorted(passed_ns)), LIMITS), Refusal):
            passed_ns.append(pulse.at_ns)
    for start_ns in passed_ns:
        assert sum(start_ns <= t < start_ns + NS_PER_S for t in passed_ns) <= LIMITS.pulses_per_s
