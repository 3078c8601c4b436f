"""The Micro-Manager driver on a real MMCore and its demonstration devices, checked on the core itself."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import cv2
import msgspec
import numpy as np
import pymmcore
import pytest

from acquisition.clock import NS_PER_MS, SimulatedClock, SystemClock
from acquisition.commands import (
    Command,
    MoveStage,
    Pause,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)
from acquisition.frame import Frame, StagePosition, stage_um
from acquisition.micromanager.microscope import MicroManagerMicroscope
from acquisition.micromanager.stage import position_at
from acquisition.microscope import Imaging, MicroscopeError, RigGone
from tests.polling import next_frame, next_frames, wait_until

pytest.importorskip("mm_test_adapters", reason="needs the device adapters of the extra `demo`")
import mm_test_adapters

from tests.micromanager_cores import REAL_CORE, JavaLikeCore, Watched, watched

__all__ = ["watched"]
CONFIG = Path(__file__).parents[1] / "hardware_configs" / "micromanager_demo.cfg"
ADAPTERS = mm_test_adapters.device_adapter_path()
IMAGING = Imaging(interval_ms=1.0, exposure_ms=10.0, light_mw=2.0)
"""An interval below the exposure: every image of the free-running camera is wanted."""
STEP_UM = 0.015
CLOCK = SystemClock()

Open = Callable[..., MicroManagerMicroscope]


@pytest.fixture
def open_rig(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens microscopes on any kind of core and closes them when the test is over."""
    opened = []

    def open_one(core: str = "pymmcore", imaging: Imaging = IMAGING, **settings: object) -> MicroManagerMicroscope:
        config = str(settings.pop("config_file", CONFIG))
        if core == "java":
            bridge = SimpleNamespace(Core=lambda port, timeout: JavaLikeCore(watched, config, ADAPTERS))
            monkeypatch.setitem(sys.modules, "pycromanager", bridge)
        else:
            settings["config_file"] = config
        microscope = MicroManagerMicroscope(core=core, **({"buffer_mb": 16, "trigger": "Trigger"} | settings))
        opened.append(microscope)
        microscope.open(CLOCK, imaging)
        return microscope

    yield open_one
    watched.failing.clear()
    watched.hanging.clear()
    watched.release.set()
    for microscope in opened:
        microscope.close()


def stand_still(microscope: MicroManagerMicroscope) -> None:
    wait_until(lambda: not microscope.busy(), CLOCK, "the stage stands")


def fresh_frame(microscope: MicroManagerMicroscope) -> Frame:
    """A frame whose exposure began after now."""
    now_ns = CLOCK.now_ns()
    while True:
        frame = next_frame(microscope, CLOCK)
        if frame.header.t_ns - frame.header.exposure_ms * NS_PER_MS > now_ns:
            return frame


def features_moved_px(before: Frame, after: Frame) -> tuple[float, float]:
    """How far the picture's features went, columns then rows."""
    left, right = (frame.pixels.astype(np.float32) for frame in (before, after))
    (dx, dy), _ = cv2.phaseCorrelate(left - left.mean(), right - right.mean())
    return dx, dy


# --- every kind of core, both ways to image ---------------------------------------------------------------


