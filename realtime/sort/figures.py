"""A recorded sort in figures: how many, how pure, how soon, how exactly."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.clock import NS_PER_S
from models.cells import Floats
from models.features_only import PARTICLE
from realtime.sort.curves import enrichment, purity_and_yield
from realtime.sort.deflected import caught, p_deflected
from realtime.sort.record import SortRecord, read_sort
from realtime.sort.true_cells import NOBODY, TrueCells

EVER_NS = 2**62
RARELY = 0.5
"""If fewer of the events than this share meet a true cell at the junction, those that do are chance."""
FEW = 10
"""Of fewer events nothing is said."""
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999, "max": 1.0}


def sort_figures(session: Path) -> dict[str, Any]:
    """Events, verdicts, outcomes, latency; expected and, where it is known, true purity, yield and arrival errors.

    Of a dry sort they say what would have been, had its pulses been fired. `warning`: why it is no success. Figures that
    there is nothing to be had from are left out. Raises RecordingError.
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
        "dry": record.settings.dry,
        "sorted": int(is_sorted.sum()),
        "fired": len(record.fired),
        "meant": int(caught(events["arrival_ns"][is_sorted], record.fired).sum()),
        "verdicts": dict(Counter(events["verdict"].tolist()).most_common()),
        "outcomes": dict(Counter(record.pulses.status.tolist()).most_common()),
        "scheduled_ms": quantiles(record.pulses.scheduled_ms),
        "looks": float(events["looks"].mean()),
        "looks_classified": float(events["looks_classified"].mean()),
        "expected": _expected(record),
        "expected_by_class_alone": _expected_by_class(record),
        "wanted_are": _who_is_wanted(record),
    }
    if record.truth is not None:
        figures["true"] = _true(record, record.truth)
        figures["warning"] = missed_junction(record, record.truth)
        figures["arrival_error_us"] = None if figures["warning"] else _arrival_errors(record, record.truth)
    return {name: value for name, value in figures.items() if value not in (None, {})}


def quantiles(values: Floats) -> dict[str, float]:
    """Of finite values; nothing of nothing."""
    values = values[np.isfinite(values)]
    return {name: float(np.quantile(values, q)) for name, q in QUANTILES.items()} if len(values) else {}


def missed_junction(record: SortRecord, truth: TrueCells) -> str | None:
    """In words, if events do not meet true cells at the junction; None if they do, or if there are too few to tell."""
    n = int(_within(record, truth).sum())
    n_met = int((_within(record, truth) & (record.cell != NOBODY)).sum())
    if n < FEW or n_met >= RARELY * n:
        return None
    return (
        f"sorted cells did not arrive when they were foretold: only {n_met / n:.0%} of the {n:,} events met a true cell at "
        "the junction; correct sort.flow.junction_um, speed_um_s or direction"
    )


def _within(record: SortRecord, truth: TrueCells) -> npt.NDArray[np.bool_]:
    """Events `[E]` foretold for the time of which the truth is known."""
    foretold_ns = record.events["arrival_ns"]
    first_ns, last_ns = truth.arrival_ns.min(initial=EVER_NS), truth.arrival_ns.max(initial=0)
    within: npt.NDArray[np.bool_] = (foretold_ns >= first_ns) & (foretold_ns <= last_ns)
    return within


def _who_is_wanted(record: SortRecord) -> str:
    """In words: what counts as wanted in expectation and in truth."""
    gate = record.settings.gate
    ranges = f", but not who was measured outside the range of {' or '.join(gate.where)}" if gate.where else ""
    measured = "; in truth, who was measured inside" if PARTICLE in gate.classes and record.truth is not None else ""
    return " or ".join(gate.classes) + ranges + measured


def _expected(record: SortRecord) -> dict[str, float]:
    """Of all who may have been in a pulse that was fired, neighbours too, as probabilities and standard errors promise."""
    p, deflected = record.p_wanted, p_deflected(record.events, record.fired)
    right, n, n_wanted = float(p @ deflected), float(deflected.sum()), float(p.sum())
    purity, yielded = right / n if n else float("nan"), right / n_wanted if n_wanted else float("nan")
    return _finite({"purity": purity, "yield": yielded, "enrichment": enrichment(purity, float(p.mean()))})


def _expected_by_class(record: SortRecord) -> dict[str, float]:
    """As if every cell that was to be sorted had been, and nobody beside it."""
    p = record.p_wanted
    purity, yielded = purity_and_yield(record.sorted_rows, p, float(p.sum()))
    return _finite({"purity": purity, "yield": yielded, "enrichment": enrichment(purity, float(p.mean()))})


def _true(record: SortRecord, truth: TrueCells) -> dict[str, float]:
    """Of what the sorter deflected, cell by cell."""
    purity, yielded = purity_and_yield(truth.deflected, truth.wanted, float(truth.wanted.sum()))
    found = np.unique(record.cell[record.cell != NOBODY])
    share = float(truth.wanted.mean()) if len(truth.wanted) else 0.0
    return _finite(
        {
            "cells": float(len(truth.wanted)), "wanted": float(truth.wanted.sum()),
            "deflected": float(truth.deflected.sum()), "purity": purity, "yield": yielded,
            "enrichment": enrichment(purity, share),
            "followed": len(found) / len(truth.wanted) if len(truth.wanted) else float("nan"),
            "events_of_no_cell": float(((record.cell == NOBODY) & _within(record, truth)).sum()),
        }
    )  # fmt: skip


def arrival_errors_us(record: SortRecord, truth: TrueCells) -> tuple[Floats, Floats]:
    """Foretold less true arrival of the sorted cells, in µs, and the same in standard errors."""
    rows = np.flatnonzero((record.cell != NOBODY) & record.sorted_rows)
    error_ns = record.events["arrival_ns"][rows] - truth.arrival_ns[record.cell[rows]]
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
