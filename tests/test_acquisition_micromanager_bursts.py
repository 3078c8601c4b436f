"""Bursts that a real MMCore sequences: exactly so many images at the camera's own pace, then the imaging of before."""

from itertools import pairwise

import numpy as np
import pytest

from acquisition.clock import NS_PER_MS
from acquisition.commands import AcquireBurst, Command, MoveStage, Pause, Resume, SafeState, SetExposure
from acquisition.microscope import Imaging
from tests.micromanager_cores import Watched
from tests.micromanager_rigs import CLOCK, Open, RealDesk, open_rig, watched
from tests.polling import wait_until

__all__ = ["open_rig", "watched"]
SLOW = Imaging(interval_ms=40.0, exposure_ms=8.0, light_mw=2.0)
FULL_RATE = AcquireBurst(12, 8.0)


def sequences(watched: Watched) -> list[tuple[object, ...]]:
    """What the core was asked to sequence: number of images, interval, stop on overflow."""
    return [args for name, args in watched.calls if name in ("startSequenceAcquisition", "start_sequence_acquisition")]


def apart_ms(headers: list[int]) -> list[float]:
    return [(later - earlier) / NS_PER_MS for earlier, later in pairwise(headers)]


@pytest.mark.parametrize("mode", ["stream", "snap"])
@pytest.mark.parametrize("core", ["pymmcore", "java"])
def test_the_core_sequences_exactly_so_many_and_imaging_goes_on(
    open_rig: Open, watched: Watched, core: str, mode: str
) -> None:
    desk = RealDesk(open_rig(core, mode=mode, imaging=SLOW), SLOW)
    desk.more(3)
    watched.calls.clear()
    status, detail = desk.outcome(FULL_RATE)
    assert (status, detail.split(",")[0]) == ("done", "12 of 12 frames taken by the camera itself")
    burst = [frame.header for frame in desk.because_of("AcquireBurst.0")]
    assert len(burst) == 12
    assert sequences(watched)[0] == (12, 8.0, True)
    spacing_ms = apart_ms([header.t_ns for header in burst])
    assert np.median(spacing_ms) == pytest.approx(8.7, abs=0.7), "the camera's full rate at this exposure"
    assert max(spacing_ms) < 20, "none is missing in between"
    assert {(header.interval_ms, header.exposure_ms) for header in burst} == {(8.0, 8.0)}

    desk.more(4)
    assert [frame.header.index for frame in desk.frames] == list(range(len(desk.frames)))
    assert desk.rig.lost_frames() == 0
    after = [frame.header for frame in desk.frames if frame.header.t_ns > burst[-1].t_ns]
    assert {(header.reason, header.interval_ms) for header in after} == {("start", 40.0)}
    assert np.median(apart_ms([header.t_ns for header in after])) == pytest.approx(40, abs=12)
    assert desk.rig.state().interval_ms == 40.0
    assert desk.rig.state().shutter_open == (mode == "stream")
    desk.loop.finish()


@pytest.mark.parametrize("mode", ["stream", "snap"])
def test_no_frame_is_between_those_of_before_and_those_of_the_burst(open_rig: Open, mode: str) -> None:
    """Images that waited unread when the burst was asked for come first, and name what they were taken for."""
    every = Imaging(interval_ms=6.0, exposure_ms=6.0)
    desk = RealDesk(open_rig(mode=mode, imaging=every), every)
    exposure = desk.ask(SetExposure(5.0))
    desk.more(2)
    CLOCK.sleep_s(0.04)
    assert desk.outcome(AcquireBurst(5, 5.0))[0] == "done"
    desk.more(3)
    reasons = [frame.header.reason for frame in desk.frames if frame.header.reason != "start"]
    first = reasons.index("AcquireBurst.1")
    assert reasons[first : first + 6] == ["AcquireBurst.1"] * 5 + [exposure]
    assert set(reasons[:first]) == {exposure}
    times = [frame.header.t_ns for frame in desk.frames]
    assert times == sorted(times)
    desk.loop.finish()


