"""What became of decisions: outcomes, stale ones, and how long it took until a frame showed the effect."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from acquisition.clock import NS_PER_MS
from acquisition.commands import (
    AcquireBurst,
    MoveStage,
    Pause,
    PulseSorter,
    SafeState,
    SetChannel,
    SetExposure,
    SetLight,
    Stop,
)
from acquisition.frame import FrameHeader
from realtime.decisions import Decision
from realtime.wire import OutcomeReached

ARRIVED_UM = 1.0
"""A frame was taken at a move's target if it was taken this near to it."""
SHOWN: dict[type, str] = {SetExposure: "exposure_ms", SetLight: "light_mw", SetChannel: "channel"}
"""Where a frame shows what a command asked for."""
CHECKED = 2
"""Place of `checked` among OutcomeReached.ends_ns."""


class Effect(msgspec.Struct, frozen=True):
    """From the end of exposure of the frame that a decision is based on to that of the first frame it changed."""

    frames: int
    ms: float


def outcomes_of(outcomes: Sequence[OutcomeReached]) -> dict[str, dict[str, int]]:
    """Policy → status → how many."""
    counts: dict[str, Counter[str]] = {}
    for reached in outcomes:
        if reached.decision is not None:
            counts.setdefault(reached.decision.policy, Counter())[reached.outcome.status] += 1
    return {policy: dict(sorted(statuses.items())) for policy, statuses in sorted(counts.items())}


def n_stale(outcomes: Sequence[OutcomeReached]) -> int:
    """Decisions that were carried out although their deadline had passed.

    What is done at once counts by the time at which it was done; a move, a burst and a pulse take time, so they count
    by the time at which the Guard let them begin. It is never too late to make the rig safe.
    """
    done = (reached for reached in outcomes if reached.outcome.status == "done")
    return sum(_acted_ns(reached) > _deadline_ns(reached) for reached in done)


def effects_of(outcomes: Sequence[OutcomeReached], frames: Sequence[FrameHeader]) -> dict[str, list[Effect]]:
    """Policy → one for each decision that was carried out and that a frame shows; pulses show in none."""
    by_index = {frame.index: frame for frame in frames}
    effects: dict[str, list[Effect]] = {}
    for reached in outcomes:
        decision = reached.decision
        if decision is None or reached.outcome.status != "done" or isinstance(decision.command, PulseSorter):
            continue
        source = by_index[decision.frame_index]
        later = frames[bisect_right(frames, source.index, key=lambda frame: frame.index) :]
        shown = next(_showing(decision, source, later), None)
        if shown is not None:
            effect = Effect(shown.index - source.index, (shown.t_ns - source.t_ns) / NS_PER_MS)
            effects.setdefault(decision.policy, []).append(effect)
    return dict(sorted(effects.items()))


def _showing(decision: Decision, source: FrameHeader, frames: Sequence[FrameHeader]) -> Iterator[FrameHeader]:
    """A frame names only the last decision that changed the imaging; others on the same frame took effect together.

    So a decision is also shown by the first frame that has what it asked for and `source` had not: in a burst frames name
    the burst alone.
    """
    if isinstance(decision.command, MoveStage):
        return (frame for frame in frames if _is_at(frame, decision.command))
    of_same_frame, setting = f"{decision.frame_index}.", SHOWN.get(type(decision.command))
    if setting is None:
        return (frame for frame in frames if frame.reason.startswith(of_same_frame))
    asked, had = getattr(decision.command, setting), getattr(source, setting)
    changes = not _same(asked, had)
    return (
        frame
        for frame in frames
        if frame.reason.startswith(of_same_frame) or (changes and _same(asked, getattr(frame, setting)))
    )


def _same(one: float | str, other: float | str) -> bool:
    """Devices round: within 1 %."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return math.isclose(one, other, rel_tol=0.01)


def _is_at(frame: FrameHeader, move: MoveStage) -> bool:
    targets = ((move.x_um, frame.stage.x_um), (move.y_um, frame.stage.y_um), (move.z_um, frame.stage.z_um))
    return all(target is None or abs(target - here) <= ARRIVED_UM for target, here in targets)


def _acted_ns(reached: OutcomeReached) -> int:
    takes_time = reached.decision is not None and isinstance(
        reached.decision.command, MoveStage | AcquireBurst | PulseSorter
    )
    return reached.ends_ns[CHECKED] if takes_time else reached.outcome.t_ns


def _deadline_ns(reached: OutcomeReached) -> float:
    if reached.decision is None or isinstance(reached.decision.command, Pause | Stop | SafeState):
        return math.inf
    deadline_ns = reached.decision.deadline_ns
    return math.inf if deadline_ns is None else deadline_ns
