"""follow: keep a chosen cell in the middle of the view, or several in turn, and in focus."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.commands import AtLeastOne, MoveStage, Positive
from acquisition.frame import FrameHeader
from models.cells import Floats
from realtime.decisions import Decision
from realtime.focus_search import FocusSearch
from realtime.policy import Scene
from realtime.turns import Turns
from realtime.view import middle_um, shows
from tracking.tracks import COASTING


@dataclass
class Follow:
    """Choose a cell, then answer its way off the middle with stage moves, one at a time.

    Only a confirmed track is chosen: the stage does not run after what was seen once. When the cell divides, the daughter
    that is nearer to the middle is followed.

    Frames show a move only some time after it was asked for. Two things keep the loop from swinging: a target
    is reckoned from where the stage stood when the frame was taken, never from an earlier target, and no move
    is asked for while frames still show that the last one has not arrived.
    """

    choose: Literal["nearest", "brightest", "class"] = "nearest"
    """Which cell: nearest to the middle, the brightest, or the one most probably of `class_name`."""
    class_name: str = ""
    """For choose = "class"."""
    p_min: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """For choose = "class": less probable cells are not followed."""
    min_age: AtLeastOne = 3
    """Frames a track must have lived before it may be chosen."""
    give_up_missed: AtLeastOne = 10
    """Choose again once the cell has not been seen for so many frames."""
    deadband_um: Positive = 2.0
    """So far off the middle the cell may be without an answer; keep it above the jitter of its position."""
    gain: Annotated[float, Meta(gt=0, le=1)] = 0.8
    """Share of the way to the middle that one move takes."""
    step_um: Positive = 20.0
    """The longest single move; keep it within the limits' step_um."""
    arrived_um: Positive = 0.5
    """A move has arrived when a frame was taken this near to its target."""
    patience_ms: Positive = 500.0
    """A move that has not arrived by then, perhaps because it was refused, is given up and reckoned anew."""

    n_cells: AtLeastOne = 1
    """So many cells are followed in turn. One that is out of view meanwhile is found again where it is expected, as long as
    the tracker remembers it (tracker.max_away_s)."""
    dwell_s: Positive = 30.0
    """How long each turn lasts, from the first frame that shows the cell."""
    reach_s: Positive = 10.0
    """A cell that was not seen by then in its turn is passed over until the next."""
    focus_every_s: Positive = math.inf
    """How often the focus is searched anew; inf is never."""
    focus_step_um: Positive = 1.0
    """How far below and above the search looks; about the depth of field, and within limits.approach_step_um."""
    focus_on: Literal["cell", "view"] = "view"
    """Whose sharpness counts: that of the followed cell, or the median of all cells in view."""
    focus_feature: str = "sharpness"
    """The feature that says it; it must be measured (perception.features) if the focus is searched."""

    _turns: Turns = field(default_factory=lambda: Turns(1.0, 1.0), init=False)
    _target_um: tuple[float, float] | None = field(default=None, init=False)
    _asked_ns: int = field(default=0, init=False)
    _focus: FocusSearch = field(default_factory=lambda: FocusSearch(1.0, 1.0), init=False)
    _focused_ns: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.choose == "class" and not self.class_name:
            raise ValueError('class_name must name a class when choose = "class"')
        shortest_um = self.gain * self.deadband_um
        if self.arrived_um >= shortest_um:
            raise ValueError(
                f"arrived_um {self.arrived_um:g} must be below gain × deadband_um = {shortest_um:g}: "
                "else a move counts as arrived before it has begun"
            )
        self._focus = FocusSearch(self.focus_step_um, self.patience_ms)
        self._turns = Turns(self.dwell_s, self.reach_s)

    def decide(self, scene: Scene) -> Iterable[Decision]:
        """One move towards the followed cell, if it is needed and the last one has arrived."""
        if not scene.segmented:
            return ()
        row = self._followed_row(scene)
        if decisions := self._refocus(scene, row):
            return decisions
        if row is None or self._focus.under_way or self._move_under_way(scene.frame):
            return ()
        if scene.tracks.cell_row[row] == COASTING and (
            self.n_cells == 1 or shows(scene.frame, scene.tracks.xy_um[row])
        ):
            return ()  # it was in view a moment ago: no move on a guess
        return self._towards(scene, row)

    def _towards(self, scene: Scene, row: int) -> Iterable[Decision]:
        offset_um = scene.tracks.xy_um[row] - middle_um(scene.frame)
        distance_um = math.hypot(*offset_um)
        if distance_um <= self.deadband_um:
            return ()
        stage, share = scene.frame.stage, min(self.gain, self.step_um / distance_um)
        x_um, y_um = float(stage.x_um + share * offset_um[0]), float(stage.y_um + share * offset_um[1])
        self._target_um, self._asked_ns = (x_um, y_um), scene.frame.t_ns
        track_id = self._turns.now
        reason = f"track {track_id} is {distance_um:.1f} µm off the middle"
        return (Decision(command=MoveStage(x_um=x_um, y_um=y_um), reason=reason, track_id=track_id),)

    # --- whom to follow ---------------------------------------------------------------------------------------

    def _followed_row(self, scene: Scene) -> int | None:
        """Row of the cell whose turn it is; others are chosen when cells are lost or long unseen."""
        tracks, turns = scene.tracks, self._turns
        for event in tracks.events:
            if event.kind == "divided" and event.track_id in turns.ids:
                turns.replace(event.track_id, min(event.others, key=lambda daughter: _off_middle_um(scene, daughter)))
        for track_id in [track_id for track_id in turns.ids if self._is_lost(scene, track_id)]:
            turns.forget(track_id)
        if len(turns.ids) < self.n_cells:
            turns.ids += self._chosen(scene, self.n_cells - len(turns.ids))
        row = None if turns.now is None else tracks.row(turns.now)
        is_seen = row is not None and tracks.cell_row[row] != COASTING
        if not turns.pass_on(scene.frame.t_ns, is_seen, may_change=not self._focus.under_way):
            return row
        self._target_um = None
        return None if turns.now is None else tracks.row(turns.now)

    def _is_lost(self, scene: Scene, track_id: int) -> bool:
        """Its track has ended, or it is its turn and it was long unseen where it is expected."""
        row = scene.tracks.row(track_id)
        if row is None or track_id != self._turns.now:
            return row is None
        if self.n_cells == 1:
            return bool(scene.tracks.missed[row] >= self.give_up_missed)
        is_missed = scene.tracks.cell_row[row] == COASTING and shows(scene.frame, scene.tracks.xy_um[row])
        self._turns.n_unseen = self._turns.n_unseen + 1 if is_missed else 0
        return self._turns.n_unseen >= self.give_up_missed

    def _chosen(self, scene: Scene, n: int) -> list[int]:
        """The best cells that are not followed yet."""
        tracks = scene.tracks
        rows = np.flatnonzero(tracks.confirmed & (tracks.age >= self.min_age) & (tracks.cell_row != COASTING))
        rows = rows[~np.isin(tracks.id[rows], self._turns.ids)]
        if self.choose == "class":
            rows = rows[tracks.probability(self.class_name)[rows] >= self.p_min]
        best = rows[np.argsort(-self._merit(scene, rows), kind="stable")][:n]
        ids: list[int] = tracks.id[best].tolist()
        return ids

    def _merit(self, scene: Scene, rows: npt.NDArray[np.intp]) -> Floats:
        """The larger, the sooner a track is chosen; one number a row."""
        if self.choose == "class":
            return scene.tracks.probability(self.class_name)[rows]
        if self.choose == "brightest":
            return scene.cells.mean_intensity[scene.tracks.cell_row[rows]]
        offset_um = scene.tracks.xy_um[rows] - middle_um(scene.frame)
        return -np.hypot(offset_um[:, 0], offset_um[:, 1])

    def _move_under_way(self, frame: FrameHeader) -> bool:
        if self._target_um is None:
            return False
        remaining_um = math.dist((frame.stage.x_um, frame.stage.y_um), self._target_um)
        patient = frame.t_ns - self._asked_ns < self.patience_ms * NS_PER_MS
        return remaining_um > self.arrived_um and patient

    # --- focus ------------------------------------------------------------------------------------------------

    def _refocus(self, scene: Scene, row: int | None) -> tuple[Decision, ...]:
        """The next move of a search, begun when it is time, a cell is followed and the stage stands."""
        if math.isinf(self.focus_every_s):
            return ()
        now_ns, sharpness = scene.frame.t_ns, self._sharpness(scene, row)
        self._focused_ns = now_ns if self._focused_ns is None else self._focused_ns
        is_time = now_ns - self._focused_ns >= self.focus_every_s * NS_PER_S
        is_free = not (self._focus.under_way or self._move_under_way(scene.frame))
        if is_time and is_free and not math.isnan(sharpness):
            self._focused_ns = now_ns
            self._focus.begin(scene.frame.stage.z_um)
        move = self._focus.turn(scene.frame, sharpness)
        if move is None:
            return ()
        reason = f"{self.focus_feature} at {scene.frame.stage.z_um:.2f} µm: {sharpness:.3g}"
        return (Decision(command=move, reason=reason),)

    def _sharpness(self, scene: Scene, row: int | None) -> float:
        """NaN if there is nothing to tell it by."""
        values = scene.cells.feature(self.focus_feature)
        if self.focus_on == "view":
            known = values[np.isfinite(values)]
            return float(np.median(known)) if known.size else math.nan
        if row is None or scene.tracks.cell_row[row] == COASTING:
            return math.nan
        return float(values[scene.tracks.cell_row[row]])


def _off_middle_um(scene: Scene, track_id: int) -> float:
    row = scene.tracks.row(track_id)
    return math.inf if row is None else math.dist(scene.tracks.xy_um[row], middle_um(scene.frame))
