"""The Micro-Manager driver over the Java bridge.

A real MMCore with the bridge's manners stands in for the server: no Micro-Manager in Java runs here.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from acquisition.commands import (
    Command,
    MoveStage,
    SetChannel,
    SetExposure,
)
from acquisition.micromanager.microscope import MicroManagerMicroscope
from acquisition.microscope import MicroscopeError, RigGone
from tests.micromanager_cores import Watched
from tests.micromanager_rigs import CLOCK, CONFIG, IMAGING, Open, open_rig, watched
from tests.polling import next_frame, next_frames

__all__ = ["open_rig", "watched"]


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
