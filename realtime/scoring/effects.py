"""What became of decisions: outcomes, stale ones, and how long it took until a frame showed the effect."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from acquisition.clock import NS_PER_MS
from acquisition.commands import AcquireBurst, MoveStage, PulseSorter
from acquisition.frame import FrameHeader
from realtime.decisions import Decision
from realtime.wire import OutcomeReached

ARRIVED_UM = 1.0
"""A frame was taken at a move's target if it was taken this near to it."""
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
    by the time at which the Guard let them begin.
    """
    return sum(_acted_ns(reached) > _deadline_ns(reached) for reached in outcomes if reached.outcome.status == "done")


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
        shown = next(_showing(decision, later), None)
        if shown is not None:
            effect = Effect(shown.index - source.index, (shown.t_ns - source.t_ns) / NS_PER_MS)
            effects.setdefault(decision.policy, []).append(effect)
    return dict(sorted(effects.items()))


def _showing(decision: Decision, frames: Sequence[FrameHeader]) -> Iterator[FrameHeader]:
    """A frame names only the last of the decisions on one frame that changed the imaging; they took effect together."""
    if isinstance(decision.command, MoveStage):
        return (frame for frame in frames if _is_at(frame, decision.command))
    of_same_frame = f"{decision.frame_index}."
    return (frame for frame in frames if frame.reason.startswith(of_same_frame))


def _is_at(frame: FrameHeader, move: MoveStage) -> bool:
    targets = ((move.x_um, frame.stage.x_um), (move.y_um, frame.stage.y_um), (move.z_um, frame.stage.z_um))
    return all(target is None or abs(target - here) <= ARRIVED_UM for target, here in targets)


def _acted_ns(reached: OutcomeReached) -> int:
    takes_time = reached.decision is not None and isinstance(
        reached.decision.command, MoveStage | AcquireBurst | PulseSorter
    )
    return reached.ends_ns[CHECKED] if takes_time else reached.outcome.t_ns


def _deadline_ns(reached: OutcomeReached) -> float:
    deadline_ns = reached.decision.deadline_ns if reached.decision is not None else None
    return math.inf if deadline_ns is None else deadline_ns
