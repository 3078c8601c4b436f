"""Random numbers of the simulated laboratory: one stream for each purpose."""

from typing import Literal

import numpy as np

Purpose = Literal["specimen", "sensor", "frame", "focus", "shapes"]


def random_stream(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """Random numbers for one purpose: what is drawn for one never shifts what is drawn for another."""
    return np.random.default_rng((seed, *purpose.encode(), index))
