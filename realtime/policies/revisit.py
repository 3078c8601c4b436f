"""revisit: scan many places cheaply, and return more often to those where something happens."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from msgspec import Meta

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.commands import AtLeastOne, MoveStage, NotNegative, Positive
from acquisition.dose_map import j_cm2
from acquisition.frame import FrameHeader
from realtime.decisions import Decision
from realtime.policy import Scene
from realtime.sought import Sought, cut_off
from realtime.view import half_view_um
from tracking.tracks import COASTING, EventKind

Point = tuple[float, float]
MOST_CREDIT = 2.0
"""Visits that hot places may save up while there are none."""


@dataclass
class Place:
    """One position, and what is known of it."""

    xy_um: Point
    hot_until_ns: float = -math.inf
    visited: int = -1_000_000
    """When it was last looked at, counted in moves."""


@dataclass(kw_only=True)
class Revisit(Sought):
    """Some frames at a place, then a move to the next: in turn, but hot places come in between.

    A place where the condition was met, or an event seen, is hot until nothing was seen there for `cool_s`. A hot place
    is due every `hot_every` moves, yet at least 1 − hot_share of all moves go on with the scan; hot_share = 0 is a plain
    round. Places whose light is spent (limits.place_j_cm2) are passed over.
    """

    positions_um: tuple[Point, ...] = ()
    """The places, in the order of the scan. Or leave them out and give a grid:"""
    columns: AtLeastOne = 1
    rows: AtLeastOne = 1
    origin_um: Point = (0.0, 0.0)
    """The grid's first place."""
    pitch_um: tuple[float, float] = (0.0, 0.0)
    """From one place of the grid to the next, in x and in y."""
    frames: AtLeastOne = 1
    """Looks at a place on each visit …"""
    skip_frames: Annotated[int, Meta(ge=0)] = 0
    """… after so many with which nothing is done, for a stage that still shakes when it has arrived."""
    events: tuple[EventKind, ...] = ()
    """Besides the condition, or instead of it: events that make a place hot."""
    confirmed_only: bool = False
    """Only cells of confirmed tracks count, in `looks` of their last `of` frames; else a single look does."""
    least_cells: AtLeastOne = 1
    """So many cells in one frame must meet the condition."""
    edge_um: NotNegative = 1.0
    """Cells nearer to the view's edge do not count; with 0 all do."""
    hot_every: AtLeastOne = 3
    """A hot place is due again after so many moves."""
    hot_share: Annotated[float, Meta(ge=0, lt=1)] = 0.5
    """The largest share of moves that go to hot places out of turn."""
    cool_s: NotNegative = 300.0
    """A place stays hot for so long after something was last seen there."""
    arrived_um: Positive = 1.0
    """The stage has arrived when a frame was taken this near to the place."""
    step_um: Positive = 200.0
    """Longest single move along an axis, further ones go in steps; keep it within the limits' step_um."""
    patience_ms: Positive = 2000.0
    """A move that has not arrived by then is asked for again; after `tries` times the place is passed over."""
    tries: AtLeastOne = 3

    _places: list[Place] = field(default_factory=list, init=False)
    _at: int = field(default=0, init=False)
    """The place that is looked at, or to which the stage is on its way."""
    _scan: int = field(default=0, init=False)
    """The last place of the scan."""
    _n_moves: int = field(default=0, init=False)
    _credit: float = field(default=0.0, init=False)
    """Visits out of turn that are allowed now."""
    _n_frames: int = field(default=0, init=False)
    """Seen on this visit."""
    _leg_um: Point | None = field(default=None, init=False)
    _asked_ns: int = field(default=0, init=False)
    _n_tries: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.positions_um) == (self.columns * self.rows > 1):
            raise ValueError("give either positions_um or a grid of columns and rows, at least two places")
        if not (self.sought or self.events):
            raise ValueError("give class_name, feature or events: else no place is ever hot")
        self._places = [Place(xy_um) for xy_um in self.positions_um or self._grid()]

    def decide(self, scene: Scene) -> Iterable[Decision]:
        """The next move, once this place was looked at; nothing while the stage is on its way."""
        happens, frame = self._something_happens(scene), scene.frame
        if not scene.segmented:
            return ()
        if not self._is_at(frame, self._places[self._at].xy_um):
            return self._go_on(scene)
        self._leg_um = None
        self._n_frames += 1
        if self._n_frames <= self.skip_frames:
            return ()
        place = self._places[self._at]
        if happens:
            place.hot_until_ns = frame.t_ns + self.cool_s * NS_PER_S
        if self._n_frames < self.skip_frames + self.frames:
            return ()
        return self._leave(scene)

    def _something_happens(self, scene: Scene) -> bool:
        met = self.met(scene.cells) & ~cut_off(scene.cells, scene.frame, self.edge_um)
        n_met = int(np.count_nonzero(met))
        if self.confirmed_only and scene.segmented:
            self._looks.add(scene.tracks, met)
            believed = scene.tracks.id[scene.tracks.confirmed & (scene.tracks.cell_row != COASTING)]
            n_met = len(set(self._looks.agreeing(self.looks)) & set(believed.tolist()))
        return n_met >= self.least_cells or any(event.kind in self.events for event in scene.tracks.events)

    def _leave(self, scene: Scene) -> list[Decision]:
        """Choose the next place, and set off."""
        self._places[self._at].visited = self._n_moves
        self._n_moves += 1
        self._n_frames = self._n_tries = 0
        self._credit = min(self._credit + self.hot_share, MOST_CREDIT)
        here, self._leg_um = self._at, None
        self._at = self._next_place(scene)
        return [] if self._at == here else self._go_on(scene)

    def _next_place(self, scene: Scene) -> int:
        """A hot place that is due, if it may be its turn; else the next one of the scan; this one if there is no other."""
        n = len(self._places)
        hot = [i for i in range(n) if i != self._at and self._is_due(self._places[i], scene)]
        if hot and self._credit >= 1:
            self._credit -= 1
            return min(hot, key=lambda i: self._places[i].visited)
        ahead = ((self._scan + k) % n for k in range(1, n + 1))
        found = next((i for i in ahead if not self._is_spent(self._places[i], scene)), None)
        if found is None:
            return self._at
        self._scan = found
        return found

    def _is_due(self, place: Place, scene: Scene) -> bool:
        is_hot = scene.frame.t_ns < place.hot_until_ns and self._n_moves - place.visited >= self.hot_every
        return is_hot and not self._is_spent(place, scene)

    def _is_spent(self, place: Place, scene: Scene) -> bool:
        """Another visit would bring some part of the place's view above limits.place_j_cm2."""
        dose, frame = scene.dose, scene.frame
        if dose.places is None or math.isinf(dose.limit_j_cm2):
            return False
        half_x_um, half_y_um = half_view_um(frame).tolist()
        (x_um, y_um), area_um2 = place.xy_um, frame.height_px * frame.width_px * frame.um_per_px**2
        low_um, high_um = (x_um - half_x_um, y_um - half_y_um), (x_um + half_x_um, y_um + half_y_um)
        visit_mj = (self.frames + self.skip_frames) * frame.light_mw * frame.exposure_ms / 1000
        return dose.places.most_j_cm2(low_um, high_um) + j_cm2(visit_mj, area_um2) > dose.limit_j_cm2

    def _go_on(self, scene: Scene) -> list[Decision]:
        """The next leg of the way, if the last one has arrived or will not."""
        frame = scene.frame
        if self._leg_um is not None:
            if self._is_at(frame, self._leg_um):
                self._n_tries = 0
            elif frame.t_ns - self._asked_ns < self.patience_ms * NS_PER_MS:
                return []
            elif self._n_tries >= self.tries:
                return self._leave(scene)
        self._n_tries += 1
        self._leg_um, self._asked_ns = self._leg(frame), frame.t_ns
        x_um, y_um = self._leg_um
        reason = f"to place {self._at}, {'hot' if frame.t_ns < self._places[self._at].hot_until_ns else 'next'}"
        return [Decision(command=MoveStage(x_um=x_um, y_um=y_um), reason=reason)]

    def _leg(self, frame: FrameHeader) -> Point:
        """The whole way to the place, or as much of it as one move may be long."""
        x_um, y_um = self._places[self._at].xy_um
        dx_um, dy_um = x_um - frame.stage.x_um, y_um - frame.stage.y_um
        longest_um = max(abs(dx_um), abs(dy_um))
        if longest_um <= self.step_um:
            return x_um, y_um
        share = self.step_um / longest_um
        return frame.stage.x_um + share * dx_um, frame.stage.y_um + share * dy_um

    def _is_at(self, frame: FrameHeader, xy_um: Point) -> bool:
        return math.dist((frame.stage.x_um, frame.stage.y_um), xy_um) <= self.arrived_um

    def _grid(self) -> list[Point]:
        """Row by row, every second one backwards: each place is next to the one before."""
        (x_um, y_um), (dx_um, dy_um) = self.origin_um, self.pitch_um
        ways = (range(self.columns), range(self.columns - 1, -1, -1))
        return [(x_um + i * dx_um, y_um + j * dy_um) for j in range(self.rows) for i in ways[j % 2]]
