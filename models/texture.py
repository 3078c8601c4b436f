"""How the counts of a cell change from pixel to pixel: Haralick's contrast and correlation, without grey levels.

A pair are two neighbouring pixels of one cell, in any of four directions (→ ↓ ↘ ↙), counted both ways round. Haralick,
Shanmugam and Dinstein (1973) count such pairs in a matrix of grey levels; both sums below need no matrix, so counts
are used as they are.
"""

from typing import NamedTuple

import numpy as np

from models.cells import Floats, Labels
from models.labelling import compiled
from models.runs import Image, Runs

FLAT = 1e-12
"""Variances below this share of the squared mean are rounding."""


class Texture(NamedTuple):
    """A row a cell."""

    contrast: Floats
    """Mean squared difference of the two pixels of a pair; 0 without pairs."""
    correlation: Floats
    """Of the two pixels of a pair, −1 … 1; 1 where all are equal."""


def texture_of(runs: Runs, mean: Floats, labels: Labels, image: Image) -> Texture:
    """From the sums over the pairs of each cell, counted from its mean so that no digits are lost."""
    pairs, both, squares, products = _pairs(runs, mean, labels, image).T
    n = np.maximum(pairs, 1)
    middle = both / (2 * n)
    variance = squares / (2 * n) - middle**2
    covariance = products / n - middle**2
    varied = variance > FLAT * (mean**2 + 1)
    correlation = np.divide(covariance, variance, out=np.ones_like(variance), where=varied)
    return Texture((squares - 2 * products) / n, np.clip(correlation, -1.0, 1.0))


@compiled
def _pairs(runs: Runs, mean: Floats, labels: Labels, image: Image) -> Floats:
    """`[N, 4]`: number of pairs; sums of a + b, of a² + b² and of a·b over them."""
    rows, columns = labels.shape
    sums = np.zeros((len(mean), 4), np.float64)
    for i in range(len(runs)):
        cell, y, start, stop = runs[i]
        label, middle = labels[y, start], mean[cell]
        n, both, squares, products = 0, 0.0, 0.0, 0.0
        for down, along in ((0, 1), (1, 0), (1, 1), (1, -1)):
            if y + down == rows:
                continue
            for x in range(max(start, -along), min(stop, columns - along)):
                if labels[y + down, x + along] == label:
                    a, b = image[y, x] - middle, image[y + down, x + along] - middle
                    n += 1
                    both += a + b
                    squares += a * a + b * b
                    products += a * b
        sums[cell, 0] += n
        sums[cell, 1] += both
        sums[cell, 2] += squares
        sums[cell, 3] += products
    return sums
