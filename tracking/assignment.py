"""Who is who: the links between expected places and cells that together cost least."""

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from models.cells import Floats
from tracking.tracks import Ints


def assign(expected_um: Floats, cells_um: Floats, reach_um: Floats) -> tuple[Ints, Ints]:
    """Link tracks expected at `[M, 2]` to cells at `[N, 2]`: rows of tracks, ascending, and of their cells.

    A track can be linked to cells within its `reach_um[M]`. A link costs its squared distance; a track or a
    cell left alone costs the square of the largest reach. The sum is the least possible: solved exactly on
    the sparse graph of possible links (Jonker and Volgenant's method), in milliseconds for thousands of
    cells.
    """
    track, cell, distance_um = _possible_links(expected_um, cells_um, reach_um)
    # A pair that nobody contests costs at most 1, two left alone cost 2: it is in every best solution.
    uncontested = (np.bincount(track)[track] == 1) & (np.bincount(cell)[cell] == 1)
    contested = ~uncontested
    rows, columns = track[uncontested], cell[uncontested]
    if contested.any():
        cost = (distance_um[contested] / reach_um.max()) ** 2
        more_rows, more_columns = _solved(track[contested], cell[contested], cost)
        rows, columns = np.concatenate([rows, more_rows]), np.concatenate([columns, more_columns])
    order = np.argsort(rows)
    return rows[order], columns[order]


def _solved(track: Ints, cell: Ints, cost: Floats) -> tuple[Ints, Ints]:
    """The cheapest links among contested ones."""
    tracks, track_row = np.unique(track, return_inverse=True)
    cells, cell_row = np.unique(cell, return_inverse=True)
    graph = _graph(track_row, cell_row, cost, len(tracks), len(cells))
    rows, columns = min_weight_full_bipartite_matching(graph)
    linked = (rows < len(tracks)) & (columns < len(cells))
    return tracks[rows[linked]], cells[columns[linked]]


def _possible_links(expected_um: Floats, cells_um: Floats, reach_um: Floats) -> tuple[Ints, Ints, Floats]:
    """All pairs of a track and a cell within its reach, and their distances, in a fixed order."""
    if len(expected_um) == 0 or len(cells_um) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    tree = cKDTree(expected_um)
    pairs = tree.sparse_distance_matrix(cKDTree(cells_um), reach_um.max(), output_type="ndarray")
    pairs = pairs[pairs["v"] <= reach_um[pairs["i"]]]
    pairs = pairs[np.lexsort((pairs["j"], pairs["i"]))]
    return pairs["i"], pairs["j"], pairs["v"]


def _graph(track: Ints, cell: Ints, cost: Floats, n_tracks: int, n_cells: int) -> csr_array:
    """The costs of links, enlarged so that everyone finds a partner: `[M + N, N + M]`.

    Every track and every cell gets a stand-in, which means "alone" and costs 1; stand-ins that are not needed
    pair with each other at no cost. The solver reads 0 as "impossible", hence 1 more on every entry, which
    changes all sums alike.
    """
    tracks, cells = np.arange(n_tracks), np.arange(n_cells)
    rows = np.concatenate([track, tracks, n_tracks + cells, n_tracks + cell])
    columns = np.concatenate([cell, n_cells + tracks, cells, n_cells + track])
    entries = np.concatenate([cost + 1.0, np.full(n_tracks + n_cells, 2.0), np.ones(cell.size)])
    size = n_tracks + n_cells
    return coo_array((entries, (rows, columns)), shape=(size, size)).tocsr()
