"""Ctrl-C, SIGTERM and the loss of the supervisor: the run ends by itself, safe and written."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.system.runs import (
    CommandLine,
    Recorded,
    assert_nothing_of,
    frames_on_disk,
    simulated_config,
    wait_until_gone,
)
from tests.system.witness import read_diary


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_is_ended_in_order(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "session"
    with CommandLine("run", simulated_config(tmp_path), "--out", folder) as command:
        command.wait_until(lambda: frames_on_disk(folder) >= 20, "frames are recorded")
        family = command.family()
        command.interrupt(number)
        status, out, err = command.end()
        wait_until_gone(family, 1.0)
    assert status == 0, err
    assert "Traceback" not in out + err
    assert f"session: {folder}" in out
    recorded = Recorded(folder)
    recorded.assert_whole()
    assert recorded.end.ok
    assert len(recorded.indices) >= 20
    summary = msgspec.json.decode((folder / "summary.json").read_bytes())
    assert summary["ok"] is True
    assert summary["frames_readable"] == len(recorded.indices)
    (*_, last) = read_diary(tmp_path / "diary.jsonl")
    assert last.is_safe


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "the rig's process starts": lambda folder: (folder / "session" / "logs" / "acquisition.log").exists(),
    "the rig is open": lambda folder: (folder / "diary.jsonl").exists(),
    "the recorder starts": lambda folder: (folder / "session" / "logs" / "recorder.log").exists(),
    "inference starts": lambda folder: (folder / "session" / "logs" / "inference.log").exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_is_ended_before_it_has_begun(tmp_path: Path, moment: str) -> None:
    with CommandLine("run", simulated_config(tmp_path), "--out", tmp_path / "session") as command:
        command.wait_until(lambda: MOMENTS[moment](tmp_path), moment)
        family = command.family()
        command.interrupt()
        status, out, err = command.end(10.0)
        wait_until_gone(family, 1.0)
    assert status == 1
    assert re.fullmatch("error: stopped .*before .* began.*\n", err)
    assert "Traceback" not in out
    if (tmp_path / "diary.jsonl").exists():
        (*_, last) = read_diary(tmp_path / "diary.jsonl")
        assert last.is_safe


def test_the_supervisor_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    with CommandLine("run", simulated_config(tmp_path), "--out", folder) as command:
        command.wait_until(lambda: frames_on_disk(folder) >= 20, "frames are recorded")
        children = command.family()[1:]
        assert len(children) == 3
        command.process.kill()
        wait_until_gone(children, 5.0)
    (*_, last) = read_diary(tmp_path / "diary.jsonl")
    assert last.what == "safe"
    assert last.is_safe
    recorded = Recorded(folder)
    recorded.assert_whole()
    assert recorded.end.reason == "the supervisor is gone"
    assert not recorded.end.ok
    assert (folder / "summary.json").exists()
    assert_nothing_of(recorded.end.run)


def test_supervisor_and_acquisition_are_killed_together(tmp_path: Path) -> None:
    """As by the system when memory runs out: nobody is left to clean up but the next one to come."""
    folder = tmp_path / "session"
    with CommandLine("run", simulated_config(tmp_path), "--out", folder) as command:
        command.wait_until(lambda: frames_on_disk(folder) >= 20, "frames are recorded")
        children = command.family()[1:]
        (rig, *_) = read_diary(tmp_path / "diary.jsonl")
        command.process.kill()
        psutil.Process(rig.pid).kill()
        wait_until_gone(children, 10.0)
    recorded = Recorded(folder)
    assert recorded.indices == list(range(len(recorded.indices)))
    assert recorded.n_with_pixels() == len(recorded.indices)
    run = recorded.reader.run
    with CommandLine("doctor") as command:
        assert command.end()[0] == 0
    assert_nothing_of(run)  # the doctor, or another run on this machine that began meanwhile, has removed it
    with CommandLine("safe", tmp_path / "rig.toml") as command:
        assert command.end()[0] == 0
