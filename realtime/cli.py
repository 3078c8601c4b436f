"""The command line `reflexscope`. A user's mistake gets one clear line and exit status 2, never a traceback."""

import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from acquisition.commands import Command
from acquisition.microscope import MicroscopeError
from models.engines.engine import EngineError
from models.images import ImageError
from models.manifest import ModelError
from realtime.config import read_tables
from realtime.live import StatusLine
from realtime.offline import cli_models, cli_tracking, cli_train
from realtime.plugins import ConfigError
from realtime.processes.rig_lock import RigBusy
from realtime.processes.supervisor import RunCancelled, RunFailed
from realtime.ring import RingError
from realtime.running import (
    FAILED,
    MISTAKE,
    TERMINATE,
    ConfigPath,
    Duration,
    Faults,
    Inline,
    Out,
    Overrides,
    Seed,
    console,
    errors,
    leave,
    load,
    run_to_the_end,
    say,
)
from realtime.scoring import cli_score
from realtime.scoring.failure import ScoreFailed
from realtime.session.disk import RecordingError
from realtime.sort import cli_report, cli_sort

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Reflexscope: a microscope with reflexes.",
)  # fmt: skip
app.add_typer(cli_models.app)  # segment, classify, evaluate, models
app.add_typer(cli_train.app)  # train, export
app.add_typer(cli_tracking.app)  # track
app.add_typer(cli_score.app)  # score
app.add_typer(cli_sort.app)  # sort
app.add_typer(cli_report.app)  # sort-report
USER_ERRORS = (
    ConfigError, EngineError, ImageError, MicroscopeError, ModelError, RigBusy, RingError, RunFailed, RecordingError,
    ScoreFailed,
)  # fmt: skip


@app.command()
def run(
    config_path: ConfigPath,
    duration: Duration = None,
    inline: Inline = False,
    seed: Seed = None,
    out: Out = None,
    overrides: Overrides = [],  # noqa: B006  # typer reads the default, nobody changes it
    faults: Faults = [],  # noqa: B006
) -> None:
    """Run a microscope with reflexes and record everything."""
    config = load(config_path, overrides, seed, faults)
    leave(*run_to_the_end(config, out, duration, inline, StatusLine(console)))


@app.command()
def check(
    config_path: ConfigPath,
    rehearse: Annotated[
        bool, typer.Option(help="Open the rig (light on, as the section imaging says) and measure.")
    ] = True,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Show the resolved config, then measure whether this machine and rig can do what it demands."""
    from realtime.check import marked_config, rehearsal

    config = load(config_path, overrides)
    given = read_tables(config_path, overrides)
    console.print(marked_config(config, given), highlight=False, markup=False, soft_wrap=True)
    if rehearse:
        findings = rehearsal(config, say)
        for finding in findings:
            style = None if finding.ok else "bold red"
            console.print(finding.words(), style=style, highlight=False, markup=False, soft_wrap=True)
        if not all(finding.ok for finding in findings):
            raise typer.Exit(FAILED)


@app.command()
def replay(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A session folder.")],
    policy: Annotated[list[str], typer.Option(help="A policy to try instead: name or module:Class.")] = [],  # noqa: B006
    json: Annotated[Path | None, typer.Option(help="With --policy: its score.", metavar="FILE")] = None,
) -> None:
    """Decide again on recorded frames: identical decisions, or the first difference; with --policy, others' and their score."""
    from realtime.replay import replay as decide_again

    if policy:
        _replay_with(session, policy, json)
        return
    result = decide_again(session)
    bad = bool(result.first_difference) or not result.n_frames
    (errors if bad else console).print(result.verdict, highlight=False, markup=False, soft_wrap=True)
    if bad:
        raise typer.Exit(FAILED)


def _replay_with(session: Path, policies: list[str], json: Path | None) -> None:
    """Raises typer.Exit if a policy raised: nothing can be said about what it would have done."""
    from realtime.replay import replay_with
    from realtime.scoring.recorded import recorded_scores, recorded_table, write_recorded
    from realtime.scoring.report import require_writable

    if json is not None:
        require_writable("--json", json)
    result = replay_with(session, policies)
    for decision in result.decisions:
        say(f"frame {decision.frame_index}: {decision.policy} {_words(decision.command)}: {decision.reason}")
    say(f"{result.n_decisions} decisions on {result.n_frames} frames; nothing acted")
    if result.complaints:
        for words in (*result.complaints, "not scored, for a policy that fails cannot be judged"):
            errors.print(f"error: {words}", style="bold red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(FAILED)
    scores = recorded_scores(session, policies, result.decisions)
    console.print(recorded_table(scores))
    if json is not None:
        write_recorded(json, session, scores)
        say(f"written: {json}")


@app.command()
def safe(config_path: ConfigPath, overrides: Overrides = []) -> None:  # noqa: B006
    """Open the rig only to make it safe: gate shut, shutter closed, light off, stage still."""
    from realtime.processes.safe import make_rig_safe

    console.print(make_rig_safe(load(config_path, overrides), "safe command"), highlight=False)


@app.command()
def doctor(
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Build, check and time the networks on an NVIDIA GPU; takes minutes.")
    ] = False,
) -> None:
    """What is installed, what this machine has, and which engine would be used and why."""
    from realtime.doctor import report

    if gpu:
        _doctor_gpu()
    else:
        for line in report():
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def _doctor_gpu() -> None:
    from realtime.doctor_gpu import advice, examine

    failures = examine(lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
    for line in advice(failures):
        (errors if failures else console).print(line, highlight=False, markup=False, soft_wrap=True)
    if failures:
        raise typer.Exit(FAILED)


def main() -> None:
    """Entry point of the `reflexscope` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console or pipe that cannot show µ shows something else
    for number in TERMINATE:
        signal.signal(number, lambda number, frame: sys.exit(128 + number))  # through every `finally` that closes a rig
    try:
        app(prog_name="reflexscope")
    except USER_ERRORS as error:
        errors.print(f"error: {error}", style="bold red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(FAILED if isinstance(error, RunCancelled | ScoreFailed) else MISTAKE)


def _words(command: Command) -> str:
    """`MoveStage x_um=3.71 y_um=-8.92`."""
    values = ((name, getattr(command, name)) for name in command.__struct_fields__)
    numbers = (
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values
        if value is not None
    )
    return " ".join([type(command).__name__, *numbers])
