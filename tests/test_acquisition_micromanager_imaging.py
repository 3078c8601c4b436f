"""Exposure, interval and light through the Micro-Manager driver on a real MMCore, and the dose reckoned from them."""

from itertools import pairwise

import numpy as np
import pytest

from acquisition.clock import NS_PER_MS
from acquisition.commands import (
    Command,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
)
from acquisition.microscope import Imaging, MicroscopeError
from tests.micromanager_cores import Watched
from tests.micromanager_rigs import CLOCK, IMAGING, Open, open_rig, watched
from tests.polling import next_frame, next_frames, wait_until

__all__ = ["open_rig", "watched"]


@pytest.mark.parametrize("live_changes", [False, True], ids=["restarted", "live"])
def test_each_frame_says_how_long_it_was_really_exposed(open_rig: Open, live_changes: bool) -> None:
    """The free-running camera's pace betrays the exposure that it used."""
    rig = open_rig(live_changes=live_changes)
    rig.start()
    headers = [frame.header for frame in next_frames(rig, CLOCK, 3)]
    for exposure_ms in (40.0, 15.0):
        rig.apply(SetExposure(exposure_ms))
        headers += [frame.header for frame in next_frames(rig, CLOCK, 5)]
    assert {header.exposure_ms for header in headers} == {10.0, 40.0, 15.0}
    assert [header.index for header in headers] == list(range(13))
    for previous, header in pairwise(headers):
        apart_ms = (header.t_ns - previous.t_ns) / NS_PER_MS
        assert apart_ms > header.exposure_ms - 3.0, header
    steady = [(b.t_ns - a.t_ns) / NS_PER_MS for a, b in pairwise(headers) if a.exposure_ms == b.exposure_ms == 15]
    assert min(steady) < 30.0, "the camera has become faster again"


def test_an_exposure_that_the_camera_does_not_take_is_an_error(open_rig: Open, watched: Watched) -> None:
    """The demonstration camera keeps its exposure without a word."""
    rig = open_rig()
    rig.start()
    with pytest.raises(MicroscopeError, match="10 ms of an exposure of 20000 ms"):
        rig.apply(SetExposure(20000.0))
    assert rig.state().exposure_ms == watched.core.getExposure() == 10.0
    next_frame(rig, CLOCK)


def test_a_free_running_camera_is_thinned_and_the_light_counted(open_rig: Open) -> None:
    rig = open_rig(imaging=Imaging(interval_ms=60.0, exposure_ms=10.0, light_mw=3.0), shutter_follows_camera=True)
    rig.start()
    frames = next_frames(rig, CLOCK, 5)
    apart_ms = np.diff([frame.header.t_ns for frame in frames]) / NS_PER_MS
    assert apart_ms.min() > 58.0
    assert [frame.header.index for frame in frames] == [0, 1, 2, 3, 4]
    assert rig.lost_frames() == 0
    assert rig.dose_mj() > 2 * 5 * 0.03, "images that were thrown away were lit too"
    rig.apply(SetInterval(1.0))
    apart_ms = np.diff([frame.header.t_ns for frame in next_frames(rig, CLOCK, 6)[2:]]) / NS_PER_MS
    assert np.median(apart_ms) < 30.0


@pytest.mark.parametrize(
    ("means", "at_50", "at_80", "at_80_exposed_30"),
    [("pause_ms", "40.0000", "70.0000", "50.0000"), ("rate_hz", "20.0000", "12.5000", "12.5000")],
)
def test_a_camera_with_a_rate_is_told_it(
    open_rig: Open, watched: Watched, means: str, at_50: str, at_80: str, at_80_exposed_30: str
) -> None:
    """The demonstration camera ignores its ReadoutTime in a sequence, but it keeps what was written there."""
    rig = open_rig(imaging=Imaging(interval_ms=50.0), interval_property="Camera.ReadoutTime", interval_means=means)
    rig.start()
    written = []
    for command in (SetInterval(50.0), SetInterval(80.0), SetExposure(30.0)):
        rig.apply(command)
        written.append(watched.core.getProperty("Camera", "ReadoutTime"))
    assert written == [at_50, at_80, at_80_exposed_30]
    assert rig.state().interval_ms == pytest.approx(80.0)
    assert next_frame(rig, CLOCK).header.index >= 0


