"""The trigger output: each pulse opens at its own moment or is refused, never fired late and never by default.

    gate = gate_for(microscope, limits, clock, answer, tell)

Who keeps the moment is the rig's own: a sorter with a clock (acquisition/pulses.py) is told ahead of time; else the
loop opens the microscope's output by the computer's clock.
"""

import contextlib
import heapq
from dataclasses import dataclass
from typing import Literal, Protocol

from acquisition.actuation import Answer, Tell
from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import Order, PulseSorter
from acquisition.limits import Limits
from acquisition.microscope import Microscope, MicroscopeError
from acquisition.pulse_book import PulseBook
from acquisition.pulses import HasPulseTimer, PulseReport, PulseTimer

PRECISE_NS = 300_000
"""This close to an edge the loop waits for it exactly instead of serving anything else."""
HELD_NS = 500_000
"""A pulse as short as this is held until its end: another turn of the loop could make it several times as long."""
REPORT_POLL_S = 0.001
FOR_EVER_S = 3600.0


class Gate(Protocol):
    """What the order desk asks of the trigger output."""

    def recent_ns(self, now_ns: int) -> list[int]:
        """When pulses were or will be, ascending, as far back as the rate limit looks."""

    def schedule(self, order: Order, checked_ns: int) -> None:
        """A pulse that the Guard has allowed: it is answered now, or when it is known what became of it."""

    def due_in_s(self) -> float:
        """How long nothing of the gate's needs the loop."""

    def drive(self, busy_ns: int = 0) -> None:
        """Do what is due. `busy_ns`: the loop is about to do something that takes so long."""

    def give_up(self, why: str) -> None:
        """No pulse that has not begun will come, and none goes without its answer."""

    def close(self, why: str) -> None:
        """The same at the end of a run: what has not been answered by now never will be."""


def gate_for(microscope: Microscope, limits: Limits, clock: Clock, answer: Answer, tell: Tell) -> Gate:
    """The gate of a rig that is open."""
    timer = microscope.pulse_timer if isinstance(microscope, HasPulseTimer) else None
    if timer is None:
        return ClockedGate(microscope, limits, clock, answer, tell)
    return HandedGate(timer, limits, clock, answer)


@dataclass(frozen=True, order=True)
class _Due:
    """A pulse that waits for its moment."""

    at_ns: int
    n: int
    order: Order
    checked_ns: int

    @property
    def width_ms(self) -> float:
        return _pulse(self.order).width_ms


