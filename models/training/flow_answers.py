"""What a network says of several looks at each cell, and how much they tell together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from models.class_metrics import Floats, log_loss
from models.training.flow_passing import Image
from models.training.flow_training import Classes

SUREST = 1e-5
"""No single look counts as surer than this, as in a sort."""


@dataclass(frozen=True)
class Seen:
    """Looks at cells of one split and what the network said, calibrated for a single look."""

    crops: Image  # [N, L, S, S]
    classes: Classes  # [N]
    p: Floats  # [N, L, K]


def joint(p: Floats, prior: Sequence[float], correlation: float) -> Floats:
    """Probabilities `[N, K]` after all looks `p[N, L, K]`: their evidence added up, as that of fewer independent ones."""
    share = np.array(prior)
    evidence = np.log(np.maximum(p, SUREST) / share).sum(axis=1) / (1 + (p.shape[1] - 1) * correlation)
    together: Floats = softmax(evidence + np.log(share), axis=1)
    return together


def fitted_correlation(p: Floats, classes: Classes, prior: Sequence[float]) -> float:
    """With which the probabilities of two and of all looks have the smallest log loss."""

    def loss(correlation: float) -> float:
        return log_loss(joint(p[:, :2], prior, correlation), classes) + log_loss(joint(p, prior, correlation), classes)

    return float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded").x)
