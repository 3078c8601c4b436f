"""Cells in a flow are followed, and their arrival is foretold with an honest error."""

import numpy as np
import pytest
from flow_following import followed, quality, tracker_for
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.flow_scenes import Flow, flow_scene, mirrored, since, stopped, with_dirt

MEASURED = [
    # events/s, least share followed rightly, most share mixed, most p99 of the arrival error in µs
    (500.0, 0.99, 0.002, 130.0),
    (2_000.0, 0.98, 0.005, 250.0),
    (5_000.0, 0.97, 0.01, 350.0),
]


@pytest.mark.parametrize(("events_per_s", "right", "mixed", "p99_us"), MEASURED)
def test_cells_are_followed_and_their_arrival_foretold(
    events_per_s: float, right: float, mixed: float, p99_us: float
) -> None:
    scene = flow_scene(Flow(events_per_s=events_per_s, seconds=1_000 / events_per_s), seed=3)
    got = quality(scene, followed(scene))
    assert got.right >= right
    assert got.mixed <= mixed
    assert np.percentile(np.abs(got.error_us), 99) < p99_us


@pytest.mark.parametrize("scatter", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("error_px", [0.1, 0.4])
def test_the_standard_error_is_honest(scatter: float, error_px: float) -> None:
    """Whatever the noise and the population are, which nobody tells the tracker."""
    scene = flow_scene(Flow(scatter=scatter, error_px=error_px, seconds=1.5), seed=5)
    surprise = quality(scene, followed(scene)).surprise
    assert 0.8 < 1.4826 * np.median(np.abs(surprise)) < 1.25
    assert 0.8 < surprise.std() < 1.3
    assert abs(np.median(surprise)) < 0.2


def test_what_is_learned_makes_arrivals_more_certain() -> None:
    """The speed that belongs to a place across the channel is as good as further looks."""
    scene = flow_scene(Flow(profile=0.1, scatter=0.0, error_px=0.4, seconds=2.0), seed=1)
    error = np.abs(quality(scene, followed(scene)).error_us)
    assert np.median(error[-400:]) < 0.6 * np.median(error[:20])


@pytest.mark.parametrize("faster", [0.75, 1.3])
def test_the_speed_need_not_be_known_well(faster: float) -> None:
    scene = flow_scene(Flow(speed_um_s=100_000 * faster, seconds=1.0), seed=2)
    got = quality(scene, followed(scene, tracker=tracker_for(scene, speed_um_s=100_000.0)))
    assert got.right > 0.97
    assert 0.8 < got.surprise.std() < 1.4


def test_a_flow_to_the_left_is_the_mirror_image() -> None:
    scene = flow_scene(Flow(seconds=0.3), seed=4)
    right = followed(scene)
    left = followed(mirrored(scene), tracker=tracker_for(scene, direction="left"))
    assert len(left.gone) == len(right.gone)
    for one, other in zip(sorted(left.gone.values()), sorted(right.gone.values()), strict=True):
        assert one == pytest.approx(other, rel=1e-6, abs=2)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rate=st.sampled_from([200.0, 2_000.0, 20_000.0]),
    missed=st.sampled_from([0.0, 0.3]),
    stack=st.integers(2, 40),
    jitter=st.sampled_from([0.0, 0.4]),
)
def test_cells_do_not_depend_on_how_strips_are_stacked(
    seed: int, rate: float, missed: float, stack: int, jitter: float
) -> None:
    scene = flow_scene(Flow(events_per_s=rate, missed=missed), seed, irregular(seed, 80, jitter))
    whole, single = followed(scene, stack), followed(scene, 1)
    assert np.array_equal(whole.cell_of, single.cell_of)
    assert whole.gone == single.gone


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), rate=st.sampled_from([500.0, 30_000.0]), jitter=st.floats(0, 0.9))
def test_what_is_said_is_consistent(seed: int, rate: float, jitter: float) -> None:
    scene = flow_scene(Flow(events_per_s=rate, missed=0.1), seed, irregular(seed, 60, jitter))
    tracker, ended, highest = tracker_for(scene), set(), 0
    for sightings, times in scene.stacks(7):
        cells = tracker.update(sightings, times)
        assert (np.diff(cells.id) > 0).all()
        assert not ended & set(cells.id.tolist()), "nobody comes back"
        assert len(cells.cell_of) == len(sightings)
        assert set(cells.cell_of.tolist()) - {-1} <= set(cells.id.tolist())
        assert np.isfinite(cells.sigma_ms).all()
        assert (cells.sigma_ms > 0).all()
        assert (cells.speed_um_s > 0).all()
        assert (cells.looks > 0).all()
        assert (cells.last_ns <= times[-1]).all()
        new = cells.id[cells.id > highest]
        assert np.array_equal(new, np.arange(highest + 1, highest + 1 + len(new))), "no id is left out"
        highest += len(new)
        ended |= set(cells.id[cells.gone].tolist())