class ClockedGate:
    """Pulses by the computer's clock: the loop opens and shuts the microscope's output itself."""

    def __init__(self, microscope: Microscope, limits: Limits, clock: Clock, answer: Answer, tell: Tell) -> None:
        self._microscope, self._limits, self._clock = microscope, limits, clock
        self._answer, self._tell = answer, tell
        self._book = PulseBook(limits)
        self._due: list[_Due] = []
        self._n = 0
        self._recovery_ns = round(limits.pulse_recovery_ms * NS_PER_MS)
        self._tolerance_ns = round(limits.pulse_tolerance_ms * NS_PER_MS)
        self._opened_ns = self._shut_at_ns = 0
        self._free_ns = 0
        """When the gate has recovered from the pulse before, which may have come a little later than was planned."""
        self._is_open = False

    def recent_ns(self, now_ns: int) -> list[int]:
        return self._book.recent_ns(now_ns)

    def schedule(self, order: Order, checked_ns: int) -> None:
        """Keep a pulse until its moment; one whose moment has passed is late at once."""
        pulse = _pulse(order)
        if (past_ns := self._clock.now_ns() - pulse.at_ns) > 0:
            self._answer(order, "late", f"its moment passed {past_ns / NS_PER_MS:.2f} ms ago", checked_ns)
        elif reason := self._book.overlap(pulse.at_ns, pulse.width_ms):
            self._answer(order, "refused", reason, checked_ns)
        else:
            self._n += 1
            self._book.enter(pulse.at_ns, pulse.width_ms)
            heapq.heappush(self._due, _Due(pulse.at_ns, self._n, order, checked_ns))

    def due_in_s(self) -> float:
        """Time to the next edge, less what is needed to meet it exactly."""
        edge_ns = self._next_edge_ns()
        return FOR_EVER_S if edge_ns is None else (edge_ns - PRECISE_NS - self._clock.now_ns()) / NS_PER_S

    def drive(self, busy_ns: int = 0) -> None:
        """Wait for the edges that are too close for anything else, and make them."""
        until_ns = self._clock.now_ns() + max(PRECISE_NS, busy_ns)
        while (edge_ns := self._next_edge_ns()) is not None and edge_ns <= until_ns:
            if edge_ns > self._clock.now_ns():
                self._clock.wait_until(edge_ns)
            if self._is_open and self._shut_at_ns == edge_ns:
                self._shut()
            else:
                self._fire(heapq.heappop(self._due))

    def give_up(self, why: str) -> None:
        """Whoever calls this shuts the output itself."""
        if self._is_open:
            self._has_shut(self._clock.now_ns())
        while self._due:
            due = heapq.heappop(self._due)
            self._refuse(due, "refused", why)

    def close(self, why: str) -> None:
        self.give_up(why)

    def _next_edge_ns(self) -> int | None:
        """A gate that is open is shut before another pulse is looked at, if both are due."""
        if self._is_open and not (self._due and self._due[0].at_ns < self._shut_at_ns):
            return self._shut_at_ns
        return self._due[0].at_ns if self._due else None

    def _refuse(self, due: _Due, status: Literal["refused", "late", "failed"], why: str) -> None:
        self._book.strike(due.at_ns, due.width_ms)
        self._answer(due.order, status, why, due.checked_ns)

    def _fire(self, due: _Due) -> None:
        """The last look at the clock is the last thing before the gate opens."""
        if self._is_open or self._free_ns - due.at_ns > self._tolerance_ns:
            self._refuse(due, "refused", "the gate is still open from the pulse before, or has not recovered from it")
            return
        self._clock.wait_until(self._free_ns)
        try:
            if (past_ms := self._past_ms(due)) <= self._limits.pulse_tolerance_ms:
                self._microscope.set_gate(True)
                self._has_opened(due)
                return
        except MicroscopeError as error:
            self._refuse(due, "failed", str(error))
            raise
        self._refuse(due, "late", f"the loop came {past_ms:.2f} ms past its moment; the gate stayed shut")

    def _has_opened(self, due: _Due) -> None:
        """The device itself may be slow: the pulse counts only if the gate was open in time."""
        self._is_open, self._opened_ns = True, self._clock.now_ns()
        width_ns = round(due.width_ms * NS_PER_MS)
        self._shut_at_ns = self._opened_ns + width_ns
        self._book.strike(due.at_ns, due.width_ms)
        self._book.enter(self._opened_ns, due.width_ms)
        past_ms = (self._opened_ns - due.at_ns) / NS_PER_MS
        if past_ms > self._limits.pulse_tolerance_ms:
            self._shut()
            words = f"the gate took until {past_ms:.2f} ms past its moment and was shut at once"
            self._answer(due.order, "late", words, due.checked_ns)
            return
        words = f"gate opened {past_ms:.3f} ms from its moment"
        if width_ns <= HELD_NS:
            self._clock.wait_until(self._shut_at_ns)
            words += f" for {self._shut() / NS_PER_MS:.3f} ms, asked {due.width_ms:g}"
        self._answer(due.order, "done", words, due.checked_ns)

    def _shut(self) -> int:
        """How long the gate was open, ns."""
        self._microscope.set_gate(False)
        self._has_shut(now_ns := self._clock.now_ns())
        if (over_ms := (now_ns - self._shut_at_ns) / NS_PER_MS) > self._limits.pulse_tolerance_ms:
            self._tell("warning", f"the gate stayed open {over_ms:.2f} ms longer than it should")
        return now_ns - self._opened_ns

    def _has_shut(self, now_ns: int) -> None:
        self._is_open, self._free_ns = False, now_ns + self._recovery_ns

    def _past_ms(self, due: _Due) -> float:
        return (self._clock.now_ns() - due.at_ns) / NS_PER_MS


