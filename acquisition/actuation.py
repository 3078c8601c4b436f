"""Orders that take time: a move until the stage stands, a pulse until its moment, a burst until its last frame."""

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import AcquireBurst, Order, PulseSorter, Status
from acquisition.frame import Frame
from acquisition.limits import Limits
from acquisition.microscope import Microscope, MicroscopeError, RigGone

Answer = Callable[[Order, Status, str, int], None]
"""Called once an order with its status, a detail for people, and when it was checked, ns."""
PRECISE_S = 0.0015
"""This close to a gate's edge the loop sleeps to it exactly instead of serving anything else."""
FOR_EVER_S = 3600.0


class Move:
    """The one stage move that may be under way."""

    def __init__(self, microscope: Microscope, limits: Limits, clock: Clock, answer: Answer) -> None:
        self._microscope, self._limits, self._clock, self._answer = microscope, limits, clock, answer
        self._order: Order | None = None
        self._checked_ns = 0
        self.recent_ns: deque[int] = deque(maxlen=1000)

    @property
    def under_way(self) -> bool:
        return self._order is not None

    def begin(self, order: Order, checked_ns: int) -> None:
        """Start it; `drive` answers when the stage has arrived."""
        self._microscope.apply(order.command)
        self._order, self._checked_ns = order, checked_ns
        self.recent_ns.append(checked_ns)

    def drive(self) -> bool:
        """True if a move ended now, well or not."""
        if self._order is None:
            return False
        took_s = (self._clock.now_ns() - self._checked_ns) / NS_PER_S
        try:
            busy = self._microscope.busy()
        except RigGone:
            raise
        except MicroscopeError as error:
            self._close("failed", str(error))
            return True
        if busy:
            if took_s <= self._limits.move_s:
                return False
            self._close("failed", f"still moving after {took_s:.1f} s; limits.move_s allows {self._limits.move_s:g}")
        else:
            at = self._microscope.state().stage
            self._close("done", f"at x {at.x_um:.2f}, y {at.y_um:.2f}, z {at.z_um:.2f} µm after {took_s * 1000:.1f} ms")
        return True

    def give_up(self, why: str) -> None:
        """Answer for a move that nobody will wait for."""
        if self._order is not None:
            self._close("failed", why)

    def _close(self, status: Status, detail: str) -> None:
        order, self._order = self._order, None
        if order is not None:
            self._answer(order, status, detail, self._checked_ns)


class Gate:
    """Pulses of the trigger output: each opened at its own time or refused as late, never fired by default."""

    def __init__(self, microscope: Microscope, limits: Limits, clock: Clock, answer: Answer) -> None:
        self._microscope, self._limits, self._clock, self._answer = microscope, limits, clock, answer
        self._due: list[tuple[int, int, Order, int]] = []
        self._n = 0
        self._shut_at_ns: int | None = None
        self.recent_ns: deque[int] = deque(maxlen=4096)

    def schedule(self, order: Order, checked_ns: int) -> None:
        """Keep a pulse until its moment; one whose moment has passed is late at once."""
        pulse = _pulse(order)
        if pulse.at_ns < self._clock.now_ns():
            late_ms = (self._clock.now_ns() - pulse.at_ns) / NS_PER_MS
            self._answer(order, "late", f"its moment passed {late_ms:.2f} ms ago", checked_ns)
            return
        self._n += 1
        heapq.heappush(self._due, (pulse.at_ns, self._n, order, checked_ns))
        self.recent_ns.append(pulse.at_ns)

    def due_in_s(self) -> float:
        """Time to the next edge."""
        edges = [self._due[0][0]] if self._due else []
        if self._shut_at_ns is not None:
            edges.append(self._shut_at_ns)
        return (min(edges) - self._clock.now_ns()) / NS_PER_S - PRECISE_S if edges else FOR_EVER_S

    def drive(self) -> None:
        """Shut the gate if it is time, fire what is due."""
        if self._shut_at_ns is not None and self._is_time(self._shut_at_ns):
            self._microscope.set_gate(False)
            self._shut_at_ns = None
        while self._due and self._is_time(self._due[0][0]):
            at_ns, _, order, checked_ns = heapq.heappop(self._due)
            self._fire(order, at_ns, checked_ns)

    def give_up(self, why: str) -> None:
        """Answer for every pulse that will not come; whoever calls this shuts the gate itself."""
        self._shut_at_ns = None
        while self._due:
            _, _, order, was_checked_ns = heapq.heappop(self._due)
            self._answer(order, "refused", why, was_checked_ns)

    def _is_time(self, at_ns: int) -> bool:
        remaining_s = (at_ns - self._clock.now_ns()) / NS_PER_S
        if remaining_s > PRECISE_S:
            return False
        self._clock.sleep_s(remaining_s)
        return True

    def _fire(self, order: Order, at_ns: int, checked_ns: int) -> None:
        error_ms = (self._clock.now_ns() - at_ns) / NS_PER_MS
        if error_ms > self._limits.pulse_tolerance_ms:
            self._answer(order, "late", f"gate could not open before {error_ms:.2f} ms past its moment", checked_ns)
        elif self._shut_at_ns is not None:
            self._answer(order, "refused", "the gate is still open from the pulse before", checked_ns)
        else:
            self._microscope.set_gate(True)
            self._shut_at_ns = self._clock.now_ns() + round(_pulse(order).width_ms * NS_PER_MS)
            self._answer(order, "done", f"gate opened {error_ms:.3f} ms from its moment", checked_ns)


class Burst:
    """The one burst that may be under way: so many frames at another interval."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._order: Order | None = None
        self._checked_ns = self._left = self._asked = 0
        self._base_interval_ms = 0.0

    @property
    def under_way(self) -> bool:
        return self._order is not None

    def begin(self, order: Order, checked_ns: int, base_interval_ms: float) -> None:
        """Count frames from the next one on."""
        assert isinstance(order.command, AcquireBurst)
        self._order, self._checked_ns, self._base_interval_ms = order, checked_ns, base_interval_ms
        self._asked = self._left = order.command.n_frames

    def count(self, frame: Frame) -> float | None:
        """After the burst's last frame: the interval to return to. A frame begun before the burst does not count."""
        if self._order is None or frame.header.reason != self._order.id:
            return None
        self._left -= 1
        if self._left > 0:
            return None
        order, self._order = self._order, None
        self._answer(order, "done", f"{self._asked} frames taken", self._checked_ns)
        return self._base_interval_ms

    def give_up(self, why: str) -> None:
        """Answer for a burst that was cut short."""
        if self._order is not None:
            order, self._order = self._order, None
            self._answer(
                order, "failed", f"{self._asked - self._left} of {self._asked} frames taken; {why}", self._checked_ns
            )


def _pulse(order: Order) -> PulseSorter:
    command: Any = order.command
    assert isinstance(command, PulseSorter)
    return command
