"""The sorter of the simulated flow cell: pulses told ahead, the gate by hand, and which cells were deflected."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS, SimulatedClock
from acquisition.microscope import TellsSorted
from acquisition.pulses import HasPulseTimer, PulseTimer
from acquisition.simulated.flow_settings import SorterSettings
from acquisition.simulated.flow_sorter import SimulatedSorter
from tests.flowing import opened

ONE_CLASS = {"shares": {"rbc": 1.0}}


def sorter(**settings: float) -> tuple[SimulatedSorter, SimulatedClock]:
    clock = SimulatedClock()
    return SimulatedSorter(SorterSettings(**settings), clock), clock  # type: ignore[arg-type]


def told(device: SimulatedSorter) -> dict[str, str]:
    return {report.name: report.status for report in device.reports()}


# --- pulses told ahead ------------------------------------------------------------------------------------------------


def test_a_pulse_told_in_time_opens_exactly_then() -> None:
    device, clock = sorter(lead_ms=0.5)
    device.fire_at(2_000_000, 0.3, "a")
    assert device.reports() == []
    clock.sleep_s(0.0021)
    report = device.reports()[0]
    assert (report.name, report.status, report.opened_ns) == ("a", "done", 2_000_000)
    assert device.pulses == [(2_000_000, 2_300_000)]
    assert device.is_open(clock.now_ns())
    assert device.reports() == []


@pytest.mark.parametrize(
    ("ahead_ms", "status"), [(0.6, "done"), (0.5, "done"), (0.4999, "late"), (0.0, "late"), (-1.0, "late")]
)
def test_a_pulse_told_too_late_is_refused_as_late(ahead_ms: float, status: str) -> None:
    device, clock = sorter(lead_ms=0.5)
    clock.sleep_s(0.01)
    device.fire_at(clock.now_ns() + round(ahead_ms * NS_PER_MS), 0.3, "a")
    clock.sleep_s(0.01)
    assert told(device) == {"a": status}
    assert len(device.pulses) == (status == "done")


@pytest.mark.parametrize(
    ("second_ms", "status"), [(5.35, "done"), (5.3, "refused"), (5.1, "refused"), (4.66, "refused"), (4.65, "done")]
)
def test_pulses_keep_their_distance_in_whatever_order_they_are_told(second_ms: float, status: str) -> None:
    device, clock = sorter(recovery_ms=0.05)
    device.fire_at(5_000_000, 0.3, "first")
    device.fire_at(round(second_ms * NS_PER_MS), 0.3, "second")
    clock.sleep_s(0.01)
    assert told(device) == {"first": "done", "second": status}


def test_cancelled_pulses_are_told_as_refused_and_an_open_gate_shuts() -> None:
    device, clock = sorter()
    for name, at_ms in (("under way", 1), ("waiting", 5)):
        device.fire_at(at_ms * NS_PER_MS, 1.0, name)
    clock.sleep_s(0.0015)
    device.cancel_pulses()
    assert told(device) == {"under way": "done", "waiting": "refused"}
    clock.sleep_s(0.01)
    assert device.pulses == [(1_000_000, 1_500_000)]


def test_only_a_sorter_with_a_timing_of_its_own_is_a_pulse_timer() -> None:
    own, _ = opened(sorter={"timing": "own", "lead_ms": 0.7})
    computer, _ = opened(sorter={"timing": "computer"})
    assert isinstance(own, HasPulseTimer)
    assert isinstance(own.pulse_timer, PulseTimer)
    assert own.pulse_timer.lead_ms == 0.7
    assert computer.pulse_timer is None
    assert isinstance(own, TellsSorted)


# --- what it deflects -------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    opened_ns=st.integers(0, 10**7), width_ns=st.integers(1, 10**6), delay_us=st.integers(0, 3000),
    off_ns=st.integers(-3, 3), edge=st.sampled_from(["first", "last"]),
)  # fmt: skip
def test_a_cell_is_deflected_if_it_arrives_while_the_gate_acts(
    opened_ns: int, width_ns: int, delay_us: int, off_ns: int, edge: str
) -> None:
    """From opening plus delay to shutting plus delay, both included."""
    device, clock = sorter(delay_ms=delay_us / 1000, lead_ms=0.0)
    device.fire_at(opened_ns, width_ns / NS_PER_MS, "a")
    clock.sleep_s(0.1)
    device.catch_up()
    first_ns, last_ns = opened_ns + 1000 * delay_us, opened_ns + width_ns + 1000 * delay_us
    arrival_ns = (first_ns if edge == "first" else last_ns) + off_ns
    assert device.deflects(np.array([arrival_ns]))[0] == (first_ns <= arrival_ns <= last_ns)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12), st.lists(st.integers(0, 100), max_size=8), st.integers(0, 9)
)
def test_of_many_pulses_each_deflects_its_own_cells(steps: list[int], arrivals: list[int], delay_ns: int) -> None:
    """Asked of any of the cells, not only of those that came since the last pulse."""
    device, _ = sorter(delay_ms=delay_ns / NS_PER_MS)
    edges = np.cumsum(steps).tolist()
    device.pulses = list(zip(edges[::2], edges[1::2], strict=False))
    acts = [any(opened + delay_ns <= t <= shut + delay_ns for opened, shut in device.pulses) for t in arrivals]
    assert device.deflects(np.array(arrivals, dtype=np.int64)).tolist() == acts


@pytest.mark.parametrize("timing", ["own", "computer"])
def test_the_truth_tells_who_was_deflected(timing: str) -> None:
    """The gate is opened by hand or ahead of time around cells known from the same sample flowing by before."""
    foretold, clock = opened(sorter={"timing": timing, "delay_ms": 0.2, "recovery_ms": 0.0})
    clock.sleep_s(0.5)
    arrivals = {cell.id: cell.arrival_ns for cell in foretold.passed()}
    chosen = [c for c, t in arrivals.items() if all(abs(t - o) > 400_000 for i, o in arrivals.items() if i != c)][:20]
    cell, clock = opened(sorter={"timing": timing, "delay_ms": 0.2, "recovery_ms": 0.0})
    for n in sorted(chosen, key=arrivals.__getitem__):
        begins_ns = arrivals[n] - 300_000
        if timing == "own":
            assert cell.pulse_timer is not None
            cell.pulse_timer.fire_at(begins_ns, 0.2, str(n))
        else:
            clock.wait_until(begins_ns)
            cell.set_gate(True)
            clock.wait_until(begins_ns + 200_000)
            cell.set_gate(False)
    clock.wait_until(500_000_000)
    passed = cell.passed()
    assert {c.id for c in passed if c.deflected} == set(chosen)
    assert {c.id: c.arrival_ns for c in passed} == arrivals, "sorting changes nothing in the flow"
    assert len(cell.pulses) == 20


def test_a_gate_that_stays_open_deflects_all_until_it_is_made_safe() -> None:
    cell, clock = opened()
    clock.sleep_s(0.1)
    cell.set_gate(True)
    cell.set_gate(True)
    clock.sleep_s(0.1)
    assert cell.state().gate_open
    cell.passed()
    clock.sleep_s(0.1)
    cell.make_safe()
    assert not cell.state().gate_open
    inside = cell.passed()
    assert len(inside) > 20
    assert all(c.deflected for c in inside)
    clock.sleep_s(0.1)
    after = cell.passed()
    assert len(after) > 20
    assert not any(c.deflected for c in after)


def test_strips_in_which_a_cell_could_be_seen_are_counted() -> None:
    cell, clock = opened(events_per_s=1000.0)
    clock.sleep_s(0.1)
    cell.start()
    for _ in range(50):
        clock.sleep_s(0.004)
        cell.poll_frame()
    cell.stop()
    clock.sleep_s(0.2)
    passed = cell.passed()
    seen = [c for c in passed if 0.11e9 < c.entered_ns < 0.29e9]
    for c in seen:
        transit_ms = 128_000 / c.speed_um_s
        assert abs(c.strips - transit_ms / 0.25) <= 1.1
    assert len(seen) > 100
    assert all(c.strips == 0 for c in passed if c.entered_ns < 0.09e9 or c.entered_ns > 0.31e9)
