"""Faults in a whole run: asked for by name, told in journal and summary, and what inference, disk and clock make of them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_config import write_tiny

from acquisition.clock import NS_PER_S
from acquisition.desk import RunEnd
from realtime.config import load_config
from realtime.faults import fault_overrides
from realtime.inline import inline_run
from realtime.plugins import ConfigError
from realtime.processes.watch import Watch
from realtime.replay import replay
from realtime.session.header import session_toml
from realtime.session.reader import SessionReader
from realtime.wire import FrameAnalysed, FrameReady, Heartbeat, Notice, OutcomeReached

Runner = Callable[..., RunEnd]


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """A tiny inline run with faults, recorded in `tmp_path / "session"`."""

    def run_with(*faults: str, duration_s: float = 5.0, sets: tuple[str, ...] = ()) -> RunEnd:
        config = load_config(write_tiny(tmp_path), [*fault_overrides(faults), *sets])
        with inline_run(config, "run", tmp_path / "session", session_toml("run", config), duration_s) as inline:
            return inline.image()

    return run_with


def messages(folder: Path, kind: type) -> list[Any]:
    return [message for message in SessionReader(folder / "session").records() if isinstance(message, kind)]


def summary(folder: Path) -> dict[str, Any]:
    account: dict[str, Any] = json.loads((folder / "session" / "summary.json").read_text("utf-8"))
    return account


# --- by name ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "stuck_stag",
            "--fault stuck_stag: there is no such fault (did you mean stuck_stage?); there are dropped_frames,",
        ),
        ("stuck_stage=3", "--fault stuck_stage=3: write a fault's name alone, or name.key=value"),
        ("dropped_frames.shar=0.2", "faults.dropped_frames.shar is not a setting (did you mean share?)"),
        ("dropped_frames.share=2", "faults.dropped_frames.share must be a number ≥ 0 and ≤ 1, not 2"),
    ],
)
def test_a_fault_that_does_not_exist_is_refused(tmp_path: Path, word: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write_tiny(tmp_path), fault_overrides([word]))
    assert said in str(error.value)


def test_a_misspelt_fault_in_a_file_is_refused(tmp_path: Path) -> None:
    path = write_tiny(tmp_path)
    path.write_text(path.read_text("utf-8") + "\n[faults]\nstaled_camera = {}\n", "utf-8")
    with pytest.raises(ConfigError, match=r"faults\.staled_camera is not a setting \(did you mean stalled_camera\?\)"):
        load_config(path)


def test_names_and_values_can_be_given_in_any_order(tmp_path: Path) -> None:
    words = ["late_frames.delay_ms=30", "stuck_stage", "late_frames", "late_frames.share=0.5"]
    faults = load_config(write_tiny(tmp_path), fault_overrides(words)).faults
    assert faults.words() == ["late_frames (share = 0.5, delay_ms = 30)", "stuck_stage (after_s = 5)"]


def test_a_run_with_faults_says_so_and_one_without_does_not(run: Runner, tmp_path: Path) -> None:
    run("dropped_frames.share=0.2", "slow_stage", duration_s=1.0)
    told = [notice for notice in messages(tmp_path, Notice) if notice.source == "faults"]
    assert [notice.level for notice in told] == ["warning", "warning"]
    assert told[0].text == "made to happen on purpose: dropped_frames (share = 0.2)"
    assert summary(tmp_path)["faults"] == "dropped_frames (share = 0.2); slow_stage (delay_s = 0.5)"


def test_a_run_without_faults_does_not_speak_of_them(run: Runner, tmp_path: Path) -> None:
    run(duration_s=1.0)
    assert "faults" not in summary(tmp_path)
    assert not [notice for notice in messages(tmp_path, Notice) if notice.source == "faults"]


def test_a_killed_process_means_nothing_without_processes(run: Runner) -> None:
    with pytest.raises(ConfigError, match="a run with --inline has none"):
        run("killed_inference")


# --- frames -------------------------------------------------------------------------------------------------------


def test_frames_that_come_twice_are_recorded_and_looked_at_once(run: Runner, tmp_path: Path) -> None:
    assert run("duplicated_frames.share=0.3").ok
    indices = [message.header.index for message in messages(tmp_path, FrameReady)]
    assert indices == list(range(len(indices)))
    account = summary(tmp_path)
    assert account["figures"]["frames_repeated_by_camera"] == pytest.approx(0.3 * len(indices), rel=0.5)
    assert account["frames_analysed"] == account["frames_recorded"] == len(indices)


def test_gaps_are_counted_as_the_camera_s(run: Runner, tmp_path: Path) -> None:
    assert run("dropped_frames.share=0.3").ok
    indices = [message.header.index for message in messages(tmp_path, FrameReady)]
    account = summary(tmp_path)
    assert account["frames_lost_by_camera"] >= indices[-1] + 1 - len(indices) > 10
    assert replay(tmp_path / "session").first_difference is None


def test_late_frames_bring_late_decisions_and_none_of_them_acts(run: Runner, tmp_path: Path) -> None:
    assert run("late_frames.delay_ms=300", "late_frames.share=0.5").ok
    outcomes = messages(tmp_path, OutcomeReached)
    assert "late" in {message.outcome.status for message in outcomes}
    for message in outcomes:
        age_ms = (message.ends_ns[2] - message.exposed_ns) / 1e6  # when it was checked
        assert message.outcome.status != "done" or age_ms <= 200


@pytest.mark.parametrize("how", ["torn", "zeroed"])
def test_identities_outlive_corrupt_frames(run: Runner, tmp_path: Path, how: str) -> None:
    """Cells in the wrong rows are missed or misplaced for a frame; the tracker waits for them."""
    assert run("corrupt_frames.share=0.05", f"corrupt_frames.how={how}", sets=("microscope.cycle_min=1e6",)).ok
    analysed = messages(tmp_path, FrameAnalysed)
    seen = [message.n_cells for message in analysed]
    assert min(seen[5:]) < np.median(seen), "some frames really hide cells"
    divided = [event for message in analysed for event in message.events if event.startswith("divided")]
    assert not divided
    assert replay(tmp_path / "session").first_difference is None


@pytest.mark.parametrize(
    ("how", "rows", "silent"), [("saturated", 1.0, ("pace", "trigger")), ("zeroed", 1.0, ("pace", "trigger")),
                                ("saturated", 0.25, ("trigger",))],
)  # fmt: skip
def test_a_frame_of_nothing_but_light_or_dark_makes_no_policy_fire(
    run: Runner, tmp_path: Path, how: str, rows: float, silent: tuple[str, ...]
) -> None:
    """No cell is mitotic here. A bright band is taken for one cell: `pace` looks closer, the sorter wants several looks."""
    faults = ("corrupt_frames.share=0.1", f"corrupt_frames.how={how}", f"corrupt_frames.rows={rows}")
    assert run(*faults, sets=("microscope.cycle_min=1e6", "microscope.seed=4")).ok
    assert min(message.n_cells for message in messages(tmp_path, FrameAnalysed)) <= 1, "some frames really are hit"
    fired = {message.decision.policy for message in messages(tmp_path, OutcomeReached) if message.decision}
    assert not fired & set(silent)


def test_a_stalled_camera_ends_the_run(run: Runner, tmp_path: Path) -> None:
    end = run("stalled_camera.after_s=1", duration_s=60.0, sets=("imaging.stall_s=1",))
    assert not end.ok
    assert "no frame for" in end.reason
    account = summary(tmp_path)
    assert 10 <= account["frames_recorded"] <= 21
    assert account["dose_mj"] == account["light"]["total_mj"] == account["figures"]["dose_mj"], (
        "after the last frame, too"
    )


def test_light_that_stays_on_ends_the_run_as_unsafe(run: Runner, tmp_path: Path) -> None:
    end = run("light_stays_on.after_s=0.5", duration_s=2.0)
    assert (end.ok, end.rig_safe) == (False, False)
    account = summary(tmp_path)
    assert "switch it off by hand" in account["end"]
    assert account["dose_mj"] == account["light"]["total_mj"] == account["figures"]["dose_mj"] > 1.4, "1 mW for 1.5 s"


def test_light_that_stays_on_spends_the_budget_of_the_run(run: Runner, tmp_path: Path) -> None:
    end = run("light_stays_on.after_s=1", duration_s=60.0, sets=("limits.dose_mj=2",))
    assert (end.ok, end.rig_safe) == (False, False)
    assert end.reason.startswith("the light budget is spent")
    account = summary(tmp_path)
    assert account["dose_mj"] == pytest.approx(2.0, rel=0.05)
    assert account["duration_s"] < 4.0


# --- inference, disk, clock ---------------------------------------------------------------------------------------


def test_slow_inference_makes_decisions_late_and_never_stale(run: Runner, tmp_path: Path) -> None:
    assert run("slow_inference.delay_ms=250").ok
    statuses = {message.outcome.status for message in messages(tmp_path, OutcomeReached)}
    assert "late" in statuses
    assert "done" not in statuses, "every decision is 250 ms old, and 200 are allowed"
    assert summary(tmp_path)["latency"]["inferred"]["p50_ms"] == pytest.approx(250.0, rel=0.1)


def test_a_full_disk_ends_the_run_within_its_reserve(run: Runner, tmp_path: Path) -> None:
    end = run("full_disk.after_mb=1", duration_s=60.0, sets=("recorder.min_free_gb=0.0005",))  # 33 kB a frame
    assert not end.ok
    assert "0.0005 GB (recorder.min_free_gb) must stay free" in end.reason
    assert end.reason.endswith("(fault full_disk)")
    account = summary(tmp_path)
    assert account["frames_readable"] == account["frames_recorded"] >= 1_000_000 // (128 * 128 * 2)


def test_a_run_begins_on_a_disk_that_is_going_to_fill_up(run: Runner, tmp_path: Path) -> None:
    end = run("full_disk.after_mb=0.5", duration_s=60.0, sets=("recorder.min_free_gb=1",))
    assert not end.ok
    free_gb = float(re.findall(r": ([0-9.]+) GB free, but 1 GB", end.reason)[0])
    assert 0.99 < free_gb < 1
    assert summary(tmp_path)["frames_recorded"] >= 15


def test_a_full_disk_without_a_reserve_keeps_what_fitted(run: Runner, tmp_path: Path) -> None:
    end = run("full_disk.after_mb=0.5", duration_s=60.0)
    assert not end.ok
    assert ": 0 GB free, the disk is full; make room" in end.reason
    assert end.reason.endswith("(fault full_disk)")
    account = summary(tmp_path)
    assert account["frames_readable"] == account["frames_recorded"] == 15


def test_a_slow_disk_costs_frames_that_are_counted(run: Runner, tmp_path: Path) -> None:
    """Inline nobody takes frames while the disk is waited for: the camera's buffer runs over."""
    assert run("slow_disk.delay_ms=400").ok
    account = summary(tmp_path)
    assert account["frames_lost_by_camera"] > 10
    assert account["frames_readable"] == account["frames_recorded"] >= 10


