"""What every sorter that times its pulses itself must do, whatever it is: the promise of acquisition/pulses.py as code."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from acquisition.clock import NS_PER_MS, Clock, SimulatedClock, SystemClock
from acquisition.microscope import Imaging
from acquisition.pulses import HasPulseTimer, PulseReport, PulseTimer
from acquisition.serial_sorter import SerialSorter
from acquisition.sorter_beside import with_sorter
from realtime.plugins import Plugin
from tests.simulated_rigs import opened

WIDTH_MS = 0.3
STEP_S = 0.0005


@dataclass
class Sorting:
    """A timer that is open, its clock, and a way to make its rig safe."""

    timer: PulseTimer
    clock: Clock
    make_safe: Callable[[], None]

    def in_ms(self, ms: float) -> int:
        return self.clock.now_ns() + round(ms * NS_PER_MS)

    def fire(self, *ms: float) -> dict[str, int]:
        """Pulses so far ahead; by name, when they are due."""
        due = {f"pulse {n}": self.in_ms(ahead_ms) for n, ahead_ms in enumerate(ms)}
        for name, at_ns in due.items():
            self.timer.fire_at(at_ns, WIDTH_MS, name)
        return due

    def reports(self, n: int, most_ms: float = 2000.0) -> dict[str, PulseReport]:
        """The next `n`, by name."""
        told: dict[str, PulseReport] = {}
        until_ns = self.in_ms(most_ms)
        while len(told) < n:
            assert self.clock.now_ns() < until_ns, f"only {told}"
            for report in self.timer.reports():
                assert report.name not in told, "one report each"
                told[report.name] = report
            self.clock.sleep_s(STEP_S)
        return told

    def quiet(self, ms: float) -> bool:
        """Nothing more is reported."""
        until_ns = self.in_ms(ms)
        while self.clock.now_ns() < until_ns:
            if self.timer.reports():
                return False
            self.clock.sleep_s(STEP_S)
        return True


def simulated() -> Iterator[Sorting]:
    clock = SimulatedClock()
    cell = Plugin("microscope", "flow_cell", {"appearance": "drawn", "sorter": {"timing": "own"}}).build()
    cell.open(clock, Imaging(interval_ms=0.25, exposure_ms=0.01))
    assert isinstance(cell, HasPulseTimer)
    assert cell.pulse_timer is not None
    cell.start()
    yield Sorting(cell.pulse_timer, clock, cell.make_safe)
    cell.close()


def serial() -> Iterator[Sorting]:
    if sys.platform == "win32":
        pytest.skip("Windows has no pseudo-terminals")
    from tests.serial_peer import SerialPeer

    peer, sorter = SerialPeer().start(), None
    try:
        sorter = SerialSorter(port=peer.port)
        sorter.open(SystemClock())
        yield Sorting(sorter, SystemClock(), sorter.make_safe)
        sorter.close()
    finally:
        peer.stop()


def beside() -> Iterator[Sorting]:
    """The serial one as the rest of the program meets it: beside a microscope."""
    for sorting in serial():
        assert isinstance(sorting.timer, SerialSorter)
        microscope = with_sorter(opened(SimulatedClock()), sorting.timer)
        assert isinstance(microscope, HasPulseTimer)
        assert microscope.pulse_timer is sorting.timer
        yield Sorting(sorting.timer, sorting.clock, microscope.make_safe)


TIMERS = {"simulated": simulated, "serial": serial, "beside": beside}


@pytest.fixture(params=TIMERS)
def sorting(request: pytest.FixtureRequest) -> Iterator[Sorting]:
    yield from TIMERS[request.param]()


def test_it_is_a_timer_that_says_how_far_ahead_it_must_be_told(sorting: Sorting) -> None:
    assert isinstance(sorting.timer, PulseTimer)
    assert 0 <= sorting.timer.lead_ms < 1000


def test_a_pulse_that_was_told_ahead_of_time_opens_at_its_moment(sorting: Sorting) -> None:
    due = sorting.fire(20, 25, 30)
    told = sorting.reports(3)
    assert {name: report.status for name, report in told.items()} == dict.fromkeys(due, "done")
    for name, at_ns in due.items():
        assert abs(told[name].opened_ns - at_ns) < 0.1 * NS_PER_MS
        assert told[name].detail


def test_pulses_may_be_told_in_any_order(sorting: Sorting) -> None:
    sorting.fire(40, 20, 30)
    told = sorting.reports(3)
    assert {report.status for report in told.values()} == {"done"}


def test_one_whose_moment_has_passed_never_opens(sorting: Sorting) -> None:
    sorting.fire(-1)
    report = sorting.reports(1)["pulse 0"]
    assert (report.status, report.opened_ns) == ("late", 0)
    assert sorting.quiet(20)


def test_what_is_cancelled_never_opens_and_is_reported_once(sorting: Sorting) -> None:
    due = sorting.fire(60, 70)
    sorting.timer.cancel_pulses()
    told = sorting.reports(2)
    assert {name: (report.status, report.opened_ns) for name, report in told.items()} == dict.fromkeys(
        due, ("refused", 0)
    )
    assert sorting.quiet(100)
    sorting.fire(20)
    assert sorting.reports(1)["pulse 0"].status == "done", "it goes on afterwards"


def test_making_the_rig_safe_cancels_too(sorting: Sorting) -> None:
    sorting.fire(60)
    sorting.make_safe()
    report = sorting.reports(1)["pulse 0"]
    assert (report.status, report.opened_ns) == ("refused", 0)
    assert sorting.quiet(80)


def test_cancelling_nothing_is_harmless(sorting: Sorting) -> None:
    sorting.timer.cancel_pulses()
    sorting.timer.cancel_pulses()
    assert sorting.quiet(5)
