"""What is on its way from the view to the junction: cells that must not be deflected, and pulses that are planned."""

from dataclasses import dataclass, field

import numpy as np

from realtime.sort.pulses import Arrivals, Shaper, Span, Spans, covers, no_spans
from realtime.sort.verdicts import Verdict


@dataclass
class Traffic:
    """All that a new pulse must respect; remembered until it has passed."""

    shaper: Shaper
    obstacles: Arrivals = field(default_factory=Arrivals.none)
    """Cells that have left the view and must not be deflected."""
    planned: Spans = field(default_factory=no_spans)

    def forget(self, now_ns: int) -> None:
        """What has passed by `now_ns` is in nobody's way."""
        self.obstacles = self.obstacles[self._clear(self.obstacles, self.shaper.levels[0])[:, 1] > now_ns]
        self.planned = self.planned[self.planned[:, 1] + self.shaper.recovery > now_ns]

    def leave(self, obstacles: Arrivals) -> None:
        """Cells that must not be deflected have left the view."""
        self.obstacles = self.obstacles + obstacles

    def pulse_for(self, target: Arrivals, companions: Arrivals, others: Arrivals) -> Span | Verdict:
        """A pulse for one cell, as sure as its neighbours let it be, or why there is none.

        `companions` are other wanted cells, in the order of their arrivals: the pulse is made for them, too, as far as one
        pulse can; `others` are obstacles that have not left the view, or that nobody saw.
        """
        obstacles = self.obstacles + others
        pulse: Span | Verdict = Verdict.COINCIDENCE
        for sureness in self.shaper.levels:
            clear = self._clear(obstacles, sureness)
            (need,) = target.spans(sureness).tolist()
            if covers(self.planned, need):
                return Verdict.WITH_ANOTHER
            pulse = self.shaper.shaped(need, clear, self.planned)
            if not isinstance(pulse, Verdict):
                return self._for_all(pulse, need, companions.spans(sureness), clear)
        return pulse

    def plan(self, pulse: Span) -> None:
        """The gate will let through what arrives then."""
        self.planned = np.concatenate((self.planned, np.array([pulse], np.int64)))

    def _for_all(self, pulse: Span, need: Span, companions: Spans, clear: Spans) -> Span:
        """One pulse that also serves those who follow, as many as it can."""
        for begin, end in companions[companions[:, 1] <= need[0] + self.shaper.window].tolist():
            need = min(need[0], begin), max(need[1], end)
            for_both = self.shaper.shaped(need, clear, self.planned)
            if isinstance(for_both, Verdict):
                break
            pulse = for_both
        return pulse

    def _clear(self, obstacles: Arrivals, sureness: float) -> Spans:
        return obstacles.spans(sureness, self.shaper.coincidence)
