"""The command `reflexscope sort`: a run whose cells, pulses and latency are shown live, and a report at its end."""

from pathlib import Path

import typer

from realtime.plugins import ConfigError
from realtime.running import (
    ConfigPath,
    Duration,
    Faults,
    Inline,
    Out,
    Overrides,
    Seed,
    console,
    leave,
    load,
    run_to_the_end,
    say,
)
from realtime.session.disk import EVENTS
from realtime.sort.live_sort import SortTable
from realtime.sort.tables import quality_table

app = typer.Typer()


@app.command()
def sort(
    config_path: ConfigPath,
    duration: Duration = None,
    dry: bool = typer.Option(False, "--dry", help="Record the pulses that would be fired, fire none."),
    inline: Inline = False,
    seed: Seed = None,
    out: Out = None,
    overrides: Overrides = [],  # noqa: B006  # typer reads the default, nobody changes it
    faults: Faults = [],  # noqa: B006
) -> None:
    """Sort cells that flow past the camera, show how it goes, and report how pure and complete the sort was."""
    config = load(config_path, [*overrides, *(("sort.dry=true",) if dry else ())], seed, faults)
    if config.sort is None:
        raise ConfigError(
            f"{config_path} has no section [sort], so there is nothing to sort by; add one (hardware_configs/README.md), "
            "or use `reflexscope run`"
        )
    folder, ended_ok, reason = run_to_the_end(config, out, duration, inline, SortTable(console, config.sort.dry))
    if any((folder / EVENTS).glob("part-*")):
        _report(folder)
    leave(folder, ended_ok, reason)


def _report(folder: Path) -> None:
    """How good it was, and the picture where it can be drawn."""
    from realtime.sort.figures import sort_figures
    from realtime.sort.report import can_draw, write_sort_report

    figures = sort_figures(folder)
    console.print(quality_table(figures))
    if "warning" in figures:
        say(f"warning: {figures['warning']}")
    say(
        f"report: {write_sort_report(folder)}"
        if can_draw()
        else 'no report: pip install "reflexscope[score]" draws one'
    )
