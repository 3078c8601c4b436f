"""Purity and yield at any threshold, and how exactly arrivals were foretold."""

from typing import Any

import numpy as np

from realtime.sort.curves import Curve, expected_curve, true_curve
from realtime.sort.figures import arrival_errors_us
from realtime.sort.record import SortRecord
from realtime.sort.report_gate import LEAST_P, logit, logit_axis, nothing, thresholds
from realtime.sort.report_words import percent

PURITY, YIELD = "#0072B2", "#D55E00"


def curve_panel(axes: Any, record: SortRecord, figures: dict[str, Any]) -> None:
    """By class alone: as probabilities promise, dashed; as it truly would have been, drawn through; points: what was reached."""
    axes.set_title("Purity and yield by class alone, at any threshold", loc="left", fontsize=12)
    axes.set_xlabel("probability to be wanted that is asked for")
    p = record.p_wanted
    heights = np.linspace(logit(np.array(LEAST_P)), -logit(np.array(LEAST_P)), 400)
    asked = 1 / (1 + np.exp(-heights))
    _draw(axes, expected_curve(p, asked), heights, "--", "expected")
    if record.truth is not None and "warning" not in figures:
        _draw(axes, true_curve(p, record.cell, record.truth, asked), heights, "-", "true")
    working = logit(np.array(thresholds(record)[1]))
    axes.vlines(working, 0, 1, color="#009E73", linewidth=1.2)
    words = "would be" if record.settings.dry else "reached"
    reached, face = ("true", None) if "true" in figures else ("expected", "white")
    for name, colour in (("purity", PURITY), ("yield", YIELD)):
        if name in figures[reached]:
            axes.plot(working, figures[reached][name], "o", color=colour, markerfacecolor=face or colour, markersize=9,
                      label=f"{name} {words} {percent(figures[reached][name])}")  # fmt: skip
    axes.set_ylim(0, 1.5)  # room for the legend
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    logit_axis(axes.xaxis)
    axes.tick_params(axis="x", labelrotation=45)
    axes.legend(frameon=False, fontsize=8.5, loc="upper center", ncols=2)


def _draw(axes: Any, curve: Curve, heights: Any, style: str, kind: str) -> None:
    axes.plot(heights, curve.purity, style, color=PURITY, linewidth=1.6, label=f"purity, {kind}")
    axes.plot(heights, curve.yielded, style, color=YIELD, linewidth=1.6, label=f"yield, {kind}")


def arrival_panel(axes: Any, record: SortRecord, figures: dict[str, Any]) -> None:
    """Foretold less true arrival of sorted cells with the window; where no truth is known, the standard errors."""
    window_us = 1e3 * record.settings.pulse.window_ms
    axes.set_xlabel("µs")
    axes.set_ylabel("sorted cells")
    if record.truth is not None and "n" in figures.get("arrival_error_us", {}):
        error_us, _ = arrival_errors_us(record, record.truth)
        errors = figures["arrival_error_us"]
        axes.set_title("Arrival at the junction: foretold − true", loc="left", fontsize=12)
        axes.axvspan(-window_us / 2, window_us / 2, color="#009E73", alpha=0.09, linewidth=0)
        axes.axvspan(-window_us / 4, window_us / 4, color="#009E73", alpha=0.09, linewidth=0)
        reach = max(0.65 * window_us, float(np.quantile(np.abs(error_us), 0.99)))
        counts, *_ = axes.hist(np.clip(error_us, -reach, reach), bins=np.linspace(-reach, reach, 61), color="#555555")
        axes.set_ylim(0, 1.5 * counts.max())  # room for the words
        axes.yaxis.get_major_locator().set_params(integer=True)
        words = (
            f"standard deviation {errors['sd']:.0f} µs\n99 % within ±{errors['abs_p99']:.0f} µs\n"
            f"pulse {window_us:.0f} µs (green, and half of it)\n"
            f"errors are {errors['standard_errors_sd']:.2f} times as large as foretold (1: honest)"
        )
        axes.text(0.02, 0.97, words, transform=axes.transAxes, va="top", fontsize=9)
        return
    sigma_us = 1e3 * record.events["sigma_ms"][record.sorted_rows]
    axes.set_title("Arrival at the junction: standard errors", loc="left", fontsize=12)
    if not len(sigma_us):
        nothing(axes, "no cell was to be sorted")
        return
    counts, *_ = axes.hist(sigma_us, bins=50, color="#555555")
    axes.vlines(1e3 * record.settings.pulse.worst_sigma_ms, 0, counts.max(), color="#D55E00", linewidth=1.2)
    axes.set_ylim(0, 1.15 * counts.max())
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.text(
        0.98, 0.97, "beyond the line a cell is not sorted", transform=axes.transAxes, ha="right", va="top", fontsize=9
    )
