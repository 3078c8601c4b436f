"""The gate: every pulse opens at its moment or not at all, and has one outcome, whoever keeps the time."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS, NS_PER_S, SimulatedClock, SystemClock
from acquisition.commands import Order, PulseSorter
from acquisition.gate import ClockedGate
from acquisition.limits import Limits
from acquisition.microscope import Microscope, MicroscopeError
from acquisition.pulse_book import PulseBook
from acquisition.simulated.microscope import SimulatedMicroscope
from tests.test_acquisition_loop import LIMITS, Desk
from tests.told_timer import SMALL, GatedMicroscope, TimedMicroscope

PULSES = msgspec.structs.replace(LIMITS, pulse_tolerance_ms=0.1, pulse_recovery_ms=0.1)
TOLERANCE_NS = NS_PER_MS // 10


def desk_with(microscope: Microscope, limits: Limits = PULSES) -> Desk:
    desk = Desk(limits=limits, microscope=microscope)
    desk.loop.start()
    return desk


def ended(desk: Desk) -> None:
    desk.loop.finish()
    desk.microscope.close()


def in_ms(desk: Desk, ms: float, width_ms: float = 0.3) -> str:
    return desk.ask(PulseSorter(desk.clock.now_ns() + round(ms * NS_PER_MS), width_ms=width_ms))


# --- stalls ----------------------------------------------------------------------------------------------------------

PULSES_MS = st.lists(st.tuples(st.floats(0, 150), st.floats(0.1, 0.5)), min_size=1, max_size=25)
STALLS_MS = st.lists(st.one_of(st.just(0.0), st.floats(1, 100)), max_size=25)


def stalled(desk: Desk, pulses: list[tuple[float, float]], stalls_ms: list[float]) -> dict[str, PulseSorter]:
    """Pulses are asked for, one a turn, and between turns the process is held now and then."""
    asked = {}
    for n in range(max(len(pulses), len(stalls_ms)) + 40):
        if n < len(pulses):
            after_ms, width_ms = pulses[n]
            pulse = PulseSorter(desk.clock.now_ns() + round(after_ms * NS_PER_MS), width_ms=width_ms)
            asked[desk.ask(pulse)] = pulse
        desk.turns(1)
        if n < len(stalls_ms):
            desk.clock.sleep_s(stalls_ms[n] / 1000)
    ended(desk)
    return asked


@settings(deadline=None, max_examples=40)
@given(PULSES_MS, STALLS_MS)
def test_no_stall_makes_the_loop_fire_late(pulses: list[tuple[float, float]], stalls_ms: list[float]) -> None:
    microscope = GatedMicroscope(**SMALL)
    desk = desk_with(microscope)
    asked = stalled(desk, pulses, stalls_ms)
    assert set(desk.outcomes) == set(asked), "each has its outcome, and Desk.answer sees to it that it is one"
    moments = sorted(pulse.at_ns for name, pulse in asked.items() if desk.outcomes[name][0] == "done")
    opened_ns = [t_ns for opened, t_ns in microscope.edges if opened]
    assert len(opened_ns) == len(moments)
    for at_ns, t_ns in zip(moments, opened_ns, strict=True):
        assert 0 <= t_ns - at_ns <= TOLERANCE_NS
    assert all("its moment" in detail for status, detail in desk.outcomes.values() if status == "late")


@settings(deadline=None, max_examples=40)
@given(PULSES_MS, STALLS_MS)
def test_no_stall_makes_a_sorter_that_times_itself_fire_late(
    pulses: list[tuple[float, float]], stalls_ms: list[float]
) -> None:
    microscope = TimedMicroscope(**SMALL)
    desk = desk_with(microscope)
    asked = stalled(desk, pulses, stalls_ms)
    assert set(desk.outcomes) == set(asked)
    done = {name: pulse.at_ns for name, pulse in asked.items() if desk.outcomes[name][0] == "done"}
    assert dict(microscope.timer.opened) == done


@settings(deadline=None, max_examples=40)
@given(PULSES_MS)
def test_pulses_never_overlap(pulses: list[tuple[float, float]]) -> None:
    microscope = GatedMicroscope(**SMALL)
    desk = desk_with(microscope)
    stalled(desk, pulses, [])
    times_ns = [t_ns for _, t_ns in microscope.edges]
    assert [opened for opened, _ in microscope.edges] == [True, False] * (len(times_ns) // 2)
    recovery_ns = round(PULSES.pulse_recovery_ms * NS_PER_MS)
    assert all(opens - shuts >= recovery_ns for shuts, opens in zip(times_ns[1::2], times_ns[2::2], strict=False))


# --- by the loop's clock ---------------------------------------------------------------------------------------------


def test_a_pulse_is_as_wide_as_was_asked_and_says_so() -> None:
    microscope = GatedMicroscope(**SMALL)
    desk = desk_with(microscope)
    status, detail = desk.outcome(PulseSorter(desk.clock.now_ns() + 5 * NS_PER_MS, width_ms=0.3))
    assert (status, detail) == ("done", "gate opened 0.000 ms from its moment for 0.300 ms, asked 0.3")
    (_, opened_ns), (_, shut_ns) = microscope.edges
    assert shut_ns - opened_ns == 300_000
    ended(desk)


def test_an_output_that_opens_late_is_shut_at_once_and_counted_as_late() -> None:
    microscope = GatedMicroscope(**SMALL)
    microscope.slow_s = 0.002
    desk = desk_with(microscope)
    status, detail = desk.outcome(PulseSorter(desk.clock.now_ns() + 5 * NS_PER_MS, width_ms=0.3))
    assert (status, "shut at once" in detail) == ("late", True)
    assert microscope.edges[1][1] == microscope.edges[0][1]
    ended(desk)


@pytest.mark.parametrize(("first_late_ms", "opens_ms"), [(0.0, 20.4), (0.05, 20.45), (0.09, 20.49)])
def test_the_gate_recovers_from_a_pulse_that_came_a_little_late(first_late_ms: float, opens_ms: float) -> None:
    """The next one, exactly as far away as is allowed, opens as much later; it is still near enough to its moment."""
    microscope = GatedMicroscope(**SMALL)
    desk = desk_with(microscope)
    start_ns = desk.clock.now_ns()
    microscope.slow_s = first_late_ms / 1000
    in_ms(desk, 20, 0.3)
    second = in_ms(desk, 20.4, 0.3)
    while not microscope.edges:
        desk.turns(1)
    microscope.slow_s = 0.0
    desk.turns(30)
    opened_ns = [t_ns - start_ns for opened, t_ns in microscope.edges if opened]
    assert opened_ns[1] == round(opens_ms * NS_PER_MS)
    assert desk.outcomes[second][0] == "done"
    ended(desk)


def test_a_pulse_is_refused_if_the_gate_shut_too_late_to_recover_in_time() -> None:
    microscope = GatedMicroscope(**SMALL)
    desk = desk_with(microscope)
    start_ns = desk.clock.now_ns()
    in_ms(desk, 20, 2.0)
    second = in_ms(desk, 22.1, 0.3)
    while not microscope.edges:
        desk.turns(1)
    desk.clock.wait_until(start_ns + round(22.11 * NS_PER_MS))  # the loop is held while the gate is open
    desk.turns(30)
    assert [(opened, t_ns - start_ns) for opened, t_ns in microscope.edges] == [(True, 20_000_000), (False, 22_110_000)]
    assert (desk.outcomes[second][0], "has not recovered" in desk.outcomes[second][1]) == ("refused", True)
    ended(desk)


def test_pulses_between_frames_do_not_wait_for_them() -> None:
    """A frame takes 0.8 ms to publish; no edge falls into that."""
    microscope = GatedMicroscope(**SMALL)
    desk = desk_with(microscope)
    desk.on_frame = lambda frame: desk.clock.sleep_s(0.0008)
    desk.turns(20)
    asked = [in_ms(desk, 30 + 1.7 * n, 0.1) for n in range(60)]
    desk.turns(400)
    assert Counter(desk.outcomes[name][0] for name in asked) == {"done": 60}
    ended(desk)


def test_a_second_pulse_is_refused_while_the_gate_is_taken() -> None:
    desk = desk_with(GatedMicroscope(**SMALL))
    first, second, third = in_ms(desk, 20, 0.3), in_ms(desk, 20.35, 0.3), in_ms(desk, 20.4, 0.3)
    desk.turns(100)
    assert [desk.outcomes[name][0] for name in (first, second, third)] == ["done", "refused", "done"]
    assert "pulse_recovery_ms" in desk.outcomes[second][1]
    ended(desk)


# --- what the rate limit looks at ------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 40), st.booleans()), max_size=60), st.integers(0, 5))
def test_the_book_finds_exactly_the_overlaps(wishes: list[tuple[int, int, bool]], recovery_ms: int) -> None:
    book = PulseBook(Limits(x_um=(0, 0), y_um=(0, 0), pulse_recovery_ms=recovery_ms))
    kept: list[tuple[int, int]] = []
    for at_ms, width_ms, stays in wishes:
        is_free = all(at_ms >= b + recovery_ms or a >= at_ms + width_ms + recovery_ms for a, b in kept)
        assert (book.overlap(at_ms * NS_PER_MS, width_ms) is None) is is_free
        if is_free:
            book.enter(at_ms * NS_PER_MS, width_ms)
            if stays:
                kept.append((at_ms, at_ms + width_ms))
            else:
                book.strike(at_ms * NS_PER_MS, width_ms)
    assert book.recent_ns(0) == sorted(a * NS_PER_MS for a, _ in kept)


def test_a_thousand_pulses_a_second_are_checked_in_microseconds() -> None:
    desk = desk_with(GatedMicroscope(**SMALL), msgspec.structs.replace(PULSES, pulses_per_s=2000.0))
    start_ns = desk.clock.now_ns() + NS_PER_S
    for n in range(1000):
        desk.ask(PulseSorter(start_ns + n * NS_PER_MS, width_ms=0.1))
    desk.turns(1)
    clock, took_ns = SystemClock(), []
    for n in range(50):
        order = Order(
            id=f"timed {n}", command=PulseSorter(start_ns + n * NS_PER_MS + 500_000, width_ms=0.1), source="test"
        )
        began_ns = clock.now_ns()
        desk.loop._desk.serve(order)
        took_ns.append(clock.now_ns() - began_ns)
    assert sorted(took_ns)[25] < 200_000
    ended(desk)


def test_a_gate_that_does_not_shut_is_told() -> None:
    class Stuck(SimulatedMicroscope):
        def set_gate(self, opened: bool) -> None:
            if not opened:
                raise MicroscopeError("the output does not shut")

    answers: list[tuple[str, str]] = []
    clock = SimulatedClock()
    gate = ClockedGate(
        Stuck(), PULSES, clock, lambda order, status, detail, t_ns: answers.append((status, detail)), lambda *_: None
    )
    gate.schedule(Order(id="p", command=PulseSorter(NS_PER_MS, width_ms=0.3), source="test"), 0)
    clock.sleep_s(0.001)
    with pytest.raises(MicroscopeError, match="does not shut"):
        gate.drive()
    gate.close("the run ended")
    assert answers == [("failed", "the output does not shut")]
