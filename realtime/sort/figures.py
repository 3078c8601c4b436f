"""A recorded sort in figures: how many, how pure, how soon, how exactly."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from acquisition.clock import NS_PER_S
from models.cells import Floats
from realtime.sort.curves import enrichment, purity_and_yield
from realtime.sort.record import SortRecord, read_sort
from realtime.sort.true_cells import NOBODY, TrueCells, matched

EVER_NS = 2**62
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999, "max": 1.0}


def sort_figures(session: Path) -> dict[str, Any]:
    """Events, verdicts, outcomes, latency; expected and, where it is known, true purity, yield and arrival errors.

    Figures that there is nothing to be had from are left out. Raises RecordingError.
    """
    return figures_of(read_sort(session))


def figures_of(record: SortRecord) -> dict[str, Any]:
    """The same of a record that was read already."""
    events, is_sorted = record.events, record.sorted_rows
    seconds = (int(events["last_ns"].max()) - int(events["last_ns"].min())) / NS_PER_S
    figures: dict[str, Any] = {
        "events": len(record),
        "seconds": round(seconds, 3),
        "events_per_s": len(record) / seconds if seconds else None,
        "sorted": int(is_sorted.sum()),
        "verdicts": dict(Counter(events["verdict"].tolist()).most_common()),
        "outcomes": dict(Counter(record.pulses.status.tolist()).most_common()),
        "scheduled_ms": quantiles(record.pulses.scheduled_ms),
        "looks": float(events["looks"].mean()),
        "looks_classified": float(events["looks_classified"].mean()),
        "expected": _expected(record),
    }
    if record.truth is not None:
        figures["true"] = _true(record, record.truth)
        figures["arrival_error_us"] = _arrival_errors(record, record.truth)
    return {name: value for name, value in figures.items() if value not in (None, {})}


def quantiles(values: Floats) -> dict[str, float]:
    """Of finite values; nothing of nothing."""
    values = values[np.isfinite(values)]
    return {name: float(np.quantile(values, q)) for name, q in QUANTILES.items()} if len(values) else {}


def _expected(record: SortRecord) -> dict[str, float]:
    """As the probabilities promise."""
    p = record.events["p_wanted"]
    purity, yielded = purity_and_yield(record.sorted_rows, p, float(p.sum()))
    return _finite({"purity": purity, "yield": yielded, "enrichment": enrichment(purity, float(p.mean()))})


def _true(record: SortRecord, truth: TrueCells) -> dict[str, float]:
    """Of what the sorter deflected, cell by cell."""
    purity, yielded = purity_and_yield(truth.deflected, truth.wanted, float(truth.wanted.sum()))
    cell = matched(record.events, truth)
    found = np.unique(cell[cell != NOBODY])
    foretold_ns = record.events["arrival_ns"]
    within = (foretold_ns >= truth.arrival_ns.min(initial=EVER_NS)) & (foretold_ns <= truth.arrival_ns.max(initial=0))
    share = float(truth.wanted.mean()) if len(truth.wanted) else 0.0
    return _finite(
        {
            "cells": float(len(truth.wanted)), "wanted": float(truth.wanted.sum()),
            "deflected": float(truth.deflected.sum()), "purity": purity, "yield": yielded,
            "enrichment": enrichment(purity, share),
            "followed": len(found) / len(truth.wanted) if len(truth.wanted) else float("nan"),
            "events_of_no_cell": float(((cell == NOBODY) & within).sum()),
        }
    )  # fmt: skip


def arrival_errors_us(record: SortRecord, truth: TrueCells) -> tuple[Floats, Floats]:
    """Foretold less true arrival of the sorted cells, in µs, and the same in standard errors."""
    cell = matched(record.events, truth)
    rows = np.flatnonzero((cell != NOBODY) & record.sorted_rows)
    error_ns = record.events["arrival_ns"][rows] - truth.arrival_ns[cell[rows]]
    return error_ns / 1e3, error_ns / (1e6 * record.events["sigma_ms"][rows])


def _arrival_errors(record: SortRecord, truth: TrueCells) -> dict[str, float]:
    error_us, surprise = arrival_errors_us(record, truth)
    if not len(error_us):
        return {}
    size = quantiles(np.abs(error_us))
    return {"n": float(len(error_us)), "median": float(np.median(error_us)), "sd": float(error_us.std())} | {
        f"abs_{name}": value for name, value in size.items()
    } | {"standard_errors_sd": float(surprise.std())}  # fmt: skip


def _finite(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if np.isfinite(value)}
