"""When the gate opens for a cell: a pulse that is sure to catch it and spares its neighbours, or the reason for none.

All times are those at the junction: a pulse (from, to) deflects what arrives in between. Whole nanoseconds, acquisition
clock. How sure is counted in standard errors: at sureness z a cell may arrive z standard errors earlier or later.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acquisition.clock import NS_PER_MS
from models.cells import Floats
from realtime.sort.settings import PulseSettings
from realtime.sort.verdicts import Verdict

Times = npt.NDArray[np.int64]
Span = tuple[int, int]
Spans = npt.NDArray[np.int64]
"""`[P, 2]`, from and to."""
EVER_NS = 10**18
"""Thirty years: longer than any time of a run."""
N_LEVELS = 4


@dataclass(frozen=True)
class Arrivals:
    """When cells will be at the junction."""

    at_ns: Times  # [P]
    sigma_ns: Floats  # [P]
    most_ns: Times  # [P] none comes earlier or later by more than this

    @classmethod
    def of(cls, arrival_ns: Times, sigma_ms: Floats, last_ns: Times) -> "Arrivals":
        """Of cells seen last at `last_ns`: they cannot arrive before that, nor take twice the time that they should."""
        most = np.maximum(arrival_ns - last_ns, 0)
        return cls(arrival_ns, np.fmin(sigma_ms, EVER_NS / NS_PER_MS) * NS_PER_MS, most)  # NaN is as long as can be

    @classmethod
    def none(cls) -> "Arrivals":
        """Nobody comes."""
        return cls(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.at_ns)

    def __getitem__(self, rows: npt.NDArray[np.generic] | slice) -> "Arrivals":
        return Arrivals(self.at_ns[rows], self.sigma_ns[rows], self.most_ns[rows])

    def __add__(self, other: "Arrivals") -> "Arrivals":
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return Arrivals(*map(np.concatenate, pairs))

    def spans(self, sureness: float, least_ns: int = 0) -> Spans:
        """When each may arrive, and at least `least_ns` before and after its time."""
        sure = np.minimum(np.ceil(self.sigma_ns * sureness), self.most_ns).astype(np.int64)
        margin = np.maximum(sure, least_ns)
        return np.stack((self.at_ns - margin, self.at_ns + margin), axis=1)


@dataclass(frozen=True)
class Shaper:
    """Pulse settings in whole nanoseconds."""

    window: int
    least: int
    coincidence: int
    recovery: int
    levels: tuple[float, ...]
    """Sureness, from what is wished down to the least that will do."""

    @classmethod
    def of(cls, settings: PulseSettings) -> "Shaper":
        """From `[sort.pulse]`."""
        return cls(
            window=round(settings.window_ms * NS_PER_MS),
            least=round(settings.least_ms * NS_PER_MS),
            coincidence=round(settings.coincidence_ms * NS_PER_MS),
            recovery=round(settings.recovery_ms * NS_PER_MS),
            levels=tuple(np.linspace(settings.sureness, settings.least_sureness, N_LEVELS).tolist()),
        )

    def shaped(self, need: Span, obstacles: Spans, planned: Spans) -> Span | Verdict:
        """The pulse for what it must cover: as long as the window and centred, as far as obstacles and pulses allow."""
        if need[1] - need[0] > self.window:
            return Verdict.UNCERTAIN_ARRIVAL
        busy = planned + np.array([-self.recovery, self.recovery])
        for spans, verdict in ((obstacles, Verdict.COINCIDENCE), (busy, Verdict.GATE_BUSY)):
            if _touched(need, spans) or not self._fits(_free(need, spans)):
                return verdict
        free = _free(need, np.concatenate((obstacles, busy)))
        return self._placed(need, free) if self._fits(free) else Verdict.GATE_BUSY

    def _fits(self, free: Span) -> bool:
        return free[1] - free[0] >= self.least

    def _placed(self, need: Span, free: Span) -> Span:
        """The window around the middle of `need`, cut to what is free; if that is too little, longer on the free side."""
        centred = (need[0] + need[1] - self.window) // 2
        opens, shuts = max(centred, free[0]), min(centred + self.window, free[1])
        shuts = min(max(shuts, opens + self.least), free[1])
        opens = max(min(opens, shuts - self.least), free[0])
        return opens, shuts


def no_spans() -> Spans:
    """Nothing in the way."""
    return np.empty((0, 2), np.int64)


def covers(planned: Spans, need: Span) -> bool:
    """Whether a pulse that is planned already is sure to catch a cell."""
    return bool(np.any((planned[:, 0] <= need[0]) & (need[1] <= planned[:, 1])))


def _touched(need: Span, spans: Spans) -> bool:
    return bool(np.any((spans[:, 0] < need[1]) & (need[0] < spans[:, 1])))


def _free(need: Span, spans: Spans) -> Span:
    """The gap around `need` that `spans`, which do not touch it, leave."""
    before, after = spans[spans[:, 1] <= need[0], 1], spans[spans[:, 0] >= need[1], 0]
    return int(before.max(initial=-EVER_NS)), int(after.min(initial=EVER_NS))
