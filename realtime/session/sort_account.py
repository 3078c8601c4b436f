"""What a sort came to: its cells by verdict, its pulses by what became of them, and how soon each was scheduled."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from acquisition.clock import NS_PER_S
from acquisition.commands import PulseSorter
from realtime.latency import SORT_STAGES, Histogram, Ledger
from realtime.wire import OutcomeReached, StripsSorted

MOST_REASONS = 30
"""Different reasons that are counted; what comes after is counted together."""
OTHER = "other reasons"


class SortAccount:
    """Counts and times of a sort, in constant memory."""

    def __init__(self) -> None:
        self.n_stacks = 0
        self.ledger = Ledger(SORT_STAGES)
        self.scheduled = Histogram()
        self.skipped = self._strips = self._unseen = self._sightings = self.would_fire = 0
        self._first_ns = self._last_ns = 0
        self.verdicts: Counter[str] = Counter()
        self.expected: dict[str, float] = defaultdict(float)
        self.pulses: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def add(self, message: StripsSorted) -> None:
        """A stack that was looked at."""
        self._first_ns = self._first_ns if self.n_stacks else message.t_ns
        self._last_ns = message.t_ns
        self.n_stacks += 1
        self.skipped += message.skipped
        self._strips += message.n_strips
        self._unseen += message.n_unseen
        self._sightings += message.n_sightings
        self.would_fire += len(message.shadow)
        self.verdicts.update(message.verdicts)
        for name, value in message.expected.items():
            self.expected[name] += value
        if len(message.ends_ns) == len(SORT_STAGES):
            self.ledger.add_analysis(message.exposed_ns, message.ends_ns)

    def add_outcome(self, message: OutcomeReached, done_ns: int) -> None:
        """What became of a pulse, and when, less what it waited on purpose; other orders are not counted here."""
        if message.decision is None or not isinstance(message.decision.command, PulseSorter):
            return
        status = message.outcome.status
        self.pulses[status] += 1
        if status != "done":
            self._count_reason(f"{status}: {without_numbers(message.outcome.detail)}")
        decided_ns, sent_ns, checked_ns, _ = message.ends_ns
        self.scheduled.add(checked_ns - message.exposed_ns)
        self.ledger.add_action(message.exposed_ns, decided_ns, (sent_ns, checked_ns, done_ns))

    def as_dict(self) -> dict[str, Any]:
        """The table `sort` of summary.json."""
        seconds = (self._last_ns - self._first_ns) / NS_PER_S
        n_events = self.verdicts.total()
        return {
            "stacks": self.n_stacks,
            "stacks_skipped": self.skipped,
            "strips": self._strips,
            "strips_unseen": self._unseen,
            "sightings": self._sightings,
            "events": n_events,
            "events_per_s": round(n_events / seconds, 2) if seconds else 0.0,
            "verdicts": dict(self.verdicts.most_common()),
            **expected_figures(self.expected),
            "pulses": dict(self.pulses.most_common()),
            "pulses_not_fired": dict(self.reasons.most_common()),
            **({"pulses_of_a_dry_sort": self.would_fire} if self.would_fire else {}),
            "scheduled": self.scheduled.summary(),
        }

    def _count_reason(self, reason: str) -> None:
        known = reason in self.reasons or len(self.reasons) < MOST_REASONS
        self.reasons[reason if known else OTHER] += 1


def expected_figures(expected: Mapping[str, float]) -> dict[str, float]:
    """Purity and yield by class alone, as if no neighbour were deflected and no pulse late; without a cell, none.

    What follows from arrivals and pulses too, a report says (realtime/sort/figures.py).
    """
    figures = {}
    right = expected.get("sorted_wanted", 0.0)
    if expected.get("sorted", 0.0):
        figures["expected_purity_by_class_alone"] = round(right / expected["sorted"], 4)
    if expected.get("wanted", 0.0):
        figures["expected_yield_by_class_alone"] = round(right / expected["wanted"], 4)
    return figures


def waited_on_purpose_ns(message: OutcomeReached, checked_ns: int, done_ns: int) -> int:
    """A pulse waits for its moment; only what comes after that moment is latency."""
    command = message.decision.command if message.decision else None
    if not isinstance(command, PulseSorter) or done_ns < command.at_ns:
        return 0
    return max(0, command.at_ns - checked_ns)


def without_numbers(words: str) -> str:
    """`its moment passed 0.31 ms ago` → `its moment passed … ms ago`: reasons that differ in numbers are one."""
    return re.sub(r"-?\d+(\.\d+)?", "…", words)