@pytest.mark.parametrize("mode", ["stream", "snap"])
@pytest.mark.parametrize("core", ["pymmcore", "java"])
def test_frames_come_and_every_command_reaches_its_device(
    open_rig: Open, watched: Watched, core: str, mode: str
) -> None:
    rig = open_rig(core, mode=mode, light="Light.Voltage", light_mw_per_unit=0.5)
    state = rig.state()
    assert (state.shutter_open, state.gate_open, state.exposure_ms) == (False, False, 10.0)
    assert watched.core.getProperty("Light", "Voltage") == "0.0000"
    rig.start()
    frames = next_frames(rig, CLOCK, 4)
    assert [frame.header.index for frame in frames] == [0, 1, 2, 3]
    assert np.median(np.diff([frame.header.t_ns for frame in frames])) > 9 * NS_PER_MS
    assert all(frame.pixels.shape == (512, 512) and frame.pixels.dtype == np.uint16 for frame in frames)
    assert frames[0].pixels.max() > 100, "beads are seen"

    for command in (SetExposure(20.0), SetLight(3.0), SetChannel("RFP"), MoveStage(x_um=12.0, z_um=4.0)):
        rig.apply(command)
    rig.set_gate(True)
    stand_still(rig)
    real, state = watched.core, rig.state()
    assert (real.getExposure(), state.exposure_ms) == (20.0, 20.0)
    assert (real.getCurrentConfig("Channel"), state.channel) == ("RFP", "RFP")
    assert real.getProperty("Filter", "Label") == "RFP"
    assert real.getPosition("Z") == state.stage.z_um == pytest.approx(4.0)
    assert real.getXPosition("XY") == state.stage.x_um == pytest.approx(12.0, abs=STEP_UM)
    assert (real.getProperty("Trigger", "State"), state.gate_open) == ("1", True)
    header = fresh_frame(rig).header
    assert (header.exposure_ms, header.light_mw, header.channel) == (20.0, 3.0, "RFP")
    assert msgspec.structs.astuple(header.stage) == pytest.approx((12.0, 0.0, 4.0), abs=STEP_UM)
    assert real.getProperty("Light", "Voltage") == "6.0000"

    rig.make_safe()
    state = rig.state()
    assert (state.shutter_open, state.gate_open) == (False, False)
    assert (real.getShutterOpen("Shutter"), real.getProperty("Trigger", "State")) == (False, "0")
    assert real.getProperty("Light", "Voltage") == "0.0000"
    assert not real.isSequenceRunning()


