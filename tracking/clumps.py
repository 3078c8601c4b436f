"""Cells that touch and are segmented as one, and what becomes of them: they are neither lost nor, afterwards, daughters.

The larger of the two keeps the clump's cell; the other is hidden in it and moves along. When the segmenter separates
them again, each has a track that expects it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from models.cells import Cells, Floats
from tracking.assignment import owners
from tracking.motion import Motions
from tracking.neighbours import pairs_within
from tracking.state import TrackState
from tracking.tracks import Bools, Ints

SUM = (0.75, 1.35)
"""A clump's area as a share of the sum of its members'."""
GROWN = 1.3
"""A clump is at least so many times larger than its larger member."""
MOST_INSIDE = 6
"""If more tracks than this vanish in one cell, no more pairs of them are tried: then the segmenter has failed."""
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
    gone = np.flatnonzero(vanished & (state.host == 0) & np.isnan(state.clump[:, 2]))
    if gone.size == 0:
        return []
    look_um2 = np.exp(state.looks[:, 0])
    fits = (cells.area_um2 >= GROWN * look_um2[gone].min()) & (cells.area_um2 <= 2 * SUM[1] * look_um2.max())
    possible = np.flatnonzero(fits)
    if possible.size == 0:
        return []
    radius_um = 1.2 * np.sqrt(cells.area_um2[possible] / np.pi)
    which, member = pairs_within(cells.xy_um[possible], radius_um, expected.xy_um[gone])
    owner = owners(cell_of, len(cells))
    found, taken = list[Merger](), set[int]()
    for cell, first, last in _groups(possible[which]):
        inside = [row for row in gone[member[first:last]].tolist() if row not in taken]
        pairs = _pairs(state, int(owner[cell]), inside)
        ranked = sorted((_misfit(state, expected, cells, cell, pair, diameter_um), pair) for pair in pairs)
        if ranked and ranked[0][0] < 1 and not taken.intersection(ranked[0][1]):
            # The larger one; but whoever hides others cannot be hidden.
            host, hidden = sorted(ranked[0][1], key=lambda row: (np.isnan(state.clump[row, 2]), -state.looks[row, 0]))
            found.append(Merger(cell, host, hidden))
            taken.update(ranked[0][1])
    return found


def _groups(ordered: Ints) -> Iterator[tuple[int, int, int]]:
    """Each number of an ordered list, and from where to where it stands there."""
    starts = np.flatnonzero(np.diff(ordered, prepend=-1)).tolist()
    for first, last in pairwise([*starts, len(ordered)]):
        yield int(ordered[first]), first, last


def _pairs(state: TrackState, owner: int, inside: list[int]) -> Iterable[tuple[int, int]]:
    """Who may be together in a cell: its owner with one that vanished in it, or two that did."""
    if owner < 0:
        return combinations(inside[:MOST_INSIDE], 2)
    if state.host[owner] > 0:
        return ()
    return ((owner, other) for other in inside[:MOST_INSIDE])


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


@dataclass
class Settled:
    """After a frame, of every track, `[M]`."""

    places_um: Floats  # [M, 2] where it is taken to be
    seen: Bools  # alone or with its clump
    host: Ints
    clump: Floats  # [M, 3]


def settle(state: TrackState, expected: Motions, cells: Cells, cell_of: Ints, mergers: list[Merger]) -> Settled:
    """Where every track is, and who is in whose cell.

    Members of a clump keep their places beside its centre, hidden ones too: they are seen with it.
    """
    linked = cell_of >= 0
    places_um = np.where(linked[:, None], cells.xy_um[cell_of] if len(cells) else 0.0, expected.xy_um)
    now = Settled(places_um, linked.copy(), state.host.copy(), state.clump.copy())
    if (state.host > 0).any() or state.host_of_clump.any():
        _keep_clumps(state, cells, cell_of, now)
    for merger in mergers:
        rows = [merger.host, merger.hidden]
        weights = np.exp(state.looks[rows, 0])
        centre_um = cells.xy_um[merger.cell]
        moved_um = centre_um - (weights[:, None] * expected.xy_um[rows]).sum(axis=0) / weights.sum()
        now.places_um[rows] = expected.xy_um[rows] + moved_um
        now.clump[rows, :2] = centre_um - now.places_um[rows]
        now.clump[rows, 2] = np.log(cells.area_um2[merger.cell])
        now.host[merger.hidden] = state.id[merger.host]
        now.seen[merger.hidden] = True
    return now


def _keep_clumps(state: TrackState, cells: Cells, cell_of: Ints, now: Settled) -> None:
    """What became of earlier clumps.

    The host's cell is still the clump: all stay. The host has no cell: nobody knows, all stay. The host's cell is itself
    alone, the hidden one has a cell, or the host has ended: the hidden one is free, and so is a host without any.
    """
    hosts = np.flatnonzero(state.host_of_clump).tolist()
    row_of = {int(state.id[row]): row for row in hosts}
    whole = {row for row in hosts if cell_of[row] >= 0 and is_clump(state, cells, row, int(cell_of[row]))}
    now.places_um[list(whole)] -= state.clump[list(whole), :2]
    keepers = set[int]()
    for hidden in np.flatnonzero(state.host > 0).tolist():
        keeper = row_of.get(int(state.host[hidden]), -1)
        if cell_of[hidden] < 0 and keeper >= 0 and (keeper in whole or cell_of[keeper] < 0):
            keepers.add(keeper)
            if keeper in whole:
                now.places_um[hidden] = cells.xy_um[cell_of[keeper]] - state.clump[hidden, :2]
                now.seen[hidden] = True
        else:
            now.host[hidden], now.clump[hidden] = 0, np.nan
    now.clump[[row for row in hosts if row not in keepers]] = np.nan


def is_clump(state: TrackState, cells: Cells, row: int, cell: int) -> bool:
    """Is a cell rather the clump than its host alone?"""
    log_area = float(np.log(max(cells.area_um2[cell], 1e-6)))
    return bool(abs(log_area - state.clump[row, 2]) < abs(log_area - state.looks[row, 0]))
