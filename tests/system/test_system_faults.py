"""Faults by name in real processes: what a person who runs `reflexscope run CONFIG --fault …` sees of each."""

import json
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.session.tables import read_parts
from realtime.wire import InferenceStarted, OutcomeReached
from tests.system.runs import CLOCK, CommandLine, Recorded, Run, of_kind, simulated_config

MS = 1e6


def summary(folder: Path) -> dict[str, Any]:
    account: dict[str, Any] = json.loads((folder / "summary.json").read_text("utf-8"))
    return account


def test_inference_that_is_killed_and_slow_is_started_anew_and_no_stale_decision_acts(tmp_path: Path) -> None:
    """And the truth of every frame lies beside the images."""
    faults = {"killed_inference": {"at_frame": 15}, "slow_inference": {"delay_ms": 150.0}}
    config = simulated_config(tmp_path, faults=faults, inference={"deadline_ms": 100.0})
    with Run(config, tmp_path / "session") as run:
        run.step_until(lambda: "inference is back" in run.notices(), "a fresh process decides")
        run.take_frames(25)
        result = run.finish()
    assert result.ok, result.reason
    recorded, account = Recorded(run.folder), summary(run.folder)
    recorded.assert_whole()
    assert "inference is lost (killed by SIGKILL)" in recorded.notices()
    assert len(of_kind(InferenceStarted, recorded.messages)) == 2, "once, and not again by the same fault"
    assert account["faults"] == "slow_inference (delay_ms = 150); killed_inference (at_frame = 15)"
    assert account["frames_skipped_by_inference"] > account["frames_recorded"] / 2
    outcomes = [outcome for outcome in of_kind(OutcomeReached, recorded.messages) if outcome.decision is not None]
    assert outcomes
    assert {outcome.outcome.status for outcome in outcomes} <= {"late", "refused"}
    columns = read_parts(run.folder / "truth" / "cells.parquet")
    assert np.unique(columns["frame_index"]).tolist() == recorded.indices
    assert isinstance(json.loads((run.folder / "truth" / "events.json").read_text("utf-8")), list)


def test_a_full_disk_ends_the_run_with_every_frame_kept(tmp_path: Path) -> None:
    config = simulated_config(
        tmp_path, faults={"full_disk": {"after_mb": 3.0}}, recorder={"min_free_gb": 0.001},
    )  # fmt: skip
    with Run(config, tmp_path / "session") as run:
        result = run.to_the_end()
        (*_, last) = run.diary()
    assert not result.ok
    assert result.reason.count("0.001 GB (recorder.min_free_gb) must stay free") == 1
    assert last.is_safe
    Recorded(run.folder).assert_whole()


def test_a_slow_disk_fills_the_ring_and_the_run_says_so(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, faults={"slow_disk": {"delay_ms": 400.0}}, ring={"megabytes": 0.2})
    with Run(config, tmp_path / "session") as run:
        result = run.to_the_end()
        (*_, last) = run.diary()
    assert not result.ok
    assert "the ring is full" in result.reason
    assert "use a faster disk" in result.reason
    assert last.is_safe
    recorded = Recorded(run.folder)
    assert recorded.n_with_pixels() == len(recorded.indices) > 0


def test_light_that_stays_on_is_told_and_the_command_fails(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, faults={"light_stays_on": {"after_s": 0.2}})
    with CommandLine("run", config, "--duration", 1, "--out", tmp_path / "session") as command:
        status, out, err = command.end()
    assert status == 1
    assert "the rig could not be made safe: the light was told to go off and reads back 1 mW" in err
    assert "a fresh process could NOT make the rig safe" in err
    assert "switch the light and the sorter off by hand" in err
    assert err.count("the light was told to go off") == 1
    assert "Traceback" not in out + err
    recorded = Recorded(tmp_path / "session")
    recorded.assert_whole()
    assert not recorded.end.ok


def test_a_clock_that_jumps_loses_nobody(tmp_path: Path) -> None:
    """By more than a heartbeat may be silent: all processes see it, and none takes the others for dead."""
    config = simulated_config(tmp_path, faults={"clock_jump": {"after_s": 8.0, "jump_s": 3.0}})
    with Run(config, tmp_path / "session") as run:
        run.take_frames(3)
        if (
            CLOCK.now_ns()
            > tomllib.loads((run.folder / "session.toml").read_text("utf-8"))["session"]["started_ns"] + 7.9e9
        ):
            pytest.skip("this machine took so long to start that the clock jumped before imaging began")
        run.step_until(lambda: "nothing was done for" in run.notices(), "the clock has jumped")
        run.take_frames(10)
        result = run.finish()
    assert result.ok, result.reason
    recorded = Recorded(run.folder)
    times_ns = [header.t_ns for header in recorded.reader.headers()]
    steps_ms = [(b - a) / MS for a, b in pairwise(times_ns)]
    assert min(steps_ms) > 0
    assert "lost" not in recorded.notices()
    assert summary(run.folder)["inference_restarts"] == 0
    deadline_ms = 1000.0
    for outcome in of_kind(OutcomeReached, recorded.messages):
        if outcome.decision is not None and outcome.outcome.status == "done":
            assert (outcome.ends_ns[2] - outcome.exposed_ns) / MS <= deadline_ms
