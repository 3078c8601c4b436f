"""Tracks cut into pieces that formats can hold which know no gaps and no news that come late.

A piece has a sighting in every frame from its first to its last. A track is cut

- where it was not seen for a frame or more: the piece after the gap continues the one before it;
- where a daughter of it begins: a tracker may notice a division a frame or two late, and meanwhile the mother's id was on
  the cell of one daughter. That stretch is a piece of its own, a daughter of the mother's, as the other daughter is.

No sighting is moved to another track: every piece names the track that it is a part of.
"""

from dataclasses import dataclass

import numpy as np

from tracking.lineages import Lineages
from tracking.tracks import Bools, Ints


@dataclass(frozen=True)
class Pieces:
    """P pieces of tracks; the first piece of a track bears its id, the others have numbers above all ids."""

    id: Ints  # [P] ascending
    first: Ints  # [P] frames
    last: Ints  # [P]
    parent: Ints  # [P] the piece before it; 0 = none
    track: Ints  # [P]
    of_sighting: Ints  # [R] piece of each sighting


def pieces_of(lineages: Lineages) -> Pieces:
    """The pieces of all tracks."""
    order = np.lexsort((lineages.frame, lineages.track))
    moment = _moments(lineages, lineages.track[order], lineages.frame[order])
    begins = _begins(lineages, moment)
    number = np.cumsum(begins) - 1
    track, first = lineages.track[order][begins], lineages.frame[order][begins]
    last = lineages.frame[order][np.append(begins[1:], True)[: len(begins)]]
    leads = np.append(True, track[1:] != track[:-1])[: len(track)]
    piece = np.where(leads, track, lineages.id.max(initial=0) + np.cumsum(~leads))
    mother = lineages.parent[np.searchsorted(lineages.id, track)]
    # Pieces are in the order of tracks and time: the one before the birth ends at the last moment below it.
    before = np.searchsorted(_moments(lineages, track, last), _moments(lineages, mother, first)) - 1
    hers = (mother != 0) & (before >= 0) & (track[before] == mother)
    parent = np.where(leads, np.where(hers, piece[before], 0), np.append(0, piece)[: len(piece)])
    of_sighting = np.empty(len(lineages), np.int64)
    of_sighting[order] = piece[number]
    by_id = np.argsort(piece)
    return Pieces(piece[by_id], first[by_id], last[by_id], parent[by_id], track[by_id], of_sighting)


def edges_of(lineages: Lineages) -> Ints:
    """Rows of sightings that follow one another, in tracks and from mothers to daughters, `[E, 2]`: always forward in time."""
    pieces = pieces_of(lineages)
    order = np.lexsort((lineages.frame, pieces.of_sighting))
    piece = pieces.of_sighting[order]
    inside = piece[1:] == piece[:-1]
    within = np.stack([order[:-1][inside], order[1:][inside]], axis=1)
    has = pieces.parent != 0
    begins = order[np.searchsorted(piece, pieces.id[has], side="left")]
    ends = order[np.searchsorted(piece, pieces.parent[has], side="right") - 1]
    edges = np.concatenate([within, np.stack([ends, begins], axis=1)])
    return edges[np.lexsort((edges[:, 0], edges[:, 1]))]


def families_of(lineages: Lineages) -> Ints:
    """The oldest ancestor of each sighting's piece, `[R]`: the same for all that is connected."""
    pieces = pieces_of(lineages)
    return _first_of_line(pieces, pieces.parent)


def tracklets_of(lineages: Lineages) -> Ints:
    """The first piece of the unbranched stretch that each sighting is in, `[R]`."""
    pieces = pieces_of(lineages)
    mothers, daughters = np.unique(pieces.parent, return_counts=True)
    only_child = daughters[np.searchsorted(mothers, pieces.parent)] == 1
    return _first_of_line(pieces, np.where(only_child, pieces.parent, 0))


def _first_of_line(pieces: Pieces, before: Ints) -> Ints:
    """Where one comes to when one goes back from each sighting's piece to the one before it, and so on."""
    first: dict[int, int] = {0: 0}
    lines = zip(pieces.id.tolist(), before.tolist(), pieces.first.tolist(), strict=True)
    for piece, earlier, _ in sorted(lines, key=lambda line: line[2]):
        first[piece] = first[earlier] or piece
    return np.array([first[piece] for piece in pieces.of_sighting.tolist()], dtype=np.int64)


def _moments(lineages: Lineages, track: Ints, frame: Ints) -> Ints:
    """A track and a frame as one number; in the order of tracks, then of frames."""
    return track * (lineages.n_frames + 1) + frame


def _begins(lineages: Lineages, moment: Ints) -> Bools:
    """Where a piece begins, of sightings in the order of their moments: after another track, after a gap, at a birth."""
    births, _ = lineages.spans()
    at_birth = np.isin(moment, _moments(lineages, lineages.parent, births)[lineages.parent != 0])
    follows = np.append(False, moment[1:] == moment[:-1] + 1)[: len(moment)]
    return ~follows | at_birth
