"""The Guard: what a rig may be asked to do, whoever asks. Pure functions of a command and the rig's state.

It runs in the process that owns the hardware, after the wire, so that no policy, bug or stranger can exceed it.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from acquisition.clock import NS_PER_S
from acquisition.commands import (
    AcquireBurst,
    Command,
    MoveStage,
    NotNegative,
    Positive,
    PulseSorter,
    SetExposure,
    SetInterval,
    SetLight,
)
from acquisition.frame import StagePosition

Span = tuple[float, float]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this rig may do, written by the person who knows the sample and the objective."""

    x_um: Span
    y_um: Span
    z_um: Span = (0.0, 0.0)
    step_um: Positive = 200.0
    """The longest single move in x and y."""
    approach_step_um: NotNegative = 5.0
    """The most a single move may bring the objective nearer to the sample (see approach_sign)."""
    approach_sign: Literal[-1, 1] = 1
    """+1 if the objective nears the sample as z grows, −1 if as it falls."""
    exposure_ms: Span = (0.1, 1000.0)
    interval_ms: Span = (1.0, 3_600_000.0)
    light_mw: Span = (0.0, 10.0)
    duty_cycle: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """The largest share of the time the light may be on: exposure / interval."""
    dose_mj: Positive = 1e9
    """Light energy for the whole run; when it is spent the run ends."""
    place_j_cm2: Positive = math.inf
    """Light energy by area that any place of the sample may get; when a place in view has had it the run ends."""
    moves_per_s: Positive = 20.0
    move_s: Positive = 10.0
    """A move that takes longer has failed."""
    pulses_per_s: Positive = 1000.0
    pulse_ms: Positive = 100.0
    """The longest the trigger output may stay open."""
    pulse_tolerance_ms: Positive = 1.0
    """A pulse that cannot open the gate this close to its time is refused as late."""
    pulse_recovery_ms: NotNegative = 0.0
    """From the end of one pulse to the start of the next: one that comes closer is refused."""
    pulse_ahead_s: Positive = 60.0
    """How far ahead of its moment a pulse may be asked for."""
    burst_frames: Annotated[int, Meta(ge=1)] = 1000

    def __post_init__(self) -> None:
        for name in ("x_um", "y_um", "z_um", "exposure_ms", "interval_ms", "light_mw"):
            low, high = getattr(self, name)
            if not low <= high:
                raise ValueError(f"{name} must be [low, high] with low ≤ high, not [{low:g}, {high:g}]")


@dataclass(frozen=True)
class RigState:
    """What the Guard needs to know of the rig at the moment of a command."""

    t_ns: int
    stage: StagePosition
    exposure_ms: float
    interval_ms: float
    light_mw: float
    dose_mj: float = 0.0
    moves_ns: Sequence[int] = field(default=())
    """When the stage was moved, ascending, as far back as limits.moves_per_s looks."""
    pulses_ns: Sequence[int] = field(default=())
    """When pulses were, as far back as limits.pulses_per_s looks, and when those that wait will be, ascending."""
    always_lit: bool = False
    """The light is on for all of the interval, whatever the exposure; else for `off_delay_ms` longer than that."""
    off_delay_ms: float = 0.0
    frames_due: int = 1
    """Frames that will be taken in any case: those that a burst still lacks, or the next one."""
    reserve_mj: float = 0.0
    """What may fall besides those: the rest of an exposure under way, and what the rig gives until the loop looks again."""
    place_left_mj: float = math.inf
    """What may still fall on the view before one of its places has had limits.place_j_cm2."""
    way_left_mj: Callable[[MoveStage], float] = lambda move: math.inf
    """The same for all places between here and where a move leads."""


@dataclass(frozen=True)
class Refusal:
    """Why a command may not be carried out: subject, value seen, what is allowed."""

    detail: str


def check(command: Command, state: RigState, limits: Limits) -> Command | Refusal:
    """The command itself if it is within the limits, else the reason why not. Never changes a command."""
    reason = _reason_against(command, state, limits) or _light_reason(command, state, limits)
    return Refusal(reason) if reason else command


def _reason_against(command: Command, state: RigState, limits: Limits) -> str | None:
    match command:
        case MoveStage():
            return _move_reason(command, state, limits)
        case SetExposure(exposure_ms=value):
            return _outside("exposure_ms", value, limits.exposure_ms) or _duty_reason(value, state.interval_ms, limits)
        case SetInterval(interval_ms=value):
            return _outside("interval_ms", value, limits.interval_ms) or _duty_reason(state.exposure_ms, value, limits)
        case SetLight(light_mw=value):
            return _outside("light_mw", value, limits.light_mw)
        case AcquireBurst():
            return _burst_reason(command, state, limits)
        case PulseSorter():
            return _pulse_reason(command, state, limits)
        case (
            _
        ):  # SetChannel and SetRoi are the microscope's to check; Pause, Resume, Stop and SafeState are always allowed
            return None


def _outside(name: str, value: float, span: Span) -> str | None:
    low, high = span
    return None if low <= value <= high else f"{name} {value:g} is outside [{low:g}, {high:g}]"


def _duty_reason(exposure_ms: float, interval_ms: float, limits: Limits) -> str | None:
    if interval_ms <= 0:
        return f"interval_ms {interval_ms:g} must be above 0"
    duty = exposure_ms / interval_ms
    if duty <= limits.duty_cycle * (1 + 1e-9):
        return None
    return f"exposure {exposure_ms:g} ms every {interval_ms:g} ms is a duty cycle of {duty:.3g}, above {limits.duty_cycle:g}"