def test_snaps_are_lit_only_while_they_are_exposed(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(mode="snap", imaging=Imaging(interval_ms=30.0, exposure_ms=5.0))
    rig.start()
    assert not rig.state().shutter_open
    watched.calls.clear()
    next_frame(rig, CLOCK)
    seen = [call for call in watched.calls if call[0] in ("setShutterOpen", "snapImage")]
    assert seen[:3] == [
        ("setShutterOpen", ("Shutter", True)),
        ("snapImage", ()),
        ("setShutterOpen", ("Shutter", False)),
    ]
    assert rig.dose_mj() >= 0.005
    spent_mj = rig.dose_mj()
    CLOCK.sleep_s(0.01)
    assert rig.dose_mj() == spent_mj, "dark until the next one"


def test_an_unwired_shutter_lights_the_sample_all_the_time_and_the_dose_says_so(
    open_rig: Open, watched: Watched
) -> None:
    """Also while nobody looks at a frame, and without asking a device."""
    rig = open_rig(imaging=Imaging(interval_ms=10_000.0, exposure_ms=1.0, light_mw=2.0))
    rig.start()
    begun_ns, begun_mj, calls = CLOCK.now_ns(), rig.dose_mj(), len(watched.calls)
    CLOCK.sleep_s(0.1)
    spent_mj, took_s = rig.dose_mj() - begun_mj, (CLOCK.now_ns() - begun_ns) / 1e9
    assert spent_mj == pytest.approx(2.0 * took_s, rel=0.05)
    assert len(watched.calls) == calls
    rig.apply(SetLight(0.0))
    dark_mj = rig.dose_mj()
    CLOCK.sleep_s(0.02)
    assert rig.dose_mj() == dark_mj
    rig.apply(SetLight(2.0))
    rig.stop()
    stopped_mj = rig.dose_mj()
    assert stopped_mj > dark_mj
    CLOCK.sleep_s(0.02)
    assert rig.dose_mj() == stopped_mj


@pytest.mark.parametrize("command", [SetExposure(40.0), SetLight(8.0)], ids=repr)
def test_images_that_wait_during_a_change_are_counted_at_what_they_were_taken_with(
    open_rig: Open, watched: Watched, command: Command
) -> None:
    rig = open_rig(live_changes=True, shutter_follows_camera=True)
    rig.start()
    next_frame(rig, CLOCK)
    before_mj = rig.dose_mj()
    wait_until(lambda: watched.core.getRemainingImageCount() >= 4, CLOCK, "images pile up")
    rig.apply(command)
    indices = [frame.header.index for frame in next_frames(rig, CLOCK, 4)]
    assert indices == [1, 2, 3, 4]
    assert rig.dose_mj() - before_mj == pytest.approx(4 * 2.0 * 10.0 / 1000)


def test_images_that_a_stop_drops_are_counted_as_dose(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(shutter_follows_camera=True)
    rig.start()
    wait_until(lambda: watched.core.getRemainingImageCount() >= 4, CLOCK, "images pile up")
    rig.stop()
    assert 5 * 0.02 <= rig.dose_mj() <= 12 * 0.02


@pytest.mark.parametrize(
    ("settings", "lit_share", "pulses"),
    [
        ({"mode": "stream"}, 1.0, True),
        ({"mode": "stream", "shutter_follows_camera": True}, None, True),
        ({"mode": "snap"}, None, False),
        ({"mode": "stream", "trigger": ""}, 1.0, False),
    ],
)
def test_it_tells_when_the_sample_is_lit_and_whether_pulses_keep_their_time(
    open_rig: Open, settings: dict[str, object], lit_share: float | None, pulses: bool
) -> None:
    rig = open_rig(**settings)
    rig.close()
    can = rig.open(CLOCK, IMAGING)
    assert can.lit_share == lit_share
    assert ("PulseSorter" in can.commands) == pulses


@pytest.mark.parametrize("failing", ["waitForDevice", "getExposure", "getPixelType", "startSequenceAcquisition"])
def test_a_failed_start_never_leaves_the_light_on(open_rig: Open, watched: Watched, failing: str) -> None:
    rig = open_rig(light="Light.Voltage")
    if failing == "getPixelType":
        watched.core.setProperty("Camera", "PixelType", "32bitRGB")
    watched.failing.add(failing)
    with pytest.raises(MicroscopeError):
        rig.start()
    watched.failing.clear()
    assert not watched.core.getShutterOpen("Shutter")
    dose_mj = rig.dose_mj()
    CLOCK.sleep_s(0.01)
    assert rig.dose_mj() == dose_mj


def test_the_light_is_out_before_anything_else_is_set_up(open_rig: Open, watched: Watched) -> None:
    open_rig(light="Light.Voltage", properties={"Camera.Gain": "3", "Shutter.State": "1"})
    calls = [call for call in watched.calls if call[0] in ("setShutterOpen", "setProperty")]
    gain = calls.index(("setProperty", ("Camera", "Gain", "3")))
    assert ("setShutterOpen", ("Shutter", False)) in calls[:gain]
    assert ("setProperty", ("Light", "Voltage", "0")) in calls[:gain]
    assert not watched.core.getShutterOpen("Shutter"), "a property had opened it again"


def test_where_there_is_no_shutter_the_light_source_is_switched(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(light="Light.Voltage", properties={"Core.Shutter": ""})
    read = lambda: watched.core.getProperty("Light", "Voltage")  # noqa: E731
    assert read() == "0.0000"
    rig.start()
    assert (read(), rig.state().shutter_open) == ("2.0000", True)
    rig.stop()
    assert (read(), rig.state().shutter_open) == ("0.0000", False)


def test_a_light_beyond_its_range_is_refused_even_while_it_is_dark(open_rig: Open) -> None:
    rig = open_rig(light="Light.Voltage")
    with pytest.raises(MicroscopeError, match=r"Light\.Voltage = 11 .* 0 to 10"):
        rig.apply(SetLight(11.0))
    assert rig.state().light_mw == 2.0


def test_channels_are_switched_in_the_dark(open_rig: Open, watched: Watched) -> None:
    rig = open_rig()
    rig.start()
    watched.calls.clear()
    rig.apply(SetChannel("GFP"))
    steps = [name for name in watched.names() if name in ("setShutterOpen", "setConfig", "waitForConfig")]
    assert steps == ["setShutterOpen", "setConfig", "waitForConfig", "setShutterOpen"]
    assert rig.state().shutter_open
