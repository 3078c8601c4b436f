"""Orders that take time: a move until the stage stands, a pulse until its moment, a burst until its last frame."""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import AcquireBurst, Order, PulseSorter, Status
from acquisition.limits import Limits, rate_window_ns
from acquisition.microscope import BurstSequencer, Microscope, MicroscopeError, RigGone

Answer = Callable[[Order, Status, str, int], None]
"""Called once an order with its status, a detail for people, and when it was checked, ns."""
Level = Literal["info", "warning", "error"]
Tell = Callable[[Level, str], None]
"""Called with words for the journal and how bad it is."""
PRECISE_S = 0.0015
"""This close to a gate's edge the loop sleeps to it exactly instead of serving anything else."""
FOR_EVER_S = 3600.0


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


@dataclass(frozen=True, order=True)
class _Due:
    """A pulse that waits for its moment."""

    at_ns: int
    n: int
    order: Order
    checked_ns: int


class Gate:
    """Pulses of the trigger output: each opened at its own time or refused as late, never fired by default."""

    def __init__(self, microscope: Microscope, limits: Limits, clock: Clock, answer: Answer, tell: Tell) -> None:
        self._microscope, self._limits, self._clock = microscope, limits, clock
        self._answer, self._tell = answer, tell
        self._due: list[_Due] = []
        self._n = 0
        self._opened_ns = self._shut_at_ns = 0
        self._is_open = False
        self._fired_ns: deque[int] = deque()

    def recent_ns(self, now_ns: int) -> list[int]:
        """When pulses were or will be, as far back as the rate limit looks."""
        while self._fired_ns and now_ns - self._fired_ns[0] > rate_window_ns(self._limits.pulses_per_s):
            self._fired_ns.popleft()
        return [*self._fired_ns, *(due.at_ns for due in self._due)]

    def schedule(self, order: Order, checked_ns: int) -> None:
        """Keep a pulse until its moment; one whose moment has passed is late at once."""
        pulse = _pulse(order)
        if pulse.at_ns < self._clock.now_ns():
            late_ms = (self._clock.now_ns() - pulse.at_ns) / NS_PER_MS
            self._answer(order, "late", f"its moment passed {late_ms:.2f} ms ago", checked_ns)
            return
        self._n += 1
        heapq.heappush(self._due, _Due(pulse.at_ns, self._n, order, checked_ns))

    def due_in_s(self) -> float:
        """Time to the next edge."""
        edges = [self._due[0].at_ns] if self._due else []
        if self._is_open:
            edges.append(self._shut_at_ns)
        return (min(edges) - self._clock.now_ns()) / NS_PER_S - PRECISE_S if edges else FOR_EVER_S

    def drive(self) -> None:
        """Shut the gate if it is time, fire what is due."""
        if self._is_open and self._is_time(self._shut_at_ns):
            self._shut()
        while self._due and self._is_time(self._due[0].at_ns):
            self._fire(heapq.heappop(self._due))

    def give_up(self, why: str) -> None:
        """Answer for every pulse that will not come; whoever calls this shuts the gate itself."""
        self._is_open = False
        while self._due:
            due = heapq.heappop(self._due)
            self._answer(due.order, "refused", why, due.checked_ns)

    def _is_time(self, at_ns: int) -> bool:
        remaining_s = (at_ns - self._clock.now_ns()) / NS_PER_S
        if remaining_s > PRECISE_S:
            return False
        self._clock.sleep_s(remaining_s)
        return True

    def _fire(self, due: _Due) -> None:
        if self._is_open:
            self._answer(due.order, "refused", "the gate is still open from the pulse before", due.checked_ns)
        elif self._past_ms(due) > self._limits.pulse_tolerance_ms:
            words = f"the loop came {self._past_ms(due):.2f} ms past its moment; the gate stayed shut"
            self._answer(due.order, "late", words, due.checked_ns)
        else:
            try:
                self._open(due)
            except MicroscopeError as error:
                self._answer(due.order, "failed", str(error), due.checked_ns)
                raise

    def _open(self, due: _Due) -> None:
        """The device itself may be slow: the pulse counts only if the gate was open in time."""
        self._microscope.set_gate(True)
        self._is_open, self._opened_ns = True, self._clock.now_ns()
        self._shut_at_ns = self._opened_ns + round(_pulse(due.order).width_ms * NS_PER_MS)
        self._fired_ns.append(self._opened_ns)
        past_ms = self._past_ms(due)
        if past_ms > self._limits.pulse_tolerance_ms:
            self._shut()
            words = f"the gate took until {past_ms:.2f} ms past its moment and was shut at once"
            self._answer(due.order, "late", words, due.checked_ns)
        else:
            self._answer(due.order, "done", f"gate opened {past_ms:.3f} ms from its moment", due.checked_ns)

    def _shut(self) -> None:
        self._microscope.set_gate(False)
        self._is_open = False
        over_ms = (self._clock.now_ns() - self._shut_at_ns) / NS_PER_MS
        if over_ms > self._limits.pulse_tolerance_ms:
            self._tell("warning", f"the gate stayed open {over_ms:.2f} ms longer than it should")

    def _past_ms(self, due: _Due) -> float:
        return (self._clock.now_ns() - due.at_ns) / NS_PER_MS


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


def _pulse(order: Order) -> PulseSorter:
    assert isinstance(order.command, PulseSorter)
    return order.command
