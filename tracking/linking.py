"""What it costs to take a cell for a track's next sighting: minus log likelihoods, as in Jaqaman et al. 2008.

Their alternatives to a link, "the track stays without a cell" and "the cell begins a track", have costs of their own,
here from how often detections are missed and how densely new cells appear. A link is worth making if it is likelier
than both alternatives together; which links are made is decided by all of them at once (tracking/assignment.py).
"""

from dataclasses import dataclass, replace

import numpy as np

from models.cells import Floats
from models.labelling import compiled
from tracking.assignment import assign
from tracking.cues import AREA, CLASS, EMBEDDING, INTENSITY, MOST_FOR, OVERLAP, angle, cost
from tracking.motion import TAILS, Motions
from tracking.neighbours import pairs_within
from tracking.overlap import uncovered
from tracking.scenery import Scenery
from tracking.shift import FEWEST, JUMP, jumped_um, slipped_um, typical
from tracking.state import TrackState
from tracking.tracks import Bools, Ints

OUTSIDE = 0.9
"""Probability that a track expected outside the field has no cell."""
HIDDEN = 0.7
"""Probability that a track hidden in a clump is still hidden in the next frame."""
FARTHEST = 12.0
"""Nobody is looked for further away than this many diameters: after a long pause, time must stay bounded."""
CLEARLY = 0.25
"""A jump is believed if it finds the cells of so many more tracks, as a share."""
CUT_OFF = 0.6
"""Nearer to the edge than this many diameters, a cell may be cut off by it."""
VANISHES = 0.0005
"""Share of cells that are gone from one frame to the next, inside the field."""
LEAST_THERE = 0.001
"""Probability that a track is still there, however long it was not seen."""
DOUBT = 0.5
"""Added for tracks seen only once, and for hidden ones: others are served first."""


@dataclass(frozen=True)
class Links:
    """L possible links and which of them were made."""

    track: Ints  # [L]
    cell: Ints  # [L]
    differences: Floats  # [5, L] by cue
    cell_of: Ints  # [M] or -1
    inside_um: Floats  # [M] how far inside the field the tracks were expected
    there: Floats  # [M] probability that a track is still there, if it has no cell

    @property
    def made(self) -> Bools:
        """Which of the possible links, `[L]`."""
        made: Bools = self.cell_of[self.track] == self.cell
        return made


def link_all(state: TrackState, expected: Motions, scenery: Scenery) -> tuple[Motions, Links]:
    """Links, and where everybody was expected: elsewhere, if the whole specimen has jumped.

    A small push that all cells get helps to link them, but is left to the filter: it may be the beginning of a drift.
    """
    links, cells_um = link(state, expected, scenery), scenery.cells.xy_um
    sure = np.flatnonzero(state.confirmed & (state.missed == 0) & (links.inside_um > 0))
    found = sure[links.cell_of[sure] >= 0]
    sigma_um = typical(scenery.motion.seen_variance(expected)[sure])
    jumped = len(sure) >= FEWEST and len(found) < len(sure) / 2
    if jumped:
        moved_um = jumped_um(expected.xy_um[sure], cells_um, scenery.diameter_um)
    else:
        moved_um = slipped_um(cells_um[links.cell_of[found]] - expected.xy_um[found], sigma_um)
    if moved_um is None:
        return expected, links
    shifted = replace(expected, xy_um=expected.xy_um + moved_um)
    again = link(state, shifted, scenery)
    more = int((again.cell_of >= 0).sum()) - int((links.cell_of >= 0).sum())
    if more < (CLEARLY * len(sure) if jumped else 0):
        return expected, links
    return (expected if np.hypot(*moved_um) < JUMP * sigma_um else shifted), again


def link(state: TrackState, expected: Motions, scenery: Scenery) -> Links:
    """The most likely links between tracks where they are expected and cells."""
    cells, in_clump = scenery.cells, state.host_of_clump
    variance = scenery.motion.seen_variance(expected)
    inside_um = scenery.field.inside_um(expected.xy_um)
    seen, there = _chances(state, inside_um, scenery)
    alone = np.log(seen) - np.log1p(-seen) - DOUBT * ((state.hits < 2) | (state.host > 0))
    new = -np.log(scenery.newcomers(scenery.inside_um))
    slope, bonus = scenery.cues.weights()

    reach_um = np.minimum(scenery.gate_sigmas * np.sqrt(variance), _useful_um(variance, alone, new, bonus))
    reach_um = np.minimum(reach_um, FARTHEST * scenery.diameter_um)
    if in_clump.any():
        reach_um = reach_um + np.where(in_clump, np.hypot(*np.nan_to_num(state.clump[:, :2]).T), 0.0)
    track, cell = pairs_within(expected.xy_um, reach_um, cells.xy_um)
    differences = _differences(state, track, cell, scenery)
    gain = _gains(
        track, cell, expected.xy_um, variance, cells.xy_um, differences, slope, bonus, alone, new,
        state.clump, in_clump, scenery.looks,
    )  # fmt: skip
    return Links(track, cell, differences, assign(track, cell, gain, len(state), len(cells)), inside_um, there)


