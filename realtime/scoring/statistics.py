"""Rows of many seeds → means with 95 % confidence intervals: percentile bootstrap over seeds, paired where arms are compared."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from models.cells import Floats
from realtime.scoring.judge import Row

CONFIDENCE = 0.95
N_RESAMPLES = 5000
SEED = 5
"""Of the resampling: the same rows give the same intervals."""


class Estimate(msgspec.Struct, frozen=True):
    """A mean and its confidence interval; NaN where there is nothing to average, or one seed only."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """What is averaged: a sum over seeds, divided by another one."""

    of: Callable[[Row], float]
    per: Callable[[Row], float] = lambda row: 1.0


FIGURES: dict[str, Figure] = {
    "events": Figure(lambda row: row.events),
    "captured": Figure(lambda row: row.captured),
    "captured_share": Figure(lambda row: row.captured, lambda row: row.events),
    "reaction_ms": Figure(lambda row: sum(row.reactions_ms), lambda row: len(row.reactions_ms)),
    "reaction_frames": Figure(lambda row: sum(row.reactions_frames), lambda row: len(row.reactions_frames)),
    "false_triggers": Figure(lambda row: row.false_triggers),
    "false_mj": Figure(lambda row: row.false_mj),
    "dose_mj": Figure(lambda row: row.dose_mj),
    "cell_j_cm2": Figure(lambda row: row.cell_j_cm2),
    "cell_j_cm2_p95": Figure(lambda row: row.cell_j_cm2_p95),
    "mj_per_captured": Figure(lambda row: row.dose_mj, lambda row: row.captured),
    "harmed": Figure(lambda row: row.harmed),
    "dead_harmed": Figure(lambda row: row.dead_harmed),
    "snr_held_s": Figure(lambda row: math.nan if row.snr_held_s is None else row.snr_held_s),
    "imaged_s": Figure(lambda row: row.imaged_s),
    "n_frames": Figure(lambda row: row.n_frames),
    "links_kept_share": Figure(lambda row: row.links_kept, lambda row: row.links),
    "id_switches": Figure(lambda row: row.id_switches if row.links else 0, lambda row: bool(row.links)),
    "divisions_found_share": Figure(lambda row: row.divisions_found, lambda row: row.divisions),
    "divisions_false": Figure(lambda row: row.divisions_false if row.links else 0, lambda row: bool(row.links)),
}
COMPARED = ("captured", "dose_mj", "cell_j_cm2", "snr_held_s")
"""Figures of which arms are set against each other."""


class Comparison(msgspec.Struct, frozen=True):
    """One arm against another with the same seeds, both as this one's figure by (less) the other's."""

    ratio: Estimate
    difference: Estimate


def estimates(rows: Sequence[Row]) -> dict[str, Estimate]:
    """Every figure of one arm's rows."""
    return {name: _estimated(_share, *_sums(figure, rows)) for name, figure in FIGURES.items()}


def comparisons(rows: Sequence[Row], others: Sequence[Row]) -> dict[str, Comparison]:
    """One arm's rows against another's, seed by seed."""
    assert [row.seed for row in rows] == [row.seed for row in others]
    compared = {}
    for name in COMPARED:
        sums = (*_sums(FIGURES[name], rows), *_sums(FIGURES[name], others))
        compared[name] = Comparison(_estimated(_ratio, *sums), _estimated(_difference, *sums))
    return compared


def by_arm(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    """Arm → its rows, in the order in which they come."""
    arms: dict[str, list[Row]] = {}
    for row in rows:
        arms.setdefault(row.arm, []).append(row)
    return arms


def _sums(figure: Figure, rows: Sequence[Row]) -> tuple[Floats, Floats]:
    return np.array([figure.of(row) for row in rows], float), np.array([figure.per(row) for row in rows], float)


def _estimated(statistic: Callable[..., Any], *samples: Floats) -> Estimate:
    from scipy.stats import DegenerateDataWarning, bootstrap

    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        mean = float(statistic(*samples))
        if len(samples[0]) < 2 or not math.isfinite(mean):
            return Estimate(mean, math.nan, math.nan)
        warnings.simplefilter("ignore", DegenerateDataWarning)  # a resample without any event divides by nothing
        found = bootstrap(
            samples, statistic, paired=True, vectorized=True, n_resamples=N_RESAMPLES, method="percentile",
            random_state=np.random.default_rng(SEED),
        )  # fmt: skip
    known = found.bootstrap_distribution[~np.isnan(found.bootstrap_distribution)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail], method="inverted_cdf")  # of the values: some may be infinite
    return Estimate(mean, float(low), float(high))


def _share(of: Floats, per: Floats, axis: int = -1) -> Any:
    return of.sum(axis) / per.sum(axis)


def _ratio(of: Floats, per: Floats, other_of: Floats, other_per: Floats, axis: int = -1) -> Any:
    return _share(of, per, axis) / _share(other_of, other_per, axis)


def _difference(of: Floats, per: Floats, other_of: Floats, other_per: Floats, axis: int = -1) -> Any:
    return _share(of, per, axis) - _share(other_of, other_per, axis)
