"""A clock that jumps ahead once, for the fault `clock_jump`."""

from acquisition.clock import NS_PER_S, Clock
from acquisition.faults import Faults


class JumpingClock:
    """Another clock, ahead of it from one moment on. It never goes back, so it is a clock like any other."""

    def __init__(self, clock: Clock, at_ns: int, jump_s: float) -> None:
        """`at_ns`: when the clock underneath says so."""
        self.simulated = clock.simulated
        self._clock, self._at_ns, self._jump_ns = clock, at_ns, round(jump_s * NS_PER_S)

    def now_ns(self) -> int:
        """The time, jump included."""
        now_ns = self._clock.now_ns()
        return now_ns + self._jump_ns if now_ns >= self._at_ns else now_ns

    def sleep_s(self, seconds: float) -> None:
        """As long as the clock underneath sleeps: a sleeper is not woken by a jump."""
        self._clock.sleep_s(seconds)

    def wait_until(self, t_ns: int) -> None:
        """Until the clock underneath, or this one after its jump, says so."""
        if (now_ns := self.now_ns()) < t_ns:
            self._clock.wait_until(self._clock.now_ns() + t_ns - now_ns)


def faulty_clock(clock: Clock, faults: Faults, started_ns: int) -> Clock:
    """The clock itself, or one that jumps if the faults say so; processes of a run agree on when it was started."""
    jump = faults.clock_jump
    return clock if jump is None else JumpingClock(clock, started_ns + round(jump.after_s * NS_PER_S), jump.jump_s)
