"""A camera that stops delivering is reported within imaging.stall_s, the rig is safe and the command fails."""

from pathlib import Path

from acquisition.commands import SetChannel
from tests.system.runs import (
    CLOCK,
    CommandLine,
    Recorded,
    Run,
    demo_camera_config,
    ms_between,
    simulated_config,
)

STALL_S = 0.5
SLACK_MS = 500.0
"""The loop's own pace, making the rig safe, and a busy machine."""


def test_the_simulated_camera_stalls(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, imaging={"stall_s": STALL_S}, faults={"stalled_camera": {"after_s": 1.2}})
    with Run(config, tmp_path / "session") as run:
        result = run.to_the_end()
        (*_, last) = run.diary()
    assert not result.ok
    assert "no frame for" in result.reason
    assert "imaging.stall_s allows 0.5 s more" in result.reason
    assert last.is_safe
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    assert 20 <= len(recorded.indices) <= 31, "one each 40 ms, until it stalled after 1.2 s"
    (*_, header) = recorded.reader.headers()
    safe = next(entry for entry in run.diary() if entry.what == "safe" and entry.t_ns > header.t_ns)
    silent_ms = ms_between(header.t_ns, safe.t_ns)
    assert silent_ms < STALL_S * 1000 + header.interval_ms + header.exposure_ms + SLACK_MS


def test_the_command_says_so_and_exits_non_zero(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, imaging={"stall_s": STALL_S}, faults={"stalled_camera": {"after_s": 0.2}})
    with CommandLine("run", config, "--out", tmp_path / "session") as command:
        status, out, err = command.end()
    assert status == 1
    assert "simulated microscope: no frame for" in err
    assert "check the camera's cable, trigger mode and driver" in err
    assert "Traceback" not in out + err
    Recorded(tmp_path / "session").assert_whole()


def test_a_real_camera_hangs_in_its_driver(tmp_path: Path) -> None:
    """DemoCamera reads out for a minute: no call of the core returns, so only a fresh process can make the rig safe."""
    config = demo_camera_config(
        tmp_path, ["Hang,Camera,ReadoutTime,60000"],
        microscope={"mode": "snap", "call_timeout_s": 1.0}, imaging={"stall_s": STALL_S},
    )  # fmt: skip
    with Run(config, tmp_path / "session") as run:
        run.take_frames(10)
        switch = run.order(SetChannel("Hang"))
        run.step_until(lambda: switch in run.outcomes(), "the channel is switched")
        run.step_until(lambda: "no frame for" in run.notices(), "it is reported")
        reported_ms = ms_between(run.outcomes()[switch].t_ns, CLOCK.now_ns())
        result = run.to_the_end()
    print(f"reported after {reported_ms:.0f} ms")
    assert reported_ms < 40.0 + 5.0 + STALL_S * 1000 + SLACK_MS
    assert not result.ok
    assert "no frame for" in result.reason
    assert "the rig could not be made safe" in result.reason
    assert "a fresh process made the rig safe: shutter closed, gate closed" in result.reason
    recorded = Recorded(run.folder)
    assert recorded.indices == list(range(len(recorded.indices)))
    assert recorded.n_with_pixels() == len(recorded.indices)
