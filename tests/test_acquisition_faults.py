"""What the loop makes of a faulty rig: every fault of a microscope by name, on the simulated one in simulated time."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acquisition.clock import NS_PER_MS, NS_PER_S, SimulatedClock, SystemClock
from acquisition.commands import MoveStage, Pause, PulseSorter, SafeState
from acquisition.faults import (
    FAULT_NAMES,
    MICROSCOPE_FAULTS,
    ClockJump,
    CorruptFrames,
    DroppedFrames,
    DuplicatedFrames,
    Faults,
    LateFrames,
    LightStaysOn,
    SlowStage,
    StalledCamera,
    StuckStage,
)
from acquisition.faulty_clock import JumpingClock, faulty_clock
from acquisition.faulty_microscope import FaultyMicroscope, with_faults
from acquisition.limits import Limits
from acquisition.microscope import Imaging, MicroscopeError
from acquisition.replayed.microscope import ReplayedMicroscope
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.truth import table_of, teller
from tests.polling import next_frames
from tests.test_acquisition_loop import LIMITS, Desk

HARDWARE_CONFIGS = Path(__file__).resolve().parents[1] / "hardware_configs"
MS = NS_PER_MS
IMAGING = Imaging(interval_ms=20, exposure_ms=5, light_mw=1, stall_s=1)


class Told(Desk):
    """A desk that also hears what the loop tells people, and may have a clock of its own."""

    def __init__(self, faults: Faults, limits: Limits = LIMITS, duration_s: float | None = None) -> None:
        self.told: list[str] = []
        super().__init__(limits, IMAGING, duration_s, with_faults(small(), faults))
        self.loop._tell = self.loop._desk._tell = lambda level, words: self.told.append(words)


def small() -> SimulatedMicroscope:
    return SimulatedMicroscope(height_px=64, width_px=64, n_cells=3, specimen_um=(400.0, 400.0))


def frames_of(faults: Faults, n: int = 60) -> tuple[list[Any], FaultyMicroscope]:
    microscope, clock = FaultyMicroscope(small(), faults), SimulatedClock()
    microscope.open(clock, IMAGING)
    microscope.start()
    return next_frames(microscope, clock, n), microscope


# --- the wrapper --------------------------------------------------------------------------------------------------


def test_a_microscope_without_faults_is_left_alone() -> None:
    microscope = small()
    assert with_faults(microscope, Faults()) is microscope
    assert with_faults(microscope, Faults(clock_jump=ClockJump())) is microscope
    assert isinstance(with_faults(microscope, Faults(stuck_stage=StuckStage())), FaultyMicroscope)


def test_every_fault_has_a_name_and_says_its_settings() -> None:
    assert set(MICROSCOPE_FAULTS) < set(FAULT_NAMES)
    assert Faults(late_frames=LateFrames(share=0.5), stuck_stage=StuckStage(after_s=0)).words() == [
        "late_frames (share = 0.5, delay_ms = 200)",
        "stuck_stage (after_s = 0)",
    ]


def test_the_same_frames_are_hit_in_every_run() -> None:
    faults = Faults(dropped_frames=DroppedFrames(share=0.2), corrupt_frames=CorruptFrames(share=0.2))
    first, again = (frames_of(faults)[0] for _ in range(2))
    assert [f.pixels.tobytes() for f in first] == [f.pixels.tobytes() for f in again]


def test_faults_do_not_hit_the_same_frames() -> None:
    """Each by chance of its own."""
    dropped = {f.header.index for f in frames_of(Faults(dropped_frames=DroppedFrames(share=0.5)), 100)[0]}
    late = frames_of(Faults(late_frames=LateFrames(share=0.5, delay_ms=5)), 100)[0]
    on_time = {f.header.index for f in late if f.header.t_read_ns - f.header.t_ns < 5 * MS}
    assert 0.2 < len(dropped & on_time) / len(dropped) < 0.8


# --- frames -------------------------------------------------------------------------------------------------------


def test_dropped_frames_are_counted_as_lost_by_the_camera() -> None:
    desk = Told(Faults(dropped_frames=DroppedFrames(share=0.3)), duration_s=2.0)
    assert desk.loop.run().ok
    indices = [frame.header.index for frame in desk.frames]
    missing = set(range(indices[-1] + 1)) - set(indices)
    assert len(missing) == pytest.approx(30, abs=12)
    assert len(missing) <= desk.microscope.lost_frames() <= len(missing) + 2
    desk.microscope.close()


def test_late_frames_come_in_order_and_say_when_they_were_read() -> None:
    frames, microscope = frames_of(Faults(late_frames=LateFrames(share=0.1, delay_ms=70.0)))
    headers = [frame.header for frame in frames]
    assert [header.index for header in headers] == list(range(60))
    waits_ms = np.array([(header.t_read_ns - header.t_ns) / MS for header in headers])
    assert waits_ms.max() == pytest.approx(70.0, abs=2.0)
    assert 0.05 < (waits_ms > 1).mean() < 0.9, "those behind a late one wait, too, and the others do not"
    assert microscope.lost_frames() == 0


def test_a_frame_that_comes_twice_is_left_out_counted_and_told_once() -> None:
    desk = Told(Faults(duplicated_frames=DuplicatedFrames(share=0.3)), duration_s=1.0)
    assert desk.loop.run().ok
    indices = [frame.header.index for frame in desk.frames]
    assert indices == list(range(len(indices)))
    assert desk.loop.n_repeated == pytest.approx(15, abs=9)
    (words,) = desk.told
    assert "it is left out" in words
    desk.microscope.close()


@pytest.mark.parametrize("how", ["torn", "zeroed", "saturated"])
def test_corrupt_frames_are_wrong_in_a_band_of_rows_and_pass_unnoticed(how: Any) -> None:
    """Nothing in them says so: the loop cannot know. What the tracker makes of it shows tests/test_realtime_faults.py."""
    true = frames_of(Faults())[0]
    wrong = frames_of(Faults(corrupt_frames=CorruptFrames(share=0.3, how=how, rows=0.25)))[0]
    hit = [i for i in range(60) if (true[i].pixels != wrong[i].pixels).any()]
    assert 9 <= len(hit) <= 27
    for i in hit:
        rows = np.flatnonzero((true[i].pixels != wrong[i].pixels).any(axis=1))
        assert len(rows) == rows[-1] - rows[0] + 1 == 16
        expected = {"zeroed": np.zeros((16, 64)), "saturated": np.full((16, 64), 65535)}.get(
            how, true[i - 1].pixels[rows]
        )
        np.testing.assert_array_equal(wrong[i].pixels[rows], expected)
    assert [f.header for f in true] == [f.header for f in wrong]


def test_a_stalled_camera_ends_the_run_within_its_time_out_and_leaves_the_rig_safe() -> None:
    desk = Told(Faults(stalled_camera=StalledCamera(after_s=0.5)))
    end = desk.loop.run()
    assert (end.ok, end.rig_safe) == (False, True)
    assert "no frame for" in end.reason
    assert desk.clock.now_ns() < (0.5 + 1.0 + 0.2) * NS_PER_S
    assert len(desk.frames) == 25
    assert desk.microscope.lost_frames() == 0, "what nobody sees is not lost, the camera is"
    desk.microscope.close()


# --- stage and light ------------------------------------------------------------------------------------------------


def test_a_stuck_stage_fails_its_move_in_time_and_nothing_else() -> None:
    limits = Limits(x_um=(-100, 100), y_um=(-100, 100), move_s=0.5)
    desk = Told(Faults(stuck_stage=StuckStage(after_s=0.2)), limits)
    desk.loop.start()
    assert desk.outcome(MoveStage(x_um=10.0))[0] == "done"
    while desk.clock.now_ns() < 0.25 * NS_PER_S:
        desk.turns(1)
    n_frames = len(desk.frames)
    assert desk.outcome(MoveStage(x_um=20.0), turns=2000) == (
        "failed", "stopped: on its way for 0.5 s, limits.move_s allows 0.5",
    )  # fmt: skip
    assert desk.microscope.state().stage.x_um == 10.0
    assert len(desk.frames) - n_frames >= 20, "imaging goes on meanwhile"
    assert not desk.microscope.busy()
    desk.loop.finish()
    desk.microscope.close()


def test_a_slow_stage_sets_off_late_and_arrives() -> None:
    desk = Told(Faults(slow_stage=SlowStage(delay_s=0.3)))
    desk.loop.start()
    status, detail = desk.outcome(MoveStage(x_um=10.0), turns=2000)
    assert status == "done"
    assert "x 10.00" in detail
    stages = [frame.header.stage.x_um for frame in desk.frames]
    assert stages.count(0.0) >= 14
    assert desk.clock.now_ns() >= 0.3 * NS_PER_S
    desk.loop.finish()
    desk.microscope.close()


def test_a_slow_stage_that_is_made_safe_does_not_set_off_later() -> None:
    desk = Told(Faults(slow_stage=SlowStage(delay_s=0.3)))
    desk.loop.start()
    move = desk.ask(MoveStage(x_um=10.0))
    desk.turns(5)
    assert desk.outcome(SafeState(), trusted=True)[0] == "done"
    desk.clock.sleep_s(1.0)
    desk.turns(5)
    assert desk.outcomes[move][0] == "failed"
    assert desk.microscope.state().stage.x_um == 0.0
    desk.loop.finish()
    desk.microscope.close()


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


def test_a_real_core_has_faults_too() -> None:
    """Micro-Manager's demonstration camera: frames vanish, its light does not go off, and it can be closed all the same."""
    pytest.importorskip("mm_test_adapters", reason="needs the device adapters of the extra `demo`")
    from acquisition.micromanager.microscope import MicroManagerMicroscope

    core = MicroManagerMicroscope(
        config_file=str(HARDWARE_CONFIGS / "micromanager_demo.cfg"), shutter="Shutter", light="Light.Voltage"
    )
    faults = Faults(dropped_frames=DroppedFrames(share=0.5), light_stays_on=LightStaysOn(after_s=0.0))
    microscope, clock = FaultyMicroscope(core, faults), SystemClock()
    microscope.open(clock, Imaging(interval_ms=30.0, exposure_ms=5.0))
    try:
        microscope.start()
        last = next_frames(microscope, clock, 8)[-1].header.index
        assert microscope.lost_frames() >= last - 7 > 0
        with pytest.raises(MicroscopeError, match="the light was told to go off"):
            microscope.make_safe()
        assert microscope.state().shutter_open
        assert not core.state().shutter_open, "the fault is in the wrapper: the real light is off"
    finally:
        microscope.close()


# --- the clock ----------------------------------------------------------------------------------------------------


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


# --- truth --------------------------------------------------------------------------------------------------------


def test_the_truth_of_a_late_frame_is_its_own() -> None:
    faulty = with_faults(small(), Faults(late_frames=LateFrames(share=0.3, delay_ms=90.0)))
    plain = small()
    positions = []
    for microscope in (plain, faulty):
        clock = SimulatedClock()
        microscope.open(clock, IMAGING)
        microscope.start()
        told_by = teller(microscope)
        assert told_by is not None
        tables = []
        for _ in range(30):
            header = next_frames(microscope, clock, 1)[0].header
            tables.append(table_of(told_by.nuclei(), header))
        positions.append(np.concatenate([table["x_um"] for table in tables]))
        microscope.close()
    np.testing.assert_array_equal(*positions)


def test_who_does_not_know_the_truth_tells_none() -> None:
    blind = FaultyMicroscope(ReplayedMicroscope(path="nowhere.tif"), Faults())
    assert teller(blind) is None
    assert teller(small()) is not None
