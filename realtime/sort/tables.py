"""A sort in tables for people: its cells by verdict, its pulses by what became of them, how soon they were scheduled."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.table import Table

from acquisition.clock import NS_PER_MS
from realtime.latency import Histogram
from realtime.sort.verdicts import Verdict

EDGES_MS = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
BAR_WIDTH = 24
SHARES = ("purity", "yield", "followed")
WORDS: dict[str, dict[str, str]] = {
    "expected": {"purity": "expected purity", "yield": "expected yield", "enrichment": "expected enrichment"},
    "expected_by_class_alone": {
        "purity": "expected purity by class alone, without neighbours",
        "yield": "expected yield by class alone",
    },
    "true": {
        "purity": "true purity",
        "yield": "true yield",
        "enrichment": "true enrichment",
        "cells": "true cells that passed",
        "wanted": "true wanted cells",
        "deflected": "true cells in the pulses",
        "followed": "true cells that were followed",
        "events_of_no_cell": "events that are no true cell",
    },
    "arrival_error_us": {
        "n": "sorted cells whose true arrival is known",
        "median": "arrival foretold − true: median (µs)",
        "sd": "its standard deviation (µs)",
        "abs_p50": "half of them wrong by less than (µs)",
        "abs_p99": "99 % wrong by less than (µs)",
        "abs_p99_9": "99.9 % wrong by less than (µs)",
        "abs_max": "the worst wrong by (µs)",
        "standard_errors_sd": "errors, times those foretold (1: honest)",
    },
}
"""Figures for people, by their names in JSON."""
MEANINGS = {verdict.word: verdict.meaning for verdict in Verdict}


def sort_tables(sort: Mapping[str, Any]) -> Iterator[Table]:
    """The table `sort` of summary.json."""
    yield _counts_table(sort)
    yield verdict_table(sort["verdicts"], explained=True)
    yield pulse_table(sort["pulses"], sort["pulses_not_fired"], sort.get("pulses_of_a_dry_sort", 0))


def verdict_table(verdicts: Mapping[str, float], explained: bool = False) -> Table:
    """How many cells were sorted, and why the others were not."""
    table = _table("cells", "verdict", ("cells", "share"))
    if explained:
        table.add_column("meaning")
    total = sum(verdicts.values())
    for word, n in sorted(verdicts.items(), key=lambda item: -item[1]):
        meaning = (MEANINGS.get(word, ""),) if explained else ()
        table.add_row(word.replace("_", " "), f"{n:.0f}", f"{n / max(1, total):.2%}", *meaning)
    return table


def pulse_table(pulses: Mapping[str, int], not_fired: Mapping[str, int], would_fire: int = 0) -> Table:
    """Pulses that were fired, or, in a dry sort, would have been, and those that were not by their reasons."""
    table = _table("pulses", "outcome", ("pulses",))
    if would_fire:
        table.add_row("would have been fired (dry)", str(would_fire))
    else:
        table.add_row("fired", str(pulses.get("done", 0)))
    for reason, n in not_fired.items():
        table.add_row(reason, str(n))
    return table


def latency_table(scheduled: Histogram) -> Table:
    """From the end of exposure of a cell's last strip to the moment when its pulse was scheduled."""
    p50, p99 = scheduled.quantile_ms(0.5), scheduled.quantile_ms(0.99)
    table = _table(f"scheduled: half within {p50:.2f} ms, 99 % within {p99:.2f} ms", "ms", ("pulses",))
    table.add_column("share")
    for label, n in binned(scheduled):
        table.add_row(label, str(n), "█" * round(BAR_WIDTH * n / max(1, scheduled.n)))
    return table


def quality_table(figures: Mapping[str, Any]) -> Table:
    """How pure and complete a sort was (realtime/sort/figures.py), as expected and, if it was simulated, in truth."""
    title = "how good the dry sort would have been" if figures.get("dry") else "how good the sort was"
    table = Table(title=title, show_header=False, title_justify="left")
    if "wanted_are" in figures:
        table.add_row("wanted", figures["wanted_are"])
    for part, names in WORDS.items():
        for key, words in names.items():
            if key in (values := figures.get(part, {})):
                shown = f"{values[key]:.2%}" if key in SHARES else f"{values[key]:.4g}"
                table.add_row(words, shown)
    return table


def binned(histogram: Histogram) -> list[tuple[str, int]]:
    """Counts between EDGES_MS, from the first that occurs to the last."""
    tops_ms = histogram.LOWEST_NS / NS_PER_MS * histogram.STEP ** (np.arange(histogram.N_BINS) + 1)
    place = np.searchsorted(EDGES_MS, tops_ms)
    counts = np.bincount(place, weights=histogram.counts, minlength=len(EDGES_MS) + 1).astype(int)
    labels = [f"up to {edge:g}" for edge in EDGES_MS] + [f"over {EDGES_MS[-1]:g}"]
    occupied = np.flatnonzero(counts)
    if not len(occupied):
        return []
    return list(zip(labels, counts.tolist(), strict=True))[occupied[0] : occupied[-1] + 1]


def _counts_table(sort: Mapping[str, Any]) -> Table:
    table = Table(title="sort", show_header=False, title_justify="left")
    for key, value in sort.items():
        if not isinstance(value, (dict, list)):
            percent = key.startswith("expected")
            words = f"{value:.2%}" if percent else f"{value:.4g}" if isinstance(value, float) else str(value)
            table.add_row(key.replace("_", " "), words)
    scheduled = sort["scheduled"]
    if scheduled["n"]:
        named = {"half": "p50_ms", "99 %": "p99_ms", "all": "max_ms"}
        words = ", ".join(f"{name} within {scheduled[key]:.2f}" for name, key in named.items())
        table.add_row("pulses scheduled (ms)", words)
    return table


def _table(title: str, first: str, columns: tuple[str, ...]) -> Table:
    table = Table(first, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    return table
