"""What is left of a scoring: tables on the screen, a JSON file, a plot."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from realtime.config import resolved
from realtime.plugins import ConfigError
from realtime.scoring.arms import Scenario
from realtime.scoring.judge import Row
from realtime.scoring.pareto import write_pareto
from realtime.scoring.settings import Arm, PerceivedBy
from realtime.scoring.statistics import by_arm, comparisons, estimates
from realtime.scoring.tables import NOTHING, comparison_table, decision_table, figure_tables

FEW_SEEDS = 5
"""With fewer a bootstrap has next to nothing to draw from."""
WIDE = 200
"""Columns of a table in a log: nobody folds it there."""


def show(console: Console, rows: Sequence[Row]) -> None:
    """Means over seeds with 95 % confidence intervals; the first arm against each other one."""
    own = by_arm(rows)
    n_seeds = len({row.seed for row in rows})
    wide = console if console.is_terminal else Console(width=WIDE)
    tables = figure_tables({arm: estimates(each) for arm, each in own.items()})
    reference, *others = own
    if others:
        tables.append(comparison_table(reference, {arm: comparisons(own[reference], own[arm]) for arm in others}))
    if decisions := decision_table(rows):
        tables.append(decisions)
    for table in tables:
        wide.print()
        wide.print(table)
    wide.print()
    for line in _legend(n_seeds):
        wide.print(line, highlight=False, markup=False, soft_wrap=True)


def _legend(n_seeds: int) -> Iterator[str]:
    yield f"{NOTHING} : not measured, or nothing to average; hardware_configs/README.md explains the columns"
    if n_seeds < FEW_SEEDS:
        which = (
            "no interval can be had from one seed" if n_seeds == 1 else f"intervals from {n_seeds} seeds mean little"
        )
        yield f"{which}: take at least {FEW_SEEDS}, better 20"


def require_writable(option: str, path: Path, ending: str = "") -> None:
    """Raises ConfigError if a file cannot be written there: found before hours of runs, not after."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {folder}; make it first, or name another file")
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        what = "that is a folder" if path.is_dir() else "it must not be written"
        raise ConfigError(f"{option} {path}: {what}; name another file")
    if ending and path.suffix.lower() != ending:
        raise ConfigError(f"{option} {path}: only {ending} files can be made; name it {path.with_suffix(ending).name}")


def write_report(
    path: Path, scenario: Scenario, arms: Sequence[Arm], rows: Sequence[Row], perceived_by: PerceivedBy
) -> None:
    """All that is needed to draw and to check the tables again, as JSON."""
    own = by_arm(rows)
    reference, *others = own
    report: dict[str, Any] = {
        "config": resolved(scenario.config),
        "perception": perceived_by,
        "arms": arms,
        "figures": {arm: estimates(each) for arm, each in own.items()},
        "compared": {reference: {arm: comparisons(own[reference], own[arm]) for arm in others}},
        "rows": rows,
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def write_plot(path: Path, scenario: Scenario, rows: Sequence[Row]) -> None:
    """Light per cell against events captured or, where a signal-to-noise ratio is to be held, against how long it was."""
    got = "captured_share" if scenario.settings.snr_target is None else "snr_held_s"
    arms = {arm: estimates(each) for arm, each in by_arm(rows).items()}
    n_seeds = len({row.seed for row in rows})
    write_pareto(path, arms, got, f"{scenario.config.rig.name}, {seeds_in_words(n_seeds)}")


def seeds_in_words(n: int) -> str:
    """`1 seed`, `20 seeds`."""
    return "1 seed" if n == 1 else f"{n} seeds"
