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
    if track.size == 0:
        return track, cell
    cost = (distance_um / reach_um.max()) ** 2
    rows, columns = min_weight_full_bipartite_matching(_graph(track, cell, cost, len(expected_um), len(cells_um)))
    linked = (rows < len(expected_um)) & (columns < len(cells_um))
    return rows[linked].astype(np.int64), columns[linked].astype(np.int64)


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
