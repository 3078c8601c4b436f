"""Cells to tracks, one frame at a time: predict, link, notice divisions, births and losses."""

from dataclasses import dataclass, replace
from typing import Annotated, Protocol, TypeVar

import numpy as np
from msgspec import Meta

from acquisition.clock import NS_PER_S
from acquisition.commands import Positive
from models.cells import Cells, Floats
from tracking.assignment import assign
from tracking.division import Spots, find_divisions
from tracking.motion import predicted_um, smoothed_velocity
from tracking.state import TrackState, no_tracks
from tracking.tracks import COASTING, Ints, TrackEvent, Tracks

Share = Annotated[float, Meta(gt=0, le=1)]
Column = TypeVar("Column", Ints, Floats)


class Tracker(Protocol):
    """Gives cells an identity that lasts. One instance a run; frames come in the order of their time."""

    def update(self, cells: Cells) -> Tracks:
        """The tracks that are alive at this frame, and what happened to tracks since the last call."""


@dataclass
class LinearAssignmentTracker:
    """Each track expects its cell straight ahead; the links taken together stray least from that.

    A division ends the mother's track and starts two, whose `parent` she is (the Cell Tracking Challenge's
    way): one `divided` event tells it, without `lost` or `born`. Touching cells that are segmented as one are
    not followed into the clump: one track goes on, the others coast, and `merged` is never reported.
    """

    max_speed_um_s: Positive = 0.05
    """The fastest a cell can move. 0.05 is 3 µm a minute, a fast crawling cell; in a flow it is far more."""
    gate_um: Positive = 5.0
    """How far from its expected place a cell may be if no time has passed: the jitter of its outline."""
    max_missed: Annotated[int, Meta(ge=0)] = 3
    """A track without a cell for more than this many frames in a row is lost; until then it coasts."""
    velocity_weight: Share = 0.3
    """Share of the newest step in a track's velocity; the rest is what it was."""
    class_weight: Share = 0.5
    """Share of the newest look in a track's class probabilities; 1 takes each look as it is."""
    divisions: bool = True
    """Look for divisions; false for things that do not divide."""

    def __post_init__(self) -> None:
        self.state: TrackState | None = None
        self.class_names: tuple[str, ...] = ()
        self.t_ns = 0
        self.next_id = 1

    def update(self, cells: Cells) -> Tracks:
        """The tracks alive at this frame. Raises ValueError if time goes back or the classes change."""
        before = self._accept(cells)
        unseen_s = (cells.t_ns - before.seen_ns) / NS_PER_S
        reach_um = self.gate_um + self.max_speed_um_s * unseen_s
        expected_um = predicted_um(before.seen_um, before.velocity_um_s, unseen_s)
        linked, linked_cell = assign(expected_um, cells.xy_um, reach_um)
        cell_row = np.full(len(before), COASTING)
        cell_row[linked] = linked_cell

        unclaimed = np.setdiff1d(np.arange(len(cells)), linked_cell)
        mother, sister = self._divided(before, cells, linked, linked_cell, unclaimed, reach_um)
        daughters = np.column_stack([cell_row[mother], sister]).ravel()
        single = np.setdiff1d(unclaimed, sister)
        parents = np.concatenate([np.repeat(before.id[mother], 2), np.zeros_like(single)])
        started = self._started(cells, np.concatenate([daughters, single]), parents)

        after = self._one_frame_older(before, cells, linked, linked_cell, unseen_s)
        lost = after.missed > self.max_missed
        stays = ~lost
        stays[mother] = False
        self.state = after.only(stays).followed_by(started)
        events = _events(before.id[lost], before.id[mother], started.id)
        return self._tracks(cells, self.state, np.concatenate([cell_row[stays], daughters, single]), events)

    def _accept(self, cells: Cells) -> TrackState:
        """The state so far, after checking that these cells can follow it."""
        if self.state is None:
            self.state, self.class_names = no_tracks(len(cells.class_names)), cells.class_names
        elif cells.t_ns < self.t_ns:
            raise ValueError(
                f"frame {cells.frame_index} is of {cells.t_ns} ns, before the last one of {self.t_ns} ns; "
                "the tracker needs frames in the order of their time"
            )
        elif cells.class_names != self.class_names:
            raise ValueError(
                f"frame {cells.frame_index} has classes {list(cells.class_names)}, but the run began with "
                f"{list(self.class_names)}: start a new tracker for other classes"
            )
        self.t_ns = cells.t_ns
        return self.state

    def _divided(
        self,
        before: TrackState,
        cells: Cells,
        linked: Ints,
        linked_cell: Ints,
        unclaimed: Ints,
        reach_um: Floats,
    ) -> tuple[Ints, Ints]:
        """Rows of the tracks that divided, and of the cells that are their second daughters."""
        if not self.divisions:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        # The larger of two areas: a mother may have shrunk in the frame before her second daughter is seen.
        mothers = Spots(before.seen_um[linked], before.areas_um2[linked].max(axis=1))
        firsts = Spots(cells.xy_um[linked_cell], cells.area_um2[linked_cell])
        newborns = Spots(cells.xy_um[unclaimed], cells.area_um2[unclaimed])
        pairs = np.array(find_divisions(mothers, firsts, newborns, reach_um[linked]), dtype=np.int64).reshape(-1, 2)
        return linked[pairs[:, 0]], unclaimed[pairs[:, 1]]

    def _started(self, cells: Cells, rows: Ints, parents: Ints) -> TrackState:
        """New tracks at these cells, with ids that were never used."""
        n = len(rows)
        ids = np.arange(self.next_id, self.next_id + n)
        self.next_id += n
        return TrackState(
            id=ids,
            parent=parents,
            age=np.zeros(n, np.int64),
            missed=np.zeros(n, np.int64),
            seen_ns=np.full(n, cells.t_ns),
            seen_um=cells.xy_um[rows],
            velocity_um_s=np.zeros((n, 2)),
            areas_um2=np.repeat(cells.area_um2[rows, None], 2, axis=1),
            p_class=cells.p_class[rows],
        )

    def _one_frame_older(
        self, before: TrackState, cells: Cells, linked: Ints, linked_cell: Ints, unseen_s: Floats
    ) -> TrackState:
        """All tracks one frame on: the linked ones with what their cells say, the others coasting."""
        seen_um, areas_um2 = cells.xy_um[linked_cell], cells.area_um2[linked_cell]
        velocity_um_s = smoothed_velocity(
            before.velocity_um_s[linked],
            seen_um - before.seen_um[linked],
            unseen_s[linked],
            self.velocity_weight,
            self.max_speed_um_s,
        )
        old_p = before.p_class[linked]
        return replace(
            before,
            age=before.age + 1,
            missed=_with(before.missed + 1, linked, np.zeros_like(linked)),
            seen_ns=_with(before.seen_ns, linked, np.full_like(linked, cells.t_ns)),
            seen_um=_with(before.seen_um, linked, seen_um),
            velocity_um_s=_with(before.velocity_um_s, linked, velocity_um_s),
            areas_um2=_with(before.areas_um2, linked, np.stack([areas_um2, before.areas_um2[linked, 0]], axis=1)),
            p_class=_with(before.p_class, linked, old_p + self.class_weight * (cells.p_class[linked_cell] - old_p)),
        )

    def _tracks(self, cells: Cells, state: TrackState, cell_row: Ints, events: tuple[TrackEvent, ...]) -> Tracks:
        unseen_s = (cells.t_ns - state.seen_ns) / NS_PER_S
        return Tracks(
            frame_index=cells.frame_index,
            t_ns=cells.t_ns,
            id=state.id,
            parent=state.parent,
            xy_um=predicted_um(state.seen_um, state.velocity_um_s, unseen_s),
            velocity_um_s=state.velocity_um_s,
            sigma_um=np.full(len(state), self.gate_um),
            age=state.age,
            missed=state.missed,
            confirmed=state.age > 0,
            p_class=state.p_class,
            cell_row=cell_row,
            class_names=self.class_names,
            events=events,
        )


def _with(column: Column, rows: Ints, values: Column) -> Column:
    """A copy of a column with other values in some rows."""
    changed = column.copy()
    changed[rows] = values
    return changed


def _events(lost: Ints, mothers: Ints, started: Ints) -> tuple[TrackEvent, ...]:
    """What happened in one frame; `started` has two daughters a mother, then the cells born without one."""
    daughters, born = started[: 2 * len(mothers)].reshape(-1, 2), started[2 * len(mothers) :]
    return (
        *(TrackEvent("lost", track) for track in lost.tolist()),
        *(TrackEvent("divided", m, (a, b)) for m, (a, b) in zip(mothers.tolist(), daughters.tolist(), strict=True)),
        *(TrackEvent("born", track) for track in born.tolist()),
    )
