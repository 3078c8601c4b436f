"""Purity and yield of a sort: as probabilities promise, and as they truly were; at work, and at any other threshold."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.cells import Floats
from realtime.sort.true_cells import NOBODY, TrueCells

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Curve:
    """Purity and yield if all cells above a threshold were sorted, whatever else speaks against a pulse."""

    threshold: Floats  # [T] rising; probability to be wanted
    purity: Floats  # [T] NaN where nobody is above
    yielded: Floats  # [T]


def expected_curve(p_wanted: Floats, threshold: Floats) -> Curve:
    """By the probabilities alone: right if they are."""
    return _curve(p_wanted, p_wanted, float(p_wanted.sum()), threshold)


def true_curve(p_wanted: Floats, cell: npt.NDArray[np.intp], truth: TrueCells, threshold: Floats) -> Curve:
    """By the truth: events that are no true cell are unwanted, a cell that was two events is found once."""
    is_wanted = np.zeros(len(p_wanted))
    known = np.flatnonzero(cell != NOBODY)
    surest_first = known[np.argsort(-p_wanted[known], kind="stable")]
    _, first = np.unique(cell[surest_first], return_index=True)
    once = surest_first[first]
    is_wanted[once] = truth.wanted[cell[once]]
    return _curve(p_wanted, is_wanted, float(truth.wanted.sum()), threshold)


def purity_and_yield(chosen: Bools, wanted: Floats | Bools, n_wanted: float) -> tuple[float, float]:
    """Share of wanted ones among the chosen; share of all wanted ones that were chosen."""
    right = float(wanted[chosen].sum())
    n_chosen = int(chosen.sum())
    return right / n_chosen if n_chosen else float("nan"), right / n_wanted if n_wanted else float("nan")


def enrichment(purity: float, share: float) -> float:
    """How many times the share of wanted cells is larger among the sorted ones than in the sample."""
    return purity / share if share > 0 else float("nan")


def _curve(p_wanted: Floats, wanted: Floats, n_wanted: float, threshold: Floats) -> Curve:
    order = np.argsort(-p_wanted, kind="stable")
    right = np.concatenate([[0.0], np.cumsum(wanted[order])])
    n = np.searchsorted(-p_wanted[order], -threshold, side="right")
    with np.errstate(divide="ignore", invalid="ignore"):
        return Curve(threshold, right[n] / n, right[n] / n_wanted if n_wanted else np.full(len(n), np.nan))
