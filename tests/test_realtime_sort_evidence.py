"""Evidence from looks: the stated rates hold where looks are as calibrated and as correlated as the model says."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_sort import CLASSES, ScriptedClassifier, settings_for

from models.cells import Floats
from realtime.sort.evidence import SUREST, SequentialTest
from realtime.sort.looks import NO_CELL, Looks, chosen

N_CELLS = 200_000
APART = 2.5
"""Between the means of a look's score for wanted cells and for others, in its standard deviation."""


def asking(prior_wanted: float = 0.5, rho: float = 0.0, **gate: Any) -> SequentialTest:
    classifier = ScriptedClassifier(
        class_prior=(prior_wanted, (1 - prior_wanted) / 2, (1 - prior_wanted) / 2), look_correlation=rho
    )
    return SequentialTest.of(settings_for(**{f"gate__{name}": value for name, value in gate.items()}).gate, classifier)


def probabilities(p_wanted: Floats) -> Floats:
    """`[n, 3]`."""
    return np.stack((p_wanted, (1 - p_wanted) * 0.7, (1 - p_wanted) * 0.3), axis=-1)


# --- the sequential test ------------------------------------------------------------------------------------------------


def scores(wanted: bool, rho: float, n_looks: int, seed: int) -> Floats:
    """Of looks `[N_CELLS, n_looks]`, correlated: what a calibrated network's log odds are made from."""
    rng = np.random.default_rng(seed)
    shared, own = rng.standard_normal((N_CELLS, 1)), rng.standard_normal((N_CELLS, n_looks))
    mean = APART / 2 if wanted else -APART / 2
    x: Floats = mean + math.sqrt(rho) * shared + math.sqrt(1 - rho) * own
    return x


def decided(test: SequentialTest, wanted: bool, rho: float, prior: float, n_looks: int) -> tuple[float, float]:
    """Shares of cells taken for wanted and for unwanted, looked at one by one until it is clear."""
    x = scores(wanted, rho, n_looks, seed=7)
    p = 1 / (1 + np.exp(-APART * x) * (1 - prior) / prior)  # what a network that is calibrated for `prior` says
    sums, verdict = np.zeros(N_CELLS), np.zeros(N_CELLS, int)
    for n in range(n_looks):
        open_ = verdict == 0
        sums[open_] += test.evidence(probabilities(p[open_, n]))
        llr = test.joined(sums, np.full(N_CELLS, n + 1))
        verdict[open_ & (llr >= test.upper)] = 1
        verdict[open_ & (llr <= test.lower)] = -1
    return float(np.mean(verdict == 1)), float(np.mean(verdict == -1))


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("prior", [0.5, 0.05])
def test_the_stated_rates_hold_on_calibrated_looks(rho: float, prior: float) -> None:
    alpha, beta = 0.002, 0.02
    test = asking(prior, rho, false_triggers=alpha, misses=beta)
    false_triggers, _ = decided(test, False, rho, prior, n_looks=8)
    _, misses = decided(test, True, rho, prior, n_looks=8)
    allowed = math.sqrt(alpha / N_CELLS) * 4
    assert false_triggers <= alpha / (1 - beta) + allowed
    assert misses <= beta / (1 - alpha) + math.sqrt(beta / N_CELLS) * 4


def test_correlation_that_is_ignored_breaks_the_promise() -> None:
    """Why the model must say how much looks resemble each other."""
    naive, honest = asking(rho=0.0, false_triggers=0.002), asking(rho=0.6, false_triggers=0.002)
    too_many, _ = decided(naive, False, 0.6, 0.5, n_looks=8)
    fine, _ = decided(honest, False, 0.6, 0.5, n_looks=8)
    assert too_many > 0.004
    assert fine < 0.0025


def test_more_looks_decide_more_cells() -> None:
    shares = [sum(decided(asking(rho=0.3), True, 0.3, 0.5, n)) for n in (1, 2, 5, 8)]
    assert shares == sorted(shares)
    assert shares[0] < 0.35
    assert shares[-1] > 0.7


# --- joining looks --------------------------------------------------------------------------------------------------------


LOOKS = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12)


def summed(ps: list[float], test: SequentialTest) -> Looks:
    looks = Looks.none(0, len(CLASSES)).carried_to(np.array([1]))
    for p in ps:
        looks.judge(probabilities(np.array([p])), np.array([0]), test)
    return looks


@given(LOOKS, st.randoms(use_true_random=False), st.floats(0, 1))
def test_the_order_of_looks_does_not_matter(ps: list[float], random: object, rho: float) -> None:
    test, shuffled = asking(rho=rho), list(ps)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = summed(ps, test), summed(shuffled, test)
    assert one.llr_sum == pytest.approx(other.llr_sum)
    assert one.log_likelihood_sums == pytest.approx(other.log_likelihood_sums)