@pytest.mark.parametrize("mode", ["stream", "snap"])
def test_each_image_of_a_burst_is_counted_as_light(open_rig: Open, mode: str) -> None:
    wired = Imaging(interval_ms=5000.0, exposure_ms=8.0, light_mw=2.0)
    desk = RealDesk(open_rig(mode=mode, imaging=wired, shutter_follows_camera=True), wired)
    desk.more(1)
    before_mj = desk.loop.dose_mj
    desk.outcome(FULL_RATE)
    n_others = (desk.loop.dose_mj - before_mj) / 0.016 - 12
    assert n_others == pytest.approx(0 if mode == "snap" else 3, abs=0.01 if mode == "snap" else 3)
    desk.loop.finish()


def test_a_rate_that_the_camera_takes_is_set_for_the_burst_alone(open_rig: Open, watched: Watched) -> None:
    """The demonstration camera keeps what is written into ReadoutTime, but not to it."""
    rig = open_rig(imaging=SLOW, interval_property="Camera.ReadoutTime", interval_means="pause_ms")
    desk = RealDesk(rig, SLOW)
    desk.more(1)
    watched.calls.clear()
    assert desk.outcome(AcquireBurst(4, 20.0))[0] == "done"
    pauses = [args[2] for name, args in watched.calls if name == "setProperty" and args[1] == "ReadoutTime"]
    assert pauses == ["12", "32"]
    assert sequences(watched)[0] == (4, 20.0, True)
    assert {frame.header.interval_ms for frame in desk.because_of("AcquireBurst.0")} == {20.0}
    desk.loop.finish()


@pytest.mark.parametrize("mode", ["stream", "snap"])
def test_an_interval_that_the_camera_cannot_keep_is_kept_by_the_loop(
    open_rig: Open, watched: Watched, mode: str
) -> None:
    desk = RealDesk(open_rig(mode=mode, imaging=SLOW), SLOW)
    desk.more(2)
    watched.calls.clear()
    assert desk.outcome(AcquireBurst(4, 20.0)) == ("done", "4 of 4 frames taken")
    assert sequences(watched) == []
    burst = [frame.header.t_ns for frame in desk.because_of("AcquireBurst.0")]
    assert min(apart_ms(burst)) > 15
    desk.loop.finish()


@pytest.mark.parametrize("mode", ["stream", "snap"])
@pytest.mark.parametrize("command", [Pause(), SafeState()], ids=repr)
def test_a_burst_that_is_cut_short_says_how_many_there_were(
    open_rig: Open, watched: Watched, mode: str, command: Command
) -> None:
    desk = RealDesk(open_rig(mode=mode, imaging=SLOW, light="Light.Voltage"), SLOW)
    burst = desk.ask(AcquireBurst(300, 8.0))
    desk.turn_until(lambda: len(desk.because_of(burst)) >= 4)
    assert watched.core.getShutterOpen("Shutter")
    assert desk.outcome(command)[0] == "done"
    n_taken = len(desk.because_of(burst))
    outcome = desk.outcomes[burst]
    assert (outcome.status, outcome.detail.split(" by")[0]) == ("failed", f"{n_taken} of 300 frames taken")
    assert not watched.core.isSequenceRunning()
    assert not watched.core.getShutterOpen("Shutter")
    assert desk.outcome(Resume())[0] == "done"
    desk.more(2)
    assert {(f.header.reason, f.header.interval_ms) for f in desk.frames[-2:]} == {("start", 40.0)}
    assert desk.rig.state().interval_ms == 40.0
    desk.loop.finish()


@pytest.mark.parametrize("mode", ["stream", "snap"])
def test_a_camera_that_ends_a_burst_by_itself_is_told_and_imaging_goes_on(
    open_rig: Open, watched: Watched, mode: str
) -> None:
    desk = RealDesk(open_rig(mode=mode, imaging=SLOW), SLOW)
    burst = desk.ask(AcquireBurst(300, 8.0))
    desk.turn_until(lambda: len(desk.because_of(burst)) >= 4)
    watched.core.stopSequenceAcquisition()
    desk.turn_until(lambda: burst in desk.outcomes)
    outcome, n_taken = desk.outcomes[burst], len(desk.because_of(burst))
    assert outcome.status == "failed"
    assert f"{n_taken} of 300 frames taken" in outcome.detail
    assert "ended by itself" in outcome.detail
    desk.more(3)
    assert {frame.header.reason for frame in desk.frames[-3:]} == {"start"}
    assert desk.outcome(AcquireBurst(3, 8.0))[0] == "done", "the next burst is not blamed"
    desk.loop.finish()


