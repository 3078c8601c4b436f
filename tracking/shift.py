"""All cells at once somewhere else: the specimen slipped, the table was knocked, the stage does not say where it is."""

import numpy as np

from models.cells import Floats
from tracking.neighbours import pairs_within
from tracking.robust import median

FEWEST = 5
"""Fewer tracks cannot tell a shift of all from moves of their own."""
MOST_TRACKS = 150
"""As many tracks vote; more would not be surer."""
SLIP = 0.7
"""A common surprise is a slip from so many standard errors of one cell's."""
JUMP = 4.0
"""From so many of them on it is a jump, which says nothing about velocities."""
FARTHEST = 8.0
"""Shifts are searched up to this many diameters."""
AGREE = 0.6
"""Share of the tracks that must find a cell after the shift."""


def typical(variance: Floats) -> float:
    """Standard error of a usual cell; 0 of none."""
    return float(np.sqrt(median(variance))) if len(variance) else 0.0


def slipped_um(surprise_um: Floats, sigma_um: float) -> Floats | None:
    """The common part of surprises `[n, 2]` along links, if it is large: everyone was pushed the same way."""
    if len(surprise_um) < FEWEST:
        return None
    common = np.array([median(surprise_um[:, 0]), median(surprise_um[:, 1])])
    large = float(np.hypot(*common)) > sigma_um * max(SLIP, 4 / np.sqrt(len(surprise_um)))
    return common if large else None


def jumped_um(expected_um: Floats, cells_um: Floats, diameter_um: float) -> Floats | None:
    """The shift after which most tracks, expected at `[M, 2]`, find a cell; None if there is no clear one.

    Every pair of a track and a cell votes for the shift between them; true ones agree.
    """
    if len(expected_um) < FEWEST or len(cells_um) < FEWEST:
        return None
    middle = np.median(expected_um, axis=0)
    voters = expected_um[np.argsort(np.square(expected_um - middle).sum(axis=1), kind="stable")[:MOST_TRACKS]]
    reach_um = FARTHEST * diameter_um
    voter, cell = pairs_within(voters, np.full(len(voters), reach_um), cells_um)
    if len(voter) == 0:
        return None
    shift_um = cells_um[cell] - voters[voter]
    bin_um = diameter_um / 4
    n = int(np.ceil(2 * reach_um / bin_um)) + 1
    votes = np.zeros((n + 2, n + 2))
    at = np.floor((shift_um + reach_um) / bin_um).astype(np.int64) + 1
    np.add.at(votes, (at[:, 0], at[:, 1]), 1.0)
    blurred = sum(votes[1 + dx : n + 1 + dx, 1 + dy : n + 1 + dy] for dx in (-1, 0, 1) for dy in (-1, 0, 1))
    best = np.array(np.unravel_index(int(np.argmax(blurred)), (n, n)))
    guess_um = (best + 0.5) * bin_um - reach_um
    near = np.square(shift_um - guess_um).sum(axis=1) < (diameter_um / 2) ** 2
    if len(np.unique(voter[near])) < max(FEWEST, AGREE * len(voters)):
        return None
    refined: Floats = np.median(shift_um[near], axis=0)
    return refined
