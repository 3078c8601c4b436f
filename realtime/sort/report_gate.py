"""The gate plot: every cell a dot, by its size and by how surely it is wanted."""

import math
from typing import Any

import numpy as np

from models.cells import Floats
from realtime.sort.record import SortRecord

COLOURS = {  # Okabe and Ito 2008: also the colour-blind tell them apart
    "sorted": "#009E73", "with_another": "#56B4E9", "unwanted": "#BBBBBB", "undecided": "#CC79A7",
    "outside_gate": "#F0E442", "too_few_looks": "#8C6D31", "uncertain_arrival": "#D55E00", "coincidence": "#E69F00",
    "gate_busy": "#0072B2", "too_late": "#000000",
}  # fmt: skip
OTHER = "#666666"
TICKS = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
AREA_TICKS = tuple(digit * 10.0**power for power in range(-2, 6) for digit in (1, 2, 5))
PAPER = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
"""Behind text that dots or lines may cross."""
MOST_DOTS = 6_000
"""Of one verdict; of more only a sample is drawn, which looks the same."""
LEAST_P = 1e-5


def gate_panel(axes: Any, record: SortRecord) -> None:
    """Area against the probability to be wanted, with the evidence that was asked for."""
    events = record.events
    verdicts = events["verdict"].astype(str)
    area, height = events["area_um2"], logit(events["p_wanted"])
    height = height + np.random.default_rng(0).uniform(-0.12, 0.12, len(height))  # equal ones do not hide each other
    for verdict in drawing_order(verdicts):
        rows = np.flatnonzero(verdicts == verdict)
        shown = rows[:: max(1, math.ceil(len(rows) / MOST_DOTS))]
        axes.scatter(
            area[shown], height[shown], s=7 if verdict == "unwanted" else 12, linewidths=0, rasterized=True,
            color=COLOURS.get(verdict, OTHER), alpha=0.5 if verdict == "unwanted" else 0.8,
        )  # fmt: skip
    low, high = thresholds(record)
    axes.axhline(logit(np.array(high)), color="#009E73", linewidth=1.2)
    axes.axhline(logit(np.array(low)), color="#777777", linewidth=1.2)
    axes.text(1.0, logit(np.array(high)) + 0.15, "wanted above ", transform=axes.get_yaxis_transform(), ha="right",
              fontsize=9, color="#007755", bbox=PAPER)  # fmt: skip
    axes.text(1.0, logit(np.array(low)) - 0.25, "given up below ", transform=axes.get_yaxis_transform(), ha="right",
              va="top", fontsize=9, color="#666666", bbox=PAPER)  # fmt: skip
    for edge in record.settings.gate.where.get("area_um2", ()):
        axes.axvline(edge, color="#009E73", linewidth=1.2, linestyle="--")
    _dress(axes, area)


def _dress(axes: Any, area: Floats) -> None:
    axes.set_title("Gate: how surely each cell is wanted (colours as on the right)", loc="left", fontsize=12)
    axes.set_xlabel("area, µm²")
    axes.set_ylabel("probability to be wanted")
    logit_axis(axes.yaxis)
    positive = area[np.isfinite(area) & (area > 0)]
    if len(positive):
        low, high = np.quantile(positive, [0.001, 0.999])
        axes.set_xlim(0.8 * low, 1.15 * high)
    if len(positive) and np.quantile(positive, 0.99) > 8 * np.quantile(positive, 0.01):
        axes.set_xscale("log")
        axes.set_xticks([tick for tick in AREA_TICKS if axes.get_xlim()[0] < tick < axes.get_xlim()[1]])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")


def drawing_order(verdicts: Any) -> list[str]:
    """The many first, so that the few are on top."""
    names, counts = np.unique(verdicts, return_counts=True)
    return [str(name) for name in names[np.argsort(-counts, kind="stable")]]


def thresholds(record: SortRecord) -> tuple[float, float]:
    """Probabilities to be wanted up to which a cell is given up, and from which it is wanted (as in SequentialTest)."""
    gate = record.settings.gate
    prior = math.log(gate.wanted_share / (1 - gate.wanted_share))
    upper = math.log((1 - gate.misses) / gate.false_triggers) + prior
    lower = math.log(gate.misses / (1 - gate.false_triggers)) + prior
    return 1 / (1 + math.exp(-lower)), 1 / (1 + math.exp(-upper))


def nothing(axes: Any, why: str) -> None:
    """Words in the place of a panel that has nothing to show."""
    axes.axis("off")
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", fontsize=11, color="#777777")


def logit(p: Floats) -> Floats:
    """Finite, for drawing."""
    inside = np.clip(p, LEAST_P, 1 - LEAST_P)
    heights: Floats = np.log(inside / (1 - inside))
    return heights


def logit_axis(axis: Any) -> None:
    """Probabilities written where they stand."""
    axis.set_ticks(logit(np.array(TICKS)), [f"{tick:g}" for tick in TICKS])
