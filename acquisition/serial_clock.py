"""A device's clock as the computer sees it: which tick is which nanosecond, and how sure that is.

A ping is answered with the device's tick. When it was read there lies between the ping's leaving and its answer's
coming; half way is the best guess, and the better the shorter the round trip. Of many pings, quick ones are believed and
slow ones hardly, and a straight line through them gives offset and rate (the idea of NTP's clock filter, RFC 5905).
What that cannot see is a way there that always takes longer than the way back: at most half of the shortest round
trip, and constant, so that calibrating the sorter's delay takes it out.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.serial_protocol import TICK_RANGE, nearest

LEAST_PINGS = 8
N_KEPT = 500
KEPT_NS = 10 * NS_PER_S
LIKELY_DRIFT = 0.005
"""Before anything is learned the rate may be off by this: a ceramic resonator's tolerance; crystals are 100 times better."""
SURE_NS = 10_000
"""Of the quickest ping: a tick is read within some microseconds."""
SIGMAS = 3.0


@dataclass(frozen=True)
class _Ping:
    middle_ns: int
    tick: int
    """Beyond 32 bits."""
    round_trip_ns: int


@dataclass(frozen=True)
class _Line:
    """tick = tick0 + (t − t0) · rate, with the variances of a straight line's fit."""

    t0_ns: int
    tick0: float
    rate: float
    var_level: float
    var_rate: float


class DeviceClock:
    """Learns from pings; forgets those older than ten seconds, so that it follows a rate that changes."""

    def __init__(self, ticks_per_s: int) -> None:
        self._nominal = ticks_per_s / NS_PER_S
        self._pings: deque[_Ping] = deque(maxlen=N_KEPT)
        self._line: _Line | None = None

    @property
    def drift_ppm(self) -> float:
        """How much faster than it says the device counts, in millionths."""
        return 0.0 if self._line is None else (self._line.rate / self._nominal - 1) * 1e6

    @property
    def round_trip_ms(self) -> float:
        """Of the quickest ping."""
        return min((ping.round_trip_ns for ping in self._pings), default=0) / NS_PER_MS

    def observe(self, sent_ns: int, received_ns: int, tick: int) -> None:
        """A ping's answer; `tick` is as the device counts, in 32 bits."""
        middle_ns = (sent_ns + received_ns) // 2
        if self._line is not None:
            tick = nearest(tick, round(self._ticks(middle_ns)))
        elif self._pings:
            last = self._pings[-1]
            tick = nearest(tick, last.tick + round((middle_ns - last.middle_ns) * self._nominal))
        self._pings.append(_Ping(middle_ns, tick, received_ns - sent_ns))
        while middle_ns - self._pings[0].middle_ns > KEPT_NS:
            self._pings.popleft()
        if len(self._pings) >= LEAST_PINGS:
            self._line = self._fitted()

    def off_s(self, t_ns: int, tick: int) -> float:
        """How far a reading is from what was expected; 0 while nothing is."""
        if self._line is None:
            return 0.0
        expected = round(self._ticks(t_ns))
        return (nearest(tick, expected) - expected) / self._nominal / NS_PER_S

    def tick_at(self, t_ns: int) -> int:
        """The tick, in 32 bits, that the device counts at `t_ns`."""
        return round(self._ticks(t_ns)) % TICK_RANGE

    def ns_at(self, tick: int, about_ns: int) -> int:
        """When the device counted `tick`, which was near to `about_ns`."""
        assert self._line is not None
        ahead = nearest(tick, round(self._ticks(about_ns))) - self._line.tick0
        return self._line.t0_ns + round(ahead / self._line.rate)

    def uncertain_ms(self, t_ns: int) -> float:
        """Three standard errors of what is thought of `t_ns`; infinite while too little is known."""
        if self._line is None:
            return math.inf
        ahead_ns = t_ns - self._line.t0_ns
        ticks = math.sqrt(self._line.var_level + self._line.var_rate * ahead_ns**2)
        return SIGMAS * ticks / self._nominal / NS_PER_MS

    def _ticks(self, t_ns: int) -> float:
        assert self._line is not None
        return self._line.tick0 + (t_ns - self._line.t0_ns) * self._line.rate

    def _fitted(self) -> _Line:
        """Weighted least squares about the weighted middle; what is known of the rate beforehand is one more reading.

        The scatter that is seen, not only the one that round trips explain, says how sure the line is.
        """
        t0_ns, first = self._pings[-1].middle_ns, self._pings[0].tick
        t = np.array([ping.middle_ns - t0_ns for ping in self._pings], dtype=np.float64)
        ticks = np.array([ping.tick - first for ping in self._pings], dtype=np.float64)
        trip_ns = np.array([ping.round_trip_ns for ping in self._pings], dtype=np.float64)
        sigma = (SURE_NS + (trip_ns - trip_ns.min()) / 2) * self._nominal
        weight = sigma**-2
        t_mid, tick_mid = np.average(t, weights=weight), np.average(ticks, weights=weight)
        dt, residual = t - t_mid, ticks - tick_mid - (t - t_mid) * self._nominal
        var_prior = (LIKELY_DRIFT * self._nominal) ** 2
        information = float(weight @ dt**2) + 1 / var_prior
        off = float(weight @ (dt * residual)) / information
        scatter = float(weight @ (residual - off * dt) ** 2) / max(1, len(t) - 2)
        inflated = max(1.0, scatter)
        return _Line(
            t0_ns + round(t_mid), first + float(tick_mid), self._nominal + off,
            inflated / float(weight.sum()), inflated / information,
        )  # fmt: skip
