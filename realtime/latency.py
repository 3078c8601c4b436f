"""The ledger: where a frame's time went, from the end of its exposure to the outcome of its decisions.

Every stage is closed by a mark; the spans between marks sum to the total, so nothing can hide between stages.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from acquisition.clock import NS_PER_MS, Clock

ANALYSIS_STAGES = (
    "read", "queued", "preprocessed", "inferred", "labelled", "measured", "classified", "tracked", "decided",
)  # fmt: skip
SORT_STAGES = ("read", "queued", "found", "followed", "classified", "decided")
"""Of a stack of strips in a sort: see realtime/sorting.py."""
ACTION_STAGES = ("sent", "checked", "done")
STAGES = ANALYSIS_STAGES + ACTION_STAGES


class Stamps:
    """The marks of one frame: `exposed`, then each stage's end, in order, on one clock."""

    def __init__(self, clock: Clock, exposed_ns: int, read_ns: int, stages: tuple[str, ...] = ANALYSIS_STAGES) -> None:
        self._clock = clock
        self._stages = stages
        self.exposed_ns = exposed_ns
        self.ends_ns: list[int] = [read_ns]

    def mark(self, stage: str) -> None:
        """Close the next stage now."""
        expected = next(iter(self._stages[len(self.ends_ns) :]), "nothing")
        if stage != expected:
            raise ValueError(f"stage {stage!r} marked, but {expected!r} comes next: the ledger would not close")
        self.ends_ns.append(self._clock.now_ns())


def spans_ns(exposed_ns: int, ends_ns: Sequence[int], stages: tuple[str, ...] = STAGES) -> dict[str, int]:
    """Duration of each stage; they sum to the last mark minus `exposed_ns`."""
    starts_ns = [exposed_ns, *ends_ns[:-1]]
    return {stage: end - start for stage, start, end in zip(stages, starts_ns, ends_ns, strict=False)}


class Histogram:
    """Durations in logarithmic bins of 2 %: quantiles of a night in constant memory."""

    STEP = 1.02
    LOWEST_NS = 100.0
    N_BINS = 1300  # reaches 100 ns · 1.02**1300 ≈ 4 hours

    def __init__(self) -> None:
        self.counts = np.zeros(self.N_BINS, dtype=np.int64)
        self.n = 0
        self.sum_ns = 0
        self.max_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration; anything up to 100 ns shares the first bin."""
        ratio = max(1.0, duration_ns / self.LOWEST_NS)
        self.counts[min(self.N_BINS - 1, int(math.log(ratio) / math.log(self.STEP)))] += 1
        self.n += 1
        self.sum_ns += duration_ns
        self.max_ns = max(self.max_ns, duration_ns)

    def quantile_ms(self, q: float) -> float:
        """The upper edge of the bin that holds quantile `q`, at most 2 % above it, never above the maximum."""
        if self.n == 0:
            return 0.0
        rank = int(np.searchsorted(np.cumsum(self.counts), max(1, math.ceil(q * self.n))))
        return min(self.LOWEST_NS * self.STEP ** (rank + 1), self.max_ns) / NS_PER_MS

    def summary(self) -> dict[str, float]:
        """Milliseconds: p50, p99, p99.9, max and mean."""
        return {
            "n": self.n,
            "p50_ms": round(self.quantile_ms(0.5), 4),
            "p99_ms": round(self.quantile_ms(0.99), 4),
            "p99_9_ms": round(self.quantile_ms(0.999), 4),
            "max_ms": round(self.max_ns / NS_PER_MS, 4),
            "mean_ms": round(self.sum_ns / max(1, self.n) / NS_PER_MS, 4),
        }


class Ledger:
    """Histograms of every stage and of the totals, over a run."""

    def __init__(self, analysis_stages: tuple[str, ...] = ANALYSIS_STAGES) -> None:
        self.analysis_stages = analysis_stages
        self.stages = {stage: Histogram() for stage in analysis_stages + ACTION_STAGES}
        self.exposed_to_decided = Histogram()
        self.exposed_to_done = Histogram()

    def add_analysis(self, exposed_ns: int, ends_ns: Sequence[int]) -> None:
        """A frame that was analysed: marks up to `decided`."""
        for stage, span in spans_ns(exposed_ns, ends_ns, self.analysis_stages).items():
            self.stages[stage].add(span)
        self.exposed_to_decided.add(ends_ns[-1] - exposed_ns)

    def add_action(self, exposed_ns: int, decided_ns: int, ends_ns: Sequence[int]) -> None:
        """A decision that met its outcome: marks `sent`, `checked`, `done` after `decided_ns`."""
        if len(ends_ns) != len(ACTION_STAGES):
            raise ValueError(f"a decision has the marks {', '.join(ACTION_STAGES)}, not {len(ends_ns)} of them")
        start_ns = decided_ns
        for stage, end_ns in zip(ACTION_STAGES, ends_ns, strict=True):
            self.stages[stage].add(end_ns - start_ns)
            start_ns = end_ns
        self.exposed_to_done.add(ends_ns[-1] - exposed_ns)

    def summary(self) -> Mapping[str, Mapping[str, float]]:
        """A table for summary.json: every stage that occurred, then the two totals."""
        rows = {stage: histogram.summary() for stage, histogram in self.stages.items() if histogram.n}
        for name in ("exposed_to_decided", "exposed_to_done"):
            histogram: Histogram = getattr(self, name)
            if histogram.n:
                rows[name] = histogram.summary()
        return rows
