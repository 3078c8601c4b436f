"""What the loop makes of a faulty rig: every fault of a microscope by name, on the simulated one in simulated time."""

from typing import Any

import numpy as np
import pytest

from acquisition.clock import NS_PER_MS, NS_PER_S, SimulatedClock
from acquisition.commands import MoveStage, SafeState
from acquisition.faults import (
    FAULT_NAMES,
    MICROSCOPE_FAULTS,
    ClockJump,
    CorruptFrames,
    DroppedFrames,
    DuplicatedFrames,
    Faults,
    LateFrames,
    SlowStage,
    StalledCamera,
    StuckStage,
)
from acquisition.faulty_microscope import FaultyMicroscope, with_faults
from acquisition.limits import Limits
from acquisition.microscope import Imaging
from acquisition.replayed.microscope import ReplayedMicroscope
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.truth import table_of, teller
from tests.polling import next_frames
from tests.test_acquisition_loop import LIMITS, Desk

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


# --- stage ------------------------------------------------------------------------------------------------


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
