"""The simulated microscope keeps time: exposures, lost frames, light, pulses, and a worker thread that ends with it."""

import threading
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS, SimulatedClock, SystemClock
from acquisition.commands import (
    Command,
    MoveStage,
    SetExposure,
    SetInterval,
    SetLight,
)
from acquisition.frame import Frame
from acquisition.microscope import Imaging, MicroscopeError
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.settings import SensorSettings
from tests.polling import next_frame, next_frames
from tests.simulated_rigs import IMAGING, HandClock, clock, microscope, next_frame_by_hand, opened

__all__ = ["clock", "microscope"]


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
