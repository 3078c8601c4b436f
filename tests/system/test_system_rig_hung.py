"""The acquisition process lives, but its driver does not: somebody else has to make the rig safe."""

from pathlib import Path

from acquisition.commands import SafeState
from tests.system.runs import CLOCK, Recorded, Run, simulated_config

SAFE_NOW = "a fresh process made the rig safe: shutter closed, gate closed"


def rogue(how: str) -> dict[str, object]:
    return {"use": "tests.rogue_microscopes:Rogue", "how": how}


def test_a_driver_that_hangs_is_noticed_and_the_rig_made_safe(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, microscope=rogue("hang"), rig={"silent_s": 2.0})
    with Run(config, tmp_path / "session") as run:
        result = run.to_the_end()
    assert not result.ok
    assert "gave no sign of life" in result.reason
    assert SAFE_NOW in result.reason
    assert run.diary()[-1].is_safe
    recorded = Recorded(run.folder)
    assert recorded.indices == list(range(len(recorded.indices)))
    assert len(recorded.indices) == 10


def test_leaving_a_run_in_the_middle_still_makes_the_rig_safe(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, microscope=rogue("hang"), rig={"silent_s": 1000.0})
    with Run(config, tmp_path / "session") as run:
        run.take_frames(5)
        run.supervisor.children["acquisition"].process.kill()
    assert run.diary()[-1].is_safe
    assert run.diary()[-1].pid != run.pid("acquisition")


def test_a_bug_in_a_driver_ends_the_run_at_once_with_everything_kept(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, microscope=rogue("bug"))
    with Run(config, tmp_path / "session") as run:
        started_ns = CLOCK.now_ns()
        result = run.to_the_end()
    assert CLOCK.now_ns() - started_ns < 12 * 10**9
    assert not result.ok
    assert "TypeError: the driver forgot an argument" in result.reason
    assert "TypeError" in (run.folder / "logs" / "acquisition.log").read_text(), "with its traceback"
    assert run.diary()[-1].is_safe
    assert "TypeError" in Recorded(run.folder).end.reason


def test_a_rig_that_will_not_be_safe_is_never_called_safe(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, microscope=rogue("unsafe"))
    with Run(config, tmp_path / "session") as run:
        run.take_frames(5)
        result = run.finish()
    assert not result.ok
    assert "the shutter does not answer" in result.reason
    assert SAFE_NOW in result.reason, "the fresh process could"


def test_a_person_who_makes_the_rig_safe_is_not_overruled(tmp_path: Path) -> None:
    with Run(simulated_config(tmp_path), tmp_path / "session") as run:
        run.take_frames(5)
        run.signal("inference")
        run.step_until(lambda: run.figure("inference_lost") == 1.0, "the loss is noticed")
        order = run.order(SafeState())
        run.step_until(lambda: order in run.outcomes(), "the person's order has its outcome")
        run.step_until(lambda: run.figure("inference_lost") == 0.0, "inference is back")
        frames = run.status.frames if run.status else 0
        until_ns = CLOCK.now_ns() + 10**9
        run.step_until(lambda: CLOCK.now_ns() > until_ns, "a second has passed")
        assert run.status is not None
        assert (run.status.state, run.status.frames) == ("safe", frames)
        assert run.finish().ok
