"""The plot: light per cell against what was got for it, a point an arm, and the frontier that no arm beats."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from realtime.scoring.statistics import Estimate

Estimates = Mapping[str, Estimate]
MARKERS = "osD^vP*Xp<>h"


def write_pareto(path: Path, arms: Mapping[str, Estimates], got: str, title: str) -> None:
    """`got` is the figure upwards: captured_share or snr_held_s. PNG; points carry 95 % intervals both ways."""
    from matplotlib.figure import Figure  # without pyplot: no window system is touched

    figure = Figure(figsize=(7.0, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    points = {name: (figures["cell_j_cm2"], figures[got]) for name, figures in arms.items()}
    means = [(light.mean, gain.mean) for light, gain in points.values()]
    edge = frontier([point for point in means if all(map(math.isfinite, point))])
    if len(edge) > 1:
        axes.step(*zip(*edge, strict=True), where="post", color="0.75", linewidth=1.5, zorder=1, label="frontier")
    for (name, (light, gain)), marker in zip(points.items(), MARKERS * len(points), strict=False):
        axes.errorbar(
            light.mean, gain.mean, xerr=_arms_of(light), yerr=_arms_of(gain), fmt=marker, markersize=7, capsize=3,
            elinewidth=1, label=name, zorder=2,
        )  # fmt: skip
    _dress(axes, got, title, _highest(light for light, _ in points.values()), _highest(g for _, g in points.values()))
    figure.savefig(path, format="png")


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other one beats with less light and more gain, by rising light."""
    best: list[tuple[float, float]] = []
    for light, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or gain > best[-1][1]:
            best.append((light, gain))
    return best


def _arms_of(estimate: Estimate) -> list[list[float]] | None:
    """Lengths of the two arms of an error bar; None without an interval."""
    if not estimate.low <= estimate.high:
        return None
    return [[max(0.0, estimate.mean - estimate.low)], [max(0.0, estimate.high - estimate.mean)]]


def _highest(estimates: Iterable[Estimate]) -> float:
    """The highest that is drawn, and something above zero in any case."""
    drawn = [value for each in estimates for value in (each.mean, each.high) if math.isfinite(value)]
    return max(drawn, default=0.0) or 1.0


def _dress(axes: Any, got: str, title: str, most_light: float, most_got: float) -> None:
    """With room for whole markers at the edges."""
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("light per cell, J/cm²")
    axes.set_ylabel("share of events captured" if got == "captured_share" else "signal-to-noise target held, s")
    most_got = 1.0 if got == "captured_share" else most_got
    axes.set_xlim(-0.03 * most_light, 1.05 * most_light)
    axes.set_ylim(-0.03 * most_got, 1.05 * most_got)
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
