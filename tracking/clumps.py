"""Cells that touch and are segmented as one, and what becomes of them: they are neither lost nor, afterwards, daughters.

The larger of the two keeps the clump's cell; the other is hidden in it and moves along. When the segmenter separates
them again, each has a track that expects it.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from models.cells import Cells, Floats
from tracking.motion import Motions
from tracking.neighbours import pairs_within
from tracking.state import TrackState
from tracking.tracks import Bools, Ints

SUM = (0.75, 1.35)
"""A clump's area as a share of the sum of its members'."""
GROWN = 1.3
"""A clump is at least so many times larger than its larger member."""
OFF_CENTRE = 0.4
"""The clump's centre is at most so many diameters from where its members together are expected."""


@dataclass(frozen=True)
class Merger:
    """Two tracks in one cell; rows of the state and of the cells."""

    cell: int
    host: int
    hidden: int


def find_mergers(
    state: TrackState, expected: Motions, cells: Cells, cell_of: Ints, vanished: Bools, diameter_um: float
) -> list[Merger]:
    """Tracks that `vanished[M]` in a cell too large for one; nobody takes part in two."""
    gone = np.flatnonzero(vanished)
    if gone.size == 0 or len(cells) == 0:
        return []
    radius_um = np.sqrt(cells.area_um2 / np.pi)
    pair_gone, pair_cell = pairs_within(
        expected.xy_um[gone], np.full(gone.size, 1.2 * float(radius_um.max())), cells.xy_um
    )
    apart_um = np.hypot(*(expected.xy_um[gone[pair_gone]] - cells.xy_um[pair_cell]).T)
    large = cells.area_um2[pair_cell] >= GROWN * np.exp(state.looks[gone[pair_gone], 0])
    near = (apart_um <= 1.2 * radius_um[pair_cell]) & large
    if not near.any():
        return []
    owner = np.full(len(cells), -1)
    owner[cell_of[cell_of >= 0]] = np.flatnonzero(cell_of >= 0)
    found, taken = list[Merger](), set[int]()
    for cell in np.unique(pair_cell[near]).tolist():
        inside = gone[pair_gone[near & (pair_cell == cell)]].tolist()
        members = ([int(owner[cell])] if owner[cell] >= 0 else []) + inside
        free = [row for row in members if row not in taken and state.host[row] == 0]
        ranked = sorted(
            (_misfit(state, expected, cells, cell, pair, diameter_um), pair) for pair in combinations(free, 2)
        )
        if ranked and ranked[0][0] < 1 and (owner[cell] < 0 or owner[cell] in ranked[0][1]):
            host, hidden = sorted(ranked[0][1], key=lambda row: -state.looks[row, 0])
            found.append(Merger(cell, host, hidden))
            taken.update(ranked[0][1])
    return found


def _misfit(
    state: TrackState, expected: Motions, cells: Cells, cell: int, pair: tuple[int, int], diameter_um: float
) -> float:
    """How far from looking like both of them together a cell is; 1 and more: it does not."""
    rows = list(pair)
    areas = np.exp(state.looks[rows, 0])
    area_um2 = float(cells.area_um2[cell])
    centre_um = (areas[:, None] * expected.xy_um[rows]).sum(axis=0) / areas.sum()
    off = float(np.hypot(*(centre_um - cells.xy_um[cell]))) / (OFF_CENTRE * diameter_um)
    fits = SUM[0] <= area_um2 / areas.sum() <= SUM[1] and area_um2 >= GROWN * areas.max()
    return off if fits else 1.0


def settle(
    state: TrackState, expected: Motions, cells: Cells, cell_of: Ints, mergers: list[Merger]
) -> tuple[Floats, Ints, Floats, Bools]:
    """Where every track is taken to be, `[M, 2]`; its host, `[M]`; its clump, `[M, 3]`; and who was seen, `[M]`.

    Members of a clump keep their places beside its centre, hidden ones too: they are seen with it.
    """
    linked = cell_of >= 0
    places = np.where(linked[:, None], cells.xy_um[cell_of] if len(cells) else 0.0, expected.xy_um)
    host, clump, seen = state.host.copy(), state.clump.copy(), linked.copy()
    _keep_clumps(state, cells, cell_of, places, host, clump, seen)
    for merger in mergers:
        rows = [merger.host, merger.hidden]
        weights = np.exp(state.looks[rows, 0])
        centre_um = cells.xy_um[merger.cell]
        moved_um = centre_um - (weights[:, None] * expected.xy_um[rows]).sum(axis=0) / weights.sum()
        places[rows] = expected.xy_um[rows] + moved_um
        clump[rows, :2] = centre_um - places[rows]
        clump[rows, 2] = np.log(cells.area_um2[merger.cell])
        host[merger.hidden] = state.id[merger.host]
        seen[merger.hidden] = True
    return places, host, clump, seen


def _keep_clumps(
    state: TrackState, cells: Cells, cell_of: Ints, places: Floats, host: Ints, clump: Floats, seen: Bools
) -> None:
    """Clumps of earlier frames: whole still, or separated."""
    row_of = {
        int(state.id[row]): row for row in np.flatnonzero(~np.isnan(state.clump[:, 2]) & (state.host == 0)).tolist()
    }
    whole = set[int]()
    for row in row_of.values():
        if cell_of[row] >= 0 and _is_clump(state, cells, row, int(cell_of[row])):
            places[row] -= clump[row, :2]
            whole.add(row)
    kept = set[int]()
    for hidden in np.flatnonzero(state.host > 0).tolist():
        keeper = row_of.get(int(state.host[hidden]))
        unseen = keeper is not None and cell_of[keeper] < 0
        if cell_of[hidden] < 0 and keeper is not None and (keeper in whole or unseen):
            kept.add(keeper)
            if keeper in whole:
                places[hidden] = cells.xy_um[cell_of[keeper]] - clump[hidden, :2]
                seen[hidden] = True
        else:
            host[hidden], clump[hidden] = 0, np.nan
    for row in row_of.values():
        if row not in kept:
            clump[row] = np.nan


def _is_clump(state: TrackState, cells: Cells, row: int, cell: int) -> bool:
    """Is a cell rather the clump than its host alone?"""
    log_area = float(np.log(max(cells.area_um2[cell], 1e-6)))
    return bool(abs(log_area - state.clump[row, 2]) < abs(log_area - state.looks[row, 0]))
