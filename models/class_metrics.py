"""How well classes and their probabilities are given: accuracy a class, confusions, calibration, areas under curves.

A confusion matrix has a row for each true class and a column for each given one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.integer[Any]]
Counts = npt.NDArray[np.int64]

N_BINS = 15
"""Bins of equal width between 0 and 1, as in Guo et al., On Calibration of Modern Neural Networks (ICML 2017)."""


class ClassFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What is reported of a classifier on one split; classes that do not occur there have None."""

    n: int
    class_names: tuple[str, ...]
    n_of_class: tuple[int, ...]
    accuracy: float
    balanced_accuracy: float
    accuracy_of_class: tuple[float | None, ...]
    auc_of_class: tuple[float | None, ...]
    """Each class against all others."""
    calibration_error: float
    log_loss: float
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple["Bin", ...]


class Bin(msgspec.Struct, frozen=True):
    """Cells whose largest probability lies in (`above`, `up_to`]; the first bin also holds 0."""

    above: float
    up_to: float
    n: int
    confidence: float | None
    """Mean of the largest probability."""
    accuracy: float | None


def class_figures(p: Floats, truth: Classes, names: Sequence[str]) -> ClassFigures:
    """All figures of `p[N, K]`, rows that sum to 1, against `truth[N]`, places in `names`."""
    _check(p, truth, len(names))
    confusion = confusion_matrix(truth, p.argmax(axis=1), len(names))
    table = reliability(p, truth)
    return ClassFigures(
        n=len(truth),
        class_names=tuple(names),
        n_of_class=tuple(confusion.sum(axis=1).tolist()),
        accuracy=float(np.trace(confusion) / len(truth)),
        balanced_accuracy=balanced_accuracy(confusion),
        accuracy_of_class=_or_none(accuracy_of_class(confusion)),
        auc_of_class=_or_none(one_against_rest(p, truth)),
        calibration_error=calibration_error(table),
        log_loss=log_loss(p, truth),
        confusion=tuple(map(tuple, confusion.tolist())),
        reliability=table,
    )


def confusion_matrix(truth: Classes, given: Classes, n_classes: int) -> Counts:
    """How often true class i was called j, `[K, K]`."""
    return np.bincount(truth.astype(np.int64) * n_classes + given, minlength=n_classes**2).reshape(n_classes, n_classes)


def accuracy_of_class(confusion: Counts) -> Floats:
    """Share of each class that was recognised, `[K]`; not-a-number for classes that do not occur."""
    n = confusion.sum(axis=1)
    return np.where(n > 0, np.diagonal(confusion) / np.maximum(n, 1), np.nan)


def balanced_accuracy(confusion: Counts) -> float:
    """Mean of the classes' accuracies, each class that occurs counting the same."""
    return float(np.nanmean(accuracy_of_class(confusion)))


def reliability(p: Floats, truth: Classes, n_bins: int = N_BINS) -> tuple[Bin, ...]:
    """What the largest probabilities `max p[N, K]` promise and what they hold, by bins of equal width."""
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    bin_of = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    return tuple(
        Bin(i / n_bins, (i + 1) / n_bins, int(here.sum()), _mean(confidence[here]), _mean(right[here]))
        for i in range(n_bins)
        for here in [bin_of == i]
    )


def calibration_error(table: Sequence[Bin]) -> float:
    """Expected calibration error: mean distance between confidence and accuracy, each bin weighted by its cells."""
    gaps = [b.n * abs(b.confidence - b.accuracy) for b in table if b.confidence is not None and b.accuracy is not None]
    return sum(gaps) / sum(b.n for b in table)


def area_under_curve(score: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Probability that a positive has the higher score than a negative, ties counting half; not-a-number without both."""
    above, below = score[positive], np.sort(score[~positive])
    if not len(above) or not len(below):
        return float("nan")
    beaten = np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")
    return float(beaten.sum() / (2 * len(above) * len(below)))


def one_against_rest(p: Floats, truth: Classes) -> Floats:
    """Area under the curve of each class's own probability, `[K]`."""
    return np.array([area_under_curve(p[:, k], truth == k) for k in range(p.shape[1])])


def log_loss(p: Floats, truth: Classes) -> float:
    """Mean of −log p of the true class."""
    return float(-np.log(np.maximum(p[np.arange(len(truth)), truth], np.finfo(np.float64).tiny)).mean())


def fitted_temperature(logits: Floats, truth: Classes) -> float:
    """The one number by which logits `[N, K]` are divided so that their softmax has the smallest log loss."""

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scaled[np.arange(len(truth)), truth].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def probabilities(logits: npt.NDArray[np.floating[Any]], temperature: float) -> Floats:
    """Calibrated probabilities `[N, K]`."""
    return np.asarray(softmax(logits.astype(np.float64) / temperature, axis=1), np.float64)


def of_groups(p: Floats, names: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Floats:
    """Probability of each group, the sum of its classes', `[N, G]`; every class must be in exactly one group."""
    _check_groups(names, groups)
    return np.column_stack([p[:, [names.index(name) for name in members]].sum(axis=1) for members in groups.values()])


def group_of_class(names: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Counts:
    """Place of each class's group, `[K]`."""
    _check_groups(names, groups)
    return np.array([next(g for g, members in enumerate(groups.values()) if name in members) for name in names])


def _check_groups(names: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
    members = [name for each in groups.values() for name in each]
    wrong = sorted(set(members) ^ set(names)) or sorted({name for name in members if members.count(name) > 1})
    if wrong:
        raise ValueError(f"each class must be in exactly one group; look at {', '.join(wrong)}")


def _check(p: Floats, truth: Classes, n_classes: int) -> None:
    if p.shape != (len(truth), n_classes) or not len(truth):
        raise ValueError(f"p must be [{len(truth)}, {n_classes}] with at least one row, not {list(p.shape)}")
    if truth.min() < 0 or truth.max() >= n_classes:
        raise ValueError(f"classes must lie between 0 and {n_classes - 1}, not {truth.min()} … {truth.max()}")
    if not np.allclose(p.sum(axis=1), 1, atol=1e-3) or p.min() < 0:
        raise ValueError("each row of p must be probabilities that sum to 1")


def _mean(values: npt.NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _or_none(values: Floats) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)
