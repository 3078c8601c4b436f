"""The recorder is killed, stopped, or too slow: the run stops with a clear error and loses nothing it has counted."""

import signal
from pathlib import Path

from realtime.session.summary import summarise
from tests.system.runs import Recorded, Run, Table, ms_between, simulated_config


def test_killed(tmp_path: Path) -> None:
    with Run(simulated_config(tmp_path), tmp_path / "session") as run:
        run.take_frames(40)
        killed_ns = run.signal("recorder")
        result = run.to_the_end()
        (*_, last) = run.diary()
    assert not result.ok
    assert "the recorder is lost (killed by SIGKILL): frames can no longer be kept" in result.reason
    assert last.what == "safe"
    assert last.is_safe
    safe = next(entry for entry in run.diary() if entry.what == "safe" and entry.t_ns > killed_ns)
    assert ms_between(killed_ns, safe.t_ns) < 500.0

    recorded = Recorded(run.folder)
    n = recorded.n_with_pixels()
    assert n >= 20, "what was taken more than half a second before the kill must be there"
    assert recorded.indices == list(range(len(recorded.indices)))
    assert summarise(run.folder)["frames_readable"] == n


def test_silent(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, inference={"silence_ms": 400.0})
    with Run(config, tmp_path / "session") as run:
        run.take_frames(10)
        stopped_ns = run.signal("recorder", signal.SIGSTOP)
        run.step_until(
            lambda: any(entry.what == "safe" and entry.t_ns > stopped_ns for entry in run.diary()), "the rig is safe"
        )
        run.signal("recorder", signal.SIGCONT)
        result = run.to_the_end()
    assert not result.ok
    assert "the recorder is lost (no heartbeat for" in result.reason
    assert Recorded(run.folder).n_with_pixels() >= 10


SLOW: dict[str, Table] = {
    "inference": {"silence_ms": 20_000.0},
    "ring": {"megabytes": 0.66},
    "imaging": {"interval_ms": 20.0},
}
"""Twenty frames of slack."""


def test_too_slow_and_told_to_stop(tmp_path: Path) -> None:
    with Run(simulated_config(tmp_path, **SLOW), tmp_path / "session") as run:
        run.take_frames(10)
        run.signal("recorder", signal.SIGSTOP)
        run.step_until(lambda: run.diary()[-1].what == "safe", "the run stops")
        run.signal("recorder", signal.SIGCONT)
        result = run.to_the_end()
    assert not result.ok
    assert "the recorder is 20 frames behind and the ring is full" in result.reason
    assert "ring.megabytes" in result.reason
    Recorded(run.folder).assert_whole()


def test_too_slow_and_told_to_drop(tmp_path: Path) -> None:
    slow = SLOW | {"ring": SLOW["ring"] | {"when_full": "drop"}}
    with Run(simulated_config(tmp_path, **slow), tmp_path / "session") as run:
        run.take_frames(10)
        run.signal("recorder", signal.SIGSTOP)
        run.step_until(lambda: run.figure("frames_dropped") >= 10, "frames are dropped")
        run.signal("recorder", signal.SIGCONT)
        run.step_until(lambda: run.figure("ring_fill") < 0.5, "the recorder catches up")
        run.take_frames(10)
        result = run.finish()
    assert result.ok, result.reason
    recorded = Recorded(run.folder)
    dropped = recorded.end.figures["frames_dropped"]
    assert recorded.n_with_pixels() == len(recorded.indices)
    assert recorded.end.figures["frames_lost_by_camera"] == 0
    missing = set(range(recorded.indices[-1] + 1)) - set(recorded.indices)
    assert len(missing) == dropped >= 10
