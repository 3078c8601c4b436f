"""The Micro-Manager driver on a real MMCore and its demonstration devices, checked on the core itself."""

import sys
from pathlib import Path

import msgspec
import numpy as np
import pymmcore
import pytest

from acquisition.clock import NS_PER_MS, SimulatedClock
from acquisition.commands import (
    MoveStage,
    Pause,
    SetChannel,
    SetExposure,
    SetLight,
)
from acquisition.micromanager.microscope import MicroManagerMicroscope
from acquisition.microscope import Imaging, MicroscopeError
from tests.micromanager_cores import REAL_CORE, Watched
from tests.micromanager_rigs import CLOCK, CONFIG, IMAGING, STEP_UM, Open, fresh_frame, open_rig, stand_still, watched
from tests.polling import next_frames

__all__ = ["open_rig", "watched"]


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
