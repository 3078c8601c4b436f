"""Which true events could have been captured, which were, how soon, and what was imaged fast for nothing."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from acquisition.clock import NS_PER_MS
from acquisition.simulated.history import TrueEvent
from realtime.scoring.record import Look, Record
from realtime.scoring.settings import ScoreSettings

ARRIVED_UM = 5.0
"""A frame was taken at a place if it was taken this near to it."""
SLACK = 1.1
"""Frames up to a tenth further apart than asked still count as fast: cameras keep to their own periods."""


@dataclass(frozen=True)
class Reaction:
    """From an event's start until it was imaged as it should be."""

    ms: float
    frames: int


@dataclass(frozen=True)
class FalseTrigger:
    """Light spent on an event that was not there."""

    begins_ns: int
    ends_ns: int
    dose_mj: float


class Footage:
    """The frames of a run that can show an event (channel, focus), and when they followed one another fast."""

    def __init__(self, record: Record, settings: ScoreSettings) -> None:
        self.settings = settings
        self.all_ns = [look.header.t_ns for look in record.looks]
        self.looks = [look for look in record.looks if _shows(look, settings)]
        self.t_ns = np.array([look.header.t_ns for look in self.looks], np.int64)
        self.in_view = [frozenset(look.in_view.tolist()) for look in self.looks]
        fast_ns = 0.0 if settings.fast_interval_ms is None else settings.fast_interval_ms * NS_PER_MS * SLACK
        self.fast = np.concatenate([[False], np.diff(self.t_ns) <= fast_ns]) if len(self.t_ns) else np.zeros(0, bool)
        """`fast[i]`: from frame i − 1 to frame i."""

    def captured(self, event: TrueEvent) -> bool:
        """Was it imaged as the scenario asks?"""
        if self.settings.looks is not None:
            return len(self.looks_at(event)) >= self.settings.looks
        return self.fast_share(event) >= self.settings.coverage

    def looks_at(self, event: TrueEvent) -> list[int]:
        """Frames that show the event's cell while it lasts."""
        first, behind = bisect_left(self.t_ns, event.start_ns), bisect_right(self.t_ns, _end_ns(event))
        return [i for i in range(first, behind) if event.cell_id in self.in_view[i]]

    def fast_share(self, event: TrueEvent) -> float:
        """Share of the event, less what may be missed at its start, that is imaged fast with its cell in view."""
        end_ns = _end_ns(event)
        begin_ns = min(event.start_ns + round(self.settings.start_within_ms * NS_PER_MS), end_ns - 1)
        covered_ns = sum(
            max(0, min(end_ns, int(self.t_ns[i])) - max(begin_ns, int(self.t_ns[i - 1])))
            for i in self._fast_frames(event, begin_ns)
        )
        return covered_ns / (end_ns - begin_ns)

    def reaction(self, event: TrueEvent) -> Reaction | None:
        """Until the first fast frame, or until the first look after the one that could tell; None if there was none."""
        if self.settings.looks is not None:
            seen = self.looks_at(event)[1:2]
        else:
            seen = [i for i in self._fast_frames(event, event.start_ns) if self.t_ns[i] <= _end_ns(event)][:1]
        if not seen:
            return None
        t_ns = int(self.t_ns[seen[0]])
        frames = bisect_right(self.all_ns, t_ns) - bisect_left(self.all_ns, event.start_ns)
        return Reaction((t_ns - event.start_ns) / NS_PER_MS, frames)

    def _fast_frames(self, event: TrueEvent, since_ns: int) -> list[int]:
        """Frames after `since_ns` that followed fast on the one before, both with the event's cell in view."""
        first = max(1, bisect_right(self.t_ns, since_ns))
        behind = bisect_left(self.t_ns, _end_ns(event)) + 1
        return [
            i
            for i in range(first, min(behind, len(self.t_ns)))
            if self.fast[i] and self._sees(i - 1, event) and self._sees(i, event)
        ]

    def _sees(self, i: int, event: TrueEvent) -> bool:
        """A cell that has divided by then is not there any more, which is what was to be seen."""
        return event.cell_id in self.in_view[i] or self.t_ns[i] >= _end_ns(event)


def in_reach(event: TrueEvent, record: Record, settings: ScoreSettings) -> bool:
    """Does it count: of the kind asked for, whole within the planned run, and at its start well inside a place's view?

    Neither the time nor the place of it depends on where and when an arm looked, so that arms are judged by the same events.
    """
    whole = record.opened_ns <= event.start_ns and event.end_ns is not None and event.end_ns <= record.planned_ns
    asked_for = settings.judges_events and event.kind == settings.events
    return asked_for and whole and _is_inside(event.start_um, record.view_um, settings)


def _is_inside(xy_um: tuple[float, float], view_um: tuple[float, float], settings: ScoreSettings) -> bool:
    reach_um = [side_um / 2 - settings.margin_um for side_um in view_um]
    return any(
        abs(xy_um[0] - x_um) <= reach_um[0] and abs(xy_um[1] - y_um) <= reach_um[1] for x_um, y_um in settings.places
    )


def false_triggers(footage: Footage, events: Sequence[TrueEvent]) -> list[FalseTrigger]:
    """Fast episodes, or early returns to a place, during which no event of that kind was under way in view.

    An episode lasts as long as frames follow one another fast. A return is early if fewer frames than there are places
    lie between it and the last visit: a round over all places never returns early.
    """
    wanted = [event for event in events if event.kind == footage.settings.events]
    spans = _early_returns(footage) if footage.settings.looks is not None else _fast_episodes(footage)
    return [
        FalseTrigger(
            int(footage.t_ns[first]), int(footage.t_ns[last]),
            footage.looks[last].dose_mj - footage.looks[first - 1].dose_mj,
        )
        for first, last in spans
        if not any(_is_seen(event, footage, first, last) for event in wanted)
    ]  # fmt: skip


def _fast_episodes(footage: Footage) -> Iterator[tuple[int, int]]:
    """First and last of each run of frames that followed fast on the one before."""
    turns = np.flatnonzero(np.diff(np.concatenate([footage.fast, [False]]).astype(np.int8)))
    yield from ((int(before) + 1, int(last)) for before, last in zip(turns[::2], turns[1::2], strict=True))


def _early_returns(footage: Footage) -> Iterator[tuple[int, int]]:
    """Each as an episode of one frame."""
    places_um = np.array(footage.settings.places)
    last: dict[int, int] = {}
    for i, look in enumerate(footage.looks):
        away_um = np.hypot(*(places_um - (look.header.stage.x_um, look.header.stage.y_um)).T)
        place = int(np.argmin(away_um))
        if away_um[place] > ARRIVED_UM:
            continue  # on its way
        if place in last and i - last[place] < len(places_um):
            yield i, i
        last[place] = i


def _is_seen(event: TrueEvent, footage: Footage, first: int, last: int) -> bool:
    begins_ns, ends_ns = int(footage.t_ns[first]), int(footage.t_ns[last])
    end_ns = ends_ns if event.end_ns is None else event.end_ns
    if event.start_ns > ends_ns or end_ns < begins_ns:
        return False
    return any(event.cell_id in footage.in_view[i] for i in range(first, last + 1))


def _shows(look: Look, settings: ScoreSettings) -> bool:
    of_channel = not settings.channel or look.header.channel == settings.channel
    return of_channel and (settings.focus_um is None or abs(look.defocus_um) <= settings.focus_um)


def _end_ns(event: TrueEvent) -> int:
    assert event.end_ns is not None, "only events that are over are judged"
    return event.end_ns
