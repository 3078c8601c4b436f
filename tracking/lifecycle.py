"""From one frame's state to the next: tracks that were seen, that coast, that end and that begin."""

from dataclasses import replace

import numpy as np

from models.cells import Floats
from tracking.clumps import Merger, settle
from tracking.division import Division
from tracking.motion import Motions
from tracking.scenery import Scenery
from tracking.state import MEMORY, TrackState
from tracking.tracks import COASTING, Bools, Ints, TrackEvent

LOOKS_WEIGHT = 0.3
"""Share of the newest sighting in a track's area and intensity."""
TENTATIVE_MISSED, HIDDEN_MISSED = 1, 20
"""Frames without a cell after which a tentative track, and one hidden in a clump, has ended."""
MITOTIC_FADES = 0.5
"""A look that said "mitotic" counts half in the next frame: phases are short, and classifiers flicker."""


def followed(
    before: TrackState,
    expected: Motions,
    cell_of: Ints,
    there: Floats,
    mergers: list[Merger],
    scenery: Scenery,
    class_weight: float,
) -> TrackState:
    """All tracks one frame on: what their cells say, or where they are expected and how probably they are `there[M]`."""
    cells = scenery.cells
    places, host, clump, seen = settle(before, expected, cells, cell_of, mergers)
    linked = cell_of >= 0
    rows = np.flatnonzero(linked)
    cell, alone = cell_of[rows], rows[np.isnan(clump[rows, 2])]
    moved = scenery.motion.update(expected, places, seen)
    looks, p_class, embedding, label = before.looks.copy(), before.p_class, before.embedding, np.zeros_like(cell_of)
    looks[alone] += LOOKS_WEIGHT * (scenery.looks[cell_of[alone]] - looks[alone])
    label[rows] = cells.label[cell]
    if p_class.shape[1] > 1:
        p_class = p_class.copy()
        p_class[rows] += class_weight * (cells.p_class[cell] - p_class[rows])
    if cells.embedding is not None:
        embedding = embedding.copy()
        known = ~np.isnan(embedding[rows, :1])
        newer = embedding[rows] + class_weight * (cells.embedding[cell] - embedding[rows])
        embedding[rows] = np.where(known, newer, cells.embedding[cell])
    past = np.empty_like(before.past)
    past[:, 1:] = before.past[:, : MEMORY - 1]
    past[:, 0, :2], past[:, 0, 2], past[:, 0, 3] = places, looks[:, 0], MITOTIC_FADES * before.past[:, 0, 3]
    past[alone, 0, 2] = scenery.looks[cell_of[alone], 0]
    past[rows, 0, 3] = np.maximum(past[rows, 0, 3], scenery.mitotic[cell])
    return replace(
        before,
        age=before.age + 1,
        hits=before.hits + linked,
        missed=np.where(linked, 0, before.missed + 1),
        away=np.where(linked, 0, before.away),
        seen_ns=np.where(linked, cells.t_ns, before.seen_ns),
        there=np.where(linked, 1.0, there),
        xy_um=moved.xy_um,
        velocity_um_s=moved.velocity_um_s,
        variance=moved.variance,
        pace=moved.pace,
        looks=looks,
        p_class=p_class,
        embedding=embedding,
        label=label,
        past=past,
        host=host,
        clump=clump,
    )


def counted_away(state: TrackState, inside_um: Floats, diameter_um: float) -> TrackState:
    """The same, knowing which tracks are so far outside the field, `inside_um[M]`, that they cannot be seen."""
    if inside_um.min(initial=0.0) > -diameter_um:
        return state
    out_of_view = (inside_um < -(diameter_um + 2 * np.sqrt(state.variance[:, 0]))) & (state.missed > 0)
    return replace(state, away=state.away + out_of_view)


