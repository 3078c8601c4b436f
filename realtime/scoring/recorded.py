"""Policies scored on a recording: what they would have asked for, and which of its events they would have caught."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.table import Table

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.commands import AcquireBurst, PulseSorter, SetInterval
from acquisition.frame import FrameHeader
from acquisition.simulated.history import TrueEvent
from realtime.config import RunConfig
from realtime.decisions import Decision
from realtime.replay import recorded_config
from realtime.scoring.truth import shows
from realtime.session.reader import SessionReader
from realtime.session.truth import EVENTS, TRUTH
from realtime.wire import FrameAnalysed

WITHIN_INTERVALS = 2.0
"""An event must be answered within so many intervals of `[imaging]`, where the config has no `[score]` to say it."""


@dataclass(frozen=True)
class Moment:
    """Something that a policy should have answered."""

    begins_ns: int
    ends_ns: int


class RecordedScore(msgspec.Struct, frozen=True, kw_only=True):
    """What one policy would have done."""

    policy: str
    frames: int
    decisions: int
    per_hour: float
    commands: dict[str, int]
    """Kind of command → how many of its decisions."""
    events: int
    caught: int
    """Events with a decision that asks for more at most `within_ms` after their start."""
    within_ms: float
    reactions_ms: tuple[float, ...]
    false_triggers: int
    """Times that it asked for more and no event was there; repeated wishes within `within_ms` are one."""
    events_from: str
    """Who says what happened: the tracker's divisions, or the truth of the simulation."""


def recorded_scores(folder: Path, policies: Sequence[str], decisions: Iterable[Decision]) -> list[RecordedScore]:
    """One for each policy; `decisions` are what a replay gave."""
    reader = SessionReader(folder)
    config, frames = recorded_config(reader), {header.index: header for header in reader.headers()}
    within_ms = _within_ms(config)
    moments, told_by = _moments(reader, config)
    by_policy: dict[str, list[Decision]] = {policy: [] for policy in policies}
    for decision in decisions:
        by_policy.setdefault(decision.policy, []).append(decision)
    return [
        score_of(policy, own, frames, moments, within_ms, told_by) for policy, own in by_policy.items()
    ]  # fmt: skip


def write_recorded(path: Path, session: Path, scores: Sequence[RecordedScore]) -> None:
    """As JSON."""
    report = {"session": session.name, "policies": scores}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def recorded_table(scores: Sequence[RecordedScore]) -> Table:
    """A row a policy."""
    told_by = ", ".join(sorted({score.events_from for score in scores}))
    table = Table(title=f"events as told by {told_by}", title_justify="left", box=None, pad_edge=False)
    table.add_column("policy", no_wrap=True)
    for heading in ("decisions", "an hour", "events", "caught", "reaction ms", "false triggers"):
        table.add_column(heading, justify="right")
    for score in scores:
        reaction = f"{sum(score.reactions_ms) / len(score.reactions_ms):.0f}" if score.reactions_ms else "–"
        table.add_row(
            score.policy, str(score.decisions), f"{score.per_hour:.3g}", str(score.events), str(score.caught), reaction,
            str(score.false_triggers),
        )  # fmt: skip
    return table


def score_of(
    policy: str, decisions: list[Decision], frames: dict[int, FrameHeader], moments: list[Moment], within_ms: float,
    told_by: str,
) -> RecordedScore:  # fmt: skip
    within_ns = round(within_ms * NS_PER_MS)
    asked_ns = [frames[d.frame_index].t_ns for d in decisions if asks_for_more(d, frames[d.frame_index])]
    answers = [answer for moment in moments if (answer := _answer(moment, asked_ns, within_ns)) is not None]
    false_ns = [t_ns for t_ns in asked_ns if not any(_is_about(moment, t_ns, within_ns) for moment in moments)]
    times_ns = [frame.t_ns for frame in frames.values()]
    hours = (max(times_ns) - min(times_ns)) / NS_PER_S / 3600 if times_ns else 0.0
    return RecordedScore(
        policy=policy, frames=len(frames), decisions=len(decisions), per_hour=len(decisions) / hours if hours else 0.0,
        commands=dict(sorted(Counter(type(decision.command).__name__ for decision in decisions).items())),
        events=len(moments), caught=len(answers), within_ms=within_ms,
        reactions_ms=tuple(ns / NS_PER_MS for ns in answers), false_triggers=_episodes(false_ns, within_ns),
        events_from=told_by,
    )  # fmt: skip


def asks_for_more(decision: Decision, frame: FrameHeader) -> bool:
    """Whether a decision answers an event: faster frames than those it has seen, a burst, a pulse."""
    command = decision.command
    if isinstance(command, SetInterval):
        return command.interval_ms < frame.interval_ms
    return isinstance(command, AcquireBurst | PulseSorter)


def _answer(moment: Moment, asked_ns: list[int], within_ns: int) -> int | None:
    """How long after a moment's start it was first answered; before it, for a moment without length, counts as at once."""
    answers = [max(0, t_ns - moment.begins_ns) for t_ns in asked_ns if _is_about(moment, t_ns, within_ns)]
    return min((ns for ns in answers if ns <= within_ns), default=None)


def _is_about(moment: Moment, t_ns: int, within_ns: int) -> bool:
    """During it; around it, if it has no length: a division is told when it is over, but may be seen to come."""
    around_ns = within_ns if moment.begins_ns == moment.ends_ns else 0
    return moment.begins_ns - around_ns <= t_ns <= moment.ends_ns + around_ns


def _episodes(times_ns: list[int], apart_ns: int) -> int:
    """Wishes that follow one another closely are one: nothing acts in a replay, so a policy asks again and again."""
    times_ns = sorted(times_ns)
    return sum(i == 0 or t_ns - times_ns[i - 1] > apart_ns for i, t_ns in enumerate(times_ns))


def _moments(reader: SessionReader, config: RunConfig) -> tuple[list[Moment], str]:
    """From the truth, where the session has it; else every division that the tracker told."""
    path = reader.folder / TRUTH / EVENTS
    if path.is_file():
        kind = config.score.events if config.score is not None else "mitosis"
        events = [e for e in msgspec.json.decode(path.read_bytes(), type=list[TrueEvent]) if e.kind == kind]
        return list(_in_view(events, list(reader.headers()))), f"truth: {kind}"
    analyses = (record for record in reader.records() if isinstance(record, FrameAnalysed))
    told_ns = [record.t_ns for record in analyses for words in record.events if words.startswith("divided ")]
    return [Moment(t_ns, t_ns) for t_ns in told_ns], "tracker: divided"


def _in_view(events: Iterable[TrueEvent], frames: list[FrameHeader]) -> Iterator[Moment]:
    """Events whose cell is in the first frame after their start; one that is not over lasts to the last frame."""
    for event in events:
        place = bisect_left(frames, event.start_ns, key=lambda frame: frame.t_ns)
        if place < len(frames) and shows(frames[place], event.start_um):
            yield Moment(event.start_ns, frames[-1].t_ns if event.end_ns is None else event.end_ns)


def _within_ms(config: RunConfig) -> float:
    if config.score is not None and config.score.start_within_ms > 0:
        return config.score.start_within_ms
    return WITHIN_INTERVALS * config.imaging.interval_ms
