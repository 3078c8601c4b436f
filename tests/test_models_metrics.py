"""Segmentation figures: drawn cases with known answers, a slow version of the same, and published implementations."""

import importlib
import warnings
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from models.metrics import THRESHOLDS, Counts, Overlaps, agreement, counts, summary

Ints = npt.NDArray[np.int64]
NOTHING = np.zeros((40, 40), np.int64)
LOW = (0.1, 0.25, 0.4)


def squares(*corners: tuple[int, int, int]) -> Ints:
    """Squares (x, y, side) as labels 1, 2 …"""
    labels = np.zeros((40, 40), np.int64)
    for value, (x, y, side) in enumerate(corners, start=1):
        labels[y : y + side, x : x + side] = value
    return labels


def found_slowly(truth: Ints, predicted: Ints, threshold: float) -> int:
    """Matches at an IoU by dense tables and the Hungarian method: a pair counts 1, and its IoU breaks ties."""
    true_values, values = (np.unique(labels[labels > 0]) for labels in (truth, predicted))
    iou = np.zeros((len(true_values), len(values)))
    for i, t in enumerate(true_values):
        for j, p in enumerate(values):
            iou[i, j] = ((truth == t) & (predicted == p)).sum() / ((truth == t) | (predicted == p)).sum()
    rows, columns = linear_sum_assignment(-1.0 * (iou >= threshold) - iou / (2 * max(1, min(iou.shape))))
    return int((iou[rows, columns] >= threshold).sum())


def moved(labels: Ints, rng: np.random.Generator) -> Ints:
    """A prediction as a network might make it: some objects lost, split, or cut by a border that lies elsewhere."""
    predicted = np.roll(labels, rng.integers(-2, 3, 2), axis=(0, 1))
    predicted[np.isin(predicted, rng.integers(1, labels.max() + 1, 2))] = 0
    half = predicted == rng.integers(1, labels.max() + 1)
    half[:, ::2] = False
    predicted[half] = labels.max() + 7
    return predicted


