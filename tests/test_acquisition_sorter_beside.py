"""A microscope with a sorter beside it is one rig: opened, made safe and closed together, locked, and rescued."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

from acquisition.clock import NS_PER_MS, SystemClock
from acquisition.commands import PulseSorter
from acquisition.faults import Faults, StalledCamera
from acquisition.faulty_microscope import with_faults
from acquisition.microscope import BurstSequencer, Imaging, MicroscopeError, RigGone, TellsTruth
from acquisition.serial_sorter import SerialSorter
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.sorter_beside import with_sorter
from realtime.config import config_from, read_tables, resolved
from realtime.devices import build_rig
from realtime.plugins import ConfigError
from realtime.processes.safe import make_rig_safe
from tests.serial_peer import SerialPeer
from tests.test_acquisition_loop import Desk
from tests.told_timer import SMALL

SIMULATED = Path(__file__).parents[1] / "hardware_configs" / "simulated.toml"


@pytest.fixture
def peer() -> Iterator[SerialPeer]:
    peer = SerialPeer().start()
    yield peer
    peer.stop()


def test_orders_reach_the_sorter_and_its_word_comes_back(peer: SerialPeer) -> None:
    clock = SystemClock()
    microscope = with_sorter(SimulatedMicroscope(**SMALL), SerialSorter(port=peer.port))
    desk = Desk(microscope=microscope, clock=clock)
    desk.loop.start()
    status, detail = desk.outcome(PulseSorter(clock.now_ns() + 30 * NS_PER_MS, width_ms=0.3), turns=5000)
    assert (status, "for 0.300 ms" in detail) == ("done", True)
    status, detail = desk.outcome(PulseSorter(clock.now_ns() + NS_PER_MS), turns=5000)
    assert (status, "sorter needs 3" in detail) == ("late", True)
    desk.loop.finish()
    microscope.close()
    assert len(peer.gate) == 1
    assert [said[0] for said in peer.heard if said[0] in ("fire", "safe")] == ["safe", "fire", "safe", "safe"]


def test_what_a_microscope_can_besides_is_still_found(peer: SerialPeer) -> None:
    faulty = with_faults(SimulatedMicroscope(**SMALL), Faults(stalled_camera=StalledCamera(after_s=1.0)))
    rig = with_sorter(faulty, SerialSorter(port=peer.port))
    assert isinstance(rig, TellsTruth)
    assert not isinstance(rig, BurstSequencer)
    assert with_sorter(faulty, None) is faulty


def test_a_sorter_is_something_to_protect_and_has_real_time(peer: SerialPeer) -> None:
    assert with_sorter(SimulatedMicroscope(**SMALL), SerialSorter(port=peer.port)).rig_id == f"sorter at {peer.port}"


class Deaf(SimulatedMicroscope):
    """Its shutter does not close."""

    closed = False

    def make_safe(self) -> None:
        super().make_safe()
        raise MicroscopeError("the shutter does not answer")

    def close(self) -> None:
        self.closed = True


def test_both_are_made_safe_whatever_becomes_of_the_other(peer: SerialPeer) -> None:
    microscope = Deaf(**SMALL)
    rig = with_sorter(microscope, SerialSorter(port=peer.port))
    rig.open(SystemClock(), Imaging())
    with pytest.raises(MicroscopeError, match="the shutter does not answer"):
        rig.make_safe()
    assert [said[0] for said in peer.heard if said[0] == "safe"] == ["safe", "safe"]
    peer.silent = True
    with pytest.raises(RigGone, match=r"its gate is shut.*; the shutter does not answer"):
        rig.make_safe()
    with pytest.raises(RigGone):
        rig.close()
    assert microscope.closed


def test_a_sorter_that_cannot_be_opened_leaves_the_microscope_to_be_closed(peer: SerialPeer) -> None:
    microscope = Deaf(**SMALL)
    rig = with_sorter(microscope, SerialSorter(port="no-such-port"))
    with pytest.raises(MicroscopeError, match="no-such-port"):
        rig.open(SystemClock(), Imaging())
    assert not microscope.state().shutter_open
    rig.close()
    assert microscope.closed


# --- from a config ---------------------------------------------------------------------------------------------------


def test_the_sorter_of_a_config_is_made_safe_with_its_rig(peer: SerialPeer) -> None:
    tables = read_tables(SIMULATED) | {"sorter": {"use": "serial", "port": peer.port}}
    config = config_from(tables, SIMULATED.parent)
    assert resolved(config)["sorter"]["watchdog_ms"] == 1000
    assert make_rig_safe(config, "rescue") == "shutter closed, gate closed, stage still"
    assert [said[0] for said in peer.heard if said[0] != "ping"] == ["hello", "safe", "watchdog", "safe", "safe"]
    peer.stuck = True
    with pytest.raises(MicroscopeError, match="says that it is open"):
        make_rig_safe(config, "rescue")


def test_a_config_without_a_sorter_is_a_microscope() -> None:
    config = config_from(read_tables(SIMULATED), SIMULATED.parent)
    assert "sorter" not in resolved(config)
    assert isinstance(build_rig(config), SimulatedMicroscope)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"use": "serial"}, "port"),
        ({"use": "serial", "port": ""}, "sorter.port"),
        ({"use": "serial", "port": "COM3", "lead": 2.0}, "lead_ms"),
        ({"use": "serial", "port": "COM3", "watchdog_ms": 20}, "at least twice ping_ms"),
        ({"use": "sreial", "port": "COM3"}, "serial"),
    ],
    ids=str,
)
def test_mistakes_in_the_table_are_explained(table: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config_from(read_tables(SIMULATED) | {"sorter": table}, SIMULATED.parent)
