"""A recording as a graph that can be changed: which sighting follows which, and from which mother it comes."""

from dataclasses import dataclass

import numpy as np

from tracking.lineages import Lineages
from tracking.tracks import Bools, Ints

NONE = -1
"""In place of a row: there is no such sighting."""


@dataclass(frozen=True)
class Graph:
    """Rows of sightings by row of a sighting, each `[R]`; changed in place while a recording is solved again."""

    before: Ints
    after: Ints
    mother: Ints
    """Of a daughter's first sighting, the mother's last one."""

    def join(self, row: int, after: int) -> None:
        """Make one track of an end and a start."""
        self.after[row], self.before[after] = after, row

    def cut(self, row: int) -> int:
        """Separate a sighting from the next one of its track, which is given back."""
        after = int(self.after[row])
        self.after[row] = self.before[after] = NONE
        return after

    def swap(self, row: int, other: int) -> None:
        """Let two tracks go through one another's sighting of the same frame."""
        for links, back in ((self.before, self.after), (self.after, self.before)):
            links[row], links[other] = links[other], links[row]
            for one in (row, other):
                if links[one] != NONE:
                    back[links[one]] = one
        self.mother[row], self.mother[other] = self.mother[other], self.mother[row]
        of_row, of_other = self.mother == row, self.mother == other
        self.mother[of_row], self.mother[of_other] = other, row

    def daughters(self) -> dict[int, list[int]]:
        """First sightings by the mother's last one, both in the order of time."""
        found: dict[int, list[int]] = {}
        for row in np.flatnonzero(self.mother != NONE).tolist():
            found.setdefault(int(self.mother[row]), []).append(row)
        return found

    def divides(self) -> Bools:
        """Sightings that daughters come from, `[R]`."""
        divides = np.zeros(len(self.mother), np.bool_)
        divides[self.mother[self.mother != NONE]] = True
        return divides

    def ends(self) -> Ints:
        """Last sightings of tracks that do not divide."""
        return np.flatnonzero((self.after == NONE) & ~self.divides())

    def starts(self) -> Ints:
        """First sightings of tracks without a known mother."""
        return np.flatnonzero((self.before == NONE) & (self.mother == NONE))

    def track(self) -> Ints:
        """Number of each sighting's track, `[R]`: 0, 1, 2 … in the order of their first sightings."""
        track, n = [0] * len(self.before), 0
        for row, before in enumerate(self.before.tolist()):  # in the order of time
            if before == NONE:
                track[row], n = n, n + 1
            else:
                track[row] = track[before]
        return np.array(track, np.int64)

    def length(self) -> Ints:
        """Sightings in the track of each, `[R]`."""
        track = self.track()
        return np.bincount(track)[track]


def graph_of(lineages: Lineages) -> Graph:
    """Of the live answer; divisions that were told late are put where the later daughter begins."""
    graph = Graph(*(np.full(len(lineages), NONE) for _ in range(3)))
    row, after = lineages.links().T
    graph.after[row], graph.before[after] = after, row
    births: dict[int, list[int]] = {}
    for mother, daughter in sorted(lineages.births().tolist()):
        births.setdefault(mother, []).append(daughter)
    for last, firsts in births.items():
        _deliver(graph, lineages.frame, last, firsts)
    return graph


def _deliver(graph: Graph, frame: Ints, last: int, firsts: list[int]) -> None:
    """Daughters come from the mother's last sighting before the first one of theirs.

    What the mother's id was on since then is a daughter herself, or was until she was given an id of her own. An only
    daughter goes on with the mother's track.
    """
    whole, tail = last, NONE
    while graph.before[whole] != NONE and frame[whole] >= frame[firsts[0]]:
        whole, tail = int(graph.before[whole]), whole
    if frame[whole] >= frame[firsts[0]]:
        return  # the mother was not seen before: nothing is known of a division
    heir = next((row for row in firsts if frame[row] > frame[last]), NONE)
    if tail != NONE:
        graph.cut(whole)
        firsts = [tail, *(row for row in firsts if row != heir)]
        if heir != NONE:
            graph.join(last, heir)
    if len(firsts) == 1:
        graph.join(whole, firsts[0])
    else:
        graph.mother[firsts] = whole


def lineages_of(graph: Graph, live: Lineages, kept: Bools) -> Lineages:
    """The `kept[R]` sightings, whole tracks of them, under new ids 1, 2, 3 …, in the order of their first sightings."""
    track = graph.track()
    kept_tracks = np.unique(track[kept])
    number = np.zeros(int(track.max(initial=-1)) + 1, np.int64)
    number[kept_tracks] = np.arange(len(kept_tracks)) + 1
    parent = np.zeros(len(kept_tracks), np.int64)
    first = np.flatnonzero((graph.mother != NONE) & kept)
    parent[number[track[first]] - 1] = number[track[graph.mother[first]]]
    rows = np.flatnonzero(kept)
    rows = rows[np.lexsort((number[track[rows]], live.frame[rows]))]
    return Lineages(
        frame=live.frame[rows],
        t_ns=live.t_ns[rows],
        track=number[track[rows]],
        label=live.label[rows],
        xy_um=live.xy_um[rows],
        area_um2=live.area_um2[rows],
        mean_intensity=live.mean_intensity[rows],
        id=np.arange(len(kept_tracks)) + 1,
        parent=parent,
        live_id=(live.track if live.live_id is None else live.live_id)[rows],
    )
