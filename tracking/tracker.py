"""Cells to tracks, one frame at a time: expect, link, tell clumps and divisions apart from losses and births."""

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from acquisition.clock import NS_PER_S
from acquisition.commands import Positive
from models.cells import Cells, Floats
from tracking import lifecycle
from tracking.assignment import owners
from tracking.checking import check
from tracking.clumps import Merger, find_mergers
from tracking.cues import FIRST_WITHIN, Cues, looks_of
from tracking.division import Division, find_divisions
from tracking.field import Field
from tracking.learning import Given, Learned
from tracking.linking import link_all
from tracking.motion import Motion, Motions, first_guess
from tracking.overlap import Seen
from tracking.rates import Rates
from tracking.robust import median
from tracking.saving import made_of, number, packed, parts_of, unpacked
from tracking.scenery import Scenery
from tracking.shift import FEWEST
from tracking.state import TrackState, no_tracks
from tracking.tracks import COASTING, Ints, TrackEvent, Tracks

LENGTHS = ("diameter_um", "usual_dt_s", "longest_dt_s")
"""What is learned as a plain number of µm or seconds."""


class Tracker(Protocol):
    """Gives cells an identity that lasts. One instance a run; frames come in the order of their time."""

    def update(self, cells: Cells) -> Tracks:
        """The tracks that are alive at this frame, and what happened to tracks since the last call."""


