"""What a sort has done so far, as figures for the heartbeat: each a sum, so that nothing here grows with the run."""

from collections import Counter, defaultdict

from realtime.wire import StripsSorted


class SortTally:
    """Sums over stacks."""

    def __init__(self) -> None:
        self.stacks = self.skipped = 0
        self._pulses = self._in_view = self._events = 0
        self._verdicts: Counter[str] = Counter()
        self._expected: dict[str, float] = defaultdict(float)

    def add(self, words: StripsSorted) -> None:
        """A stack that was looked at."""
        self.stacks += 1
        self._in_view = words.n_in_view
        self._pulses += len(words.decisions) + len(words.shadow)
        self._verdicts.update(words.verdicts)
        self._events += sum(words.verdicts.values())
        for name, value in words.expected.items():
            self._expected[name] += value

    def figures(self) -> dict[str, float]:
        """By name; the acquisition process puts `inference_` before each."""
        return {
            "analysed": self.stacks,
            "skipped": self.skipped,
            "cells": self._in_view,
            "sort_events": self._events,
            "sort_pulses": self._pulses,
            **{f"sort_{name}": value for name, value in self._expected.items()},
            **{f"sort_verdict_{word}": n for word, n in self._verdicts.items()},
        }
