"""Who is who: the links between tracks and cells that together gain most, exactly.

Every track and every cell may also stay alone, at a gain of 0, so a link that gains nothing is never made. Tracks are
added one after the other; each time the cheapest chain of changes is searched (shortest augmenting paths: Jonker and
Volgenant 1987, on the sparse graph of possible links). A chain never leaves the group of tracks and cells that compete
with one another, so every connected component is solved by itself and the time grows with the number of possible links.
"""

from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from models.cells import Floats
from models.labelling import compiled
from tracking.tracks import Ints

ALONE = -1
_Rows = npt.NDArray[np.int64]


def assign(track: Ints, cell: Ints, gain: Floats, n_tracks: int, n_cells: int) -> Ints:
    """The cell of each track, `[n_tracks]`, or ALONE; possible links are `track[L]`, ascending, and `cell[L]`.

    The sum of gains is the largest there can be. Every pair may be listed once.
    """
    worth = gain > 0
    start = np.searchsorted(track[worth], np.arange(n_tracks + 1))
    return best_links(start, cell[worth], -gain[worth], n_cells)


def owners(cell_of: Ints, n_cells: int) -> Ints:
    """The track of each cell, `[n_cells]`, or ALONE: `cell_of` turned round."""
    owner = np.full(n_cells, ALONE)
    linked = np.flatnonzero(cell_of >= 0)
    owner[cell_of[linked]] = linked
    return owner


@compiled
def best_links(start: _Rows, cell: _Rows, cost: Floats, n_cells: int) -> _Rows:
    """The same for compiled code: links of track i are `start[i]:start[i + 1]`, and their costs are negative gains."""
    n_tracks = len(start) - 1
    cell_of, cost_of = np.full(n_tracks, -1), np.zeros(n_tracks)
    track_of, came_from, came_cost = np.full(n_cells, -1), np.full(n_cells, -1), np.zeros(n_cells)
    price = np.zeros(n_cells)  # the dual of a cell: what it has become dearer by being wanted
    distance, visited_by = np.full(n_cells, np.inf), np.full(n_cells, -1)
    reached = np.empty(n_cells, np.int64)
    for newcomer in range(n_tracks):
        queue = [(0.0, 0) for _ in range(0)]
        n_reached = 0
        track, paid = newcomer, 0.0
        least, loser, prize = np.inf, -1, -1  # the cheapest chain yet: who stays alone, or which free cell is taken
        while True:
            if -paid < least:
                least, loser = -paid, track
            for link in range(start[track], start[track + 1]):
                other = cell[link]
                through = cost[link] - price[other] - paid
                if visited_by[other] != newcomer and through < distance[other]:
                    if distance[other] == np.inf:
                        reached[n_reached] = other
                        n_reached += 1
                    distance[other], came_from[other], came_cost[other] = through, track, cost[link]
                    heappush(queue, (through, other))
            nearest = _nearest(queue, visited_by, newcomer)
            if nearest < 0 or distance[nearest] >= least:
                break
            if track_of[nearest] < 0:
                least, prize = distance[nearest], nearest
                break
            visited_by[nearest] = newcomer
            track = track_of[nearest]
            paid = cost_of[track] - price[nearest] - distance[nearest]
        for k in range(n_reached):
            if visited_by[reached[k]] == newcomer:
                price[reached[k]] += distance[reached[k]] - least
            distance[reached[k]] = np.inf
        _rearrange(newcomer, loser, prize, cell_of, cost_of, track_of, came_from, came_cost)
    return cell_of


@compiled
def _nearest(queue: list[tuple[float, int]], visited_by: _Rows, newcomer: int) -> int:
    """The cell at the end of the cheapest chain that was not looked at yet, or -1."""
    while len(queue) > 0:
        _, other = heappop(queue)
        if visited_by[other] != newcomer:
            return other
    return -1


@compiled
def _rearrange(
    newcomer: int,
    loser: int,
    prize: int,
    cell_of: _Rows,
    cost_of: Floats,
    track_of: _Rows,
    came_from: _Rows,
    came_cost: Floats,
) -> None:
    """Along the chain, everyone takes the cell that was reached from him; the last one had a free cell or stays alone."""
    other = prize
    if prize < 0:
        if loser == newcomer:
            return
        other, cell_of[loser] = cell_of[loser], -1
    while True:
        track = came_from[other]
        before = cell_of[track]
        cell_of[track], cost_of[track], track_of[other] = other, came_cost[other], track
        if track == newcomer:
            return
        other = before
