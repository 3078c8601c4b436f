"""Class metrics against cases counted by hand, and against scikit-learn where it is installed."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from models.class_metrics import (
    accuracy_of_class,
    area_under_curve,
    balanced_accuracy,
    calibration_error,
    class_figures,
    confusion_matrix,
    fitted_temperature,
    group_of_class,
    log_loss,
    of_groups,
    one_against_rest,
    probabilities,
    reliability,
)  # fmt: skip

NAMES = ("interphase", "mitotic", "apoptotic")
GROUPS = {"alive": ("interphase", "mitotic"), "dead": ("apoptotic",)}
TRUTH = np.array([0, 0, 0, 1, 1, 2])
P = np.array(
    [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.9, 0.0], [0.2, 0.6, 0.2], [0.4, 0.3, 0.3]]
)  # fmt: skip


def drawn(n: int, n_classes: int, seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Probabilities with many ties, and truths that follow them loosely."""
    rng = np.random.default_rng(seed)
    p = np.round(rng.dirichlet(np.full(n_classes, 0.5), n), 1) + 1e-3
    p /= p.sum(axis=1, keepdims=True)
    return p, np.array([rng.choice(n_classes, p=0.5 * row + 0.5 / n_classes) for row in p])


def test_confusions_and_accuracies_counted_by_hand() -> None:
    confusion = confusion_matrix(TRUTH, P.argmax(axis=1), 3)
    assert confusion.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert accuracy_of_class(confusion).tolist() == pytest.approx([2 / 3, 1, 0])
    assert balanced_accuracy(confusion) == pytest.approx(5 / 9)


def test_a_class_that_does_not_occur_counts_nowhere() -> None:
    figures = class_figures(P[:5], TRUTH[:5], NAMES)
    assert figures.accuracy_of_class[2] is None
    assert figures.auc_of_class[2] is None
    assert figures.balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert figures.n_of_class == (3, 2, 0)


def test_reliability_and_calibration_error_counted_by_hand() -> None:
    table = reliability(P, TRUTH, n_bins=2)
    assert [(b.above, b.up_to, b.n) for b in table] == [(0, 0.5, 1), (0.5, 1, 5)]
    assert (table[0].confidence, table[0].accuracy) == (pytest.approx(0.4), 0)
    assert (table[1].confidence, table[1].accuracy) == (pytest.approx(0.72), pytest.approx(0.8))
    assert calibration_error(table) == pytest.approx((1 * 0.4 + 5 * 0.08) / 6)


@pytest.mark.parametrize(
    ("confidence", "bin_index"), [(1 / 15, 0), (1 / 15 + 1e-9, 1), (0.2, 2), (0.999, 14), (1.0, 14)]
)
def test_bins_include_their_upper_edge(confidence: float, bin_index: int) -> None:
    p = np.full((1, 15), (1 - confidence) / 14)
    p[0, 0] = confidence
    assert reliability(p, np.array([0]))[bin_index].n == 1


def test_certain_and_right_is_calibrated() -> None:
    figures = class_figures(np.eye(3), np.arange(3), NAMES)
    assert (figures.calibration_error, figures.accuracy, figures.balanced_accuracy) == (0, 1, 1)
    assert figures.auc_of_class == (1, 1, 1)


@pytest.mark.parametrize(
    ("score", "positive", "area"),
    [
        ([0.1, 0.4, 0.35, 0.8], [False, False, True, True], 0.75),
        ([1.0, 1.0, 1.0], [True, False, False], 0.5),
        ([3.0, 2.0, 1.0], [True, False, False], 1.0),
        ([1.0, 2.0, 2.0, 3.0], [False, True, False, True], 3.5 / 4),
    ],
)
def test_area_under_the_curve_counts_ties_half(score: list[float], positive: list[bool], area: float) -> None:
    assert area_under_curve(np.array(score), np.array(positive)) == pytest.approx(area, abs=1e-15)


def test_area_without_one_of_the_two_is_undefined() -> None:
    assert math.isnan(area_under_curve(np.array([1.0, 2.0]), np.array([True, True])))


def test_equal_to_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    p, truth = drawn(700, 5)
    given = p.argmax(axis=1)
    confusion = confusion_matrix(truth, given, 5)
    np.testing.assert_array_equal(confusion, sklearn.confusion_matrix(truth, given, labels=range(5)))
    assert balanced_accuracy(confusion) == pytest.approx(sklearn.balanced_accuracy_score(truth, given), abs=1e-12)
    assert log_loss(p, truth) == pytest.approx(sklearn.log_loss(truth, p), abs=1e-12)
    theirs = [sklearn.roc_auc_score(truth == k, p[:, k]) for k in range(5)]
    np.testing.assert_allclose(one_against_rest(p, truth), theirs, atol=1e-12, rtol=0)


def test_temperature_of_logits_that_are_too_sure() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 1.5, (20_000, 4))
    p = probabilities(honest, 1.0)
    truth = (rng.random((20_000, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    temperature = fitted_temperature(3 * honest, truth)
    assert temperature == pytest.approx(3, rel=0.03)
    sure, calmed = (calibration_error(reliability(probabilities(3 * honest, t), truth)) for t in (1.0, temperature))
    assert calmed < 0.02 < 0.1 < sure


def test_temperature_changes_no_decision() -> None:
    logits = np.random.default_rng(1).normal(0, 2, (100, 6)).astype(np.float32)
    for temperature in (0.3, 1.0, 4.0):
        p = probabilities(logits, temperature)
        np.testing.assert_array_equal(p.argmax(axis=1), logits.argmax(axis=1))
        np.testing.assert_allclose(p.sum(axis=1), 1)


def test_groups_add_up() -> None:
    np.testing.assert_allclose(of_groups(P, NAMES, GROUPS), np.column_stack([P[:, :2].sum(axis=1), P[:, 2]]))
    assert group_of_class(NAMES, GROUPS).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("groups", "named"),
    [
        ({"alive": ("interphase",), "dead": ("apoptotic",)}, "mitotic"),
        ({"alive": ("interphase", "mitotic", "necrotic"), "dead": ("apoptotic",)}, "necrotic"),
        ({"alive": ("interphase", "mitotic"), "dead": ("mitotic", "apoptotic")}, "mitotic"),
    ],
)
def test_groups_must_divide_the_classes(groups: dict[str, tuple[str, ...]], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        of_groups(P, NAMES, groups)


@pytest.mark.parametrize(
    ("p", "truth", "message"),
    [
        (P, TRUTH[:3], r"p must be \[3, 3\]"),
        (P[:0], TRUTH[:0], "at least one row"),
        (P, TRUTH + 1, "between 0 and 2"),
        (P * 2, TRUTH, "sum to 1"),
        (np.full_like(P, np.nan), TRUTH, "sum to 1"),
    ],
)
def test_figures_of_something_else_are_refused(
    p: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        class_figures(p, truth, NAMES)
