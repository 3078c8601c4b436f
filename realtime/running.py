"""A run from the command line: processes or inline, shown while it goes on, summed up when it has ended."""

import contextlib
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from acquisition.clock import utc_now
from realtime.config import RunConfig, load_config
from realtime.faults import fault_overrides
from realtime.live import StatusLine, summary_tables
from realtime.plugins import ConfigError, setting_names
from realtime.processes.supervisor import Supervisor
from realtime.session.disk import make_session_folder

FAILED, MISTAKE = 1, 2
TERMINATE = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
console = Console()
errors = Console(stderr=True)

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A run's TOML file; see hardware_configs/.")]
Overrides = Annotated[list[str], typer.Option("--set", help="section.key=value, may be repeated.", metavar="KEY=VALUE")]
Duration = Annotated[
    float | None, typer.Option(min=0.001, help="Seconds; without it the run goes on until Ctrl-C.")
]  # fmt: skip
Inline = Annotated[bool, typer.Option(help="One process, simulated time where there is no hardware.")]
Seed = Annotated[int | None, typer.Option(help="For the simulated microscope.")]
Out = Annotated[Path | None, typer.Option(help="Session folder; a new one under rig.sessions without it.")]
Faults = Annotated[
    list[str], typer.Option("--fault", help="Something to go wrong, or NAME.key=value.", metavar="NAME")
]  # fmt: skip


def load(path: Path, overrides: Sequence[str], seed: int | None = None, faults: Sequence[str] = ()) -> RunConfig:
    """The config of a run as the command line wants it. Raises ConfigError."""
    overrides = [*overrides, *fault_overrides(faults)]
    config = load_config(path, overrides)
    if seed is None:
        return config
    if "seed" not in setting_names(type(config.microscope.build())):
        raise ConfigError(f"--seed {seed}: the microscope {config.microscope.use!r} has no seed")
    return load_config(path, [*overrides, f"microscope.seed={seed}"])


def run_to_the_end(
    config: RunConfig, out: Path | None, duration_s: float | None, inline: bool, display: StatusLine
) -> tuple[Path, bool, str]:
    """Run and show the summary: the session's folder, whether it ended well, and why. Raises ConfigError."""
    if config.sort is not None:
        from realtime.sort.told_flow import check_told_channel

        check_told_channel(config)  # before any light
    folder = out or Path(config.rig.sessions) / f"{utc_now().replace(':', '')}-{_slug(config.rig.name)}"
    ended_ok, reason = (_run_inline if inline else _run_processes)(config, folder, duration_s, display)
    _show_summary(folder)
    return folder, ended_ok, reason


def leave(folder: Path, ended_ok: bool, reason: str) -> None:
    """The last words of the command. Raises typer.Exit if the run did not end well."""
    console.print(f"session: {folder}", highlight=False, markup=False, soft_wrap=True)
    if not ended_ok:
        errors.print(f"error: {reason}", style="bold red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(FAILED)


def say(text: str) -> None:
    """A line, as it is."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _run_processes(config: RunConfig, folder: Path, duration_s: float | None, display: StatusLine) -> tuple[bool, str]:
    supervisor = Supervisor(config, folder, duration_s, display.watch)
    # Signals are held until the last child has ended: whoever interrupts the end interrupts making the rig safe.
    with _on_interrupt(lambda: supervisor.stop("Ctrl-C")), display, supervisor:
        supervisor.start()
        result = supervisor.supervise()
    return result.ok, result.reason


def _run_inline(config: RunConfig, folder: Path, duration_s: float | None, display: StatusLine) -> tuple[bool, str]:
    from realtime.inline import inline_run
    from realtime.session.header import session_toml

    make_session_folder(folder)
    run_id = f"inline-{utc_now().replace(':', '')}"
    with (
        display,
        inline_run(
            config, run_id, folder, session_toml(run_id, config), duration_s, display.see, display.watch
        ) as inline,
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


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