def test_a_clock_that_jumps_costs_time_and_nothing_else(run: Runner, tmp_path: Path) -> None:
    end = run("clock_jump.after_s=2", "clock_jump.jump_s=3", duration_s=8.0)
    assert end.ok
    headers = [message.header for message in messages(tmp_path, FrameReady)]
    steps_s = np.diff([header.t_ns for header in headers]) / NS_PER_S
    assert steps_s.min() > 0
    assert headers[-1].t_ns > 7.8 * NS_PER_S
    assert "nothing was done for" in " ".join(notice.text for notice in messages(tmp_path, Notice))
    for message in messages(tmp_path, OutcomeReached):
        assert message.outcome.status != "done" or message.ends_ns[2] - message.exposed_ns <= 0.2 * NS_PER_S
    assert replay(tmp_path / "session").first_difference is None


def beat(role: str) -> Heartbeat:
    return Heartbeat(run="run", role=role, pid=1, progress=0)


def test_others_are_not_lost_because_nobody_listened_to_them() -> None:
    watch, s = Watch(silence_ms=1000.0), NS_PER_S
    watch.arrive("recorder", 0)
    assert not list(watch.silent(s // 10))
    assert not list(watch.silent(5 * s)), "it was this process that was away"
    watch.hear("recorder", beat("recorder"), 0, 5 * s + s // 10)
    for tenth in range(51, 61):
        assert not list(watch.silent(tenth * s // 10))
    for tenth in range(61, 64):
        silent = list(watch.silent(tenth * s // 10))
    assert silent, "and it still finds out who says nothing"
