"""Is it a wanted cell? Looks at it → evidence, by Wald's sequential probability ratio test.

Each look at a cell gives class probabilities p(k). The model is calibrated for the class shares π(k) of its training, so
p(k) / π(k) is, but for a factor, the likelihood of the picture if the cell is of class k; one look's evidence is the log
of the ratio of that for the wanted classes together and for the others together, each group mixed as the gate's `shares`
say, or as in training. Looks at one cell resemble each other:
n of them with correlation ρ count as n / (1 + (n − 1) ρ) independent ones. The test (Wald, Ann. Math. Stat. 16, 1945)
says "wanted" above log((1 − β) / α), "unwanted" below log(β / (1 − α)), and asks for another look in between: then at
most about α of the unwanted cells pass for wanted (false triggers) and β of the wanted ones for unwanted (misses), if
the model's probabilities and ρ are right for the sample at hand; benchmarks/sorting.py checks that against the truth.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from models.cells import Floats
from realtime.sort.classifying import LookClassifier
from realtime.sort.settings import SortGate

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.integer]
RAREST = 1e-6
"""Share of a group below which no class of it is believed to be."""
SUREST = 1e-5
"""No single look counts as surer than this: networks are calibrated in the bulk, not in the tails."""


@dataclass(frozen=True)
class SequentialTest:
    """What is asked about every cell, and how much evidence decides."""

    wanted: Bools  # [K]
    prior: Floats  # [K] of the training
    mixed: Floats  # [K] the same with each group's classes as the sample has them; the groups' own shares are those of training
    correlation: float
    upper: float
    """Log likelihood ratio from which a cell is wanted."""
    lower: float
    """Up to this it is not."""
    log_odds: float
    """Of the wanted share of the sample: added to the evidence it gives the probability to be wanted."""

    @classmethod
    def of(cls, gate: SortGate, classifier: LookClassifier) -> "SequentialTest":
        """The test that a gate asks for."""
        alpha, beta = gate.false_triggers, gate.misses
        wanted = np.array([name in gate.classes for name in classifier.class_names])
        prior = np.asarray(classifier.class_prior, dtype=np.float64)
        return cls(
            wanted=wanted,
            prior=prior,
            mixed=_mixed(prior, wanted, [gate.shares.get(name, 0.0) for name in classifier.class_names]),
            correlation=classifier.look_correlation,
            upper=math.log((1 - beta) / alpha),
            lower=math.log(beta / (1 - alpha)),
            log_odds=math.log(gate.wanted_share / (1 - gate.wanted_share)),
        )

    def evidence(self, p_class: Floats) -> Floats:
        """Log likelihood ratio of each look `[n]` from probabilities `[n, K]`."""
        p_here = p_class * (self.mixed / self.prior)
        wanted = np.clip((p_here @ self.wanted) / p_here.sum(axis=1), SUREST, 1 - SUREST)
        share = float(self.prior @ self.wanted)
        evidence: Floats = np.log(wanted / (1 - wanted)) - math.log(share / (1 - share))
        return evidence

    def joined(self, summed: Floats, n_looks: Ints) -> Floats:
        """Log likelihood ratio of cells `[M]` from the sums over their looks; 0 without any."""
        return summed / (1 + np.maximum(n_looks - 1, 0) * self.correlation)

    def p_wanted(self, llr: Floats) -> Floats:
        """Probability to be wanted."""
        p: Floats = expit(llr + self.log_odds)
        return p

    def log_likelihoods(self, p_class: Floats) -> Floats:
        """Of each look for each class `[n, K]`, but for a number that is the same for all classes."""
        log_likelihoods: Floats = np.log(np.maximum(p_class, SUREST) / self.prior)
        return log_likelihoods

    def p_class(self, llr: Floats, log_likelihood_sums: Floats, n_looks: Ints) -> Floats:
        """Probabilities `[M, K]` of cells: the wanted classes together get `p_wanted`, the others the rest."""
        joined = self.joined(log_likelihood_sums, n_looks[:, None]) + np.log(self.mixed)
        p_wanted = self.p_wanted(llr)
        p = np.empty_like(joined)
        for group, p_group in ((self.wanted, p_wanted), (~self.wanted, 1 - p_wanted)):
            p[:, group] = p_group[:, None] * softmax(joined[:, group], axis=1)
        return p


def _mixed(prior: Floats, wanted: Bools, weights: list[float]) -> Floats:
    """`prior` with the classes of each group, wanted or not, in the proportion of their weights; as it is without any."""
    mixed, given = prior.copy(), np.asarray(weights)
    for group in (wanted, ~wanted):
        if given[group].any():
            mixed[group] = np.maximum(given[group] / given[group].sum(), RAREST) * prior[group].sum()
    return mixed