def _move_reason(move: MoveStage, state: RigState, limits: Limits) -> str | None:
    here = state.stage
    for name, target, now, span in (
        ("x_um", move.x_um, here.x_um, limits.x_um),
        ("y_um", move.y_um, here.y_um, limits.y_um),
    ):
        if target is None:
            continue
        if reason := _outside(name, target, span):
            return reason
        if abs(target - now) > limits.step_um:
            return f"{name} {target:g} is {abs(target - now):g} µm away, above step_um {limits.step_um:g}"
    if move.z_um is not None:
        if reason := _outside("z_um", move.z_um, limits.z_um):
            return reason
        approach_um = (move.z_um - here.z_um) * limits.approach_sign
        if approach_um > limits.approach_step_um:
            allowed = f"approach_step_um {limits.approach_step_um:g}"
            return f"z_um {move.z_um:g} approaches the sample by {approach_um:g} µm, above {allowed}"
    return _rate_reason("moves_per_s", state.moves_ns, state.t_ns, limits.moves_per_s)


def _burst_reason(burst: AcquireBurst, state: RigState, limits: Limits) -> str | None:
    if burst.n_frames > limits.burst_frames:
        return f"n_frames {burst.n_frames} is above burst_frames {limits.burst_frames}"
    interval_ms = burst.interval_ms
    outside = _outside("interval_ms", interval_ms, limits.interval_ms)
    return outside or _duty_reason(state.exposure_ms, interval_ms, limits)


def _light_reason(command: Command, state: RigState, limits: Limits) -> str | None:
    """Why a command would spend more light with the next frames than is left; what saves light is always allowed."""
    if not isinstance(command, (MoveStage, SetExposure, SetInterval, SetLight, AcquireBurst)):
        return None
    before_mj, needed_mj = _needed_mj(None, state), _needed_mj(command, state)
    what = "the burst" if isinstance(command, AcquireBurst) else "it"
    place_mj, where = state.place_left_mj, "here"
    if moves := isinstance(command, MoveStage):
        place_mj, where = state.way_left_mj(command), "there or on the way"
    run_mj = limits.dose_mj - state.dose_mj
    for left_mj, name, is_new in (
        (place_mj, f"place_j_cm2 are left {where}", moves or needed_mj > before_mj),
        (run_mj, "dose_mj are left", needed_mj > before_mj),
    ):
        if needed_mj > left_mj and is_new:
            return f"{what} needs {needed_mj:.3g} mJ, but only {max(0.0, left_mj):.3g} of {name}"
    return None


def _needed_mj(command: Command | None, state: RigState) -> float:
    """Light energy of the frames that are due if the command is obeyed, and what is kept in reserve."""
    exposure_ms, interval_ms, light_mw = state.exposure_ms, state.interval_ms, state.light_mw
    n_frames = state.frames_due
    match command:
        case SetExposure():
            exposure_ms = command.exposure_ms
        case SetInterval():
            interval_ms = command.interval_ms
        case SetLight():
            light_mw = command.light_mw
        case AcquireBurst():
            interval_ms, n_frames = command.interval_ms, n_frames + command.n_frames
    each_mj = frame_mj(exposure_ms, interval_ms, light_mw, state.always_lit, state.off_delay_ms)
    return n_frames * each_mj + state.reserve_mj


def frame_mj(exposure_ms: float, interval_ms: float, light_mw: float, always_lit: bool, off_delay_ms: float) -> float:
    """Light energy of one frame."""
    lit_ms = interval_ms if always_lit else exposure_ms + off_delay_ms
    return light_mw * lit_ms / 1000


def _pulse_reason(pulse: PulseSorter, state: RigState, limits: Limits) -> str | None:
    if pulse.width_ms > limits.pulse_ms:
        return f"width_ms {pulse.width_ms:g} is above pulse_ms {limits.pulse_ms:g}"
    ahead_s = (pulse.at_ns - state.t_ns) / NS_PER_S
    if ahead_s > limits.pulse_ahead_s:
        return f"at_ns is {ahead_s:.3g} s ahead, above pulse_ahead_s {limits.pulse_ahead_s:g}"
    return _rate_reason("pulses_per_s", state.pulses_ns, pulse.at_ns, limits.pulses_per_s)


def rate_window_ns(per_s: float) -> int:
    """What a rate limit looks at: a second, or the time of one event where less than one a second is allowed."""
    return NS_PER_S if per_s >= 1 else round(NS_PER_S / per_s)


def _rate_reason(name: str, times_ns: Sequence[int], t_ns: int, per_s: float) -> str | None:
    if math.isinf(per_s):
        return None
    window_ns = rate_window_ns(per_s)
    recent = bisect_left(times_ns, t_ns + window_ns) - bisect_right(times_ns, t_ns - window_ns)
    if recent < max(1, int(per_s)):
        return None
    return f"{recent} within {window_ns / NS_PER_S:g} s already, {name} allows {per_s:g}"


def outside_limits(exposure_ms: float, interval_ms: float, light_mw: float, limits: Limits) -> str | None:
    """Why the devices' own answers are outside the limits, or None; a device may round by 1 %."""
    for name, value in (("exposure_ms", exposure_ms), ("interval_ms", interval_ms), ("light_mw", light_mw)):
        low, high = getattr(limits, name)
        if reason := _outside(name, value, (low * 0.99, high * 1.01)):
            return reason
    return _duty_reason(exposure_ms / 1.01, interval_ms, limits)
