"""How sharp each cell is: Brenner's gradient, which blur lowers whatever the shape.

Brenner et al., J. Histochem. Cytochem. 24 (1976): the mean squared difference of pixels two apart. Here in both directions,
and over the cell's edge, which tells most about the focus of a smooth nucleus.
"""

import numpy as np

from models.cells import Floats
from models.labelling import compiled
from models.runs import Counts, Image, Runs

APART_PX = 2


def brenner_of(runs: Runs, n_pixels: Counts, image: Image) -> Floats:
    """Mean over each cell's pixels, `[N]`, counts squared; pixels at the image's far sides have fewer differences."""
    return _squares(runs, len(n_pixels), image) / n_pixels


@compiled
def _squares(runs: Runs, n_cells: int, image: Image) -> Floats:
    rows, columns = image.shape
    sums = np.zeros(n_cells, np.float64)
    for i in range(len(runs)):
        cell, y, start, stop = runs[i]
        squares = 0.0
        for x in range(start, min(stop, columns - APART_PX)):
            squares += np.float64(image[y, x + APART_PX] - image[y, x]) ** 2
        if y + APART_PX < rows:
            for x in range(start, stop):
                squares += np.float64(image[y + APART_PX, x] - image[y, x]) ** 2
        sums[cell] += squares
    return sums
