"""A light that does not go off: counted, told, and in nobody's way when the rig is made safe."""

import pytest

from acquisition.clock import NS_PER_S, SimulatedClock
from acquisition.commands import Pause, SafeState, SetLight
from acquisition.faults import (
    Faults,
    LightStaysOn,
)
from acquisition.faulty_microscope import with_faults
from acquisition.limits import Limits
from acquisition.microscope import DeviceState, MicroscopeError
from acquisition.simulated.microscope import SimulatedMicroscope
from tests.test_acquisition_faults import IMAGING, Told, small


def test_light_that_stays_on_ends_the_run_unsafe_and_its_dose_is_counted() -> None:
    desk = Told(Faults(light_stays_on=LightStaysOn(after_s=0.1)), duration_s=0.5)
    end = desk.loop.run()
    assert (end.ok, end.rig_safe) == (False, False)
    assert "the rig could not be made safe: the light was told to go off and reads back 1 mW" in end.reason
    spent_mj = desk.microscope.dose_mj()
    desk.clock.sleep_s(1.0)
    assert desk.microscope.dose_mj() == pytest.approx(spent_mj + 1.0)
    assert desk.microscope.state().shutter_open
    desk.microscope.close()  # it was told: closing does not hide why the run ended


def test_light_that_stays_on_burns_between_exposures_at_the_power_it_is_given() -> None:
    """Told to go to nothing it keeps the power it had."""
    microscope, clock = with_faults(small(), Faults(light_stays_on=LightStaysOn(after_s=1.0))), SimulatedClock()
    microscope.open(clock, IMAGING)
    microscope.start()
    by_mw = {}
    for light_mw in (1.0, 3.0, 0.0):
        microscope.apply(SetLight(light_mw))
        doses_mj = []
        for _ in range(200):
            clock.sleep_s(0.005)
            microscope.poll_frame()
            doses_mj.append(microscope.dose_mj())
        assert doses_mj == sorted(doses_mj)
        by_mw[light_mw] = doses_mj[-1]
    assert by_mw[1.0] == pytest.approx(0.25, abs=0.005), "exposures of 5 ms every 20 ms until the fault is due"
    assert by_mw[3.0] - by_mw[1.0] == pytest.approx(3.0, abs=0.01)
    assert by_mw[0.0] - by_mw[3.0] == pytest.approx(3.0, abs=0.01)
    microscope.stop()
    assert microscope.state().shutter_open
    with pytest.raises(MicroscopeError, match="reads back 3 mW"):
        microscope.make_safe()
    microscope.close()


def test_what_ended_a_run_is_not_said_again_of_the_rig() -> None:
    desk = Told(Faults(light_stays_on=LightStaysOn(after_s=0.1)))
    desk.loop.start()
    while desk.clock.now_ns() < 0.2 * NS_PER_S:
        desk.turns(1)
    desk.outcome(SafeState())
    desk.loop.finish()
    assert desk.loop.end is not None
    assert desk.loop.end.reason.count("the light was told to go off") == 1
    assert desk.loop.end.reason.endswith("; and the rig could not be made safe")
    desk.microscope.close()


def test_light_that_stays_on_in_a_pause_is_noticed_then() -> None:
    desk = Told(Faults(light_stays_on=LightStaysOn(after_s=0.1)))
    desk.loop.start()
    while desk.clock.now_ns() < 0.2 * NS_PER_S:
        desk.turns(1)
    status, detail = desk.outcome(Pause())
    assert status == "failed"
    assert "reads back" in detail
    assert desk.loop.end is not None
    assert not desk.loop.end.ok
    desk.loop.finish()
    assert not desk.loop.end.rig_safe
    desk.microscope.close()


@pytest.mark.parametrize("limits", [{"dose_mj": 0.1}, {"place_j_cm2": 5.0}], ids=str)
def test_light_that_stays_on_spends_the_budget_and_ends_the_run(limits: dict[str, float]) -> None:
    """No reserve is enough for a light that nobody can switch off; the run ends, says both, and counts what goes on."""
    desk = Told(Faults(light_stays_on=LightStaysOn(after_s=0.02)), Limits(x_um=(-100, 100), y_um=(-100, 100), **limits))
    end = desk.loop.run()
    assert (end.ok, end.rig_safe) == (False, False)
    assert "light budget" in end.reason
    assert "could not be made safe: the light was told to go off" in end.reason
    shares = {"dose_mj": desk.loop.dose_mj, "place_j_cm2": desk.loop.places().highest_j_cm2}
    ((name, allowed),) = limits.items()
    assert 0.8 < shares[name] / allowed < 1.2, "what burns until the loop looks again is on top"
    assert len(desk.frames) < 10, "all 5 ms exposures together would have been allowed 20"
    desk.microscope.close()


def test_a_rig_whose_light_stays_on_can_be_made_safe_and_closed_twice() -> None:
    microscope = with_faults(small(), Faults(light_stays_on=LightStaysOn(after_s=0.0)))
    microscope.open(SimulatedClock(), IMAGING)
    microscope.start()
    for again in (microscope.make_safe, microscope.make_safe):
        with pytest.raises(MicroscopeError, match="the light was told to go off"):
            again()
    microscope.close()
    microscope.close()


def test_a_rig_that_does_not_answer_is_made_safe_all_the_same() -> None:
    """Whether its light is lit cannot be asked; that must not keep it from being told to go off."""

    class Mute(SimulatedMicroscope):
        def state(self) -> DeviceState:
            raise MicroscopeError("no answer")

    inner = Mute(height_px=64, width_px=64, n_cells=3, specimen_um=(400.0, 400.0))
    microscope = with_faults(inner, Faults(light_stays_on=LightStaysOn(after_s=0.0)))
    microscope.open(SimulatedClock(), IMAGING)
    microscope.start()
    microscope.make_safe()
    assert not inner._camera.running
    microscope.close()


def test_light_that_obeys_until_its_fault_comes_goes_off() -> None:
    desk = Told(Faults(light_stays_on=LightStaysOn(after_s=60.0)), duration_s=0.5)
    assert desk.loop.run().rig_safe
    desk.microscope.close()


def test_who_opens_a_rig_to_make_it_safe_finds_its_light_on() -> None:
    microscope = with_faults(small(), Faults(light_stays_on=LightStaysOn()), to_rescue=True)
    microscope.open(SimulatedClock(), IMAGING)
    assert microscope.state().shutter_open
    with pytest.raises(MicroscopeError, match="switch it off by hand"):
        microscope.make_safe()
    microscope.close()
