"""The inference process is killed, stopped, stuck, or dies at every start: the rig is safe, and the run goes on or says why."""

import signal
from pathlib import Path

from acquisition.commands import MoveStage, PulseSorter
from realtime.wire import InferenceStarted, OutcomeReached
from tests.system.runs import CLOCK, Recorded, Run, ms_between, of_kind, simulated_config
from tests.system.witness import Entry

SAFE_MS, BACK_MS = 500.0, 5000.0  # what the requirements demand


def decided_after(run: Run, t_ns: int) -> bool:
    """A policy's decision that is based on a frame taken after `t_ns` was carried out."""
    outcomes = of_kind(OutcomeReached, run.told)
    return any(o.decision and o.exposed_ns > t_ns and o.outcome.status == "done" for o in outcomes)


def safe_after(run: Run, t_ns: int) -> Entry:
    """What the rig itself wrote down when it was next made safe."""
    return next(entry for entry in run.diary() if entry.what == "safe" and entry.t_ns > t_ns)


def test_killed_while_the_stage_moves_and_the_gate_is_open(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, microscope={"stage": {"speed_um_s": 20.0}})
    with Run(config, tmp_path / "session") as run:
        run.take_frames(10)
        move = run.order(MoveStage(x_um=150.0))
        run.order(PulseSorter(at_ns=CLOCK.now_ns() + 400_000_000, width_ms=8000.0))
        run.step_until(lambda: any(entry.gate_open for entry in run.diary()), "the gate is open")
        assert move not in run.outcomes(), "the stage has arrived already"
        killed_ns = run.signal("inference")
        run.step_until(lambda: decided_after(run, killed_ns), "inference decides again", BACK_MS / 1000)
        back_ms = ms_between(killed_ns, CLOCK.now_ns())
        result = run.finish()
        assert result.ok, result.reason
        safe, safe_outcome = safe_after(run, killed_ns), run.outcomes()["watch.1"]

    print(f"safe after {ms_between(killed_ns, safe.t_ns):.1f} ms, deciding again after {back_ms:.0f} ms")
    assert safe.is_safe
    assert ms_between(killed_ns, safe.t_ns) < SAFE_MS
    assert ms_between(killed_ns, safe_outcome.t_ns) < SAFE_MS
    assert back_ms < BACK_MS
    assert run.outcomes()[move].status == "failed"
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    assert "inference is lost (killed by SIGKILL): the rig is made safe until it is back" in recorded.notices()
    assert "inference is back" in recorded.notices()
    assert len(of_kind(InferenceStarted, recorded.messages)) == 2
    frames_after = [header for header in recorded.reader.headers() if header.t_ns > safe.t_ns]
    assert {header.stage for header in frames_after} == {safe.stage}, "the stage did not stand still"


def test_alive_but_silent(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, inference={"silence_ms": 400.0})
    with Run(config, tmp_path / "session") as run:
        run.take_frames(10)
        stopped_ns = run.signal("inference", signal.SIGSTOP)
        run.step_until(lambda: decided_after(run, stopped_ns), "inference decides again")
        result = run.finish()
        assert result.ok, result.reason
        safe = safe_after(run, stopped_ns)
    assert safe.is_safe
    assert ms_between(stopped_ns, safe.t_ns) < 400.0 + 100.0 + SAFE_MS  # silence, up to one heartbeat before it
    Recorded(run.folder).assert_whole()
    assert "no heartbeat" in run.notices()


def test_alive_but_stuck(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    segmenter = {"use": "tests.rogue_policies:StuckSegmenter", "while_there": str(trap)}
    config = simulated_config(tmp_path, segmenter=segmenter, inference={"stall_s": 0.5})
    with Run(config, tmp_path / "session") as run:
        run.take_frames(10)
        trap.touch()
        run.step_until(lambda: not trap.exists(), "inference is stuck")
        stuck_ns = CLOCK.now_ns()
        run.step_until(lambda: decided_after(run, stuck_ns), "inference decides again")
        result = run.finish()
        assert result.ok, result.reason
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    assert len(of_kind(InferenceStarted, recorded.messages)) == 2
    assert "inference is lost" in recorded.notices()


def test_killed_twice_in_a_row(tmp_path: Path) -> None:
    with Run(simulated_config(tmp_path), tmp_path / "session") as run:
        run.take_frames(5)
        run.signal("inference")
        first = run.pid("inference")
        run.step_until(lambda: run.pid("inference") != first, "it is started again")
        killed_ns = run.signal("inference")  # while it starts
        run.step_until(lambda: decided_after(run, killed_ns), "inference decides again")
        assert run.finish().ok
    Recorded(run.folder).assert_whole()


def test_dying_at_every_start_ends_the_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    segmenter = {"use": "tests.rogue_policies:DyingSegmenter", "while_there": str(trap)}
    config = simulated_config(tmp_path, segmenter=segmenter, inference={"restarts": 1})
    with Run(config, tmp_path / "session") as run:
        run.take_frames(10)
        trap.touch()
        result = run.to_the_end()
        assert run.diary()[-1].is_safe
    assert not result.ok
    assert "inference died 2 times" in result.reason
    assert "the weights are damaged" in result.reason
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    assert not recorded.end.ok
    assert "inference died 2 times" in recorded.end.reason


def test_dying_before_the_run_begins(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.touch()
    segmenter = {"use": "tests.rogue_policies:DyingSegmenter", "while_there": str(trap)}
    config = simulated_config(tmp_path, segmenter=segmenter, inference={"restarts": 0})
    with Run(config, tmp_path / "session") as run:
        result = run.to_the_end()
    assert not result.ok
    assert "inference died 1 times, the last time: RuntimeError: the weights are damaged" in result.reason