FAST_CAMERA = {"properties": {"Camera.FastImage": "1"}}


def test_a_burst_larger_than_the_buffer_is_read_while_it_is_taken(open_rig: Open, watched: Watched) -> None:
    desk = RealDesk(open_rig(mode="snap", imaging=SLOW, buffer_mb=12, **FAST_CAMERA), SLOW)
    assert watched.core.getBufferTotalCapacity() < 60
    status, detail = desk.outcome(AcquireBurst(60, 8.0))
    assert status == "done", detail
    assert len(desk.because_of("AcquireBurst.0")) == 60
    desk.loop.finish()


def test_images_that_find_no_room_end_a_burst_and_are_not_lost_silently(open_rig: Open, watched: Watched) -> None:
    fast = Imaging(interval_ms=500.0, exposure_ms=1.0, light_mw=2.0)
    desk = RealDesk(open_rig(mode="snap", imaging=fast, buffer_mb=2, **FAST_CAMERA), fast)
    desk.more(1)
    burst = desk.ask(AcquireBurst(400, 1.0))
    desk.loop.turn()
    wait_until(watched.core.isBufferOverflowed, CLOCK, "the buffer overflows")
    desk.turn_until(lambda: burst in desk.outcomes)
    outcome, frames = desk.outcomes[burst], desk.because_of(burst)
    assert outcome.status == "failed"
    assert f"{len(frames)} of 400 frames taken by the camera itself" in outcome.detail
    assert "buffer of 2 MB" in outcome.detail
    assert len(frames) >= 4
    assert np.max(apart_ms([frame.header.t_ns for frame in frames])) < 5, "those that were taken have no gap"
    desk.more(2)
    assert [frame.header.index for frame in desk.frames] == list(range(len(desk.frames)))
    desk.loop.finish()


def test_a_burst_that_the_camera_refuses_leaves_imaging_as_it_was(open_rig: Open, watched: Watched) -> None:
    desk = RealDesk(open_rig(mode="snap", imaging=SLOW), SLOW)
    desk.more(1)
    watched.failing.add("startSequenceAcquisition")
    status, detail = desk.outcome(FULL_RATE)
    assert (status, "startSequenceAcquisition" in detail) == ("failed", True)
    watched.failing.clear()
    assert not desk.rig.state().shutter_open
    desk.more(2)
    assert {frame.header.reason for frame in desk.frames} == {"start"}
    desk.loop.finish()


def test_the_stage_may_move_during_a_burst(open_rig: Open) -> None:
    desk = RealDesk(open_rig(imaging=SLOW), SLOW)
    burst = desk.ask(AcquireBurst(30, 8.0))
    desk.turn_until(lambda: len(desk.because_of(burst)) >= 2)
    assert desk.outcome(MoveStage(x_um=20.0))[0] == "done"
    desk.turn_until(lambda: burst in desk.outcomes)
    positions = [frame.header.stage.x_um for frame in desk.because_of(burst)]
    assert (positions[0], positions[-1]) == pytest.approx((0.0, 20.0), abs=0.1)
    desk.loop.finish()


def test_what_the_devices_sequence_is_told(open_rig: Open) -> None:
    properties = {"Camera.UseExposureSequences": "Yes", "Z.UseSequences": "Yes", "Trigger.Sequence": "On"}
    rig = open_rig(properties=properties)
    rig.close()
    told = rig.open(CLOCK, SLOW).sequences
    assert told[:2] == ("bursts", "Camera: 100 exposures")
    assert any(words.startswith("Z: ") for words in told)
    assert any(words.startswith("Trigger.State: ") for words in told)
    plain = open_rig()
    plain.close()
    assert not any("exposures" in words for words in plain.open(CLOCK, SLOW).sequences)
