"""The shape of a pulse: it covers its cell for certain, spares the others, and never comes too soon after another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.sort.pulses import Arrivals, Shaper, Span, covers, no_spans
from realtime.sort.settings import PulseSettings
from realtime.sort.traffic import Traffic
from realtime.sort.verdicts import Verdict

US = 1000
SHAPER = Shaper.of(PulseSettings())
WINDOW, LEAST, RECOVERY = 300 * US, 100 * US, 100 * US
TIMES = st.integers(-2000 * US, 2000 * US)


@st.composite
def spans(draw: st.DrawFn, longest: int = 600 * US) -> Span:
    start = draw(TIMES)
    return start, start + draw(st.integers(1, longest))


def array(some: list[Span]) -> np.ndarray:
    return np.array(some, np.int64).reshape(-1, 2)


def touches(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


@given(spans(WINDOW), st.lists(spans(), max_size=6), st.lists(spans(WINDOW), max_size=4))
def test_a_pulse_is_what_was_promised(need: Span, obstacles: list[Span], planned: list[Span]) -> None:
    pulse = SHAPER.shaped(need, array(obstacles), array(planned))
    if isinstance(pulse, Verdict):
        assert pulse in (Verdict.COINCIDENCE, Verdict.GATE_BUSY)
        return
    assert pulse[0] <= need[0]
    assert need[1] <= pulse[1]
    assert LEAST <= pulse[1] - pulse[0] <= WINDOW
    assert not any(touches(pulse, obstacle) for obstacle in obstacles)
    assert not any(touches(pulse, (opens - RECOVERY, shuts + RECOVERY)) for opens, shuts in planned)


@given(spans(WINDOW), st.lists(spans(), max_size=6), st.lists(spans(WINDOW), max_size=4))
def test_a_cell_is_given_up_only_if_there_is_no_pulse(need: Span, obstacles: list[Span], planned: list[Span]) -> None:
    """Any pulse that would do begins at the earliest time that is free, or as early as the window lets it."""
    if not isinstance(SHAPER.shaped(need, array(obstacles), array(planned)), Verdict):
        return
    blocked = [*obstacles, *((opens - RECOVERY, shuts + RECOVERY) for opens, shuts in planned)]
    starts = [need[0], *(shuts for _, shuts in blocked if shuts <= need[0]), need[0] - LEAST, need[1] - LEAST]
    for start in starts:
        pulse = (start, max(need[1], start + LEAST))
        if start <= need[0] and pulse[1] - start <= WINDOW:
            assert any(touches(pulse, block) for block in blocked)


@pytest.mark.parametrize(
    ("obstacles", "expected"),
    [
        ([], (-150, 150)),
        ([(100, 900)], (-150, 100)),
        ([(-900, -40)], (-40, 150)),
        ([(-900, -40), (70, 900)], (-40, 70)),
        ([(-900, -40), (60, 900)], (-40, 60)),
        ([(-900, -40), (59, 900)], Verdict.COINCIDENCE),
        ([(20, 900)], Verdict.COINCIDENCE),
        ([(-900, 900)], Verdict.COINCIDENCE),
        ([(31, 32)], (-150, 31)),
    ],
)
def test_a_pulse_is_full_and_centred_or_cut(obstacles: list[Span], expected: Span | Verdict) -> None:
    pulse = SHAPER.shaped((-30 * US, 30 * US), array([(a * US, b * US) for a, b in obstacles]), no_spans())
    assert pulse == (expected if isinstance(expected, Verdict) else (expected[0] * US, expected[1] * US))


def test_a_short_window_is_moved_aside() -> None:
    """Where cutting would leave too little, the pulse goes on longer on the free side."""
    shaper = Shaper.of(PulseSettings(window_ms=0.12, least_ms=0.1))
    assert shaper.shaped((-10 * US, 10 * US), array([(15 * US, 900 * US)]), no_spans()) == (-85 * US, 15 * US)
    assert shaper.shaped((-10 * US, 10 * US), array([(-900 * US, -15 * US)]), no_spans()) == (-15 * US, 85 * US)


def test_what_is_less_certain_takes_more_room() -> None:
    arrivals = Arrivals.of(np.array([10**7] * 5), np.array([0.0, 0.01, 0.5, np.inf, np.nan]), np.array([0] * 5))
    assert np.diff(arrivals.spans(3.0), axis=1).ravel().tolist() == [0, 60 * US, 3000 * US, 20_000 * US, 20_000 * US]
    assert np.diff(arrivals.spans(3.0, 40 * US), axis=1).ravel()[:2].tolist() == [80 * US, 80 * US]
    assert arrivals.spans(3.0)[4].tolist() == [0, 2 * 10**7], "not before it was seen, and not ever so late"


@given(st.floats(allow_nan=True, allow_infinity=True), TIMES, TIMES, st.floats(0.1, 1e6))
def test_no_number_breaks_the_arithmetic(sigma_ms: float, arrival: int, last: int, sureness: float) -> None:
    arrivals = Arrivals.of(np.array([arrival]), np.array([abs(sigma_ms)]), np.array([last]))
    begin, end = arrivals.spans(sureness, 30 * US)[0]
    assert begin <= arrival - 30 * US
    assert end >= arrival + 30 * US


# --- the traffic -----------------------------------------------------------------------------------------------------------


def coming(*at_us: int, sigma_us: int = 10) -> Arrivals:
    """Cells at the junction at these times, seen long before."""
    at = np.array(at_us, np.int64) * US
    return Arrivals.of(at, np.full(len(at), sigma_us / 1000), at - 10**7)


NOBODY = coming()


def test_one_pulse_is_made_for_several_if_one_can_serve_them() -> None:
    traffic = Traffic(SHAPER)
    pulse = traffic.pulse_for(coming(1000), coming(1080, 1200, 1400), NOBODY)
    assert pulse == (950 * US, 1250 * US)
    traffic.plan(pulse)
    assert traffic.pulse_for(coming(1080), NOBODY, NOBODY) == Verdict.WITH_ANOTHER
    assert traffic.pulse_for(coming(1200), NOBODY, NOBODY) == Verdict.WITH_ANOTHER
    assert traffic.pulse_for(coming(1400), NOBODY, NOBODY) == (1350 * US, 1550 * US)


def test_a_companion_behind_an_unwanted_cell_is_left_out() -> None:
    pulse = Traffic(SHAPER).pulse_for(coming(1000), coming(1200), coming(1110))
    assert pulse == (850 * US, 1080 * US)


@pytest.mark.parametrize(
    ("gap_us", "shut_us"), [(200, 150), (150, 120), (60, 30), (50, 20), (40, 10), (38, None), (20, None)]
)
def test_between_close_neighbours_a_pulse_is_less_sure(gap_us: int, shut_us: int | None) -> None:
    """Standard errors of 10 µs: three of them on either side of the edge where there is room, one where there is not."""
    pulse = Traffic(SHAPER).pulse_for(coming(0), NOBODY, coming(gap_us))
    assert pulse == (Verdict.COINCIDENCE if shut_us is None else (-150 * US, shut_us * US))


def test_what_has_passed_is_forgotten_and_what_comes_is_not() -> None:
    traffic = Traffic(SHAPER)
    traffic.leave(coming(1000, 3000))
    traffic.plan((1850 * US, 2150 * US))
    traffic.forget(1500 * US)
    assert (len(traffic.obstacles), len(traffic.planned)) == (1, 1)
    traffic.forget(2200 * US)
    assert len(traffic.planned) == 1, "the sorter has not recovered yet"
    traffic.forget(10_000 * US)
    assert (len(traffic.obstacles), len(traffic.planned)) == (0, 0)
    assert not covers(traffic.planned, (1900 * US, 1901 * US))