def real_looking(seed: int) -> tuple[Ints, Ints]:
    """Touching discs of many sizes, and a prediction of them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:90, :110]
    labels = np.zeros((90, 110), np.int64)
    for value in range(1, 40):
        labels[np.hypot(y - rng.uniform(0, 90), x - rng.uniform(0, 110)) < rng.uniform(2, 11)] = value
    return labels, moved(labels, rng)


labels_of_any_kind = arrays(np.int64, (9, 11), elements=st.integers(0, 5))


@given(labels_of_any_kind, labels_of_any_kind, st.sampled_from([*LOW, 0.5, 0.75]))
@settings(max_examples=150, deadline=None)
def test_matches_equal_the_slow_ones(truth: Ints, predicted: Ints, threshold: float) -> None:
    found = counts(Overlaps.of(truth, predicted), threshold)
    assert found.found == found_slowly(truth, predicted, threshold)
    assert found.found + found.missed == np.unique(truth[truth > 0]).size
    assert found.found + found.invented == np.unique(predicted[predicted > 0]).size


# --- known answers --------------------------------------------------------------------------------------------


def test_a_perfect_prediction_scores_one_whatever_its_numbers() -> None:
    truth = squares((2, 2, 8), (20, 20, 10))
    figures = agreement(truth, np.where(truth == 1, 70_000, truth * 3))
    assert all(c.average_precision == 1 for c in figures.at.values())
    assert (figures.dice, figures.jaccard, figures.split, figures.merged) == (1, 1, 0, 0)


def test_average_precision_counts_the_missed_and_the_invented() -> None:
    figures = agreement(squares((2, 2, 8), (20, 20, 10)), squares((2, 2, 8), (30, 2, 5)))
    assert figures.at[0.5] == Counts(found=1, invented=1, missed=1)
    assert figures.at[0.5].average_precision == pytest.approx(1 / 3)
    assert (figures.at[0.5].f1, figures.at[0.5].precision, figures.at[0.5].recall) == (0.5, 0.5, 0.5)


def test_a_shifted_square_counts_up_to_its_own_iou() -> None:
    figures = agreement(squares((10, 10, 10)), squares((12, 10, 10)))  # 80 shared of 120
    assert [figures.at[t].found for t in THRESHOLDS] == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert figures.mean_average_precision == pytest.approx(0.4)
    assert figures.pixels == Counts(found=80, invented=20, missed=20)
    assert (figures.dice, figures.jaccard) == (0.8, pytest.approx(2 / 3))


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_an_iou_that_equals_the_threshold_is_a_match(threshold: float) -> None:
    truth, predicted = np.ones((1, 100), np.int64), np.ones((1, 100), np.int64)
    predicted[0, round(threshold * 100) :] = 0
    assert agreement(truth, predicted).at[threshold].found == 1
    predicted[0, round(threshold * 100) - 1] = 0
    assert agreement(truth, predicted).at[threshold].found == 0


def test_below_an_iou_of_a_half_as_many_objects_as_possible_are_matched() -> None:
    truth, predicted = np.zeros((2, 1, 30), np.int64)
    truth[0, :20], truth[0, 20:] = 1, 2
    predicted[0, 10:28], predicted[0, :10] = 1, 2  # the first overlaps both, the second only the first object
    figures = agreement(truth, predicted, [0.3])
    assert figures.at[0.3] == Counts(found=2, invented=0, missed=0)


def test_one_cell_in_two_and_two_cells_in_one() -> None:
    whole = squares((10, 10, 12))
    halves = whole.copy()
    halves[:, 16:] *= 2
    assert (agreement(whole, halves).split, agreement(whole, halves).merged) == (1, 0)
    assert (agreement(halves, whole).split, agreement(halves, whole).merged) == (0, 1)


def test_a_border_that_lies_elsewhere_is_neither_a_split_nor_a_merge() -> None:
    truth, predicted = np.ones((2, 10, 20), np.int64)
    truth[:, 10:], predicted[:, 13:] = 2, 2
    figures = agreement(truth, predicted)
    assert (figures.split, figures.merged) == (0, 0)


@pytest.mark.parametrize(
    ("truth", "predicted", "scores"),
    [
        (NOTHING, NOTHING, (1, 1, 1, 1)),
        (NOTHING, squares((3, 3, 5)), (0, 0, 0, 0)),
        (squares((3, 3, 5)), NOTHING, (0, 0, 0, 0)),
    ],
    ids=["rightly nothing", "invented", "missed"],
)
def test_nothing_where_nothing_is_scores_one_and_anything_else_none(
    truth: Ints, predicted: Ints, scores: tuple[float, ...]
) -> None:
    figures = agreement(truth, predicted)
    found = figures.at[0.5]
    assert (found.average_precision, found.precision, found.recall, found.f1) == scores
    assert (figures.dice, figures.jaccard) == scores[:2]


def test_a_set_of_images_pools_objects_and_averages_images() -> None:
    one, many = squares((2, 2, 8)), squares((0, 0, 6), (10, 0, 6), (20, 0, 6))
    figures = summary([agreement(one, one), agreement(many, NOTHING), agreement(NOTHING, NOTHING)])
    assert (figures.n_images, figures.n_empty, figures.n_true, figures.n_predicted) == (3, 1, 4, 1)
    means = (figures.mean_ap[0.5], figures.mean_average_precision, figures.per_image[0.5].recall)
    assert means == pytest.approx([2 / 3] * 3)
    assert figures.pooled[0.5] == Counts(found=1, invented=0, missed=3)
    assert (figures.dice, figures.pixels) == (pytest.approx(2 / 3), Counts(found=64, invented=0, missed=108))


def test_rates_are_shares_of_all_objects() -> None:
    whole, halves = squares((10, 10, 12)), squares((10, 10, 12))
    halves[:, 16:] *= 2
    figures = summary([agreement(whole, halves), agreement(halves, whole), agreement(whole, whole)])
    assert (figures.split_rate, figures.merge_rate) == (1 / 4, 1 / 4)


@pytest.mark.parametrize(
    ("truth", "predicted", "thresholds", "words"),
    [
        (np.zeros((3, 3), int), np.zeros((3, 4), int), THRESHOLDS, "differ in shape"),
        (np.full((3, 3), -1), np.zeros((3, 3), int), THRESHOLDS, "negative; the lowest is -1"),
        (np.zeros((3, 3), int), np.zeros((3, 3), int), [0.0], "IoU 0 is not above 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(truth: Ints, predicted: Ints, thresholds: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        agreement(truth, predicted, thresholds)


def test_a_set_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="no image"):
        summary([])


# --- published implementations --------------------------------------------------------------------------------


def published(name: str) -> ModuleType:
    """A package that computes the same; the test skips where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's imports
        pytest.importorskip(name.partition(".")[0])
        return importlib.import_module(name)


