"""What the loop makes of a clock that jumps ahead: nothing late is done, nobody is blamed, and the run goes on."""

from itertools import pairwise

import pytest

from acquisition.clock import NS_PER_S, SimulatedClock
from acquisition.commands import MoveStage, PulseSorter
from acquisition.faults import (
    ClockJump,
    Faults,
    StalledCamera,
)
from acquisition.faulty_clock import JumpingClock, faulty_clock
from acquisition.faulty_microscope import FaultyMicroscope
from acquisition.microscope import Imaging
from acquisition.simulated.microscope import SimulatedMicroscope
from tests.test_acquisition_faults import IMAGING, MS, Told, small
from tests.test_acquisition_loop import LIMITS


def jumping(after_s: float, jump_s: float, stall_s: float = 1.0) -> Told:
    """A desk whose clock, the rig's too, jumps ahead."""
    desk = Told(Faults())
    desk.microscope.close()
    desk.clock = JumpingClock(SimulatedClock(), round(after_s * NS_PER_S), jump_s)  # type: ignore[assignment]
    imaging = Imaging(interval_ms=20, exposure_ms=5, light_mw=1, stall_s=stall_s)
    capabilities = desk.microscope.open(desk.clock, imaging)
    desk.loop = type(desk.loop)(
        desk.microscope, capabilities, LIMITS, imaging, desk.clock, publish=desk.publish, receive=desk.receive,
        answer=desk.answer, tell=lambda level, words: desk.told.append(words),
    )  # fmt: skip
    desk.loop.start()
    return desk


def test_a_clock_that_jumps_never_goes_back() -> None:
    clock = faulty_clock(inner := SimulatedClock(7), Faults(clock_jump=ClockJump(after_s=1.0, jump_s=2.5)), 7)
    times = []
    for _ in range(30):
        times.append(clock.now_ns() - inner.now_ns())
        clock.sleep_s(0.1)
    assert times == [0] * 10 + [2_500_000_000] * 20
    assert faulty_clock(inner, Faults(), 7) is inner


@pytest.mark.parametrize("jump_s", [0.5, 3.0, 60.0])
def test_after_a_jump_the_run_goes_on(jump_s: float) -> None:
    """Also where the jump is longer than a camera may be silent: it was not the camera."""
    desk = jumping(0.5, jump_s)
    desk.turns(400)
    assert desk.loop.end is None
    headers = [frame.header for frame in desk.frames]
    assert len(headers) > 50
    assert all(a.t_ns < b.t_ns and a.index < b.index for a, b in pairwise(headers))
    assert ("nothing was done for" in " ".join(desk.told)) == (jump_s > 1)
    desk.loop.finish()
    desk.microscope.close()


def test_a_pulse_that_a_jump_has_passed_is_late_and_not_fired() -> None:
    desk = jumping(0.5, 3.0)
    during, after = desk.ask(PulseSorter(round(1.0 * NS_PER_S))), desk.ask(PulseSorter(round(4.0 * NS_PER_S)))
    desk.turns(400)
    assert desk.outcomes[during][0] == "late"
    assert desk.outcomes[after][0] == "done"
    assert isinstance(desk.microscope, SimulatedMicroscope)
    ((on_ns, _),) = desk.microscope.pulses
    assert on_ns == pytest.approx(4.0 * NS_PER_S, abs=2 * MS)
    desk.loop.finish()
    desk.microscope.close()


def test_a_decision_that_a_jump_has_passed_is_late() -> None:
    desk = jumping(0.5, 3.0)
    while desk.clock.now_ns() < 0.45 * NS_PER_S:
        desk.turns(1)
    order = desk.ask(MoveStage(x_um=5.0), deadline_ms=100.0)
    desk.clock.sleep_s(0.06)
    desk.turns(3)
    assert desk.outcomes[order][0] == "late"
    desk.loop.finish()
    desk.microscope.close()


def test_a_camera_that_stalls_at_a_jump_is_still_found_out() -> None:
    desk = jumping(0.5, 60.0)
    desk.microscope.close()
    faulty = FaultyMicroscope(small(), Faults(stalled_camera=StalledCamera(after_s=0.4)))
    desk.clock = JumpingClock(SimulatedClock(), round(0.5 * NS_PER_S), 60.0)  # type: ignore[assignment]
    capabilities = faulty.open(desk.clock, IMAGING)
    loop = type(desk.loop)(
        faulty, capabilities, LIMITS, IMAGING, desk.clock, desk.publish, desk.receive, desk.answer,
    )  # fmt: skip
    end = loop.run()
    assert "no frame for" in end.reason
    assert desk.clock.now_ns() < (0.5 + 60.0 + 2.0) * NS_PER_S
    faulty.close()
