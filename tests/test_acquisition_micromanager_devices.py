"""Trigger outputs and stages through the Micro-Manager driver on a real MMCore."""

from pathlib import Path

import pytest

from acquisition.commands import (
    MoveStage,
)
from acquisition.microscope import MicroscopeError
from tests.micromanager_cores import Watched
from tests.micromanager_rigs import CONFIG, STEP_UM, Open, open_rig, stand_still, watched

__all__ = ["open_rig", "watched"]


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
