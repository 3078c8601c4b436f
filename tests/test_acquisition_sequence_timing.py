"""When exposures ended, which images are wanted and under which settings they were taken: numbers only."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.micromanager.timing import ExposureEnds, InForce, Settings, SnapTimes, Spacing

ZERO_NS = 7 * NS_PER_S
SETTINGS = InForce(0, exposure_ms=10.0, interval_ms=50.0, light_mw=1.0, channel="GFP", roi_px=(0, 0, 8, 8))


def ms(value: float) -> int:
    return round(value * NS_PER_MS)


# --- end of exposure --------------------------------------------------------------------------------------


@given(
    delays_ms=st.lists(st.floats(0.05, 40.0), min_size=1, max_size=200),
    period_ms=st.floats(1.0, 500.0),
    drift_ppm=st.floats(-100.0, 100.0),
)
def test_ends_rise_and_are_never_in_the_future(delays_ms: list[float], period_ms: float, drift_ppm: float) -> None:
    ends, given_ns, seen_before_ns = ExposureEnds(), [], 0
    for i, delay_ms in enumerate(delays_ms):
        camera_ms = (i + 1) * period_ms
        seen_ns = max(seen_before_ns + 1, ZERO_NS + ms(camera_ms * (1 + drift_ppm * 1e-6) + delay_ms))
        given_ns.append(ends.end_ns(camera_ms, seen_ns))
        assert given_ns[-1] <= seen_ns
        seen_before_ns = seen_ns
    assert all(b > a for a, b in pairwise(given_ns))


@pytest.mark.parametrize("drift_ppm", [-80.0, 0.0, 80.0])
def test_the_true_end_is_found_behind_random_delays_even_if_the_camera_clock_drifts(drift_ppm: float) -> None:
    """An hour at 20 frames a second, delays of 0.1 ms and more: late by little more than the least delay."""
    random = np.random.default_rng(0)
    ends, errors_ms = ExposureEnds(), []
    for i in range(20 * 3600):
        camera_ms = (i + 1) * 50.0
        true_ns = ZERO_NS + ms(camera_ms * (1 + drift_ppm * 1e-6))
        found_ns = ends.end_ns(camera_ms, true_ns + ms(0.1 + random.exponential(2.0)))
        errors_ms.append((found_ns - true_ns) / NS_PER_MS)
    settled = errors_ms[100:]
    assert min(settled) > -1.0
    assert max(settled) < 1.0


def test_without_camera_time_the_end_is_when_the_image_was_seen() -> None:
    ends = ExposureEnds()
    assert [ends.end_ns(None, seen_ns) for seen_ns in (ms(10), ms(20))] == [ms(10), ms(20)]


def test_a_new_sequence_has_a_new_zero() -> None:
    ends = ExposureEnds()
    assert ends.end_ns(5000.0, ms(6000)) == ms(6000)
    ends.restart()
    assert ends.end_ns(10.0, ms(6100)) == ms(6100)
    assert ends.end_ns(20.0, ms(6190)) == ms(6110)


# --- which images are wanted ------------------------------------------------------------------------------


def kept(period_ms: float, interval_ms: float, n: int = 300, jitter_ms: float = 0.0) -> list[float]:
    spacing, random = Spacing(), np.random.default_rng(1)
    spacing.restart(0)
    times_ms = [(i + 1) * period_ms + random.uniform(-jitter_ms, jitter_ms) for i in range(n)]
    return [t for t in times_ms if spacing.lost_before(ms(t), 0, ms(interval_ms)) is not None]


@pytest.mark.parametrize(
    ("period_ms", "interval_ms", "expected_ms"),
    [(11, 50, 55), (10, 50, 50), (49, 50, 49), (51, 50, 51), (50, 50, 50), (30.5, 100, 122), (200, 50, 200)],
)
def test_images_are_thinned_evenly_and_never_above_the_rate_asked_for(
    period_ms: float, interval_ms: float, expected_ms: float
) -> None:
    apart_ms = np.diff(kept(period_ms, interval_ms))
    np.testing.assert_allclose(apart_ms, expected_ms)


def test_of_a_camera_that_keeps_the_interval_all_images_are_wanted_whatever_its_jitter() -> None:
    assert len(kept(50.0, 50.0, n=300, jitter_ms=2.0)) == 300


@given(
    interval=st.integers(1, 20),
    missing=st.lists(st.integers(0, 60), min_size=1, max_size=60),
)
def test_lost_images_count_as_far_as_they_were_wanted(interval: int, missing: list[int]) -> None:
    """Period 1 ms, interval of whole periods: what is kept and what is lost together fill the grid."""
    spacing, number, n_kept, n_lost, first, last = Spacing(), -1, 0, 0, None, 0
    spacing.restart(0)
    for gap in missing:
        number += gap + 1
        lost = spacing.lost_before(ms(number + 1), gap, ms(interval))
        if lost is not None:
            first = number if first is None else first
            n_kept, n_lost, last = n_kept + 1, n_lost + (lost if n_kept else 0), number
    assert first is not None
    assert n_kept + n_lost <= (last - first) / interval + 1 + n_kept / 2
    if interval == 1:
        assert n_kept + n_lost == last - first + 1, "every image was wanted: each is kept or lost"


def test_losses_of_images_that_nobody_wanted_do_not_count() -> None:
    spacing = Spacing()
    spacing.restart(0)
    assert spacing.lost_before(ms(10), 0, ms(100)) == 0
    assert spacing.lost_before(ms(60), 4, ms(100)) is None
    assert spacing.lost_before(ms(110), 4, ms(100)) == 0
    assert spacing.lost_before(ms(410), 29, ms(100)) == 2


def test_spacing_tells_when_the_next_image_can_be_wanted() -> None:
    spacing = Spacing()
    assert spacing.next_ns(ms(100)) is None
    spacing.restart(0)
    spacing.lost_before(ms(10), 0, ms(100))
    assert spacing.next_ns(ms(100)) == ms(109)


# --- single snaps -----------------------------------------------------------------------------------------


def test_snaps_keep_to_the_grid_unless_a_whole_interval_was_missed() -> None:
    times = SnapTimes()
    assert times.due_in_s(ms(5), ms(100)) == 0
    times.begin(ms(5), ms(100))
    assert times.due_in_s(ms(65), ms(100)) == pytest.approx(0.04)
    times.begin(ms(112), ms(100))
    assert times.due_in_s(ms(112), ms(100)) == pytest.approx(0.093), "7 ms late, but the next one is on time"
    times.begin(ms(999), ms(100))
    assert times.due_in_s(ms(999), ms(100)) == pytest.approx(0.1)
    assert times.due_in_s(ms(999), ms(20)) == pytest.approx(0.02), "a new interval counts at once"


# --- settings in force ------------------------------------------------------------------------------------


def changed(since_ms: float, exposure_ms: float) -> InForce:
    return InForce(ms(since_ms), exposure_ms, 50.0, 1.0, "GFP", (0, 0, 8, 8))


@pytest.mark.parametrize(
    ("before_ms", "after_ms", "changed_at_ms", "ends_ms", "is_new"),
    [
        pytest.param(100, 10, 5, (100, 110, 120), (False, True, True), id="shorter, during an exposure"),
        pytest.param(10, 100, 5, (10, 110), (False, True), id="longer, during an exposure"),
        pytest.param(10, 20, 500, (10, 1000), (False, True), id="in the pause between two exposures"),
        pytest.param(10, 10, 985, (10, 1000), (False, True), id="just before an exposure"),
        pytest.param(10, 10, 995, (10, 1000, 1010), (False, False, True), id="just after one has begun"),
    ],
)
def test_an_image_has_the_settings_that_were_in_force_when_its_exposure_began(
    before_ms: float,
    after_ms: float,
    changed_at_ms: float,
    ends_ms: tuple[float, ...],
    is_new: tuple[bool, ...],
) -> None:
    settings, new = Settings(changed(0, before_ms)), changed(changed_at_ms, after_ms)
    settings.change(new)
    previous_ns, found = 0, []
    for end_ms in ends_ms:
        found.append(settings.of_image(ms(end_ms), previous_ns) is new)
        previous_ns = ms(end_ms)
    assert tuple(found) == is_new
    assert settings.now is new


def test_several_changes_between_two_images_leave_the_last() -> None:
    settings = Settings(SETTINGS)
    for i in range(100):
        settings.change(changed(10.0 + i, 5.0))
    assert settings.of_image(ms(200), ms(190)) is settings.now
