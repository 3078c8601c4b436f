"""The sorter of the simulated flow cell: when its gate was open, when that deflected cells, and pulses told ahead."""

from bisect import bisect_right, insort
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acquisition.clock import NS_PER_MS, Clock
from acquisition.pulses import PulseReport
from acquisition.simulated.flow_settings import SorterSettings

KEPT_PULSES = 10_000
FOR_EVER_NS = 2**62


@dataclass(frozen=True, order=True)
class _Told:
    """A pulse that waits for its moment."""

    at_ns: int
    shut_ns: int
    name: str


class SimulatedSorter:
    """A gate at the junction, opened by hand (`set_gate`) or by pulses told ahead: the PulseTimer of acquisition/pulses.py.

    It acts from its opening plus its delay until its shutting plus its delay.
    """

    def __init__(self, settings: SorterSettings, clock: Clock) -> None:
        self.pulses: list[tuple[int, int]] = []
        """When it was open, (opened_ns, shut_ns), in order; one that is open has no end yet: the latest 10,000."""
        self._clock, self._delay_ns = clock, round(settings.delay_ms * NS_PER_MS)
        self._recovery_ns = round(settings.recovery_ms * NS_PER_MS)
        self._lead_ms = settings.lead_ms
        self._told: list[_Told] = []
        self._reports: list[PulseReport] = []

    @property
    def lead_ms(self) -> float:
        return self._lead_ms

    def fire_at(self, at_ns: int, width_ms: float, name: str) -> None:
        """Refused, as `reports` tells, if it comes too late or too close to another pulse."""
        now_ns = self.catch_up()
        shut_ns = at_ns + round(width_ms * NS_PER_MS)
        ahead_ms = (at_ns - now_ns) / NS_PER_MS
        if ahead_ms < self._lead_ms:
            words = f"told {ahead_ms:.3f} ms before its moment; the sorter needs {self._lead_ms:g}"
            self._reports.append(PulseReport(name, "late", words))
        elif self._is_taken(at_ns, shut_ns):
            words = f"another pulse is closer than {self._recovery_ns / NS_PER_MS:g} ms"
            self._reports.append(PulseReport(name, "refused", words))
        else:
            insort(self._told, _Told(at_ns, shut_ns, name))

    def reports(self) -> list[PulseReport]:
        self.catch_up()
        told, self._reports = self._reports, []
        return told

    def cancel_pulses(self) -> None:
        self.set_gate(False)
        for pulse in self._told:
            self._reports.append(PulseReport(pulse.name, "refused", "cancelled before it began"))
        self._told.clear()

    def set_gate(self, opened: bool) -> None:
        """By hand, now. Shutting also ends a pulse that is under way."""
        now_ns = self.catch_up()
        if opened and not self.is_open(now_ns):
            self._open(now_ns, FOR_EVER_NS)
        elif not opened and self.is_open(now_ns):
            self.pulses[-1] = (self.pulses[-1][0], now_ns)

    def is_open(self, now_ns: int) -> bool:
        """Whether the gate is."""
        return bool(self.pulses) and self.pulses[-1][0] <= now_ns < self.pulses[-1][1]

    def catch_up(self) -> int:
        """Fire what was due by now; returns now."""
        now_ns = self._clock.now_ns()
        while self._told and self._told[0].at_ns <= now_ns:
            pulse = self._told.pop(0)
            if self.is_open(pulse.at_ns):
                self._reports.append(PulseReport(pulse.name, "refused", "the gate was open already"))
                continue
            self._open(pulse.at_ns, pulse.shut_ns)
            self._reports.append(PulseReport(pulse.name, "done", "opened on time", pulse.at_ns))
        return now_ns

    def deflects(self, arrival_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether cells that were at the junction then were deflected. Asked only of moments that are over."""
        if not self.pulses or not len(arrival_ns):
            return np.zeros(len(arrival_ns), dtype=np.bool_)
        first = bisect_right(self.pulses, (int(arrival_ns.min()) - self._delay_ns, FOR_EVER_NS)) - 1
        opened_ns, shut_ns = np.array(self.pulses[max(0, first) :]).T + self._delay_ns
        row = np.searchsorted(opened_ns, arrival_ns, side="right") - 1
        deflected: npt.NDArray[np.bool_] = (row >= 0) & (arrival_ns <= shut_ns[row])
        return deflected

    def _open(self, opened_ns: int, shut_ns: int) -> None:
        self.pulses.append((opened_ns, shut_ns))
        if len(self.pulses) > 2 * KEPT_PULSES:
            del self.pulses[:-KEPT_PULSES]

    def _is_taken(self, at_ns: int, shut_ns: int) -> bool:
        """Whether it would come within the recovery of another pulse, fired or waiting."""
        if self.pulses and at_ns < self.pulses[-1][1] + self._recovery_ns:
            return True
        row = bisect_right(self._told, at_ns, key=lambda pulse: pulse.at_ns)
        after_one = row > 0 and at_ns < self._told[row - 1].shut_ns + self._recovery_ns
        return after_one or (row < len(self._told) and shut_ns + self._recovery_ns > self._told[row].at_ns)
