"""The simulated microscope: light, noise, time, stage and truth are what a reader of its settings expects."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS, Clock, SimulatedClock, SystemClock
from acquisition.commands import (
    AcquireBurst,
    Command,
    MoveStage,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)
from acquisition.frame import Frame, stage_um
from acquisition.microscope import Imaging, MicroscopeError
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.settings import SensorSettings, StageSettings
from tests.polling import next_frame, next_frames

IMAGING = Imaging(interval_ms=50.0, exposure_ms=10.0, light_mw=1.0)
SMALL: dict[str, Any] = {"height_px": 96, "width_px": 128, "n_cells": 8, "specimen_um": (400.0, 400.0)}
EMPTY: dict[str, Any] = SMALL | {"brightness": 0.0}


class HandClock(SimulatedClock):
    """A clock that only the test moves, but that claims to be real: the worker thread renders the frames."""

    simulated = False


def opened(clock: Clock, imaging: Imaging = IMAGING, **changes: object) -> SimulatedMicroscope:
    microscope = SimulatedMicroscope(**(SMALL | changes))
    microscope.open(clock, imaging)
    return microscope


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
def microscope(clock: SimulatedClock) -> Iterator[SimulatedMicroscope]:
    microscope = opened(clock)
    microscope.start()
    yield microscope
    microscope.close()


def film(clock: Clock, n: int = 12, **changes: object) -> list[Frame]:
    """A short run in which a bit of everything happens."""
    microscope = opened(clock, **changes)
    microscope.start()
    script: dict[int, Command] = {
        2: MoveStage(x_um=30.0, y_um=-20.0), 4: SetExposure(20.0), 5: SetInterval(80.0), 7: SetLight(0.4),
        8: SetChannel("cytoplasm"), 9: SetRoi(16, 8, 64, 48),
    }  # fmt: skip
    frames = []
    for i in range(n):
        frames.append(next_frame_by_hand(microscope, clock))
        if i in script:
            microscope.apply(script[i])
    microscope.close()
    return frames


def next_frame_by_hand(microscope: SimulatedMicroscope, clock: Clock) -> Frame:
    """Move the clock only to the next event, and give a worker thread the real time that it needs there."""
    deadline_ns = SystemClock().now_ns() + 10_000 * NS_PER_MS
    while (frame := microscope.poll_frame()) is None:
        assert SystemClock().now_ns() < deadline_ns, "no frame within 10 s"
        wait_s = microscope.ready_in_s()
        is_rendering = not clock.simulated and wait_s == pytest.approx(0.0005)
        (SystemClock() if is_rendering else clock).sleep_s(wait_s)
    return frame


# --- the same seed, the same bytes --------------------------------------------------------------------------


def same(a: list[Frame], b: list[Frame]) -> bool:
    return all(
        x.header.t_ns == y.header.t_ns and x.header.stage == y.header.stage and x.pixels.tobytes() == y.pixels.tobytes()
        for x, y in zip(a, b, strict=True)
    )


def test_the_same_seed_gives_the_same_bytes_whenever_the_run_begins() -> None:
    first, again = film(SimulatedClock()), film(SimulatedClock(start_ns=10**15))
    assert [f.pixels.tobytes() for f in first] == [f.pixels.tobytes() for f in again]
    assert not same(first, film(SimulatedClock(), seed=1))


def test_the_worker_thread_renders_the_same_bytes() -> None:
    assert same(film(SimulatedClock()), film(HandClock()))


def test_frames_do_not_depend_on_how_often_they_are_asked_for(clock: SimulatedClock) -> None:
    expected = film(clock, n=3)
    impatient, hectic = opened(other := SimulatedClock()), []
    impatient.start()
    while len(hectic) < 3:
        impatient.busy()
        impatient.ready_in_s()
        if (frame := impatient.poll_frame()) is not None:
            hectic.append(frame)
        other.sleep_s(0.00037)
    assert same(expected, hectic)


def test_each_frame_has_noise_of_its_own(clock: SimulatedClock) -> None:
    microscope = opened(clock, **EMPTY, background=100.0)
    microscope.start()
    a, b = (frame.pixels.astype(float).ravel() for frame in next_frames(microscope, clock, 2))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


# --- light and noise ----------------------------------------------------------------------------------------


def dark_frame(clock: Clock, light_mw: float, exposure_ms: float, **changes: object) -> Frame:
    imaging = Imaging(interval_ms=exposure_ms * 2, exposure_ms=exposure_ms, light_mw=light_mw)
    microscope = opened(
        clock, imaging, **(EMPTY | {"height_px": 128, "sensor": SensorSettings(read_noise_e=3.0)} | changes)
    )
    microscope.start()
    return next_frame(microscope, clock, timeout_s=60.0)


@pytest.mark.parametrize(("light_mw", "exposure_ms"), [(1.0, 10.0), (2.0, 10.0), (1.0, 40.0), (0.25, 4.0), (0.0, 10.0)])
def test_signal_and_noise_follow_light_and_exposure(clock: SimulatedClock, light_mw: float, exposure_ms: float) -> None:
    pixels = dark_frame(clock, light_mw, exposure_ms, background=20.0).pixels.astype(float)
    electrons = 20.0 * light_mw * exposure_ms
    assert pixels.mean() == pytest.approx(100.0 + electrons, abs=0.2 + 0.01 * electrons)
    assert pixels.var() == pytest.approx(electrons + 3.0**2 + 1 / 12, rel=0.06)  # shot, read, rounding


def test_the_camera_saturates(clock: SimulatedClock) -> None:
    assert dark_frame(clock, 10.0, 100.0, background=1000.0).pixels.min() == 65535


def test_the_camera_does_not_go_below_zero(clock: SimulatedClock) -> None:
    pixels = dark_frame(clock, 0.0, 10.0, sensor=SensorSettings(offset_counts=0.0, read_noise_e=50.0)).pixels
    assert pixels.min() == 0
    assert pixels.max() < 500


def test_nuclei_are_as_bright_as_set_and_lie_where_the_truth_says(
    microscope: SimulatedMicroscope, clock: SimulatedClock
) -> None:
    frame = next_frame(microscope, clock)
    truth = microscope.truth()
    assert truth.frame_index == frame.header.index
    assert set(np.unique(truth.labels)) == {0, *truth.nuclei.id.tolist()}
    assert 3 <= len(truth.nuclei.id) <= 20
    inside, outside = frame.pixels[truth.labels > 0], frame.pixels[truth.labels == 0]
    assert inside.mean() > 100 + 0.6 * 1000 > 400 > np.percentile(outside, 90)


def test_truth_before_the_first_frame_is_refused(clock: SimulatedClock) -> None:
    with pytest.raises(MicroscopeError, match="read one first"):
        opened(clock).truth()


def test_cytoplasm_is_larger_and_dimmer_than_nuclei(microscope: SimulatedMicroscope, clock: SimulatedClock) -> None:
    nuclei = next_frame(microscope, clock).pixels.astype(float)
    microscope.apply(SetChannel("cytoplasm"))
    cytoplasm = next_frame(microscope, clock).pixels.astype(float)
    assert cytoplasm.max() < nuclei.max()
    assert (cytoplasm > 350).sum() > 1.5 * (nuclei > 600).sum()


# --- stage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target_um", [(0.0, 0.0), (50.0, -35.0), (-120.0, 110.0)])
@pytest.mark.parametrize("roi", [SetRoi(0, 0, 0, 0), SetRoi(32, 10, 90, 70)])
def test_cells_are_found_at_their_place_in_stage_coordinates(
    clock: SimulatedClock, target_um: tuple[float, float], roi: SetRoi
) -> None:
    microscope = opened(clock, n_cells=30)
    microscope.apply(MoveStage(*target_um))
    microscope.apply(roi)
    clock.sleep_s(1.0)
    microscope.start()
    header, truth = next_frame(microscope, clock).header, microscope.truth()
    assert (header.stage.x_um, header.stage.y_um) == target_um
    off_um = []
    for cell, xy_um in zip(truth.nuclei.id, truth.nuclei.xy_um, strict=True):
        xy_px = np.argwhere(truth.labels == cell)[:, ::-1]
        if np.all(xy_px > 0) and np.all(xy_px < [header.width_px - 1, header.height_px - 1]):  # not cut off
            found_um = stage_um(header.stage_from_pixel, xy_px.mean(axis=0, keepdims=True))[0]
            off_um.append(np.hypot(*(found_um - xy_um)))
    assert len(off_um) >= 5
    assert np.mean(np.array(off_um) < 0.25) > 0.8, "a few are hidden by others; the rest are centred"


def test_frames_taken_during_a_move_show_where_the_stage_was_at_their_end(clock: SimulatedClock) -> None:
    microscope = opened(clock, stage=StageSettings(speed_um_s=100.0, settle_ms=30.0))
    microscope.start()
    next_frame(microscope, clock)
    set_off_ns = clock.now_ns()
    microscope.apply(MoveStage(x_um=30.0, y_um=40.0))  # 50 µm: half a second
    busy_ns = []
    for frame in (next_frame(microscope, clock) for _ in range(14)):
        way = min(1.0, (frame.header.t_ns - set_off_ns) / (500 * NS_PER_MS))
        assert (frame.header.stage.x_um, frame.header.stage.y_um) == pytest.approx((30 * way, 40 * way))
        if microscope.busy():
            busy_ns.append(clock.now_ns() - set_off_ns)
    assert max(busy_ns) == pytest.approx(500 * NS_PER_MS, abs=30 * NS_PER_MS)
    assert not microscope.busy()


@pytest.mark.parametrize("clock_type", [SimulatedClock, HandClock])
def test_a_move_during_the_exposure_moves_that_frame_and_nothing_else(
    clock_type: type[SimulatedClock],
) -> None:
    clock = clock_type()
    microscope = opened(clock, stage=StageSettings(speed_um_s=1e6))
    microscope.start()
    clock.sleep_s(0.004)  # in the middle of the first exposure
    microscope.apply(SetExposure(20.0))
    microscope.apply(MoveStage(x_um=25.0))
    first, second = next_frame_by_hand(microscope, clock), next_frame_by_hand(microscope, clock)
    microscope.close()
    assert [f.header.stage.x_um for f in (first, second)] == [25.0, 25.0]
    assert [f.header.exposure_ms for f in (first, second)] == [10.0, 20.0]
    a, b = first.pixels.astype(float).ravel(), second.pixels.astype(float).ravel()
    assert np.corrcoef(a, b)[0, 1] > 0.95, "both show the same place"


def test_make_safe_stops_a_move_on_its_way(clock: SimulatedClock) -> None:
    microscope = opened(clock, stage=StageSettings(speed_um_s=100.0, settle_ms=5.0))
    microscope.apply(MoveStage(x_um=100.0))
    clock.sleep_s(0.25)
    microscope.make_safe()
    assert not microscope.busy()
    clock.sleep_s(5.0)
    assert microscope.state().stage.x_um == pytest.approx(25.0)


def test_a_frame_under_way_shows_where_the_stage_was_halted(clock: SimulatedClock) -> None:
    microscope = opened(clock, stage=StageSettings(speed_um_s=1000.0))
    microscope.start()
    microscope.apply(MoveStage(x_um=100.0))
    clock.sleep_s(0.004)
    microscope.halt()
    assert next_frame(microscope, clock).header.stage.x_um == pytest.approx(4.0)


# --- time ---------------------------------------------------------------------------------------------------


def ends_ms(frames: list[Frame]) -> list[float]:
    return [frame.header.t_ns / NS_PER_MS for frame in frames]


def test_exposure_and_interval_are_obeyed(microscope: SimulatedMicroscope, clock: SimulatedClock) -> None:
    assert ends_ms(next_frames(microscope, clock, 3)) == [10.0, 60.0, 110.0]
    microscope.apply(SetInterval(200.0))
    assert ends_ms(next_frames(microscope, clock, 2)) == [310.0, 510.0]
    clock.sleep_s(0.1)  # at 610 ms the camera is told to hurry: the frame due before now comes as soon as it can
    microscope.apply(SetInterval(20.0))
    assert ends_ms(next_frames(microscope, clock, 3)) == [620.0, 640.0, 660.0]
    microscope.apply(SetExposure(15.0))
    assert ends_ms(next_frames(microscope, clock, 2)) == [680.0, 700.0]
    assert list(microscope.lit)[-2:] == [
        (665 * NS_PER_MS, 680 * NS_PER_MS),
        (685 * NS_PER_MS, 700 * NS_PER_MS),
    ]


def test_frames_that_nobody_reads_are_lost_and_counted(clock: SimulatedClock) -> None:
    microscope = opened(clock, sensor=SensorSettings(buffer_frames=3))
    microscope.start()
    next_frame(microscope, clock)
    clock.sleep_s(0.5)
    indices = [frame.header.index for frame in next_frames(microscope, clock, 6)]
    assert indices[:3] == [1, 2, 3]
    assert indices[3:] == [11, 12, 13]
    assert microscope.lost_frames() == 7


def test_light_falls_only_during_exposures_and_ends_when_it_is_stopped(
    microscope: SimulatedMicroscope, clock: SimulatedClock
) -> None:
    next_frame(microscope, clock)
    clock.sleep_s(0.045)  # 5 ms into the second exposure
    assert microscope.state().shutter_open
    microscope.make_safe()
    assert not microscope.state().shutter_open
    assert list(microscope.lit) == [(0, 10 * NS_PER_MS), (50 * NS_PER_MS, 55 * NS_PER_MS)]
    clock.sleep_s(0.1)
    assert microscope.dose_mj() == pytest.approx(0.015)
    microscope.start()
    assert next_frame(microscope, clock).header.index == 1, "the exposure that was broken off is not a lost frame"
    assert microscope.lost_frames() == 0


def test_the_dose_grows_while_it_is_lit_at_the_power_of_each_exposure(clock: SimulatedClock) -> None:
    microscope = opened(clock)
    microscope.start()
    doses_mj = []
    for wait_s, command in (
        (0.005, SetLight(3.0)),
        (0.005, None),
        (0.040, None),
        (0.010, SetExposure(20.0)),
        (0.06, None),
    ):
        clock.sleep_s(wait_s)
        doses_mj.append(microscope.dose_mj())
        if command is not None:
            microscope.apply(command)
    assert doses_mj == pytest.approx([0.005, 0.010, 0.010, 0.040, 0.100])
    clock.sleep_s(10.0)
    lost_too_mj = microscope.dose_mj()
    assert microscope.lost_frames() > 100
    assert lost_too_mj == pytest.approx(0.1 + 200 * 0.06)


@pytest.mark.parametrize("clock_type", [SimulatedClock, HandClock])
def test_frames_that_were_not_read_before_a_stop_are_dropped_and_lost_ones_stay_counted(
    clock_type: type[SimulatedClock],
) -> None:
    clock = clock_type()
    microscope = opened(clock, sensor=SensorSettings(buffer_frames=3))
    microscope.start()
    next_frame_by_hand(microscope, clock)
    clock.sleep_s(0.5)  # ten more, of which three are kept
    microscope.stop()
    assert microscope.poll_frame() is None
    microscope.start()
    following = next_frame_by_hand(microscope, clock).header
    assert microscope.lost_frames() == 7
    assert following.index == 1 + 7
    assert following.t_ns > 500 * NS_PER_MS
    microscope.close()


def test_no_light_is_recorded_when_it_is_off(clock: SimulatedClock) -> None:
    microscope = opened(clock, Imaging(light_mw=0.0))
    microscope.start()
    next_frame(microscope, clock)
    assert not microscope.lit


def test_pulses_are_recorded(microscope: SimulatedMicroscope, clock: SimulatedClock) -> None:
    clock.sleep_s(0.010)
    for opened_ in (True, True, False, False):
        microscope.set_gate(opened_)
        clock.sleep_s(0.001)
    microscope.set_gate(True)
    clock.sleep_s(0.003)
    microscope.make_safe()
    ms = NS_PER_MS
    assert list(microscope.pulses) == [(10 * ms, 12 * ms), (14 * ms, 17 * ms)]


def test_time_factor_speeds_up_life_and_not_the_camera(clock: SimulatedClock) -> None:
    def wandered_um(time_factor: float) -> float:
        microscope = opened(own := SimulatedClock(), time_factor=time_factor, speed_um_min=2.0)
        microscope.start()
        places = []
        for n_frames in (1, 20):
            next_frames(microscope, own, n_frames)
            nuclei = microscope.nuclei()
            places.append(dict(zip(nuclei.id.tolist(), nuclei.xy_um, strict=True)))
        return float(np.mean([np.hypot(*(places[1][i] - places[0][i])) for i in places[0] if i in places[1]]))

    assert wandered_um(60.0) > 10 * wandered_um(1.0)


def test_the_worker_thread_ends_with_the_microscope() -> None:
    before = set(threading.enumerate())
    microscope = opened(SystemClock())
    microscope.start()
    next_frame(microscope, SystemClock())
    assert len(set(threading.enumerate()) - before) == 1
    microscope.close()
    assert set(threading.enumerate()) <= before


def test_on_a_simulated_clock_there_is_no_thread(microscope: SimulatedMicroscope, clock: SimulatedClock) -> None:
    before = threading.active_count()
    next_frames(microscope, clock, 3)
    assert threading.active_count() == before


COMMANDS = st.one_of(
    st.builds(SetInterval, st.floats(10.0, 200.0)),
    st.builds(SetExposure, st.floats(0.1, 60.0)),
    st.builds(MoveStage, st.floats(-50.0, 50.0), st.floats(-50.0, 50.0)),
    st.sampled_from(["stop", "start", "safe"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(COMMANDS, st.floats(0.0, 150.0)), max_size=12))
def test_whatever_is_asked_time_and_index_only_rise(script: list[tuple[Command | str, float]]) -> None:
    clock = SimulatedClock()
    microscope = SimulatedMicroscope(
        height_px=16, width_px=16, n_cells=1, specimen_um=(120.0, 120.0), sensor=SensorSettings(buffer_frames=2)
    )
    microscope.open(clock, IMAGING)
    microscope.start()
    headers = []
    for action, wait_ms in script:
        if isinstance(action, str):
            {"stop": microscope.stop, "start": microscope.start, "safe": microscope.make_safe}[action]()
        else:
            with suppress(MicroscopeError):  # an exposure that does not fit into the interval
                microscope.apply(action)
        clock.sleep_s(wait_ms / 1000)
        if (frame := microscope.poll_frame()) is not None:
            assert frame.header.t_ns <= clock.now_ns()
            headers.append(frame.header)
    microscope.start()
    headers += [frame.header for frame in next_frames(microscope, clock, 4)]
    for a, b in pairwise(headers):
        assert b.index > a.index
        assert b.t_ns - a.t_ns >= round(b.exposure_ms * NS_PER_MS)
    assert all(b[0] >= a[1] for a, b in pairwise(microscope.lit)), "two exposures at once"


# --- mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings_", "named"),
    [
        ({"cycle_min": 60.0, "mitosis_min": 40.0}, "cycle_min 60 must be at least twice mitosis_min 40"),
        ({"specimen_um": [100.0, 1000.0]}, "smaller than one view"),
        ({"seed": -1}, "seed"),
        ({"um_per_px": 0.0}, "um_per_px"),
        ({"um_per_px": "0.65"}, "um_per_px"),
        ({"n_cells": 2.5}, "n_cells"),
        ({"sensor": {"read_noise_e": -1.0}}, "read_noise_e"),
        ({"sensor": {"buffer_frames": 0}}, "buffer_frames"),
        ({"specimen_um": [1000.0]}, "specimen_um"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings_: dict[str, Any], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named):
        msgspec.convert(settings_, SimulatedMicroscope, strict=True)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (SetExposure(50.1), "interval 50 ms is too short: exposure 50.1 ms exceeds it"),
        (SetInterval(9.0), "interval 9 ms is too short: exposure 10 ms exceeds it"),
        (SetChannel("GFP"), "no channel 'GFP'; it has nuclei, cytoplasm, reporter"),
        (SetRoi(100, 0, 40, 10), "the sensor has 128 × 96 px"),
        (SetRoi(0, 0, 10, 0), "the sensor has 128 × 96 px"),
        (MoveStage(x_um=200.1), "x_um 200.1 is out of reach, it travels ±200 µm"),
        (MoveStage(y_um=-201.0), "y_um -201 is out of reach"),
        (AcquireBurst(3, 10.0), "itself cannot AcquireBurst"),
    ],
)
def test_what_the_devices_cannot_do_is_refused_and_changes_nothing(
    microscope: SimulatedMicroscope, clock: SimulatedClock, command: Command, message: str
) -> None:
    before = microscope.state()
    with pytest.raises(MicroscopeError, match=message):
        microscope.apply(command)
    assert microscope.state() == before
    assert next_frame(microscope, clock).header.shape == (96, 128)


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.start(), lambda m: m.stop(), lambda m: m.poll_frame(), lambda m: m.ready_in_s(),
        lambda m: m.apply(SetLight(1.0)), lambda m: m.busy(), lambda m: m.set_gate(True), lambda m: m.state(),
    ],
)  # fmt: skip
def test_a_closed_microscope_says_so(
    use: Callable[[SimulatedMicroscope], object], microscope: SimulatedMicroscope
) -> None:
    microscope.close()
    with pytest.raises(MicroscopeError, match="not open; call open"):
        use(microscope)


def test_opening_twice_and_impossible_imaging_are_refused(
    microscope: SimulatedMicroscope, clock: SimulatedClock
) -> None:
    with pytest.raises(MicroscopeError, match="open already"):
        microscope.open(clock, IMAGING)
    with pytest.raises(MicroscopeError, match="exceeds it"):
        SimulatedMicroscope().open(clock, Imaging(interval_ms=10.0, exposure_ms=20.0))
    with pytest.raises(MicroscopeError, match="no channel 'red'"):
        SimulatedMicroscope().open(clock, Imaging(channel="red"))
