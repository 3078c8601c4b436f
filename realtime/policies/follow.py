"""follow: keep a chosen cell in the middle of the view."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from acquisition.clock import NS_PER_MS
from acquisition.commands import AtLeastOne, MoveStage, Positive
from acquisition.frame import FrameHeader, stage_um
from models.cells import Floats
from realtime.decisions import Decision
from realtime.policy import Scene
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

    _track_id: int | None = field(default=None, init=False)
    _target_um: tuple[float, float] | None = field(default=None, init=False)
    _asked_ns: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.choose == "class" and not self.class_name:
            raise ValueError('class_name must name a class when choose = "class"')
        shortest_um = self.gain * self.deadband_um
        if self.arrived_um >= shortest_um:
            raise ValueError(
                f"arrived_um {self.arrived_um:g} must be below gain × deadband_um = {shortest_um:g}: "
                "else a move counts as arrived before it has begun"
            )

    def decide(self, scene: Scene) -> Iterable[Decision]:
        """One move towards the followed cell, if it is needed and the last one has arrived."""
        row = self._followed_row(scene)
        if row is None or scene.tracks.cell_row[row] == COASTING or self._move_under_way(scene.frame):
            return ()
        offset_um = scene.tracks.xy_um[row] - middle_um(scene.frame)
        distance_um = math.hypot(*offset_um)
        if distance_um <= self.deadband_um:
            return ()
        stage, share = scene.frame.stage, min(self.gain, self.step_um / distance_um)
        x_um, y_um = float(stage.x_um + share * offset_um[0]), float(stage.y_um + share * offset_um[1])
        self._target_um, self._asked_ns = (x_um, y_um), scene.frame.t_ns
        reason = f"track {self._track_id} is {distance_um:.1f} µm off the middle"
        return (Decision(command=MoveStage(x_um=x_um, y_um=y_um), reason=reason, track_id=self._track_id),)

    def _followed_row(self, scene: Scene) -> int | None:
        """Row of the cell that is followed; chosen anew when it is lost or long unseen."""
        tracks = scene.tracks
        for event in tracks.events:
            if event.kind == "divided" and event.track_id == self._track_id:
                self._track_id = min(event.others, key=lambda daughter: _off_middle_um(scene, daughter))
        row = None if self._track_id is None else tracks.row(self._track_id)
        if row is None or tracks.missed[row] >= self.give_up_missed:
            row = self._chosen_row(scene)
            self._track_id = None if row is None else int(tracks.id[row])
        return row

    def _chosen_row(self, scene: Scene) -> int | None:
        tracks = scene.tracks
        rows = np.flatnonzero(tracks.confirmed & (tracks.age >= self.min_age) & (tracks.cell_row != COASTING))
        if self.choose == "class":
            rows = rows[tracks.probability(self.class_name)[rows] >= self.p_min]
        return int(rows[np.argmax(self._merit(scene, rows))]) if rows.size else None

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


def _off_middle_um(scene: Scene, track_id: int) -> float:
    row = scene.tracks.row(track_id)
    return math.inf if row is None else math.dist(scene.tracks.xy_um[row], middle_um(scene.frame))


def middle_um(frame: FrameHeader) -> Floats:
    """The middle of the view, stage µm `[2]`; with a part of the sensor it is not where the stage stands."""
    return stage_um(frame.stage_from_pixel, np.array([(frame.width_px - 1) / 2, (frame.height_px - 1) / 2]))
