"""Light as the devices themselves tell it: the real core's shutter and light source in every state of a run."""

from collections import Counter

import pytest
from msgspec.structs import replace

from acquisition.commands import AcquireBurst, Command, Pause, Resume, SafeState, SetExposure, SetLight, Stop
from acquisition.microscope import Imaging, MicroscopeError
from tests.micromanager_cores import Watched
from tests.micromanager_rigs import CLOCK, LIMITS, Open, RealDesk, open_rig, watched
from tests.polling import next_frame, wait_until

__all__ = ["open_rig", "watched"]
SLOW = Imaging(interval_ms=40.0, exposure_ms=8.0, light_mw=2.0)
HALF = {"light": "Light.Voltage", "light_mw_per_unit": 0.5}
"""Two volts a milliwatt."""


def devices(watched: Watched) -> tuple[bool, float]:
    """Shutter open, volts of the light: the core's answers, not the driver's."""
    return watched.core.getShutterOpen("Shutter"), float(watched.core.getProperty("Light", "Voltage"))


def test_streaming_is_lit_from_start_to_stop(open_rig: Open, watched: Watched) -> None:
    desk = RealDesk(open_rig(imaging=SLOW, **HALF), SLOW)
    desk.more(2)
    assert devices(watched) == (True, 4.0)
    assert desk.outcome(SetLight(3.0))[0] == "done"
    assert devices(watched) == (True, 6.0)
    burst = desk.ask(AcquireBurst(40, 8.0))
    desk.turn_until(lambda: len(desk.because_of(burst)) >= 2)
    assert devices(watched) == (True, 6.0)
    desk.turn_until(lambda: burst in desk.outcomes)
    assert devices(watched) == (True, 6.0)
    assert {frame.header.light_mw for frame in desk.because_of(burst)} == {3.0}
    for stopping, volts in ((Pause(), 6.0), (SafeState(), 0.0)):
        assert desk.outcome(stopping)[0] == "done"
        assert devices(watched) == (False, volts)
        assert desk.outcome(Resume())[0] == "done"
        assert devices(watched) == (True, 6.0), "as bright as it was"
    desk.loop.finish()
    assert devices(watched) == (False, 0.0)


def test_snaps_open_the_shutter_for_each_exposure_and_for_a_whole_burst(open_rig: Open, watched: Watched) -> None:
    desk = RealDesk(open_rig(mode="snap", imaging=SLOW, **HALF), SLOW)
    during: list[tuple[bool, float]] = []
    after: list[tuple[bool, float]] = []
    watched.at = {
        "snapImage": lambda: during.append(devices(watched)),
        "getImage": lambda: after.append(devices(watched)),
        "startSequenceAcquisition": lambda: during.append(devices(watched)),
    }
    desk.more(3)
    n_snaps = len(after)
    assert desk.outcome(SetLight(1.0))[0] == "done"
    assert desk.outcome(AcquireBurst(6, 8.0))[0] == "done"
    watched.at.clear()
    assert set(during) == {(True, 4.0), (True, 2.0)}
    assert after[:n_snaps] == [(False, 4.0)] * n_snaps
    assert not devices(watched)[0], "dark as soon as the last image of the burst is there"
    desk.loop.finish()
    assert devices(watched) == (False, 0.0)


def test_after_a_burst_of_snaps_it_is_dark_even_if_nobody_looks(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(mode="snap", imaging=SLOW, **HALF)
    rig.start()
    next_frame(rig, CLOCK)
    rig.burst(5, 8.0)
    assert devices(watched)[0]
    wait_until(lambda: not watched.core.isSequenceRunning(), CLOCK, "the camera is done")
    wait_until(lambda: not devices(watched)[0], CLOCK, "the core has closed the shutter", 1.0)
    assert watched.core.getRemainingImageCount() == 5
    rig.stop()
    assert not watched.core.getAutoShutter()


@pytest.mark.parametrize(("command", "why"), [(SetLight(6.0), "light_mw 6 is outside"), (SetExposure(60.0), "60")])
def test_what_the_guard_refuses_reaches_no_device(open_rig: Open, watched: Watched, command: Command, why: str) -> None:
    desk = RealDesk(open_rig(imaging=SLOW, **HALF), SLOW)
    desk.more(1)
    watched.calls.clear()
    status, detail = desk.outcome(command)
    assert (status, why in detail) == ("refused", True)
    assert not {"setProperty", "setExposure"} & set(watched.names())
    assert devices(watched) == (True, 4.0)
    desk.loop.finish()


def test_the_outcome_says_what_the_light_source_really_gives(open_rig: Open, watched: Watched) -> None:
    """A source that does not follow: what is read back is what frames and dose are reckoned with."""
    desk = RealDesk(open_rig(imaging=SLOW, **HALF), SLOW)
    desk.more(1)
    watched.ignored.add("setProperty")
    assert desk.outcome(SetLight(4.0)) == ("done", "interval 40 ms, exposure 8 ms, light 2 mW, channel Brightfield")
    watched.ignored.clear()
    desk.more(2)
    assert desk.frames[-1].header.light_mw == 2.0
    desk.loop.finish()


@pytest.mark.parametrize("mode", ["stream", "snap"])
def test_snaps_and_bursts_end_before_the_light_budget_does(open_rig: Open, watched: Watched, mode: str) -> None:
    limits = replace(LIMITS, dose_mj=0.6)
    desk = RealDesk(open_rig(mode=mode, imaging=SLOW, **HALF), SLOW, limits)
    turned_ns, longest_s = CLOCK.now_ns(), 0.0
    while desk.loop.end is None:
        desk.ask(AcquireBurst(3, 8.0))
        desk.loop.turn()
        longest_s, turned_ns = max(longest_s, (CLOCK.now_ns() - turned_ns) / 1e9), CLOCK.now_ns()
    desk.loop.finish()
    held_up_mj = 2.0 * max(0.0, longest_s - 0.05)
    assert 0.2 < desk.rig.dose_mj() <= 0.6 + held_up_mj, "nobody can count while the machine is busy elsewhere"
    statuses = Counter(outcome.status for outcome in desk.outcomes.values())
    assert statuses["done"] >= 1
    assert devices(watched) == (False, 0.0)


@pytest.mark.parametrize("how", ["stop", "make_safe"])
@pytest.mark.parametrize(
    ("ignored", "shutter", "words"),
    [
        ("setShutterOpen", "Shutter", "shutter Shutter was told to close"),
        ("setProperty", "", r"Light\.Voltage .* reads 4"),
    ],
)
def test_a_light_that_does_not_go_off_is_told(
    open_rig: Open, watched: Watched, how: str, ignored: str, shutter: str, words: str
) -> None:
    rig = open_rig(imaging=SLOW, properties={"Core.Shutter": shutter}, **HALF)
    rig.start()
    next_frame(rig, CLOCK)
    watched.ignored.add(ignored)
    with pytest.raises(MicroscopeError, match=words):
        getattr(rig, how)()
    watched.ignored.clear()
    assert not watched.core.isSequenceRunning(), "the camera was stopped all the same"
    rig.make_safe()


def test_a_run_whose_light_stays_on_ends_and_says_so(open_rig: Open, watched: Watched) -> None:
    desk = RealDesk(open_rig(imaging=SLOW, **HALF), SLOW)
    desk.more(1)
    desk.ask(Stop())
    watched.ignored.add("setShutterOpen")
    end = desk.loop.run()
    assert not end.rig_safe
    assert "shutter Shutter was told to close but says that it is open" in end.reason
    watched.ignored.clear()
