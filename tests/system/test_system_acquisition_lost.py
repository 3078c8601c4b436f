"""The acquisition process is gone: a fresh process opens the rig only to make it safe, and all else is kept."""

import os
import signal
from pathlib import Path

import msgspec

from acquisition.commands import SetChannel
from tests.system.runs import (
    CommandLine,
    Recorded,
    Run,
    assert_nothing_of,
    demo_camera_config,
    frames_on_disk,
    simulated_config,
)
from tests.system.witness import read_diary

SAFE_NOW = "a fresh process made the rig safe: shutter closed, gate closed"


def assert_kept(recorded: Recorded) -> None:
    """What a run that was cut off leaves: a journal without holes, readable frames, and the reason."""
    assert recorded.indices == list(range(len(recorded.indices)))
    assert recorded.n_with_pixels() == len(recorded.indices)
    assert not recorded.end.ok
    summary = msgspec.json.decode((recorded.folder / "summary.json").read_bytes())
    assert summary["ok"] is False
    assert summary["end"] == recorded.end.reason
    assert summary["frames_recorded"] == len(recorded.indices)


def test_killed(tmp_path: Path) -> None:
    config = simulated_config(tmp_path)
    with Run(config, tmp_path / "session") as run:
        run.take_frames(20)
        killed, name = run.pid("acquisition"), run.supervisor.run
        run.signal("acquisition")
        result = run.to_the_end()
    assert not result.ok
    assert "the acquisition process died (killed by SIGKILL)" in result.reason
    assert SAFE_NOW in result.reason
    fresh = [entry for entry in run.diary() if entry.pid != killed]
    assert [entry.what for entry in fresh] == ["open", "safe", "safe"], "it was opened only to make it safe"
    assert all(entry.is_safe for entry in fresh)
    assert len(Recorded(run.folder).indices) >= 20
    assert_kept(Recorded(run.folder))
    assert_nothing_of(name)

    with Run(config, tmp_path / "next") as run:  # the rig is free again
        run.take_frames(3)
        assert run.finish().ok


def test_killed_while_it_drives_a_real_core(tmp_path: Path) -> None:
    config = demo_camera_config(tmp_path)
    with Run(config, tmp_path / "session") as run:
        run.take_frames(20)
        run.signal("acquisition")
        result = run.to_the_end()
    assert not result.ok
    assert SAFE_NOW in result.reason
    assert_kept(Recorded(run.folder))
    with Run(config, tmp_path / "next") as run:
        run.take_frames(3)
        assert run.finish().ok


def test_a_driver_crashes(tmp_path: Path) -> None:
    """DemoCamera takes the whole process with it, as a real driver would."""
    config = demo_camera_config(tmp_path, ["Crash,Camera,SimulateCrash,Dereference Null Pointer"])
    with Run(config, tmp_path / "session") as run:
        run.take_frames(20)
        run.order(SetChannel("Crash"))
        result = run.to_the_end()
    assert not result.ok
    assert "the acquisition process died (killed by SIGSEGV)" in result.reason
    assert SAFE_NOW in result.reason
    assert len(Recorded(run.folder).indices) >= 20
    assert_kept(Recorded(run.folder))


def test_the_command_says_so_and_exits_non_zero(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    with CommandLine("run", simulated_config(tmp_path), "--out", folder) as command:
        command.wait_until(lambda: frames_on_disk(folder) > 5, "frames are recorded")
        (rig, *_) = read_diary(tmp_path / "diary.jsonl")
        os.kill(rig.pid, signal.SIGKILL)
        status, out, err = command.end()
    assert status == 1
    assert "killed by SIGKILL" in err
    assert SAFE_NOW in err
    assert "Traceback" not in out + err
    assert_kept(Recorded(folder))


def test_the_safe_command(tmp_path: Path) -> None:
    config = demo_camera_config(tmp_path)
    with CommandLine("safe", config) as command:
        status, out, _ = command.end()
    assert status == 0
    assert "shutter closed, gate closed" in out


def test_the_safe_command_leaves_a_rig_alone_that_a_run_holds(tmp_path: Path) -> None:
    config = demo_camera_config(tmp_path)
    with Run(config, tmp_path / "session") as run:
        run.take_frames(3)
        with CommandLine("safe", config) as command:
            status, _, err = command.end()
        run.take_frames(3)
        assert run.finish().ok
    assert status == 2
    assert f"is in use by run {run.supervisor.run}" in err
    assert "Traceback" not in err
    Recorded(run.folder).assert_whole()