@dataclass
class CausalTracker:
    """Follows cells live: each frame is decided once, with what is known by then, and never taken back.

    How fast cells move, how steadily, and by what they can be told apart is learned while tracking.
    """

    confirm_after: Annotated[int, Meta(ge=1)] = 2
    """Frames in which a track must have had a cell before it is believed."""
    max_missed: Annotated[int, Meta(ge=0)] = 5
    """A track without a cell in its view for more than this many frames in a row has ended; until then it coasts."""
    max_away_s: Positive = 120.0
    """A track that the camera cannot see, because the stage has moved, is remembered for so long."""
    divisions: bool = True
    """Look for divisions; false for things that do not divide."""
    mitotic_classes: tuple[str, ...] = ("mitotic",)
    """Classes of cells that are about to divide, or just do; those that a run does not have are ignored."""
    gate_sigmas: Positive = 10.0
    """A cell is linked to tracks that expected it within this many standard errors."""
    class_weight: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share of the newest look in a track's class probabilities; 1 takes each look as it is."""
    speed_um_s: Positive | None = None
    """Typical speed along an axis. Without it, it is learned; give it if the first frames must already be right."""
    persistence_s: Positive | None = None
    """How long a cell keeps its direction; learned without it."""
    jitter_um: Positive | None = None
    """Standard error of a cell's place; 3 % of its diameter without it."""

    def __post_init__(self) -> None:
        self.state = no_tracks(0, 0)
        self.class_names: tuple[str, ...] | None = None
        self.t_ns = 0
        self.next_id = 1
        self.learned = Learned()
        self.seen: Seen | None = None
        self._given = Given(self.speed_um_s, self.persistence_s, self.jitter_um)

    def update(self, cells: Cells) -> Tracks:
        """The tracks alive at this frame. Raises ValueError if time goes back or the classes change."""
        scenery = self._accept(cells)
        before = self.state
        expected, links = link_all(before, scenery.motion.predict(before.motions, scenery.dt_s), scenery)
        cell_of = links.cell_of.copy()

        vanished = (cell_of < 0) & (before.missed == 0)
        mergers = find_mergers(before, expected, cells, cell_of, vanished, scenery.diameter_um)
        for merger in mergers:
            cell_of[merger.host], cell_of[merger.hidden] = merger.cell, COASTING
        divided = self._divided(before, expected, cell_of, mergers, scenery)

        after = lifecycle.followed(before, expected, cell_of, links.there, mergers, scenery, self.class_weight)
        events = lifecycle.meetings(before, after, mergers)
        self.state, cell_row, changes = self._turnover(after, cell_of, divided, scenery)
        self.learned = self.learned.from_links(before, expected, links, scenery, self._given)
        self.seen = scenery.seen_now
        return self._tracks(cells, cell_row, (*events, *changes))

    def saved(self) -> bytes:
        """Everything it remembers but the last label image; the same bytes for the same memory."""
        learned = self.learned
        numbers: dict[str, float | int | None] = {
            "t_ns": self.t_ns,
            "next_id": self.next_id,
            "n_frames": learned.n_frames,
        }
        numbers |= {name: getattr(learned, name) for name in LENGTHS} | parts_of("rates", learned.rates)
        if learned.motion is not None:
            numbers |= parts_of("motion", learned.motion)
        arrays = parts_of("state", self.state) | parts_of("cues", learned.cues)
        return packed(self._settings(), numbers, self.class_names or (), arrays)

    def restore(self, state: bytes) -> None:
        """Go on as the tracker that was saved. Raises ValueError, and stays as it is, if the state is not its own.

        Overlap tells nothing in the first frame, since the label image before it is not known.
        """
        numbers, class_names, arrays = unpacked(state, self._settings())
        n_embedding = int(arrays["state.embedding"].shape[-1]) if "state.embedding" in arrays else 0
        table = made_of("state", TrackState, arrays, no_tracks(len(class_names), n_embedding))
        table.check()
        cues = made_of("cues", Cues, arrays, Learned().cues)
        if cues.within.shape != cues.between.shape or cues.within.shape != FIRST_WITHIN.shape:
            raise ValueError(
                f"the state has {len(cues.within)} cues, not {len(FIRST_WITHIN)}; start with a new tracker"
            )
        moving = any(name.startswith("motion.") for name in numbers)
        learned = Learned(
            motion=made_of("motion", Motion, numbers, Motion(1.0, 1.0, 1.0)) if moving else None,
            cues=cues,
            rates=made_of("rates", Rates, numbers, Rates()),
            n_frames=int(number(numbers, "n_frames")),
            **{name: number(numbers, name) for name in LENGTHS},
        )
        t_ns, next_id = number(numbers, "t_ns"), number(numbers, "next_id")
        if len(table) and next_id <= table.id[-1]:
            raise ValueError(f"the state would give id {next_id} again; start with a new tracker")
        self.state, self.learned, self.seen = table, learned, None
        self.t_ns, self.next_id, self.class_names = int(t_ns), int(next_id), class_names or None

    def skip_ids(self, used: int) -> None:
        """Give no id up to this one to a new track."""
        self.next_id = max(self.next_id, used + 1)

    def _settings(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _accept(self, cells: Cells) -> Scenery:
        """What there is to know before tracks are looked at, after checking that these cells can follow the last ones."""
        begins = self.class_names is None
        check(cells, cells.t_ns if begins else self.t_ns, self.class_names or cells.class_names)
        field = Field.of(cells)
        if begins:
            n_embedding = 0 if cells.embedding is None else cells.embedding.shape[1]
            self.state, self.class_names = no_tracks(len(cells.class_names), n_embedding), cells.class_names
            self.t_ns = cells.t_ns
        if cells.embedding is not None and self.state.embedding.shape[1] != cells.embedding.shape[1]:
            unknown = np.full((len(self.state), cells.embedding.shape[1]), np.nan)
            self.state = replace(self.state, embedding=unknown)
        dt_s, self.t_ns = (cells.t_ns - self.t_ns) / NS_PER_S, cells.t_ns
        known = self.learned.looked_at(cells, dt_s, self._given)
        diameter_um = max(known.diameter_um, 1e-3)
        motion = known.motion or self._given.applied(first_guess(diameter_um, dt_s or 1.0), diameter_um)
        if not known.n_frames and known.longest_dt_s > self.learned.longest_dt_s:  # only just guessed
            begun = motion.begin(self.state.xy_um, np.zeros(2))
            self.state = replace(self.state, variance=begun.variance, velocity_um_s=begun.velocity_um_s)
        self.learned = known
        return Scenery(
            cells, looks_of(cells), field.inside_um(cells.xy_um), self._mitotic(cells), field, dt_s, motion, known.cues,
            known.rates, diameter_um, diameter_um / 2 + 2 * motion.spread_um(dt_s), self.gate_sigmas, self.seen,
            Seen.of(cells),
        )  # fmt: skip

    def _divided(
        self, before: TrackState, expected: Motions, cell_of: Ints, mergers: list[Merger], scenery: Scenery
    ) -> list[Division]:
        """Divisions among tracks that have nothing to do with clumps in this frame."""
        if not self.divisions:
            return []
        separated = cell_of[(before.host > 0) & (cell_of >= 0)].tolist()
        meet = [row for merger in mergers for row in (merger.host, merger.hidden)]
        barred = separated + [merger.cell for merger in mergers]
        return find_divisions(before, expected, cell_of, meet, barred, scenery)

    def _turnover(
        self, after: TrackState, cell_of: Ints, divided: list[Division], scenery: Scenery
    ) -> tuple[TrackState, Ints, list[TrackEvent]]:
        """The state without tracks that ended and with those that began, the cell of each, and what there is to tell."""
        known = after.confirmed | (after.hits >= self.confirm_after)
        after, daughters, events = lifecycle.divided(after, known, cell_of, len(scenery.cells), divided, self.next_id)
        inside_um = scenery.field.inside_um(after.xy_um)
        after = lifecycle.counted_away(after, inside_um, scenery.field, scenery.diameter_um)
        mothers = np.zeros(len(after), dtype=bool)
        mothers[[division.mother for division in divided]] = True
        ends = lifecycle.ended(after, scenery.cells.t_ns, self.max_missed, self.max_away_s * NS_PER_S) & ~mothers
        events += lifecycle.endings(after, ends, inside_um < scenery.edge_um)

        claimed = owners(cell_of, len(scenery.cells)) >= 0
        claimed[list(daughters)] = True  # some are the mother's cell, others nobody's
        born = np.flatnonzero(~claimed)
        if (ends | mothers).any():
            stays = ~(ends | mothers)
            after, cell_of = after.rows(stays), cell_of[stays]
        if daughters or born.size:
            rows = np.concatenate([np.array(list(daughters), np.int64), born])
            parents = np.array([*daughters.values(), *[0] * born.size], np.int64)
            fresh = lifecycle.started(
                rows, parents, self.next_id, self._drift(after), scenery, after.embedding.shape[1]
            )
            begun = fresh.id[len(daughters) :]
            events += lifecycle.beginnings(begun, scenery.inside_um[born] < scenery.edge_um)
            if self.confirm_after == 1:
                fresh = replace(fresh, confirmed=np.ones(len(fresh), dtype=bool))
                events += [TrackEvent("confirmed", i) for i in begun.tolist()]
            self.next_id += len(rows)
            after, cell_of = after.followed_by(fresh), np.concatenate([cell_of, rows])
        return after, cell_of, events

    def _drift(self, state: TrackState) -> Floats:
        """How all cells move together: the velocity a new one is expected to have."""
        sure = state.confirmed & (state.missed == 0)
        velocity_um_s = state.velocity_um_s[sure]
        if len(velocity_um_s) < FEWEST:
            return np.zeros(2)
        return np.array([median(velocity_um_s[:, 0]), median(velocity_um_s[:, 1])])

    def _mitotic(self, cells: Cells) -> Floats:
        """Probability that each cell is in mitosis, `[N]`; NaN if no class says so."""
        columns = [k for k, name in enumerate(cells.class_names) if name in self.mitotic_classes]
        return cells.p_class[:, columns].sum(axis=1) if columns else np.full(len(cells), np.nan)

    def _tracks(self, cells: Cells, cell_row: Ints, events: tuple[TrackEvent, ...]) -> Tracks:
        state = self.state
        xy_um = state.xy_um.copy()
        xy_um[cell_row >= 0] = cells.xy_um[cell_row[cell_row >= 0]]
        return Tracks(
            frame_index=cells.frame_index,
            t_ns=cells.t_ns,
            id=_shown(state.id),
            parent=_shown(state.parent),
            xy_um=_shown(xy_um),
            velocity_um_s=_shown(state.velocity_um_s),
            sigma_um=_shown(np.sqrt(state.variance[:, 0])),
            age=_shown(state.age),
            missed=_shown(state.missed),
            confirmed=_shown(state.confirmed),
            p_class=_shown(state.p_class),
            cell_row=_shown(cell_row),
            class_names=cells.class_names,
            events=events,
        )


def _shown(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that cannot be written to: what policies do must not reach the tracker."""
    view = column.view()
    view.flags.writeable = False
    return view
