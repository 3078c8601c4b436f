"""What a tracker learns about the cells of its run while it follows them: nobody has to tell it how fast they are."""

from dataclasses import dataclass, field, replace

import numpy as np

from models.cells import Cells
from tracking.assignment import owners
from tracking.cues import FEWEST, FIRST_WITHIN, Cues, spread
from tracking.linking import Links
from tracking.motion import JITTER, Motion, Motions, first_guess, learned
from tracking.neighbours import pairs_within
from tracking.rates import Fates, Rates
from tracking.robust import median
from tracking.scenery import Scenery
from tracking.state import TrackState

FASTEST, SLOWEST = 0.5, 0.04
"""Weight of a frame in what is learned: at the start, and later."""
USUAL_WEIGHT = 0.2
"""Weight of a frame in what counts as the usual interval."""
ODD = 3.0
"""From intervals so many times longer or shorter than usual nothing is learned about motion."""
GROWTH = 1.5
"""The typical diameter changes by this factor a frame at most: one frame of light must not teach giants."""


@dataclass(frozen=True)
class Given:
    """What the settings fix; None is learned."""

    speed_um_s: float | None
    persistence_s: float | None
    jitter_um: float | None

    def applied(self, motion: Motion, diameter_um: float) -> Motion:
        """The motion with what is fixed; places are as exact as cells are small."""
        return Motion(
            self.speed_um_s or motion.speed_um_s,
            self.persistence_s or motion.persistence_s,
            self.jitter_um or JITTER * diameter_um,
        )


@dataclass(frozen=True)
class Learned:
    """How these cells look, move, come and go."""

    motion: Motion | None = None
    """None before the first interval between cells is known."""
    cues: Cues = field(default_factory=lambda: Cues(FIRST_WITHIN, np.zeros(len(FIRST_WITHIN))))
    rates: Rates = field(default_factory=Rates)
    diameter_um: float = 0.0
    """Of a typical cell; 0 before one was seen."""
    usual_dt_s: float = 0.0
    longest_dt_s: float = 0.0
    n_frames: int = 0
    """From which motion was learned."""

    @property
    def gain(self) -> float:
        """Weight of the next frame."""
        return max(SLOWEST, min(FASTEST, 1 / (1 + self.n_frames)))

    def looked_at(self, cells: Cells, dt_s: float, given: Given) -> "Learned":
        """Before the tracks of a frame are known: size of cells, interval, and a first guess at the motion.

        As long as nothing was learned, the longest interval so far is the best to guess from: two frames in a burst say
        nothing about the others.
        """
        diameter_um, usual_dt_s = self._diameter_um(cells), self._usual_dt_s(dt_s)
        longest_dt_s, motion = max(self.longest_dt_s, dt_s), self.motion
        if not self.n_frames and longest_dt_s > self.longest_dt_s and diameter_um:
            motion, usual_dt_s = first_guess(diameter_um, longest_dt_s), longest_dt_s
        if motion is not None:
            motion = given.applied(motion, diameter_um)
        return replace(
            self, motion=motion, diameter_um=diameter_um, usual_dt_s=usual_dt_s,
            longest_dt_s=longest_dt_s if diameter_um else 0.0,
        )  # fmt: skip

    def from_links(
        self, before: TrackState, expected: Motions, links: Links, scenery: Scenery, given: Given
    ) -> "Learned":
        """After the links of a frame are made: from tracks that are believed."""
        gain, dt_s = self.gain, scenery.dt_s
        rates = self.rates
        if self.n_frames:
            rates = rates.learned(_fates(before, expected, links, scenery), scenery.edge_um, gain)
        steady = before.confirmed & (before.missed == 0) & np.isnan(before.clump[:, 2])
        good = links.made & steady[links.track]
        cues = self.cues.learned(links.differences[:, good], spread(scenery.cells, scenery.looks), gain)
        track, cell = links.track[good], links.cell[good]
        usual = self.usual_dt_s / ODD < dt_s < self.usual_dt_s * ODD
        if self.motion is None or not usual or track.size == 0:
            return replace(self, rates=rates, cues=cues)
        motion = learned(
            self.motion, expected[track], scenery.cells.xy_um[cell], dt_s, self.usual_dt_s, scenery.diameter_um,
            gain * min(1.0, track.size / FEWEST),
        )  # fmt: skip
        motion = given.applied(motion, self.diameter_um)
        return replace(self, rates=rates, cues=cues, motion=motion, n_frames=self.n_frames + 1)

    def _diameter_um(self, cells: Cells) -> float:
        if not len(cells):
            return self.diameter_um
        now_um = float(np.sqrt(4 / np.pi * max(median(cells.area_um2), 1e-6)))
        if not self.diameter_um:
            return now_um
        smoothed = self.diameter_um + self.gain * (now_um - self.diameter_um)
        return min(max(smoothed, self.diameter_um / GROWTH), self.diameter_um * GROWTH)

    def _usual_dt_s(self, dt_s: float) -> float:
        """A mean of logarithms to which an odd interval contributes little."""
        if dt_s <= 0 or not self.usual_dt_s:
            return max(dt_s, self.usual_dt_s)
        step = min(max(float(np.log(dt_s / self.usual_dt_s)), -1.0), 1.0)
        return self.usual_dt_s * float(np.exp(USUAL_WEIGHT * step))


def _fates(state: TrackState, expected: Motions, links: Links, scenery: Scenery) -> Fates:
    """What became of tracks and cells; without those near one another that may be one broken link, not two events."""
    cells_um = scenery.cells.xy_um
    lost = np.flatnonzero(links.cell_of < 0)
    new = np.flatnonzero(owners(links.cell_of, len(cells_um)) < 0)
    clear_track, clear_cell = np.ones(len(state), dtype=bool), np.ones(len(cells_um), dtype=bool)
    if lost.size and new.size:
        near_um = np.full(lost.size, 2 * scenery.diameter_um)
        track, cell = pairs_within(expected.xy_um[lost], near_um, cells_um[new])
        clear_track[lost[track]], clear_cell[new[cell]] = False, False
    return Fates(
        links.cell_of,
        known=clear_track & state.confirmed & (state.missed == 0) & (state.host == 0),
        seen_once=clear_track & (state.hits == 1) & (state.age == 0),
        clear_cell=clear_cell,
        track_inside_um=links.inside_um,
        cell_inside_um=scenery.inside_um,
    )
