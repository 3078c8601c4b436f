"""The run's clock: the only module that reads the operating system's time.

The acquisition process owns the clock. Every `t_ns` in a run is a reading of it, and "late" is decided by it.
"""

import time
from datetime import UTC, datetime
from typing import Protocol

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
SPIN_NS = 200_000
"""Sleepers are woken late by some 0.05 to 0.15 ms: for so long before an exact moment the processor is kept busy instead."""


class Clock(Protocol):
    """Nanoseconds since an arbitrary start, never going back."""

    simulated: bool
    """True if time passes only when `sleep_s` is called, so that a run is deterministic."""

    def now_ns(self) -> int: ...
    def sleep_s(self, seconds: float) -> None: ...
    def wait_until(self, t_ns: int) -> None:
        """Return at `t_ns`, never before, and as soon after as can be. For waits of milliseconds at most."""


class SystemClock:
    """The machine's monotonic clock; processes of one machine read the same one (Linux CLOCK_MONOTONIC, Windows QPC)."""

    simulated = False

    def now_ns(self) -> int:
        return time.perf_counter_ns()

    def sleep_s(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def wait_until(self, t_ns: int) -> None:
        if (rest_ns := t_ns - SPIN_NS - time.perf_counter_ns()) > 0:
            time.sleep(rest_ns / NS_PER_S)
        while time.perf_counter_ns() < t_ns:
            pass


class SimulatedClock:
    """A clock that stands still until someone sleeps on it: inline runs, replay and tests."""

    simulated = True

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def sleep_s(self, seconds: float) -> None:
        self._now_ns += max(0, round(seconds * NS_PER_S))

    def wait_until(self, t_ns: int) -> None:
        self.sleep_s((t_ns - self._now_ns) / NS_PER_S)


def utc_now() -> str:
    """Wall time for people (session names, summaries), never for decisions: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
