"""The second answer: a finished recording solved again with hindsight, which a live answer never has.

Live tracks are taken as a first solution and changed where what came later says so, step by step:

1. divisions that were told late are put on their true frame (refine_graph.py);
2. how cells move, and by what they are known again, is learned from the whole recording (refine_evidence.py);
3. clumps are given to whom they belong (refine_clumps.py);
4. strangers are separated, tracks that exchanged identities get them back, ends are joined with starts (refine_links.py);
5. of cut cells the larger piece is taken (refine_clumps.py);
6. divisions are undone and found (refine_divisions.py);
7. brief tracks that are no cells are dropped (refine_false.py).
"""

import numpy as np

from tracking.lineages import Lineages
from tracking.refine_clumps import hand_over_clumps, take_larger_pieces
from tracking.refine_divisions import find_divisions, undo_divisions
from tracking.refine_evidence import Evidence, evidence_of, learned_motion
from tracking.refine_false import false_tracks
from tracking.refine_graph import Graph, graph_of, lineages_of
from tracking.refine_links import close_gaps, cut_unlikely, exchange
from tracking.refine_sightings import sightings_of

MOST_ROUNDS = 4
"""Of steps 3 and 4; fewer if nothing changes any more."""


def refine(live: Lineages, longest_gap: int = 10, divisions: bool = True) -> Lineages:
    """The same recording, solved again: sightings keep label, place and measures, in tracks with new ids 1, 2, 3 …

    `live_id` says for every sighting which track it was in live; ids of the two answers are different numbers for
    different things. Sightings of tracks that are judged to be no cells are missing in the result, and only those.
    `longest_gap` is how many frames in a row a cell may be missed; without `divisions` none are looked for.
    """
    graph, kept = graph_of(live), np.ones(len(live), np.bool_)
    if live.n_frames > 1:
        kept = ~false_tracks(graph, _solved(graph, live, longest_gap, divisions))
    return lineages_of(graph, live, kept)


def _solved(graph: Graph, live: Lineages, longest_gap: int, divisions: bool) -> Evidence:
    """Changes the graph; what is then known of its tracks."""
    sightings = sightings_of(live, graph)
    motion = learned_motion(sightings, graph)
    for _ in range(MOST_ROUNDS):
        evidence = evidence_of(sightings, graph, motion)
        n = hand_over_clumps(graph, evidence)
        evidence = evidence_of(sightings, graph, motion) if n else evidence
        n += cut_unlikely(graph, evidence) + exchange(graph, evidence, longest_gap)
        n += close_gaps(graph, evidence_of(sightings, graph, motion), longest_gap)
        if n == 0:
            break
    take_larger_pieces(graph, evidence_of(sightings, graph, motion))
    undo_divisions(graph, evidence_of(sightings, graph, motion))
    close_gaps(graph, evidence_of(sightings, graph, motion), longest_gap)
    if divisions:
        find_divisions(graph, evidence_of(sightings, graph, motion))
    return evidence_of(sightings, graph, motion)