def ended(state: TrackState, t_ns: int, max_missed: int, max_away_ns: float) -> Bools:
    """Tracks that were not seen for too long, `[M]`."""
    allowed = np.where(state.confirmed, max_missed, min(TENTATIVE_MISSED, max_missed))
    allowed = np.where(state.host > 0, HIDDEN_MISSED, allowed)
    unseen_ns = t_ns - state.seen_ns
    return (state.missed - state.away > allowed) | ((state.away > 0) & (unseen_ns > max_away_ns))


def started(
    rows: Ints, parents: Ints, first_id: int, drift_um_s: Floats, scenery: Scenery, n_embedding: int
) -> TrackState:
    """New tracks at these cells, with ids from `first_id` on."""
    n, cells = len(rows), scenery.cells
    none = np.zeros(n, np.int64)
    moved = scenery.motion.begin(cells.xy_um[rows], drift_um_s)
    look = np.column_stack([cells.xy_um[rows], scenery.looks[rows, 0], scenery.mitotic[rows]])
    return TrackState(
        id=np.arange(first_id, first_id + n),
        parent=parents,
        age=none,
        hits=none + 1,
        missed=none,
        away=none,
        seen_ns=np.full(n, cells.t_ns),
        there=np.ones(n),
        confirmed=parents > 0,
        xy_um=moved.xy_um,
        velocity_um_s=moved.velocity_um_s,
        variance=moved.variance,
        pace=moved.pace,
        looks=scenery.looks[rows],
        p_class=cells.p_class[rows],
        embedding=np.full((n, n_embedding), np.nan) if cells.embedding is None else cells.embedding[rows].astype(float),
        label=cells.label[rows].astype(np.int64),
        past=np.repeat(look[:, None], MEMORY, axis=1),
        host=none,
        clump=np.full((n, 3), np.nan),
    )


def divided(
    state: TrackState, owner: Ints, divisions: list[Division], first_id: int
) -> tuple[TrackState, list[int], list[int], list[TrackEvent]]:
    """The state knowing the parents of young tracks that are daughters; cells of the other daughters, which begin
    tracks from `first_id` on, and their mothers; and what there is to tell."""
    parent, confirmed = state.parent.copy(), state.confirmed.copy()
    cells, mothers, events = list[int](), list[int](), list[TrackEvent]()
    for division in divisions:
        mother, names = int(state.id[division.mother]), list[int]()
        for cell in division.cells:
            row = int(owner[cell])
            if row in (COASTING, division.mother):
                names.append(first_id + len(cells))
                cells.append(cell)
                mothers.append(mother)
            else:
                names.append(int(state.id[row]))
                parent[row], confirmed[row] = mother, True
        pair = (min(names), max(names))
        events.append(TrackEvent("divided", mother, pair, division.confidence, division.late_frames))
    return replace(state, parent=parent, confirmed=confirmed), cells, mothers, events


def endings(state: TrackState, ends: Bools, at_edge: Bools) -> list[TrackEvent]:
    """Who has left the field, and who was lost inside it."""
    rows = np.flatnonzero(ends).tolist()
    return [TrackEvent("left" if at_edge[row] else "lost", int(state.id[row])) for row in rows]


def beginnings(ids: Ints, at_edge: Bools) -> list[TrackEvent]:
    """Who has entered the field, and who was born inside it."""
    pairs = zip(ids.tolist(), at_edge.tolist(), strict=True)
    return [TrackEvent("entered" if edge else "born", i) for i, edge in pairs]


def meetings(before: TrackState, mergers: list[Merger], cell_of: Ints) -> list[TrackEvent]:
    """Who was merged with whom, and who has a cell of its own again."""
    merged = [TrackEvent("merged", int(before.id[m.hidden]), (int(before.id[m.host]),)) for m in mergers]
    apart = np.flatnonzero((before.host > 0) & (cell_of >= 0))
    return merged + [TrackEvent("split", int(before.id[row]), (int(before.host[row]),)) for row in apart.tolist()]
