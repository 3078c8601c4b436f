"""Orders that take time: a move until the stage stands, a burst until its last frame. Pulses: see gate.py."""

from collections import deque
from collections.abc import Callable
from typing import Literal

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import AcquireBurst, Order, Status
from acquisition.limits import Limits, rate_window_ns
from acquisition.microscope import BurstSequencer, Microscope, MicroscopeError, RigGone

Answer = Callable[[Order, Status, str, int], None]
"""Called once an order with its status, a detail for people, and when it was checked, ns."""
Level = Literal["info", "warning", "error"]
Tell = Callable[[Level, str], None]
"""Called with words for the journal and how bad it is."""


class Move:
    """The one stage move that may be under way."""

    def __init__(self, microscope: Microscope, limits: Limits, clock: Clock, answer: Answer) -> None:
        self._microscope, self._limits, self._clock, self._answer = microscope, limits, clock, answer
        self._order: Order | None = None
        self._checked_ns = 0
        self._begun_ns: deque[int] = deque()

    @property
    def under_way(self) -> bool:
        return self._order is not None

    def recent_ns(self, now_ns: int) -> deque[int]:
        """When moves began, as far back as the rate limit looks."""
        while self._begun_ns and now_ns - self._begun_ns[0] > rate_window_ns(self._limits.moves_per_s):
            self._begun_ns.popleft()
        return self._begun_ns

    def begin(self, order: Order, checked_ns: int) -> None:
        """Start it; `drive` answers when the stage has arrived."""
        self._microscope.apply(order.command)
        self._order, self._checked_ns = order, checked_ns
        self._begun_ns.append(checked_ns)

    def drive(self) -> bool:
        """True if a move ended now, well or not. One that takes too long is stopped."""
        if self._order is None:
            return False
        took_s = (self._clock.now_ns() - self._checked_ns) / NS_PER_S
        try:
            if not self._microscope.busy():
                at = self._microscope.state().stage
                where = f"x {at.x_um:.2f}, y {at.y_um:.2f}, z {at.z_um:.2f} µm"
                self._close("done", f"at {where} after {took_s * 1000:.1f} ms")
            elif took_s > self._limits.move_s:
                self._microscope.halt()
                self._close(
                    "failed", f"stopped: on its way for {took_s:.1f} s, limits.move_s allows {self._limits.move_s:g}"
                )
        except MicroscopeError as error:
            self._close("failed", str(error))
            if isinstance(error, RigGone):
                raise
        return self._order is None

    def give_up(self, why: str) -> None:
        """Answer for a move that nobody will wait for; whoever calls this stops the stage itself."""
        if self._order is not None:
            self._close("failed", why)

    def _close(self, status: Status, detail: str) -> None:
        order, self._order = self._order, None
        if order is not None:
            self._answer(order, status, detail, self._checked_ns)


class Burst:
    """The one burst that may be under way: so many frames at another interval, taken by the devices or counted here."""

    def __init__(self, microscope: Microscope, answer: Answer) -> None:
        self._sequencer = microscope if isinstance(microscope, BurstSequencer) else None
        self._answer = answer
        self._order: Order | None = None
        self._checked_ns = self._left = self._asked = 0
        self._first_ns = self._last_ns = 0
        self.sequenced = False
        """True if the devices take it by themselves, and go on as before it."""
        self.since_ns = 0
        """Frames whose exposure begins later belong to it; once it is over, those that begin later no longer do."""
        self.base_interval_ms = 0.0
        self.base_reason = ""
        """What imaging was like before, and why."""

    @property
    def under_way(self) -> bool:
        return self._order is not None

    @property
    def frames_left(self) -> int:
        """Frames that it still lacks."""
        return self._left if self.under_way else 0

    def sequence(self, command: AcquireBurst) -> int | None:
        """Have the devices take it: since when they do, ns; None if they cannot."""
        if self._sequencer is None:
            return None
        return self._sequencer.burst(command.n_frames, command.interval_ms)

    def begin(
        self, order: Order, checked_ns: int, since_ns: int, sequenced: bool, base_interval_ms: float, base_reason: str
    ) -> None:
        """Count frames whose exposure begins after `since_ns`."""
        assert isinstance(order.command, AcquireBurst)
        self._order, self._checked_ns, self.since_ns, self.sequenced = order, checked_ns, since_ns, sequenced
        self.base_interval_ms, self.base_reason = base_interval_ms, base_reason
        self._asked = self._left = order.command.n_frames

    def count(self, began_ns: int, ended_ns: int) -> bool:
        """A frame: True if it was the burst's last one."""
        if self._order is None or began_ns <= self.since_ns:
            return False
        if self._left == self._asked:
            self._first_ns = ended_ns
        self._left -= 1
        self._last_ns = ended_ns
        return self._left == 0

    def failure(self) -> str:
        """Why the devices ended it before its last frame; empty if they have not."""
        return self._sequencer.burst_failure() if self._order and self.sequenced and self._sequencer else ""

    def over_ns(self) -> int:
        """When a burst that the devices took was over: its last frame's end of exposure, ns."""
        return self.since_ns if self._left == self._asked else self._last_ns

    def end(self, status: Status, detail: str) -> None:
        """It is over, the interval before it is in force again or could not be."""
        order, self._order = self._order, None
        if order is not None:
            self._answer(order, status, f"{self._words()}{detail}", self._checked_ns)

    def give_up(self, why: str) -> None:
        """Answer for a burst that was cut short."""
        self.end("failed", f"; {why}")

    def _words(self) -> str:
        """How many frames, and for those that the devices took, how far apart they really were."""
        taken = self._asked - self._left
        words = f"{taken} of {self._asked} frames taken"
        if not self.sequenced:
            return words
        apart_ms = (self._last_ns - self._first_ns) / NS_PER_MS / max(1, taken - 1)
        return f"{words} by the camera itself" + (f", {apart_ms:.2f} ms apart" if taken > 1 else "")