def test_the_python_back_end_of_pycromanager_is_the_same_core(open_rig: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first import takes seconds; the whole story is told above on the core that it wraps."""
    monkeypatch.setattr(pymmcore, "CMMCore", REAL_CORE)
    pycromanager = pytest.importorskip("pycromanager")
    rig = open_rig("python")
    rig.start()
    assert [frame.header.index for frame in next_frames(rig, CLOCK, 3)] == [0, 1, 2]
    rig.apply(MoveStage(x_um=5.0))
    rig.set_gate(True)
    stand_still(rig)
    core = pycromanager.Core()
    assert core.get_x_position() == pytest.approx(5.0, abs=STEP_UM)
    assert core.get_property("Trigger", "State") == "1"
    with pytest.raises(MicroscopeError, match="stop_headless"):
        open_rig("python")
    rig.close()
    open_rig("python").start()


def test_pymmcore_plus_is_the_same_core(open_rig: Open) -> None:
    pytest.importorskip("pymmcore_plus")
    rig = open_rig("pymmcore-plus")
    rig.start()
    assert [frame.header.index for frame in next_frames(rig, CLOCK, 3)] == [0, 1, 2]


def test_without_pymmcore_plus_it_says_what_to_install(open_rig: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymmcore_plus", None)
    with pytest.raises(MicroscopeError, match="pip install pymmcore-plus"):
        open_rig("pymmcore-plus")


# --- the view ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["stream", "snap"])
@pytest.mark.parametrize(("dx_um", "dy_um"), [(20.0, 0.0), (0.0, -15.0)])
def test_the_picture_moves_against_the_stage_and_keeps_its_place_in_the_stage(
    open_rig: Open, mode: str, dx_um: float, dy_um: float
) -> None:
    rig = open_rig(mode=mode)
    rig.start()
    before = next_frame(rig, CLOCK)
    rig.apply(MoveStage(x_um=dx_um, y_um=dy_um))
    stand_still(rig)
    after = fresh_frame(rig)
    moved_px = features_moved_px(before, after)
    assert moved_px == pytest.approx((-dx_um, -dy_um), abs=0.3)
    anywhere_px = np.array([[200.0, 300.0]])
    np.testing.assert_allclose(
        stage_um(after.header.stage_from_pixel, anywhere_px + moved_px),
        stage_um(before.header.stage_from_pixel, anywhere_px),
        atol=0.3,
    )


def test_frames_exposed_before_a_move_say_so_although_they_are_read_after_it(open_rig: Open) -> None:
    rig = open_rig()
    rig.start()
    next_frame(rig, CLOCK)
    CLOCK.sleep_s(0.05)  # a busy loop: images pile up unread
    began_ns = CLOCK.now_ns()
    rig.apply(MoveStage(x_um=30.0))
    stand_still(rig)
    ended_ns = CLOCK.now_ns()
    frames = next_frames(rig, CLOCK, 12)
    before = [f.header.stage.x_um for f in frames if f.header.t_ns <= began_ns]
    after = [f.header.stage.x_um for f in frames if f.header.t_ns >= ended_ns]
    assert len(before) >= 3
    assert before == pytest.approx([0.0] * len(before), abs=STEP_UM)
    assert after == pytest.approx([30.0] * len(after), abs=STEP_UM)
    assert after


def test_positions_between_readings_lie_on_a_straight_line() -> None:
    past = [(10, StagePosition(0.0, 0.0, 0.0)), (20, StagePosition(10.0, 20.0, -4.0))]
    where = [position_at(deque(past), t) for t in (0, 10, 15, 20, 99)]
    assert [p.x_um for p in where] == [0.0, 0.0, 5.0, 10.0, 10.0]
    assert where[2] == StagePosition(5.0, 10.0, -2.0)


def test_a_region_of_the_sensor(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(roi_px=(100, 40, 200, 120))
    assert watched.core.getROI() == [100, 40, 200, 120]
    rig.start()
    header = next_frame(rig, CLOCK).header
    assert header.shape == (120, 200)
    assert stage_um(header.stage_from_pixel, np.zeros((1, 2)))[0] == pytest.approx([100 - 255.5, 40 - 255.5])
    with pytest.raises(MicroscopeError, match=r"5000×10.*512×512"):
        rig.apply(SetRoi(0, 0, 5000, 10))
    assert next_frame(rig, CLOCK).header.shape == (120, 200), "a refused region changes nothing"


def test_a_region_larger_than_the_run_began_with_is_refused(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(roi_px=(100, 40, 200, 120))
    for larger in (SetRoi(0, 0, 0, 0), SetRoi(0, 0, 200, 121)):
        with pytest.raises(MicroscopeError, match=r"more than the 24000 pixels .*roi_px"):
            rig.apply(larger)
        assert watched.core.getROI() == [100, 40, 200, 120]
    rig.apply(SetRoi(0, 0, 300, 80))
    rig.start()
    assert next_frame(rig, CLOCK).header.shape == (80, 300), "another shape of as many pixels fits"


@pytest.mark.parametrize(
    ("settings", "um_per_px", "matrix"),
    [
        ({}, 1.0, (1, 0, 0, 1)),
        ({"um_per_px": 0.325}, 0.325, (0.325, 0, 0, 0.325)),
        ({"um_from_px": (0, -0.5, 0.5, 0)}, 0.5, (0, -0.5, 0.5, 0)),
    ],
)
def test_the_calibration_comes_from_the_settings_else_from_the_configuration(
    open_rig: Open, settings: dict[str, object], um_per_px: float, matrix: tuple[float, ...]
) -> None:
    rig = open_rig(**settings)
    rig.start()
    header = next_frame(rig, CLOCK).header
    a, b, _, d, e, _ = header.stage_from_pixel
    assert (a, b, d, e) == matrix
    assert header.um_per_px == um_per_px


QUARTER_TURN = "0.0,-0.65,0.0,0.65,0.0,0.0"


@pytest.mark.parametrize(
    ("size_um", "affine", "binning", "um_per_px", "matrix"),
    [
        (0.65, None, 1, 0.65, (0.65, 0, 0, 0.65)),
        (0.65, None, 2, 1.3, (1.3, 0, 0, 1.3)),
        (0.65, "1.0,0.0,0.0,0.0,1.0,0.0", 1, 0.65, (0.65, 0, 0, 0.65)),
        (0.65, QUARTER_TURN, 1, 0.65, (0, -0.65, 0.65, 0)),
        (0.65, QUARTER_TURN, 2, 1.3, (0, -1.3, 1.3, 0)),
        (0.64, QUARTER_TURN, 1, 0.64, (0, -0.65, 0.65, 0)),
    ],
)
@pytest.mark.parametrize("core", ["pymmcore", "java"])
def test_a_pixel_size_without_an_affine_is_along_the_stage(
    open_calibrated: Open, core: str, size_um: float, affine: str | None, binning: int,
    um_per_px: float, matrix: tuple[float, ...],
) -> None:  # fmt: skip
    """MMCore answers with the identity where there is no affine, scaled by the binning."""
    rig = open_calibrated(core, size_um, affine, properties={"Camera.Binning": str(binning)})
    rig.start()
    header = next_frame(rig, CLOCK).header
    a, b, _, d, e, _ = header.stage_from_pixel
    assert (a, b, d, e) == pytest.approx(matrix)
    assert header.um_per_px == pytest.approx(um_per_px)


@pytest.mark.parametrize("affine", ["0.5,0.0,0.0,0.0,0.5,0.0", "0.0,-1.0,0.0,1.0,0.0,0.0"])
def test_a_configuration_that_states_two_pixel_sizes_is_refused(open_calibrated: Open, affine: str) -> None:
    said = "1" if "1.0" in affine else "0.5"
    with pytest.raises(MicroscopeError, match=rf"pixel size is 0\.65 µm, but its affine transform says {said} µm"):
        open_calibrated("pymmcore", 0.65, affine)


@pytest.fixture
def open_calibrated(open_rig: Open, tmp_path: Path) -> Open:
    """Opens the demonstration rig with another pixel calibration."""

    def open_one(core: str, size_um: float, affine: str | None, **settings: object) -> MicroManagerMicroscope:
        lines = [line for line in CONFIG.read_text().splitlines() if not line.startswith(("PixelSize", "ConfigPixel"))]
        lines += ["ConfigPixelSize,Res10x,Objective,Label,Nikon 10X S Fluor", f"PixelSize_um,Res10x,{size_um}"]
        lines += [f"PixelSizeAffine,Res10x,{affine}"] if affine else []
        config = tmp_path / "calibrated.cfg"
        config.write_text("\n".join(lines) + "\n")
        return open_rig(core, config_file=str(config), **settings)

    return open_one


# --- exposure, interval, light ----------------------------------------------------------------------------


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


# --- trigger ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "on", "off", "prop", "reads_on", "reads_off"),
    [
        ("Trigger", "1", "0", ("Trigger", "State"), "1", "0"),
        ("Trigger.Label", "Keep", "Waste", ("Trigger", "State"), "1", "0"),
        ("Shutter", "1", "0", ("Shutter", "State"), "1", "0"),
        ("Light", "5", "0", ("Light", "Voltage"), "5.0000", "0.0000"),
        ("Camera.Gain", "3", "-2", ("Camera", "Gain"), "3", "-2"),
    ],
)
def test_the_trigger_can_be_any_device(
    open_rig: Open,
    watched: Watched,
    trigger: str,
    on: str,
    off: str,
    prop: tuple[str, str],
    reads_on: str,
    reads_off: str,
) -> None:
    rig = open_rig(trigger=trigger, trigger_on=on, trigger_off=off)
    assert watched.core.getProperty(*prop) == reads_off
    for opened, reads in ((True, reads_on), (False, reads_off)):
        rig.set_gate(opened)
        assert watched.core.getProperty(*prop) == reads
        assert rig.state().gate_open is opened


def test_a_shutter_without_a_state_can_be_the_trigger(open_rig: Open, watched: Watched, tmp_path: Path) -> None:
    lines = CONFIG.read_text().replace(
        "Property,Core,Initialize,1",
        "Device,Gate,Utilities,State Device Shutter\nProperty,Core,Initialize,1",
    )
    (tmp_path / "gate.cfg").write_text(f"{lines}\nProperty,Gate,State Device,Trigger\n")
    rig = open_rig(config_file=str(tmp_path / "gate.cfg"), trigger="Gate")
    rig.set_gate(True)
    assert watched.core.getShutterOpen("Gate")
    assert rig.state().gate_open
    rig.set_gate(False)
    assert not watched.core.getShutterOpen("Gate")


def test_without_a_trigger_nothing_can_be_opened(open_rig: Open) -> None:
    rig = open_rig(trigger="")
    rig.set_gate(False)
    with pytest.raises(MicroscopeError, match="trigger"):
        rig.set_gate(True)


# --- stage ------------------------------------------------------------------------------------------------


def test_an_axis_left_out_stays_where_it_is(open_rig: Open, watched: Watched) -> None:
    rig = open_rig()
    for command in (MoveStage(x_um=10.0, y_um=-7.0), MoveStage(y_um=3.0), MoveStage(z_um=2.5)):
        rig.apply(command)
        stand_still(rig)
    assert watched.core.getXYPosition() == pytest.approx([10.0, 3.0], abs=STEP_UM)
    assert watched.core.getPosition() == pytest.approx(2.5)


def test_a_move_that_ends_elsewhere_is_an_error(open_rig: Open, watched: Watched) -> None:
    rig = open_rig()
    rig.apply(MoveStage(x_um=2000.0))
    assert rig.busy()
    watched.core.stop("XY")
    with pytest.raises(MicroscopeError, match=r"stopped at x_um .* instead of 2000\.000 .*stage_tolerance_um 1"):
        stand_still(rig)
    assert not rig.busy()


def test_a_position_that_the_drive_refuses_is_an_error(open_rig: Open) -> None:
    rig = open_rig()
    with pytest.raises(MicroscopeError, match=r"setPosition.*out of range"):
        rig.apply(MoveStage(z_um=1e9))


def test_where_one_drive_refuses_the_other_one_is_stopped(open_rig: Open, watched: Watched) -> None:
    rig = open_rig()
    with pytest.raises(MicroscopeError, match=r"setPosition.*out of range"):
        rig.apply(MoveStage(x_um=2000.0, z_um=1e9))
    assert not watched.core.deviceBusy("XY")
    assert not rig.busy()
    assert rig.state().stage.x_um < 1500.0


def test_no_drive_moves_if_one_that_is_asked_for_is_missing(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(properties={"Core.Focus": ""})
    with pytest.raises(MicroscopeError, match="no focus drive, so z_um"):
        rig.apply(MoveStage(x_um=10.0, z_um=1.0))
    assert "setXYPosition" not in watched.names()
    assert not rig.busy()


def test_a_halt_tells_every_drive_whatever_they_say_of_themselves(open_rig: Open, watched: Watched) -> None:
    rig = open_rig()
    rig.halt()
    assert [args for name, args in watched.calls if name == "stop"] == [("XY",), ("Z",)]
    watched.failing.add("stop")
    rig.halt()  # drives that know no stop, but stand
    rig.apply(MoveStage(x_um=2000.0))
    watched.calls.clear()
    with pytest.raises(MicroscopeError, match="stage may still move, 1 of 2 steps failed: stop XY"):
        rig.halt()
    assert [args for name, args in watched.calls if name == "stop"] == [("XY",), ("Z",)], "all were tried"
    assert not rig.busy()
    watched.failing.clear()
    rig.halt()
    rig.apply(MoveStage(y_um=2.0))
    stand_still(rig)


def test_making_safe_stops_the_stage_on_its_way(open_rig: Open, watched: Watched) -> None:
    rig = open_rig()
    rig.apply(MoveStage(x_um=2000.0))
    rig.make_safe()
    assert not rig.busy()
    assert not watched.core.deviceBusy("XY")
    assert watched.core.getXPosition() < 1500.0


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


# --- what a user can get wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"config_file": "nowhere.cfg"}, r"config_file: there is no file .*nowhere\.cfg"),
        ({"adapter_path": "/nowhere/at/all"}, "adapter_path: there is no folder"),
        ({"xy_stage": "Stage"}, "xy_stage: no device 'Stage' .*there are DHub, Camera, XY, Z,"),
        ({"z_stage": "Stage"}, "z_stage: no device 'Stage'"),
        ({"shutter": "Lid"}, "shutter: no device 'Lid'"),
        ({"trigger": "Sorter"}, "trigger: no device 'Sorter'"),
        ({"trigger": "Trigger.Stat"}, "trigger: device 'Trigger' has no property 'Stat'; it has .*State"),
        ({"trigger": "XY"}, r"trigger: 'XY' is no state device.*XY\.Property: .*Velocity"),
        ({"light": "Light"}, r"light: 'Light' must name a property as Device\.Property"),
        ({"light": "Lamp.Power"}, "light: no device 'Lamp'"),
        ({"interval_property": "Camera.Rate"}, "interval_property: device 'Camera' has no property 'Rate'"),
        ({"channel_group": "Colour"}, "channel_group: no group 'Colour' .*there are .*Channel"),
        ({"imaging": Imaging(channel="DAPI")}, "no channel 'DAPI' .*there are Brightfield, GFP, RFP"),
        ({"imaging": Imaging(exposure_ms=20000.0)}, "exposure of 20000 ms"),
        ({"properties": {"Camera.Gain": "100"}}, r"Camera\.Gain = '100'.*allowed is -5 to 8"),
        ({"properties": {"Camera.Binning": "3"}}, r"Camera\.Binning = '3'.*allowed are 1, 2, 4, 8"),
        ({"properties": {"Camera.PixelType": "32bitRGB"}}, "4 bytes a pixel in 4 component"),
        ({"properties": {"Camera.PixelType": "32bit"}}, r"4 bytes a pixel in 1 component.*PixelType"),
        ({"properties": {"Objective.State": "3"}}, "size of a pixel is unknown.*um_per_px"),
        ({"roi_px": (500, 0, 100, 100)}, r"100×100 at \(500, 0\)"),
    ],
)
def test_a_wrong_setting_is_named_with_what_there_is(
    open_rig: Open, settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(MicroscopeError, match=complaint):
        open_rig(**settings)


def test_a_configuration_that_does_not_load_says_why(open_rig: Open, tmp_path: Path) -> None:
    (tmp_path / "broken.cfg").write_text("Device,Camera,NoSuchAdapter,DCam\n")
    with pytest.raises(MicroscopeError, match=r"loadSystemConfiguration.*NoSuchAdapter"):
        open_rig(config_file=str(tmp_path / "broken.cfg"))


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({}, "config_file is missing"),
        ({"core": "java", "config_file": "x.cfg"}, "core = 'java'.*leave it out"),
        ({"config_file": "x.cfg", "um_from_px": [1, 1, 1, 1]}, "um_from_px.*invertible"),
        (
            {"config_file": "x.cfg", "um_per_px": 0.6, "um_from_px": [0, -0.65, 0.65, 0]},
            r"um_per_px 0\.6 and um_from_px, whose pixels are 0\.65 µm, contradict",
        ),
        ({"config_file": "x.cfg", "mode": "video"}, "mode"),
        ({"config_file": "x.cfg", "port": 70000}, "port"),
        ({"config_file": "x.cfg", "buffer_mb": 0}, "buffer_mb"),
        ({"config_file": "x.cfg", "properties": {"Camera.Gain": 3}}, "properties"),
    ],
)
def test_a_table_of_the_config_is_checked(table: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        msgspec.convert(table, MicroManagerMicroscope)


def test_it_needs_the_systems_clock(open_rig: Open) -> None:
    with pytest.raises(MicroscopeError, match="clock"):
        MicroManagerMicroscope(config_file=str(CONFIG)).open(SimulatedClock(), IMAGING)


def test_it_is_opened_once_and_used_open(open_rig: Open) -> None:
    rig = open_rig()
    with pytest.raises(MicroscopeError, match="open already"):
        rig.open(CLOCK, IMAGING)
    with pytest.raises(MicroscopeError, match="cannot Pause"):
        rig.apply(Pause())
    rig.close()
    for use in (rig.state, rig.poll_frame, rig.start, rig.busy):
        with pytest.raises(MicroscopeError, match="not open"):
            use()


def test_the_rig_is_named_by_what_only_one_run_may_hold(tmp_path: Path) -> None:
    assert MicroManagerMicroscope(config_file=f"{tmp_path}/a/../b.cfg").rig_id == f"micromanager:{tmp_path}/b.cfg"
    assert MicroManagerMicroscope(core="java", port=4900).rig_id == "micromanager:java:4900"


def test_devices_are_let_go(open_rig: Open, watched: Watched) -> None:
    rig = open_rig()
    rig.start()
    rig.close()
    assert watched.core.getLoadedDevices() == ("Core",)


# --- over the Java bridge ---------------------------------------------------------------------------------
# A real MMCore with the bridge's manners stands in for the server: no Micro-Manager in Java runs here.


def test_over_the_bridge_pixels_come_without_tags_unless_losses_are_to_be_counted(
    open_rig: Open, watched: Watched
) -> None:
    rig = open_rig("java")
    rig.start()
    next_frames(rig, CLOCK, 3)
    assert watched.names().count("pop_next_image") == 3
    assert "pop_next_tagged_image" not in watched.names()
    assert all(name == name.lower() for name in watched.names()), "snake_case only"


def test_over_the_bridge_micromanager_gets_its_auto_shutter_back(
    open_rig: Open, watched: Watched, tmp_path: Path
) -> None:
    """Also from a rig that could not be opened."""
    config = tmp_path / "auto.cfg"
    config.write_text(CONFIG.read_text() + "Property,Core,AutoShutter,1\n")
    with pytest.raises(MicroscopeError, match="100×100"):
        open_rig("java", config_file=config, roi_px=(500, 0, 100, 100))
    assert watched.core.getAutoShutter()
    rig = open_rig("java", config_file=config)
    assert not watched.core.getAutoShutter()
    rig.close()
    assert watched.core.getAutoShutter()


def test_over_the_bridge_a_dead_server_ends_the_run_and_lets_python_end(
    open_rig: Open, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up: list[int] = []
    monkeypatch.setitem(sys.modules, "pyjavaz", SimpleNamespace(server_terminated=given_up.append))
    rig = open_rig("java", port=4910, call_timeout_s=0.2)
    rig.start()
    next_frame(rig, CLOCK)
    watched.hanging.add("server")
    with pytest.raises(RigGone, match=r"micromanager:java:4910.*last call: getRemainingImageCount"):
        next_frames(rig, CLOCK, 3)
    assert given_up == [4910]
    rig.close()


def test_over_the_bridge_a_missing_server_is_asked_twice_and_then_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int]] = []

    def refuse(port: int, timeout: int) -> None:
        asked.append((port, timeout))
        raise Exception("Couldn't create Core. Is Micro-Manager running ...?")

    monkeypatch.setitem(sys.modules, "pycromanager", SimpleNamespace(Core=refuse))
    rig = MicroManagerMicroscope(core="java", port=4911, timeout_ms=300)
    with pytest.raises(MicroscopeError, match="no Micro-Manager answers on port 4911 within 300 ms"):
        rig.open(CLOCK, IMAGING)
    assert asked == [(4911, 300), (4911, 300)]
    rig.close()


@pytest.mark.parametrize("command", [SetExposure(20000.0), SetChannel("DAPI"), MoveStage(z_um=1e9)], ids=repr)
def test_over_the_bridge_errors_are_one_line(open_rig: Open, command: Command) -> None:
    rig = open_rig("java")
    with pytest.raises(MicroscopeError) as caught:
        rig.apply(command)
    assert "\n" not in str(caught.value)
    assert "java.lang" not in str(caught.value)
