"""How soon pulses were scheduled, and what became of all cells."""

from typing import Any

import numpy as np

from realtime.sort.record import SortRecord
from realtime.sort.report_gate import COLOURS, OTHER, nothing
from realtime.sort.report_words import verdict_words

MARKS = {"p50": ("half", "#56B4E9"), "p99": ("99 %", "#0072B2"), "p99_9": ("99.9 %", "#D55E00")}
PULSES = {"done": "pulse fired"}


def latency_panel(axes: Any, record: SortRecord, figures: dict[str, Any]) -> None:
    """From the end of exposure of a cell's last strip to the pulse being scheduled."""
    axes.set_title("Latency: last strip exposed → pulse scheduled", loc="left", fontsize=12)
    axes.set_xlabel("ms")
    axes.set_ylabel("pulses")
    latency_ms = record.pulses.scheduled_ms
    if not len(latency_ms):
        nothing(axes, "a dry sort schedules no pulses" if figures["dry"] else "no pulse was asked for")
        return
    low, high = max(latency_ms.min(), 1e-3) * 0.9, max(latency_ms.max(), 2e-3) * 1.1
    counts, *_ = axes.hist(np.maximum(latency_ms, 1e-3), bins=np.geomspace(low, high, 60), color="#99CCBB")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if high < 8 * low else "")
    axes.set_ylim(0, 1.4 * counts.max())  # room for the words
    axes.yaxis.get_major_locator().set_params(integer=True)
    for height, (name, (share, colour)) in enumerate(MARKS.items()):
        value = figures["scheduled_ms"][name]
        axes.vlines(value, 0, counts.max(), color=colour, linewidth=1.4)
        axes.text(0.98, 0.94 - 0.08 * height, f"{share} within {value:.2f} ms", transform=axes.transAxes,
                  ha="right", fontsize=10, color=colour)  # fmt: skip


def verdict_panel(axes: Any, figures: dict[str, Any]) -> None:
    """Cells by verdict and pulses by outcome, as bars of logarithmic length: the few matter as much as the many."""
    rows = [(verdict_words(name), n, COLOURS.get(name, OTHER)) for name, n in figures["verdicts"].items()]
    bars = [
        *rows,
        *((PULSES.get(name, f"pulse {name}"), n, "#444444") for name, n in figures.get("outcomes", {}).items()),
    ]
    places = -np.arange(len(bars), dtype=float) - (np.arange(len(bars)) >= len(rows)) * 0.6
    axes.barh(places, [n for _, n, _ in bars], color=[colour for *_, colour in bars], height=0.7, left=0.7)
    axes.set_xscale("log")
    axes.set_xlim(0.7, 60 * max(n for _, n, _ in bars))
    axes.set_yticks(places, [words for words, *_ in bars], fontsize=10)
    for place, (words, n, _) in zip(places, bars, strict=True):
        share = "" if words.startswith("pulse ") else f"  ({n / figures['events']:.2%})"
        axes.text(n * 1.25 + 0.7, place, f"{n:,}{share}", va="center", fontsize=9.5)
    axes.set_title("What became of the cells (bars: logarithmic)", loc="left", fontsize=12)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.grid(False)
