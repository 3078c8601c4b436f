"""Two runs cannot have the same rig or the same folder: the second is told who has it, in one line."""

from pathlib import Path

from tests.system.runs import CommandLine, Recorded, Run, demo_camera_config, simulated_config


def one_line(text: str) -> str:
    """The only thing that a user's mistake is answered with."""
    (line,) = text.strip().splitlines()
    return line


def test_on_the_same_rig(tmp_path: Path) -> None:
    config = demo_camera_config(tmp_path)
    with Run(config, tmp_path / "first") as run:
        run.take_frames(3)
        with CommandLine("run", config, "--out", tmp_path / "second") as command:
            status, out, err = command.end()
        run.take_frames(3)
        assert run.finish().ok
    assert status == 2
    assert (
        f"error: the acquisition process could not start: rig micromanager:{tmp_path / 'demo.cfg'} is in use"
        in one_line(err)
    )
    assert f"by run {run.supervisor.run} (process " in err
    assert "end that run first" in err
    assert "Traceback" not in out
    Recorded(run.folder).assert_whole()

    with Run(config, tmp_path / "second") as run:  # the folder was not spoilt by the refusal
        run.take_frames(3)
        assert run.finish().ok


def test_inline_on_the_same_rig(tmp_path: Path) -> None:
    config = demo_camera_config(tmp_path)
    with Run(config, tmp_path / "first") as run:
        run.take_frames(3)
        with CommandLine("run", config, "--inline", "--out", tmp_path / "second") as command:
            status, _, err = command.end()
        assert run.finish().ok
    assert status == 2
    assert f"is in use by run {run.supervisor.run}" in one_line(err)


def test_in_the_same_folder(tmp_path: Path) -> None:
    with Run(simulated_config(tmp_path), tmp_path / "session") as run:
        run.take_frames(3)
        (tmp_path / "other").mkdir()
        other = simulated_config(tmp_path / "other")
        for words in ((), ("--inline",)):
            with CommandLine("run", other, "--out", run.folder, *words) as command:
                status, _, err = command.end()
            assert status == 2
            assert f"{run.folder} holds a session or other files already; give another folder with --out" in one_line(
                err
            )
        run.take_frames(3)
        assert run.finish().ok
    Recorded(run.folder).assert_whole()
