"""From one frame's state to the next: tracks that were seen, that coast, that end and that begin."""

from dataclasses import replace

import numpy as np

from models.cells import Floats
from tracking.assignment import ALONE, owners
from tracking.clumps import Merger, is_clump, settle
from tracking.division import Division
from tracking.field import Field
from tracking.motion import Motions
from tracking.scenery import Scenery
from tracking.state import MEMORY, TrackState
from tracking.tracks import Bools, Ints, TrackEvent

LOOKS_WEIGHT = 0.3
"""Share of the newest sighting in a track's area and intensity."""
TENTATIVE_MISSED = 1
"""Frames without a cell after which a tentative track has ended."""
HIDDEN_FRAMES = 200
"""Frames after which a track hidden in a clump has ended: what is never seen apart is one cell."""
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
    now = settle(before, expected, cells, cell_of, mergers)
    linked = cell_of >= 0
    rows = np.flatnonzero(linked)
    cell, alone = cell_of[rows], rows[np.isnan(now.clump[rows, 2])]
    moved = scenery.motion.update(expected, now.places_um, now.seen)
    looks, p_class, embedding, label = before.looks.copy(), before.p_class, before.embedding, np.zeros_like(cell_of)
    looks[alone] = _smoothed(looks[alone], scenery.looks[cell_of[alone]])
    freed = np.flatnonzero(before.host_of_clump & np.isnan(now.clump[:, 2]) & linked)
    large = freed[[is_clump(before, cells, row, int(cell_of[row])) for row in freed.tolist()]] if freed.size else freed
    looks[large] = scenery.looks[cell_of[large]]  # nobody is believed to be hidden in it any more
    released = (before.host > 0) & (now.host == 0) & ~linked
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
    past[:, 0, :2], past[:, 0, 2], past[:, 0, 3] = now.places_um, looks[:, 0], MITOTIC_FADES * before.past[:, 0, 3]
    past[alone, 0, 2] = scenery.looks[cell_of[alone], 0]
    past[rows, 0, 3] = np.maximum(past[rows, 0, 3], scenery.mitotic[cell])
    return replace(
        before,
        age=before.age + 1,
        hits=before.hits + linked,
        missed=np.where(linked, 0, np.where(released, 1, before.missed + 1)),
        away=np.where(linked | released, 0, before.away + (now.seen & ~linked)),
        seen_ns=np.where(linked, cells.t_ns, before.seen_ns),
        seen_um=np.where(linked[:, None], cells.xy_um[cell_of], before.seen_um) if len(cells) else before.seen_um,
        there=np.where(now.seen, 1.0, there),
        xy_um=moved.xy_um,
        velocity_um_s=moved.velocity_um_s,
        variance=moved.variance,
        pace=moved.pace,
        looks=looks,
        p_class=p_class,
        embedding=embedding,
        label=label,
        past=past,
        host=now.host,
        clump=now.clump,
    )


def _smoothed(looks: Floats, newest: Floats) -> Floats:
    """Looks after another sighting; what could not be measured changes nothing."""
    known = np.where(np.isnan(looks), newest, looks)
    return np.where(np.isnan(newest), looks, known + LOOKS_WEIGHT * (newest - known))


def counted_away(state: TrackState, inside_um: Floats, field: Field, diameter_um: float) -> TrackState:
    """The same, knowing which tracks are outside the field, `inside_um[M]`, and cannot be seen.

    Either they are so far outside that there is no doubt, or the field has moved off the place where they were last seen.
    """
    if inside_um.min(initial=0.0) >= 0:
        return state
    far = inside_um < -(diameter_um + 2 * np.sqrt(state.variance[:, 0]))
    out_of_view = (far | field.left_behind(state.seen_um, inside_um)) & (state.missed > 0)
    return replace(state, away=state.away + out_of_view)


def ended(state: TrackState, t_ns: int, max_missed: int, max_away_ns: float) -> Bools:
    """Tracks that were not seen for too long, `[M]`."""
    allowed = np.where(state.confirmed, max_missed, min(TENTATIVE_MISSED, max_missed))
    hidden = state.host > 0
    too_long = np.where(hidden, state.missed > HIDDEN_FRAMES, (state.away > 0) & (t_ns - state.seen_ns > max_away_ns))
    return (state.missed - state.away > allowed) | too_long


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
        seen_um=cells.xy_um[rows],
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
    state: TrackState, known: Bools, cell_of: Ints, n_cells: int, divisions: list[Division], first_id: int
) -> tuple[TrackState, dict[int, int], list[TrackEvent]]:
    """The state knowing who is confirmed, `known[M]` and daughters, and the parents of daughters that have a track;
    cells of the other daughters, which begin tracks from `first_id` on, with their mothers' ids; and what to tell."""
    parent, confirmed = state.parent.copy(), known.copy()
    owner = owners(cell_of, n_cells)
    begins, events = dict[int, int](), list[TrackEvent]()
    for division in divisions:
        mother, names = int(state.id[division.mother]), list[int]()
        for cell in division.cells:
            row = int(owner[cell])
            if row in (ALONE, division.mother):
                names.append(first_id + len(begins))
                begins[cell] = mother
            else:
                names.append(int(state.id[row]))
                parent[row], confirmed[row] = mother, True
        pair = (min(names), max(names))
        events.append(TrackEvent("divided", mother, pair, division.confidence, division.late_frames))
    newly = state.id[confirmed & ~state.confirmed]
    events += [TrackEvent("confirmed", i) for i in newly.tolist()]
    return replace(state, parent=parent, confirmed=confirmed), begins, events


def endings(state: TrackState, ends: Bools, at_edge: Bools) -> list[TrackEvent]:
    """Who has left the field, and who was lost inside it."""
    rows = np.flatnonzero(ends).tolist()
    return [TrackEvent("left" if at_edge[row] else "lost", int(state.id[row])) for row in rows]


def beginnings(ids: Ints, at_edge: Bools) -> list[TrackEvent]:
    """Who has entered the field, and who was born inside it."""
    pairs = zip(ids.tolist(), at_edge.tolist(), strict=True)
    return [TrackEvent("entered" if edge else "born", i) for i, edge in pairs]


def meetings(before: TrackState, after: TrackState, mergers: list[Merger]) -> list[TrackEvent]:
    """Who was merged with whom, and who is expected to have a cell of its own again."""
    merged = [TrackEvent("merged", int(before.id[m.hidden]), (int(before.id[m.host]),)) for m in mergers]
    apart = np.flatnonzero((before.host > 0) & (after.host == 0)).tolist()
    return merged + [TrackEvent("split", int(before.id[row]), (int(before.host[row]),)) for row in apart]
