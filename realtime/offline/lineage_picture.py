"""The family tree of a recording: time to the right, a line a track, a fork a division, a dashed line where it was not seen."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from acquisition.clock import NS_PER_S
from realtime.offline.drawing import GREY, PALE, Colour, Dot, Drawing, Line, Words
from realtime.offline.track_colours import ON_WHITE, family_colour
from realtime.offline.track_segments import Pieces, pieces_of
from tracking.lineages import Lineages

PLOT_PX, LEFT_PX, RIGHT_PX, TOP_PX, LANE_PX = 900.0, 44.0, 60.0, 56.0, 13.0
MOST_LANES = 400
"""More tracks than these make a picture that nobody reads; it says how many are left out."""
TICKS = 10
Span = tuple[float, float]
"""Where a line begins and where it ends."""


@dataclass(frozen=True)
class Tree:
    """A founder, all tracks that descend from it, and the height of each, in lanes from the top."""

    founder: int
    tracks: tuple[int, ...]
    lane: dict[int, float]
    n_lanes: int


def write_lineage_pictures(stem: Path, lineages: Lineages) -> None:
    """`stem.svg` and `stem.png`."""
    drawing = lineage_drawing(lineages)
    drawing.write_svg(stem.with_suffix(".svg"))
    drawing.write_png(stem.with_suffix(".png"))


def lineage_drawing(lineages: Lineages) -> Drawing:
    """Families with divisions first, the largest on top; then single tracks in the order of their beginning."""
    trees = family_trees(lineages)
    shown = _fitting(trees)
    n_lanes = sum(tree.n_lanes for tree in shown) + sum(len(tree.tracks) > 1 for tree in shown)
    drawing = Drawing(round(LEFT_PX + PLOT_PX + RIGHT_PX), round(TOP_PX + LANE_PX * (n_lanes + 2)))
    _draw_frame(drawing, lineages, sum(len(tree.tracks) for tree in trees[len(shown) :]))
    pieces = pieces_of(lineages)
    top_px = TOP_PX + LANE_PX
    for tree in shown:
        _draw_tree(drawing, tree, lineages, pieces, top_px)
        top_px += LANE_PX * (tree.n_lanes + (len(tree.tracks) > 1))
    return drawing


def family_trees(lineages: Lineages) -> list[Tree]:
    """Every family; a mother is halfway between her daughters."""
    daughters: dict[int, list[int]] = {}
    for track, parent in zip(lineages.id.tolist(), lineages.parent.tolist(), strict=True):
        daughters.setdefault(parent, []).append(track)
    first, _ = lineages.spans()
    begins = dict(zip(lineages.id.tolist(), first.tolist(), strict=True))
    trees = [_tree(founder, daughters) for founder in daughters.get(0, [])]
    return sorted(trees, key=lambda tree: (-len(tree.tracks), begins[tree.founder], tree.founder))


def _tree(founder: int, daughters: dict[int, list[int]]) -> Tree:
    """Lanes are given to tracks without daughters, from top to bottom; the others follow from them."""
    order, waiting = [], [founder]
    while waiting:
        track = waiting.pop()
        order.append(track)
        waiting += reversed(daughters.get(track, []))
    lane: dict[int, float] = {}
    childless = [track for track in order if track not in daughters]
    lane |= {track: float(i) for i, track in enumerate(childless)}
    for track in reversed(order):
        if track in daughters:
            lane[track] = float(np.mean([lane[daughter] for daughter in daughters[track]]))
    return Tree(founder, tuple(order), lane, len(childless))


def _fitting(trees: list[Tree]) -> list[Tree]:
    lanes = np.cumsum([tree.n_lanes for tree in trees])
    return trees[: max(1, int(np.searchsorted(lanes, MOST_LANES, side="right")))]


def _draw_frame(drawing: Drawing, lineages: Lineages, n_left_out: int) -> None:
    """The words on top, and lines at round numbers of frames."""
    took_s = (int(lineages.t_ns[-1]) - int(lineages.t_ns[0])) / NS_PER_S if len(lineages) else 0.0
    counts = f"tracks: {len(lineages.id)}   divisions: {len(lineages.divisions())}   frames: {lineages.n_frames}"
    duration = f"{took_s / 3600:.3g} h" if took_s >= 3600 else f"{took_s / 60:.3g} min"
    left_out = f"   not shown: {n_left_out} tracks" if n_left_out else ""
    drawing.add(Words(LEFT_PX, 18, f"{counts}   {duration}{left_out}", 12))
    for frame in range(0, max(lineages.n_frames, 1), _round_step(lineages.n_frames / TICKS)):
        x = _x_px(frame, lineages)
        drawing.add(
            Line(x, TOP_PX - 8, x, drawing.height - 8, PALE), Words(x, TOP_PX - 12, str(frame), 10, GREY, "middle")
        )
    drawing.add(Words(LEFT_PX + PLOT_PX + 12, TOP_PX - 12, "frame", 10, GREY))


def _draw_tree(drawing: Drawing, tree: Tree, lineages: Lineages, pieces: Pieces, top_px: float) -> None:
    colour = family_colour(tree.founder, ON_WHITE)
    y_px = {track: top_px + LANE_PX * lane for track, lane in tree.lane.items()}
    spans_px: dict[int, list[Span]] = {}
    for track in tree.tracks:
        rows = pieces.track == track
        frames = zip(pieces.first[rows].tolist(), pieces.last[rows].tolist(), strict=True)
        spans_px[track] = [(_x_px(first, lineages), _x_px(last, lineages)) for first, last in frames]
        parent = int(lineages.parent[np.searchsorted(lineages.id, track)])
        if parent:
            begins, mother_ends = spans_px[track][0][0], spans_px[parent][-1][1]
            drawing.add(Line(min(mother_ends, begins), y_px[parent], begins, y_px[parent], colour, 2))
            drawing.add(Line(begins, y_px[parent], begins, y_px[track], colour, 2))
        _draw_track(drawing, spans_px[track], y_px[track], _x_px(1, lineages) - _x_px(0, lineages), colour)
    mothers = set(lineages.parent[np.isin(lineages.id, tree.tracks)].tolist())
    for track, spans in spans_px.items():
        drawing.add(Dot(spans[0][0], y_px[track], 2, colour))
        if track not in mothers:
            drawing.add(Dot(spans[-1][1], y_px[track], 2, colour))
        drawing.add(_name(track, spans, y_px[track], track in mothers, track == tree.founder))


def _draw_track(drawing: Drawing, spans_px: list[Span], y_px: float, frame_px: float, colour: Colour) -> None:
    """Where it was seen, and dashes over the gaps; pieces that follow one another at once are one line."""
    for (_, before), (after, _) in pairwise(spans_px):
        gap = after - before > 1.5 * frame_px
        drawing.add(Line(before, y_px, after, y_px, colour, 1 if gap else 2, dashed=gap))
    for begins, ends in spans_px:
        drawing.add(Line(begins, y_px, ends, y_px, colour, 2))


def _name(track: int, spans_px: list[Span], y_px: float, is_mother: bool, is_founder: bool) -> Words:
    """Behind the end; of a mother, whose end is a fork, before the beginning or above it."""
    begins, ends = spans_px[0][0], spans_px[-1][1]
    if not is_mother:
        return Words(ends + 5, y_px + 3, str(track), 9)
    return (
        Words(begins - 5, y_px + 3, str(track), 9, anchor="end")
        if is_founder
        else Words(begins + 4, y_px - 3, str(track), 9)
    )


def _x_px(frame: int, lineages: Lineages) -> float:
    return LEFT_PX + PLOT_PX * frame / max(lineages.n_frames - 1, 1)


def _round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20 … that is not below."""
    steps: list[int] = [digit * 10**power for power in range(12) for digit in (1, 2, 5)]
    return next(step for step in steps if step >= least)
