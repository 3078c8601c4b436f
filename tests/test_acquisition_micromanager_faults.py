"""What goes wrong on a real MMCore: lost frames, sequences that end, calls that hang."""

from collections.abc import Callable

import pytest

from acquisition.clock import NS_PER_MS
from acquisition.commands import (
    MoveStage,
    SetExposure,
    SetLight,
)
from acquisition.faults import DroppedFrames, Faults, LightStaysOn
from acquisition.faulty_microscope import with_faults
from acquisition.micromanager.microscope import MicroManagerMicroscope
from acquisition.microscope import Imaging, MicroscopeError, RigGone
from tests.micromanager_cores import Watched
from tests.micromanager_rigs import CLOCK, Open, open_rig, watched
from tests.polling import next_frame, next_frames, wait_until

__all__ = ["open_rig", "watched"]


# --- frames that are lost, sequences that end -------------------------------------------------------------

TINY_BUFFER = {"buffer_mb": 2, "properties": {"Camera.FastImage": "1"}}
FAST = Imaging(interval_ms=0.1, exposure_ms=1.0)


def test_an_overflow_says_what_to_do_after_the_last_good_frame(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(imaging=FAST, **TINY_BUFFER)
    rig.start()
    wait_until(watched.core.isBufferOverflowed, CLOCK, "the buffer overflows")
    assert_good_frames_come_first(rig, r"buffer of 2 MB, 4 images.*Raise buffer_mb.*on_overflow")


def assert_good_frames_come_first(rig: MicroManagerMicroscope, message: str) -> None:
    """All images in the buffer that are wanted, in order, then the error. An image that came too early is not wanted."""
    indices: list[int] = []
    with pytest.raises(MicroscopeError, match=message):
        while True:
            indices.append(next_frame(rig, CLOCK).header.index)
    assert indices == list(range(len(indices)))
    assert len(indices) >= 2


def test_a_change_after_an_overflow_does_not_hide_it(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(imaging=FAST, **TINY_BUFFER)
    rig.start()
    wait_until(watched.core.isBufferOverflowed, CLOCK, "the buffer overflows")
    with pytest.raises(MicroscopeError, match="buffer of 2 MB"):
        rig.apply(SetExposure(2.0))
    assert not watched.core.isSequenceRunning()
    assert_good_frames_come_first(rig, "buffer of 2 MB")


def test_frames_that_a_change_kept_and_a_stop_dropped_leave_no_gap(open_rig: Open, watched: Watched) -> None:
    rig = open_rig()
    rig.start()
    wait_until(lambda: watched.core.getRemainingImageCount() >= 4, CLOCK, "images pile up")
    rig.apply(SetExposure(12.0))
    assert next_frame(rig, CLOCK).header.index == 0
    rig.stop()
    stopped_ns = CLOCK.now_ns()
    rig.start()
    headers = [frame.header for frame in next_frames(rig, CLOCK, 2)]
    assert [header.index for header in headers] == [1, 2]
    assert headers[0].t_ns > stopped_ns
    assert rig.lost_frames() == 0


def test_a_snap_that_a_stop_dropped_leaves_no_gap(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(mode="snap")
    rig.start()
    assert next_frame(rig, CLOCK).header.index == 0
    n_snaps = watched.names().count("snapImage")
    while watched.names().count("snapImage") == n_snaps:
        assert rig.poll_frame() is None
    rig.stop()
    rig.start()
    assert next_frame(rig, CLOCK).header.index == 1


@pytest.mark.parametrize("core", ["pymmcore", "java"])
def test_discarded_images_are_counted_and_the_index_jumps(open_rig: Open, watched: Watched, core: str) -> None:
    settings = TINY_BUFFER if core == "pymmcore" else {"buffer_mb": 2}
    rig = open_rig(core, imaging=FAST, on_overflow="count", shutter_follows_camera=True, **settings)
    if core == "java":
        watched.core.setProperty("Camera", "FastImage", "1")
    rig.start()
    first = next_frame(rig, CLOCK).header.index
    CLOCK.sleep_s(0.15)  # nobody reads meanwhile
    last = next_frames(rig, CLOCK, 8)[-1].header.index
    assert rig.lost_frames() > 20
    assert last == 8 + rig.lost_frames()
    assert rig.dose_mj() == pytest.approx(0.001 * (last + 1), rel=0.1)
    assert first >= 0


def test_a_sequence_that_ends_by_itself_is_an_error(open_rig: Open, watched: Watched) -> None:
    rig = open_rig()
    rig.start()
    next_frame(rig, CLOCK)
    watched.core.stopSequenceAcquisition()
    with pytest.raises(MicroscopeError, match="Camera: the sequence has ended by itself"):
        next_frames(rig, CLOCK, 50)


def test_a_sequence_that_another_program_restarts_is_an_error(open_rig: Open, watched: Watched) -> None:
    rig = open_rig()
    rig.start()
    next_frames(rig, CLOCK, 5)
    watched.core.stopSequenceAcquisition()
    watched.core.startContinuousSequenceAcquisition(0.0)
    with pytest.raises(MicroscopeError, match="another program has restarted"):
        next_frames(rig, CLOCK, 5)


def test_a_camera_whose_pixel_type_changes_behind_our_back_is_an_error(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(mode="snap")
    rig.start()
    next_frame(rig, CLOCK)
    watched.core.setProperty("Camera", "PixelType", "8bit")
    with pytest.raises(MicroscopeError, match=r"uint8\[512, 512\] where uint16\[512, 512\]"):
        next_frames(rig, CLOCK, 3)


def test_eight_bit_cameras_give_eight_bit_frames(open_rig: Open) -> None:
    rig = open_rig(properties={"Camera.PixelType": "8bit"})
    rig.start()
    frame = next_frame(rig, CLOCK)
    assert frame.header.dtype == frame.pixels.dtype == "uint8"
    assert frame.pixels.max() > 0


# --- calls that hang --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hanging", "ask"),
    [
        ("getRemainingImageCount", lambda rig: rig.poll_frame()),
        ("setXYPosition", lambda rig: rig.apply(MoveStage(x_um=1.0))),
        ("deviceBusy", lambda rig: (rig.apply(MoveStage(x_um=1.0)), rig.busy())),
        ("setProperty", lambda rig: rig.set_gate(True)),
        ("getExposure", lambda rig: rig.state()),
    ],
)
def test_a_call_that_hangs_means_that_the_rig_is_gone_and_nothing_waits_for_it_again(
    open_rig: Open, watched: Watched, hanging: str, ask: Callable[[MicroManagerMicroscope], object]
) -> None:
    rig = open_rig(call_timeout_s=0.2)
    rig.start()
    watched.hanging.add(hanging)
    with pytest.raises(RigGone, match=rf"micromanager_demo\.cfg.*last call: {hanging}"):
        ask(rig)
    began_ns = CLOCK.now_ns()
    later = [rig.state, rig.poll_frame, rig.make_safe, rig.start, rig.stop, lambda: rig.apply(SetLight(1.0))]
    for call in later:
        with pytest.raises(RigGone):
            call()
    rig.close()
    rig.close()
    assert CLOCK.now_ns() - began_ns < 1e9


def test_a_snap_that_hangs_is_noticed_without_holding_up_the_loop(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(mode="snap", call_timeout_s=0.2)
    rig.start()
    watched.hanging.add("snapImage")
    longest_ns = 0
    began_ns = CLOCK.now_ns()

    def poll() -> bool:
        nonlocal longest_ns
        before_ns = CLOCK.now_ns()
        assert rig.poll_frame() is None
        longest_ns = max(longest_ns, CLOCK.now_ns() - before_ns)
        return False

    with pytest.raises(RigGone, match="snap did not return"):
        wait_until(poll, CLOCK, "the hanging snap is noticed")
    assert CLOCK.now_ns() - began_ns > 200 * NS_PER_MS
    assert longest_ns < 100 * NS_PER_MS


def test_safety_tries_every_step_and_names_those_that_failed(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(light="Light.Voltage")
    rig.start()
    rig.set_gate(True)
    rig.apply(MoveStage(x_um=2000.0))
    watched.failing |= {"setShutterOpen", "stop"}
    with pytest.raises(MicroscopeError, match=r"2 of 5 steps failed.*close the shutter.*stop the stage"):
        rig.make_safe()
    assert watched.core.getProperty("Trigger", "State") == "0"
    assert watched.core.getProperty("Light", "Voltage") == "0.0000"
    assert not watched.core.isSequenceRunning()


def test_a_rig_with_faults_made_on_purpose(open_rig: Open) -> None:
    """Frames vanish, the light does not go off, and it can be closed all the same."""
    core = open_rig(shutter="Shutter", light="Light.Voltage")
    core.close()
    faults = Faults(dropped_frames=DroppedFrames(share=0.5), light_stays_on=LightStaysOn(after_s=0.0))
    rig = with_faults(core, faults)
    rig.open(CLOCK, Imaging(interval_ms=30.0, exposure_ms=5.0))
    try:
        rig.start()
        last = next_frames(rig, CLOCK, 8)[-1].header.index
        assert rig.lost_frames() >= last - 7 > 0
        with pytest.raises(MicroscopeError, match="the light was told to go off"):
            rig.make_safe()
        assert rig.state().shutter_open
        assert not core.state().shutter_open, "the fault is in the wrapper: the real light is off"
    finally:
        rig.close()
