"""Scores as tables for people."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from realtime.scoring.judge import Row
from realtime.scoring.statistics import Comparison, Estimate, by_arm

Estimates = Mapping[str, Estimate]
Column = tuple[str, str, float]
"""Heading, figure, factor."""

NOTHING = "–"
"""Not measured, or nothing to average."""
BIOLOGY: tuple[Column, ...] = (
    ("events", "events", 1), ("captured", "captured", 1), ("captured\n%", "captured_share", 100),
    ("reaction\ns", "reaction_ms", 1e-3), ("reaction\nframes", "reaction_frames", 1),
    ("false\ntriggers", "false_triggers", 1), ("harmed", "harmed", 1), ("harmed,\ndead", "dead_harmed", 1),
    ("SNR held\ns", "snr_held_s", 1),
)  # fmt: skip
LIGHT: tuple[Column, ...] = (
    ("frames", "n_frames", 1), ("imaged\ns", "imaged_s", 1), ("light\nmJ", "dose_mj", 1),
    ("per cell\nJ/cm²", "cell_j_cm2", 1), ("p95\nJ/cm²", "cell_j_cm2_p95", 1),
    ("per captured\nmJ", "mj_per_captured", 1), ("on false\nmJ", "false_mj", 1),
)  # fmt: skip
TRACKING: tuple[Column, ...] = (
    ("links kept\n%", "links_kept_share", 100), ("identity\nswitches", "id_switches", 1),
    ("divisions\nfound %", "divisions_found_share", 100), ("false\ndivisions", "divisions_false", 1),
)  # fmt: skip
COMPARED = {
    "captured": "captured", "dose_mj": "light", "cell_j_cm2": "light per cell", "snr_held_s": "SNR held",
}  # fmt: skip


def figure_tables(arms: Mapping[str, Estimates]) -> list[Table]:
    """What was captured, for which light, how well cells were tracked; a row an arm, a mean and its interval a figure."""
    return [
        table
        for title, columns in (("captured", BIOLOGY), ("light", LIGHT), ("tracking", TRACKING))
        if (table := _figures(title, columns, arms)).columns[1:]
    ]


def comparison_table(reference: str, compared: Mapping[str, Mapping[str, Comparison]]) -> Table:
    """How many times as much the reference has as each other arm, seed by seed."""
    names = [name for name in COMPARED if any(math.isfinite(each[name].ratio.mean) for each in compared.values())]
    table = Table(f"{reference} against", box=None, pad_edge=False, title_justify="left")
    for name in names:
        table.add_column(f"{COMPARED[name]}\n×", justify="right", no_wrap=True)
        table.add_column(f"{COMPARED[name]}\nmore", justify="right", no_wrap=True)
    for arm, each in compared.items():
        table.add_row(arm, *(words(e) for name in names for e in (each[name].ratio, each[name].difference)))
    return table


def decision_table(rows: Sequence[Row]) -> Table | None:
    """Sums over seeds of what became of decisions, and how long until frames showed them; None without any decision."""
    columns = ("done", "refused", "late", "failed")
    table = Table("decisions", "policy", box=None, pad_edge=False)
    for name in (*columns, "stale", "overruns", "effect\nframes", "effect\nms"):
        table.add_column(name, justify="right", no_wrap=True)
    for arm, own in by_arm(rows).items():
        of_arm = [str(sum(row.stale for row in own)), str(sum(row.overruns for row in own))]
        for policy in sorted({policy for row in own for policy in row.outcomes}):
            counts = [sum(row.outcomes.get(policy, {}).get(status, 0) for row in own) for status in columns]
            effects = [effect for row in own for effect in row.effects.get(policy, [])]
            frames, ms = ([getattr(effect, name) for effect in effects] for name in ("frames", "ms"))
            table.add_row(arm, policy, *map(str, counts), *of_arm, _middle(frames), _middle(ms))
            of_arm = ["", ""]  # of all its policies together
    return table if table.rows else None


def words(estimate: Estimate, factor: float = 1) -> str:
    """`12.3 [11.0, 13.9]`; a dash where there is nothing to average."""
    mean, low, high = (value * factor for value in (estimate.mean, estimate.low, estimate.high))
    if math.isnan(mean):
        return NOTHING
    return f"{_number(mean)} [{_number(low)}, {_number(high)}]" if low <= high else _number(mean)


def _figures(title: str, columns: Sequence[Column], arms: Mapping[str, Estimates]) -> Table:
    """Without columns in which no arm has anything to say."""
    used = [column for column in columns if any(_says_something(figures[column[1]]) for figures in arms.values())]
    table = Table(title, box=None, pad_edge=False)
    for heading, _, _ in used:
        table.add_column(heading, justify="right", no_wrap=True)
    for arm, figures in arms.items():
        table.add_row(arm, *(words(figures[name], factor) for _, name, factor in used))
    return table


def _says_something(estimate: Estimate) -> bool:
    return math.isfinite(estimate.mean) and estimate.mean != 0


def _number(value: float) -> str:
    """Three digits, without an exponent where that can be read."""
    if not math.isfinite(value):
        return "∞" if value > 0 else NOTHING
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _middle(values: Sequence[Any]) -> str:
    """Median and largest."""
    if not values:
        return NOTHING
    middle = sorted(values)[len(values) // 2]
    return f"{middle:g} (≤ {max(values):g})"