@pytest.mark.parametrize("seed", range(8))
def test_figures_equal_those_of_stardist(seed: int) -> None:
    stardist = published("stardist.matching")
    truth, predicted = real_looking(seed)
    found = agreement(truth, predicted, [*LOW, *THRESHOLDS])
    for threshold, ours in found.at.items():
        theirs = stardist.matching(truth, predicted, thresh=threshold)
        assert (ours.found, ours.invented, ours.missed) == (theirs.tp, theirs.fp, theirs.fn)
        assert ours.average_precision == pytest.approx(theirs.accuracy)
        assert (ours.precision, ours.recall) == pytest.approx((theirs.precision, theirs.recall))
        assert ours.f1 == pytest.approx(theirs.f1)


@pytest.mark.parametrize("by_image", [True, False])
def test_figures_of_a_set_equal_those_of_stardist(by_image: bool) -> None:
    stardist = published("stardist.matching")
    truths, predictions = zip(*map(real_looking, range(8)), strict=True)
    theirs = stardist.matching_dataset(truths, predictions, thresh=THRESHOLDS, by_image=by_image, show_progress=False)
    figures = summary(agreement(*pair) for pair in zip(truths, predictions, strict=True))
    for threshold, each in zip(THRESHOLDS, theirs, strict=True):
        ours = figures.per_image[threshold] if by_image else figures.pooled[threshold]
        assert ours.average_precision == pytest.approx(each.accuracy)
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx((each.precision, each.recall, each.f1))


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_equals_that_of_cellpose(seed: int) -> None:
    cellpose = published("cellpose.metrics")
    truth, predicted = (np.unique(labels, return_inverse=True)[1].reshape(90, 110) for labels in real_looking(seed))
    theirs, *_ = cellpose.average_precision(truth, predicted, list(THRESHOLDS))
    ours = [each.average_precision for each in agreement(truth, predicted).at.values()]
    assert ours == pytest.approx(theirs.tolist(), abs=1e-6)  # theirs are float32


@pytest.mark.parametrize("seed", range(3))
def test_dice_and_jaccard_equal_those_of_scikit_learn(seed: int) -> None:
    sklearn = published("sklearn.metrics")
    truth, predicted = real_looking(seed)
    figures, masks = agreement(truth, predicted), ((truth > 0).ravel(), (predicted > 0).ravel())
    assert figures.dice == pytest.approx(sklearn.f1_score(*masks))
    assert figures.jaccard == pytest.approx(sklearn.jaccard_score(*masks))


def test_overlaps_equal_the_contingency_table_of_scikit_image() -> None:
    skimage = published("skimage.metrics")
    truth, predicted = (np.unique(labels, return_inverse=True)[1].reshape(90, 110) for labels in real_looking(1))
    theirs = skimage.contingency_table(truth, predicted).toarray()[1:, 1:]
    assert np.array_equal(Overlaps.of(truth, predicted).shared.toarray(), theirs)