class HandedGate:
    """Pulses that the sorter times by itself: handed over at once, answered as it reports."""

    def __init__(self, timer: PulseTimer, limits: Limits, clock: Clock, answer: Answer) -> None:
        self._timer, self._limits, self._clock, self._answer = timer, limits, clock, answer
        self._book = PulseBook(limits)
        self._handed: dict[str, tuple[Order, int]] = {}

    def recent_ns(self, now_ns: int) -> list[int]:
        return self._book.recent_ns(now_ns)

    def schedule(self, order: Order, checked_ns: int) -> None:
        """Hand it over, unless it would reach the sorter too late. What the sorter raises is for the desk to answer."""
        pulse = _pulse(order)
        ahead_ms = (pulse.at_ns - self._clock.now_ns()) / NS_PER_MS
        if ahead_ms < self._timer.lead_ms:
            words = (
                f"{ahead_ms:.2f} ms before its moment, but the sorter needs {self._timer.lead_ms:g}; not handed over"
            )
            self._answer(order, "late", words, checked_ns)
        elif reason := self._reason_against(order):
            self._answer(order, "refused", reason, checked_ns)
        else:
            self._timer.fire_at(pulse.at_ns, pulse.width_ms, order.id)
            self._book.enter(pulse.at_ns, pulse.width_ms)
            self._handed[order.id] = order, checked_ns

    def due_in_s(self) -> float:
        """Nothing is due by this clock; but whoever asked wants to hear soon what became of it."""
        if not self._handed:
            return FOR_EVER_S
        ends_in_s = (_pulse(next(iter(self._handed.values()))[0]).at_ns - self._clock.now_ns()) / NS_PER_S
        return max(ends_in_s, REPORT_POLL_S)

    def drive(self, busy_ns: int = 0) -> None:
        """Answer what the sorter has reported."""
        for report in self._timer.reports():
            self._close(report)

    def give_up(self, why: str) -> None:
        """The sorter forgets its pulses; of those that it does not report at once, the next turns will hear."""
        self._timer.cancel_pulses()
        self.drive()

    def close(self, why: str) -> None:
        """The rig has been made safe: what the sorter has not said by now it will not say."""
        with contextlib.suppress(MicroscopeError):  # a sorter that is gone; its orders want their answers
            self.drive()
        for name in list(self._handed):
            self._close(PulseReport(name, "failed", f"{why}; the sorter never said what became of it"))

    def _reason_against(self, order: Order) -> str | None:
        pulse = _pulse(order)
        if order.id in self._handed:
            return "a pulse of this name was handed over already"
        return self._book.overlap(pulse.at_ns, pulse.width_ms)

    def _close(self, report: PulseReport) -> None:
        """The order's one outcome. A gate that opened, but not in time, is none that was done."""
        order, checked_ns = self._handed.pop(report.name, (None, 0))
        if order is None:
            return
        pulse = _pulse(order)
        status, detail = report.status, report.detail
        past_ms = abs(report.opened_ns - pulse.at_ns) / NS_PER_MS
        if status == "done" and past_ms > self._limits.pulse_tolerance_ms:
            status, detail = "late", f"the gate opened {past_ms:.2f} ms from its moment: {detail}"
        if not report.opened_ns:
            self._book.strike(pulse.at_ns, pulse.width_ms)
        self._answer(order, status, detail, checked_ns)


def _pulse(order: Order) -> PulseSorter:
    assert isinstance(order.command, PulseSorter)
    return order.command
