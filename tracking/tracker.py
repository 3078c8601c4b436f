"""Cells to tracks, one frame at a time: expect, link, tell clumps and divisions apart from losses and births."""

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Protocol

import numpy as np
from msgspec import Meta

from acquisition.clock import NS_PER_S
from acquisition.commands import Positive
from models.cells import Cells, Floats
from tracking import lifecycle
from tracking.clumps import find_mergers
from tracking.cues import FIRST_WITHIN, Cues, looks_of, spread
from tracking.division import Division, find_divisions
from tracking.field import Field
from tracking.linking import Links, link_all
from tracking.motion import Motion, Motions, first_guess, learned
from tracking.neighbours import pairs_within
from tracking.overlap import Seen
from tracking.rates import Rates
from tracking.robust import median
from tracking.saving import made_of, packed, parts_of, unpacked
from tracking.scenery import Scenery
from tracking.shift import FEWEST
from tracking.state import TrackState, no_tracks
from tracking.tracks import COASTING, Bools, Ints, TrackEvent, Tracks

FASTEST_LEARNING, SLOWEST_LEARNING = 0.5, 0.04
"""Weight of a frame in what is learned about the cells: at the start, and later."""


NUMBERS = ("t_ns", "next_id", "diameter_um", "n_learned")
"""Of a tracker's memory, what is neither table nor learned."""


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
        self.class_names: tuple[str, ...] = ()
        self.t_ns = 0
        self.next_id = 1
        self.motion: Motion | None = None
        self.cues = Cues(FIRST_WITHIN, np.zeros(len(FIRST_WITHIN)))
        self.rates = Rates()
        self.diameter_um = 0.0
        self.n_learned = 0
        self.seen: Seen | None = None

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
        separated = cell_of[(before.host > 0) & (cell_of >= 0)]
        divided = find_divisions(before, expected, cell_of, separated, scenery) if self.divisions else []

        after = lifecycle.followed(before, expected, cell_of, links.there, mergers, scenery, self.class_weight)
        self.state, cell_row, events = self._turnover(after, cell_of, divided, scenery)
        self._learn(before, expected, links, scenery)
        self.seen = scenery.seen_now
        return self._tracks(cells, cell_row, (*events, *lifecycle.meetings(before, mergers, cell_of)))

    def saved(self) -> bytes:
        """Everything it remembers but the last label image; the same bytes for the same memory."""
        numbers = {name: getattr(self, name) for name in NUMBERS} | parts_of("rates", self.rates)
        if self.motion is not None:
            numbers |= parts_of("motion", self.motion)
        arrays = parts_of("state", self.state) | parts_of("cues", self.cues)
        return packed(self._settings(), numbers, self.class_names, arrays)

    def restore(self, state: bytes) -> None:
        """Go on as the tracker that was saved. Raises ValueError, and stays as it is, if the state is not its own.

        Overlap tells nothing in the first frame, since the label image before it is not known.
        """
        numbers, class_names, arrays = unpacked(state, self._settings())
        if missing := [name for name in NUMBERS if numbers.get(name) is None]:
            raise ValueError(f"the state lacks {', '.join(missing)}; start with a new tracker")
        table = made_of("state", TrackState, arrays, no_tracks(0, 0))
        if ragged := table.ragged():
            raise ValueError(f"the state's {', '.join(ragged)} have other numbers of tracks; start with a new tracker")
        cues, rates = made_of("cues", Cues, arrays, self.cues), made_of("rates", Rates, numbers, self.rates)
        moving = any(name.startswith("motion.") for name in numbers)
        self.motion = made_of("motion", Motion, numbers, Motion(1.0, 1.0, 1.0)) if moving else None
        self.state, self.cues, self.rates, self.class_names, self.seen = table, cues, rates, class_names, None
        for name in NUMBERS:
            setattr(self, name, numbers[name])

    def skip_ids(self, used: int) -> None:
        """Give no id up to this one to a new track."""
        self.next_id = max(self.next_id, used + 1)

    def _settings(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _accept(self, cells: Cells) -> Scenery:
        """What there is to know before tracks are looked at, after checking that these cells can follow the last ones."""
        if not self.class_names:
            n_embedding = 0 if cells.embedding is None else cells.embedding.shape[1]
            self.state, self.class_names = no_tracks(len(cells.class_names), n_embedding), cells.class_names
            self.t_ns = cells.t_ns
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
        if cells.embedding is not None and self.state.embedding.shape[1] != cells.embedding.shape[1]:
            unknown = np.full((len(self.state), cells.embedding.shape[1]), np.nan)
            self.state = replace(self.state, embedding=unknown)
        dt_s, self.t_ns = (cells.t_ns - self.t_ns) / NS_PER_S, cells.t_ns
        if len(cells):
            diameter_um = float(np.sqrt(4 / np.pi * max(median(cells.area_um2), 1e-6)))
            self.diameter_um += (self._learning() if self.diameter_um else 1.0) * (diameter_um - self.diameter_um)
        return self._scenery(cells, dt_s, max(self.diameter_um, 1e-3))

    def _scenery(self, cells: Cells, dt_s: float, diameter_um: float) -> Scenery:
        """The first guess at the motion is made when the first interval is known."""
        motion = self.motion or self._given(first_guess(diameter_um, dt_s or 1.0))
        if self.motion is None and dt_s > 0 and self.diameter_um:
            self.motion = motion
            self.state = replace(self.state, variance=motion.begin(self.state.xy_um, np.zeros(2)).variance)
        field = Field.of(cells)
        return Scenery(
            cells, looks_of(cells), field.inside_um(cells.xy_um), self._mitotic(cells), field, dt_s, motion, self.cues,
            self.rates, diameter_um, diameter_um / 2 + 2 * motion.spread_um(dt_s), self.gate_sigmas, self.seen,
            Seen.of(cells),
        )  # fmt: skip

    def _turnover(
        self, after: TrackState, cell_of: Ints, divided: list[Division], scenery: Scenery
    ) -> tuple[TrackState, Ints, list[TrackEvent]]:
        """The state without tracks that ended and with those that began, the cell of each, and what there is to tell."""
        inside_um = scenery.field.inside_um(after.xy_um)
        after = lifecycle.counted_away(after, inside_um, scenery.diameter_um)
        ends = lifecycle.ended(after, scenery.cells.t_ns, self.max_missed, self.max_away_s * NS_PER_S)
        events = lifecycle.endings(after, ends, inside_um < scenery.edge_um)
        confirmed = after.confirmed | (after.hits >= self.confirm_after)
        events += [TrackEvent("confirmed", i) for i in after.id[confirmed & ~after.confirmed & ~ends].tolist()]
        after = replace(after, confirmed=confirmed)

        owner = np.full(len(scenery.cells), COASTING)
        linked = np.flatnonzero(cell_of >= 0)
        owner[cell_of[linked]] = linked
        daughters, mothers = list[int](), list[int]()
        if divided:
            after, daughters, mothers, told = lifecycle.divided(after, owner, divided, self.next_id)
            events += told
            ends[[division.mother for division in divided]] = True
            owner[daughters] = len(after)
        born = np.flatnonzero(owner == COASTING)
        if ends.any():
            after, cell_of = after.rows(~ends), cell_of[~ends]
        if daughters or born.size:
            rows = np.concatenate([np.array(daughters, np.int64), born])
            parents = np.array(mothers + [0] * born.size, np.int64)
            fresh = lifecycle.started(
                rows, parents, self.next_id, self._drift(after), scenery, after.embedding.shape[1]
            )
            if self.confirm_after == 1:
                fresh = replace(fresh, confirmed=np.ones(len(fresh), dtype=bool))
            events += lifecycle.beginnings(fresh.id[len(daughters) :], scenery.inside_um[born] < scenery.edge_um)
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

    def _learning(self) -> float:
        return max(SLOWEST_LEARNING, min(FASTEST_LEARNING, 1 / (1 + self.n_learned)))

    def _given(self, motion: Motion) -> Motion:
        """The same with what the settings fix."""
        return Motion(
            self.speed_um_s or motion.speed_um_s,
            self.persistence_s or motion.persistence_s,
            self.jitter_um or motion.jitter_um,
        )

    def _learn(self, before: TrackState, expected: Motions, links: Links, scenery: Scenery) -> None:
        """How these cells move, and how much each cue tells, from links of tracks that are believed."""
        gain = self._learning()
        steady = before.confirmed & (before.missed == 0)
        if self.n_learned:
            self.rates = self.rates.learned(*_clear_cases(before, expected, links, scenery), scenery.edge_um, gain)
        good = links.made & (steady & np.isnan(before.clump[:, 2]))[links.track]
        self.cues = self.cues.learned(links.differences[:, good], spread(scenery.cells, scenery.looks), gain)
        track, cell = links.track[good], links.cell[good]
        if self.motion is not None and scenery.dt_s > 0 and track.size >= FEWEST:
            seen_um = scenery.cells.xy_um[cell]
            self.motion = self._given(
                learned(self.motion, expected[track], seen_um, scenery.dt_s, scenery.diameter_um, gain)
            )
            self.n_learned += 1

    def _tracks(self, cells: Cells, cell_row: Ints, events: tuple[TrackEvent, ...]) -> Tracks:
        state = self.state
        xy_um = state.xy_um.copy()
        xy_um[cell_row >= 0] = cells.xy_um[cell_row[cell_row >= 0]]
        return Tracks(
            frame_index=cells.frame_index,
            t_ns=cells.t_ns,
            id=state.id,
            parent=state.parent,
            xy_um=xy_um,
            velocity_um_s=state.velocity_um_s,
            sigma_um=np.sqrt(state.variance[:, 0]),
            age=state.age,
            missed=state.missed,
            confirmed=state.confirmed,
            p_class=state.p_class,
            cell_row=cell_row,
            class_names=self.class_names,
            events=events,
        )


def _clear_cases(
    state: TrackState, expected: Motions, links: Links, scenery: Scenery
) -> tuple[Ints, Bools, Bools, Floats, Floats]:
    """What became of tracks and cells; without those near one another that may be one broken link, not two events."""
    cells_um = scenery.cells.xy_um
    lost = np.flatnonzero(links.cell_of < 0)
    claimed = np.zeros(len(cells_um), dtype=bool)
    claimed[links.cell_of[links.cell_of >= 0]] = True
    new = np.flatnonzero(~claimed)
    clear, inside_um = np.ones(len(state), dtype=bool), scenery.inside_um
    if lost.size and new.size:
        near = np.full(lost.size, 2 * scenery.diameter_um)
        track, cell = pairs_within(expected.xy_um[lost], near, cells_um[new])
        clear[lost[track]] = False
        inside_um = inside_um.copy()
        inside_um[new[cell]] = np.nan
    known = clear & state.confirmed & (state.missed == 0) & (state.host == 0)
    return links.cell_of, known, clear & (state.hits == 1) & (state.age == 0), links.inside_um, inside_um