def _useful_um(variance: Floats, alone: Floats, new: Floats, bonus: Floats) -> Floats:
    """Beyond this distance no link can gain anything, whatever the cues say, `[M]`."""
    most = alone + (new.max() if new.size else 0.0) + np.minimum(bonus, MOST_FOR).sum()
    over = np.clip((most - np.log(2 * np.pi * variance)) / (TAILS / 2 + 1), 0.0, 50.0)
    reach: Floats = np.sqrt(variance * TAILS * np.expm1(over))
    return reach


@compiled
def _gains(
    track: Ints, cell: Ints, expected_um: Floats, variance: Floats, cells_um: Floats, differences: Floats,
    slope: Floats, bonus: Floats, alone: Floats, new: Floats, clump: Floats, in_clump: Bools, looks: Floats,
) -> Floats:  # fmt: skip
    """By how much each link is likelier than its alternatives, `[L]`, in units of log likelihood."""
    gain = np.empty(len(track))
    for k in range(len(track)):
        t, c = track[k], cell[k]
        dx, dy = cells_um[c, 0] - expected_um[t, 0], cells_um[c, 1] - expected_um[t, 1]
        told = differences[:, k].copy()
        costs = _surprise(dx, dy, variance[t]) + cost(told, slope, bonus)
        if in_clump[t]:  # the cell may as well be the clump again
            told[AREA] = abs(clump[t, 2] - looks[c, AREA])
            again = _surprise(dx - clump[t, 0], dy - clump[t, 1], variance[t]) + cost(told, slope, bonus)
            costs = min(costs, again)
        gain[k] = alone[t] + new[c] - costs
    return gain


@compiled
def _surprise(dx_um: float, dy_um: float, variance: float) -> float:
    """Minus the log density of a cell so far from where it was expected, per µm²: Student's t in the plane."""
    squared = (dx_um * dx_um + dy_um * dy_um) / variance
    return float(np.log(2 * np.pi * variance) + (TAILS / 2 + 1) * np.log1p(squared / TAILS))


def _differences(state: TrackState, track: Ints, cell: Ints, scenery: Scenery) -> Floats:
    """By which each cue differs, `[5, L]`; NaN where it cannot be known."""
    cells = scenery.cells
    differences = np.full((5, len(track)), np.nan)
    cut_off_um = CUT_OFF * scenery.diameter_um
    state_cut = scenery.field.inside_um(state.xy_um) < cut_off_um
    cell_cut = scenery.inside_um < cut_off_um
    _look_differences(differences, track, cell, state.looks, scenery.looks, state_cut, cell_cut)
    if cells.p_class.shape[1] > 1:
        _class_differences(differences[CLASS], track, cell, state.p_class, cells.p_class, state_cut, cell_cut)
    if scenery.seen_now is not None:
        labels = cells.label.astype(np.int64)
        differences[OVERLAP] = uncovered(scenery.seen_before, scenery.seen_now, state.label[track], labels[cell])
    if cells.embedding is not None and state.embedding.shape[1] == cells.embedding.shape[1]:
        differences[EMBEDDING] = angle(state.embedding[track], cells.embedding[cell])
    return differences


@compiled
def _look_differences(
    differences: Floats, track: Ints, cell: Ints, before: Floats, now: Floats, track_cut: Bools, cell_cut: Bools
) -> None:
    for k in range(len(track)):
        t, c = track[k], cell[k]
        differences[INTENSITY, k] = abs(before[t, INTENSITY] - now[c, INTENSITY])
        if not (track_cut[t] or cell_cut[c]):  # else what is seen of it changes
            differences[AREA, k] = abs(before[t, AREA] - now[c, AREA])


@compiled
def _class_differences(
    differences: Floats, track: Ints, cell: Ints, before: Floats, now: Floats, track_cut: Bools, cell_cut: Bools
) -> None:
    """Half the summed difference of probabilities: 0 for equal ones, 1 for different classes; what is cut off has none."""
    for k in range(len(track)):
        if track_cut[track[k]] or cell_cut[cell[k]]:
            continue
        total = 0.0
        for i in range(before.shape[1]):
            total += abs(before[track[k], i] - now[cell[k], i])
        differences[k] = total / 2


def _chances(state: TrackState, inside_um: Floats, scenery: Scenery) -> tuple[Floats, Floats]:
    """Probabilities, `[M]`: that a track has a cell in this frame; and if it has none, that it is there nevertheless.

    Still there? If not, it has left (at the edge) or vanished. Seen? If not, it was missed. A track that was not seen for
    some frames may be gone already: the more likely, the rarer detections are missed.
    """
    rates = scenery.rates
    at_edge, hidden = inside_um < scenery.edge_um, state.host > 0
    at_edge &= ~scenery.field.left_behind(state.seen_um, inside_um)  # the field has left them
    leaves = max(rates.missed_at_edge - rates.missed, VANISHES)
    stays = state.there * (1 - np.where(hidden, 0.0, np.where(at_edge, leaves, VANISHES)))
    missed = np.where(state.confirmed, rates.missed, rates.fading)
    missed = np.where(inside_um < 0, OUTSIDE, np.where(hidden, HIDDEN, missed))
    seen = stays * (1 - missed)
    return seen, np.maximum(stays * missed / (1 - seen), LEAST_THERE)
