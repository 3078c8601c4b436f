"""What is left of a scoring: tables on the screen, a JSON file, a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from realtime.config import resolved
from realtime.scoring.arms import Scenario
from realtime.scoring.judge import Row
from realtime.scoring.pareto import write_pareto
from realtime.scoring.settings import Arm, PerceivedBy
from realtime.scoring.statistics import by_arm, comparisons, estimates
from realtime.scoring.tables import comparison_table, decision_table, figure_tables

WIDE = 200
"""Columns of a table in a log: nobody folds it there."""


def show(console: Console, rows: Sequence[Row]) -> None:
    """Means over seeds with 95 % confidence intervals; the first arm against each other one."""
    own = by_arm(rows)
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
    write_pareto(path, arms, got, f"{scenario.config.rig.name}, {n_seeds} seeds")
