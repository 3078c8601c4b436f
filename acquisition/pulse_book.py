"""When the trigger output was, is or will be open: what the rate limit and the rule against overlaps look at."""

from bisect import bisect_left, bisect_right, insort

from acquisition.clock import NS_PER_MS
from acquisition.limits import Limits, rate_window_ns


class PulseBook:
    """Pulses in order of their moments, as far back as the rate limit looks. No two of them overlap."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._recovery_ns = round(limits.pulse_recovery_ms * NS_PER_MS)
        self._opens_ns: list[int] = []
        self._shuts_ns: list[int] = []

    def recent_ns(self, now_ns: int) -> list[int]:
        """When they open, ascending; those that have been shut for longer than the rate limit looks back are forgotten."""
        n_old = bisect_left(self._shuts_ns, now_ns - rate_window_ns(self._limits.pulses_per_s))
        del self._opens_ns[:n_old], self._shuts_ns[:n_old]
        return self._opens_ns

    def overlap(self, at_ns: int, width_ms: float) -> str | None:
        """Why a pulse has no room between the others, or None."""
        shut_ns = at_ns + round(width_ms * NS_PER_MS)
        row = bisect_right(self._opens_ns, at_ns)
        is_early = row > 0 and at_ns < self._shuts_ns[row - 1] + self._recovery_ns
        if is_early or (row < len(self._opens_ns) and shut_ns + self._recovery_ns > self._opens_ns[row]):
            other_ns = self._opens_ns[row - 1 if is_early else row]
            apart_ms = abs(other_ns - at_ns) / NS_PER_MS
            allowed = f"{width_ms:g} ms wide and limits.pulse_recovery_ms {self._limits.pulse_recovery_ms:g}"
            return f"the gate is taken: another pulse begins {apart_ms:.3f} ms {'before' if is_early else 'after'} it ({allowed})"
        return None

    def enter(self, at_ns: int, width_ms: float) -> None:
        """A pulse that does not overlap another."""
        insort(self._opens_ns, at_ns)
        insort(self._shuts_ns, at_ns + round(width_ms * NS_PER_MS))

    def strike(self, at_ns: int, width_ms: float) -> None:
        """A pulse that will not be, or was at another moment."""
        for times_ns, t_ns in ((self._opens_ns, at_ns), (self._shuts_ns, at_ns + round(width_ms * NS_PER_MS))):
            row = bisect_left(times_ns, t_ns)
            if row < len(times_ns) and times_ns[row] == t_ns:
                del times_ns[row]
