"""The command line `reflexscope`. A user's mistake gets one clear line and exit status 2, never a traceback."""

import contextlib
import re
import signal
import sys
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from acquisition.clock import utc_now
from acquisition.commands import Command
from acquisition.microscope import MicroscopeError
from models.engines.engine import EngineError
from models.images import ImageError
from models.manifest import ModelError
from realtime.config import RunConfig, load_config, read_tables
from realtime.faults import fault_overrides
from realtime.live import StatusLine, summary_tables
from realtime.offline import cli_models, cli_tracking, cli_train
from realtime.plugins import ConfigError, setting_names
from realtime.processes.rig_lock import RigBusy
from realtime.processes.supervisor import RunCancelled, RunFailed, Supervisor
from realtime.ring import RingError
from realtime.scoring import cli_score
from realtime.scoring.failure import ScoreFailed
from realtime.session.disk import RecordingError, make_session_folder

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Reflexscope: a microscope with reflexes.",
)  # fmt: skip
app.add_typer(cli_models.app)  # segment, classify, evaluate, models
app.add_typer(cli_train.app)  # train, export
app.add_typer(cli_tracking.app)  # track
app.add_typer(cli_score.app)  # score
console = Console()
errors = Console(stderr=True)

FAILED, MISTAKE = 1, 2
TERMINATE = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
USER_ERRORS = (
    ConfigError, EngineError, ImageError, MicroscopeError, ModelError, RigBusy, RingError, RunFailed, RecordingError,
    ScoreFailed,
)  # fmt: skip

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A run's TOML file; see hardware_configs/.")]
Overrides = Annotated[list[str], typer.Option("--set", help="section.key=value, may be repeated.", metavar="KEY=VALUE")]


@app.command()
def run(
    config_path: ConfigPath,
    duration: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds; without it the run goes on until Ctrl-C.")
    ] = None,
    inline: Annotated[bool, typer.Option(help="One process, simulated time where there is no hardware.")] = False,
    seed: Annotated[int | None, typer.Option(help="For the simulated microscope.")] = None,
    out: Annotated[Path | None, typer.Option(help="Session folder; a new one under rig.sessions without it.")] = None,
    overrides: Overrides = [],  # noqa: B006  # typer reads the default, nobody changes it
    faults: Annotated[
        list[str], typer.Option("--fault", help="Something to go wrong, or NAME.key=value.", metavar="NAME")
    ] = [],  # noqa: B006
) -> None:
    """Run a microscope with reflexes and record everything."""
    config = _load(config_path, [*overrides, *fault_overrides(faults)], seed)
    folder = out or Path(config.rig.sessions) / f"{utc_now().replace(':', '')}-{_slug(config.rig.name)}"
    ended_ok, reason = (_run_inline if inline else _run_processes)(config, folder, duration)
    _show_summary(folder)
    console.print(f"session: {folder}", highlight=False, markup=False, soft_wrap=True)
    if not ended_ok:
        errors.print(f"error: {reason}", style="bold red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(FAILED)


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

    config = _load(config_path, overrides)
    given = read_tables(config_path, overrides)
    console.print(marked_config(config, given), highlight=False, markup=False, soft_wrap=True)
    if rehearse:
        findings = rehearsal(config, _say)
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
        _say(f"frame {decision.frame_index}: {decision.policy} {_words(decision.command)}: {decision.reason}")
    _say(f"{result.n_decisions} decisions on {result.n_frames} frames; nothing acted")
    if result.complaints:
        for words in (*result.complaints, "not scored, for a policy that fails cannot be judged"):
            errors.print(f"error: {words}", style="bold red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(FAILED)
    scores = recorded_scores(session, policies, result.decisions)
    console.print(recorded_table(scores))
    if json is not None:
        write_recorded(json, session, scores)
        _say(f"written: {json}")


@app.command()
def safe(config_path: ConfigPath, overrides: Overrides = []) -> None:  # noqa: B006
    """Open the rig only to make it safe: gate shut, shutter closed, light off, stage still."""
    from realtime.processes.safe import make_rig_safe

    console.print(make_rig_safe(_load(config_path, overrides), "safe command"), highlight=False)


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


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _load(path: Path, overrides: list[str], seed: int | None = None) -> RunConfig:
    config = load_config(path, overrides)
    if seed is None:
        return config
    if "seed" not in setting_names(type(config.microscope.build())):
        raise ConfigError(f"--seed {seed}: the microscope {config.microscope.use!r} has no seed")
    return load_config(path, [*overrides, f"microscope.seed={seed}"])


def _run_processes(config: RunConfig, folder: Path, duration_s: float | None) -> tuple[bool, str]:
    line = StatusLine(console)
    supervisor = Supervisor(config, folder, duration_s, line.watch)
    # Signals are held until the last child has ended: whoever interrupts the end interrupts making the rig safe.
    with _on_interrupt(lambda: supervisor.stop("Ctrl-C")), line, supervisor:
        supervisor.start()
        result = supervisor.supervise()
    return result.ok, result.reason


def _run_inline(config: RunConfig, folder: Path, duration_s: float | None) -> tuple[bool, str]:
    from realtime.inline import inline_run
    from realtime.session.header import session_toml

    make_session_folder(folder)
    run_id = f"inline-{utc_now().replace(':', '')}"
    with (
        StatusLine(console) as line,
        inline_run(config, run_id, folder, session_toml(run_id, config), duration_s, line.see, line.watch) as inline,
        _on_interrupt(lambda: inline.loop.stop("Ctrl-C")),
    ):
        end = inline.image()
    return end.ok, end.reason


@contextlib.contextmanager
def _on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the run in good order; a second Ctrl-C interrupts."""

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, *TERMINATE)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_summary(folder: Path) -> None:
    path = folder / "summary.json"
    if not path.exists():
        return
    summary: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    for table in summary_tables(summary):
        console.print(table)


def _words(command: Command) -> str:
    """`MoveStage x_um=3.71 y_um=-8.92`."""
    values = ((name, getattr(command, name)) for name in command.__struct_fields__)
    numbers = (
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values
        if value is not None
    )
    return " ".join([type(command).__name__, *numbers])


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