@given(LOOKS, st.floats(0, 1), st.floats(0.01, 0.99))
def test_probabilities_are_probabilities_and_finite(ps: list[float], rho: float, prior: float) -> None:
    test = asking(prior, rho)
    looks = summed(ps, test)
    llr = test.joined(looks.llr_sum, looks.n_classified)
    p = test.p_class(llr, looks.log_likelihood_sums, looks.n_classified)
    assert np.isfinite(llr).all()
    assert ((p >= 0) & (p <= 1)).all()
    assert p.sum() == pytest.approx(1)
    assert p[:, 0] == pytest.approx(test.p_wanted(llr))


@given(st.floats(0.001, 0.999), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_one_look_gives_bayes_rule(p: float, prior: float, share: float) -> None:
    """The network's posterior, with the sample's share in the place of the training's."""
    test = asking(prior, wanted_share=share)
    llr = test.joined(summed([p], test).llr_sum, np.array([1]))
    odds = p / (1 - p) * (1 - prior) / prior * share / (1 - share)
    assert test.p_wanted(llr)[0] == pytest.approx(odds / (1 + odds), rel=1e-6)


def test_the_same_look_again_says_nothing_if_looks_are_fully_correlated() -> None:
    test = asking(rho=1.0)
    for n in (1, 2, 9):
        looks = summed([0.9] * n, test)
        assert test.joined(looks.llr_sum, looks.n_classified)[0] == pytest.approx(math.log(9))


def test_nothing_seen_is_no_evidence() -> None:
    test = asking(wanted_share=0.05)
    llr = test.joined(np.zeros(1), np.zeros(1, int))
    assert llr[0] == 0
    assert test.p_wanted(llr)[0] == pytest.approx(0.05)


def test_no_single_look_is_certain() -> None:
    test = asking()
    evidence = test.evidence(probabilities(np.array([0.0, 1.0])))
    assert evidence.tolist() == pytest.approx([math.log(SUREST), -math.log(SUREST)], abs=1e-4)


# --- which looks are taken --------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(NO_CELL, 5), max_size=40),
    st.lists(st.integers(0, 4), min_size=6, max_size=6),
    st.integers(1, 50),
)
def test_looks_are_chosen_fairly(cells: list[int], left: list[int], most: int) -> None:
    rows, budget = np.array(cells, np.intp), np.array(left)
    picked = chosen(rows, budget, most)
    taken = np.bincount(rows[picked], minlength=6) if len(picked) else np.zeros(6, int)
    possible = np.minimum(np.bincount(rows[rows >= 0], minlength=6), budget)
    assert sorted(picked) == picked.tolist()
    assert len(set(picked.tolist())) == len(picked) == min(most, possible.sum())
    assert (taken <= possible).all()
    assert taken[taken < possible].min(initial=99) >= taken.max(initial=0) - 1


def test_cells_keep_their_sums_from_stack_to_stack() -> None:
    test = asking()
    looks = Looks.none(0, len(CLASSES)).carried_to(np.array([2, 5]))
    looks.judge(probabilities(np.array([0.9, 0.1, 0.1])), np.array([0, 1, 1]), test)
    later = looks.carried_to(np.array([1, 5, 9]))
    assert later.n_classified.tolist() == [0, 2, 0]
    assert later.llr_sum.tolist() == [0.0, looks.llr_sum[1], 0.0]
    assert later.carried_to(np.array([], np.int64)).carried_to(np.array([5])).n_classified.tolist() == [0]


def test_shares_of_the_sample_change_what_a_look_tells_and_not_more() -> None:
    """A look that says "wanted or the first other class" tells more where that other class is rare."""
    p_class = np.array([[0.8, 0.2, 0.0]])
    as_trained, rare = asking(0.5), asking(0.5, shares={"wbc": 1.0, "rbc": 1.0, "debris": 99.0})
    usual, surer = float(as_trained.evidence(p_class)[0]), float(rare.evidence(p_class)[0])
    assert surer == pytest.approx(usual + np.log(0.5 / 0.01))
    same = asking(0.5, shares={"wbc": 7.0, "rbc": 3.0, "debris": 3.0})
    assert float(same.evidence(p_class)[0]) == pytest.approx(usual)


@pytest.mark.parametrize("row", [(0.0, 0.0, 0.0), (math.nan, 0.5, 0.5), (math.inf, 0.0, 0.0)])
def test_a_look_that_gave_no_numbers_counts_for_nothing(row: tuple[float, float, float]) -> None:
    test, looks = asking(), Looks.none(0, len(CLASSES)).carried_to(np.array([2]))
    looks.judge(np.array([row, (0.9, 0.05, 0.05)]), np.array([0, 0]), test)
    assert looks.n_classified.tolist() == [1]
    assert np.isfinite(test.p_wanted(looks.llr_sum)).all()


def test_no_evidence_is_too_much() -> None:
    assert asking().p_wanted(np.array([-1e4, 1e4])).tolist() == [0.0, 1.0]
