"""Cells divide under real processes: the division is told, answered and obeyed while it is still news."""

from pathlib import Path

from acquisition.commands import SetInterval
from realtime.wire import FrameAnalysed, OutcomeReached
from tests.system.runs import Recorded, Run, Table, of_kind, simulated_config

FAST_MS = 30.0
PACE: Table = {
    "use": "pace", "events": ["divided"], "dwell_s": 0.2, "fast_interval_ms": FAST_MS, "slow_interval_ms": 40.0
}  # fmt: skip
DISH: Table = {"n_cells": 20, "time_factor": 120.0, "cycle_min": 20.0, "mitosis_min": 3.0, "speed_um_min": 0.2}
LATEST = 2


def test_a_division_is_answered_in_the_frame_that_tells_it(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, (PACE,), microscope=DISH)
    with Run(config, tmp_path / "session") as run:
        run.step_until(lambda: bool(faster(of_kind(OutcomeReached, run.told))), "a division was answered")
        result = run.finish()
    assert result.ok, result.reason
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    told = {
        analysed.frame_index: event
        for analysed in of_kind(FrameAnalysed, recorded.messages)
        for event in analysed.events
        if event.startswith("divided ")
    }
    assert all(int(event.rpartition("late=")[2]) <= LATEST for event in told.values())
    answered = faster(of_kind(OutcomeReached, recorded.messages))
    assert answered
    assert answered <= told.keys()


def faster(outcomes: list[OutcomeReached]) -> set[int]:
    """Frames that led to a faster rate, and it came."""
    return {
        outcome.decision.frame_index
        for outcome in outcomes
        if outcome.decision is not None
        and outcome.decision.command == SetInterval(FAST_MS)
        and outcome.outcome.status == "done"
    }