def irregular(seed: int, n: int, jitter: float) -> np.ndarray:
    """Times of strips, some of them missing."""
    rng = np.random.default_rng(seed)
    times = 250_000 * (np.arange(n) + jitter * rng.uniform(-0.5, 0.5, n))
    return np.rint(times[rng.random(n) > jitter / 5]).astype(np.int64) + 1_000_000


def test_a_cell_is_told_with_its_last_strip() -> None:
    """Every strip that is waited for is time that a pulse does not have."""
    scene = flow_scene(Flow(missed=0.0, seconds=0.5), seed=6)
    waited_ns: list[int] = []
    tracker = tracker_for(scene)
    for sightings, times in scene.stacks(1):
        cells = tracker.update(sightings, times)
        waited_ns += (times[0] - cells.last_ns[cells.gone]).tolist()
    assert np.mean(np.array(waited_ns) == 0) > 0.9


def test_a_gap_loses_the_cells_in_view_and_no_others() -> None:
    flow = Flow(events_per_s=1_000.0)
    times = np.concatenate([np.arange(0, 100e6, 250e3), np.arange(200e6, 300e6, 250e3)]).astype(np.int64)
    scene = flow_scene(flow, 7, times)
    assert quality(scene, followed(scene)).right > 0.97


@pytest.mark.parametrize("share", [0.0, -1.0, 0.1])
def test_a_flow_that_stops_or_turns_back_is_no_error_and_is_found_again(share: float) -> None:
    scene = stopped(Flow(events_per_s=2_000.0, seconds=0.3), seed=8, after_s=0.1, until_s=0.2, share=share)
    result = followed(scene)
    assert result.most_in_view < 120
    times = np.repeat(scene.t_ns, [len(each) for each in scene.strips])
    after = since(scene, int(0.21e9))
    got = quality(after, type(result)(result.cell_of[times >= 0.21e9], result.gone, 0))
    assert got.right > 0.95


def test_what_sticks_to_the_glass_is_not_followed() -> None:
    """It is one event at most for each time it is not seen for long."""
    scene = flow_scene(Flow(events_per_s=500.0, seconds=0.5), seed=9)
    dirty = with_dirt(scene, np.array([[60.0, 20.0], [130.0, 33.0], [5.0, 50.0]]), overlooked=0.2, seed=1)
    clean_result, dirty_result = followed(scene), followed(dirty)
    assert len(dirty_result.gone) - len(clean_result.gone) < 25
    assert quality(dirty, dirty_result).right > 0.95


def test_a_cell_is_seen_where_it_was_in_the_middle_of_the_exposure() -> None:
    scene = flow_scene(Flow(seconds=0.2), seed=1)
    at_once, exposed = followed(scene), followed(scene, exposure_ms=0.1)
    earlier_ns = [at_once.gone[key][0] - exposed.gone[key][0] for key in at_once.gone]
    assert np.allclose(earlier_ns, 50_000, atol=1)
    assert [told[4] for told in exposed.gone.values()] == [told[4] for told in at_once.gone.values()], "seen last"


def test_the_exposure_may_change_while_cells_are_in_view() -> None:
    """They are where they were in the middle of it; the ends of exposure are as much later."""
    scene = flow_scene(Flow(events_per_s=1_000.0, seconds=0.1, error_px=0.0, missed=0.0), seed=3)
    steady, changing = tracker_for(scene), tracker_for(scene)
    for n, (sightings, times) in enumerate(scene.stacks(2)):
        later_ns = (n % 2) * 50_000
        as_it_was = steady.update(sightings, times)
        exposed = changing.update(sightings, tuple(t + later_ns for t in times), exposure_ms=n % 2 * 0.1)
        assert exposed.id.tolist() == as_it_was.id.tolist()
        assert np.array_equal(exposed.arrival_ns, as_it_was.arrival_ns)


def test_nothing_at_all() -> None:
    scene = flow_scene(Flow(events_per_s=0.0, seconds=0.05))
    result = followed(scene)
    assert result.gone == {}
    assert result.cell_of.size == 0


def test_ids_of_another_tracker_are_not_given_again() -> None:
    scene = flow_scene(Flow(seconds=0.1), seed=1)
    tracker = tracker_for(scene)
    tracker.skip_ids(1_000)
    assert min(followed(scene, tracker=tracker).gone) == 1_001
