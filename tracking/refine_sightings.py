"""The sightings of a recording as it is solved again: places without what all cells do together, sizes, edges, times."""

from dataclasses import dataclass, replace

import numpy as np

from acquisition.clock import NS_PER_S
from models.cells import Floats
from tracking.lineages import Lineages
from tracking.neighbours import pairs_within
from tracking.refine_graph import NONE, Graph
from tracking.tracks import Ints

FEWEST = 5
"""From fewer cells nothing is learned."""
COMMON = 4.0
"""A movement is of all cells if their median is so many standard errors long."""


@dataclass(frozen=True)
class Sightings:
    """Single cells in single frames, in the order of time; with the field in which they were seen."""

    frame: Ints  # [R]
    t_s: Floats  # [R] since the first
    xy_um: Floats  # [R, 2] without the movements that all cells make together
    looks: Floats  # [R, 2] logarithms of area and intensity
    inside_um: Floats  # [R] how far inside the field's nearest edge
    field_um2: float
    interval_s: float
    diameter_um: float

    def by_frame(self) -> list[Ints]:
        """Rows of every frame that has any."""
        return np.split(np.arange(len(self.frame)), np.flatnonzero(np.diff(self.frame)) + 1)

    def reversed(self) -> "Sightings":
        """The same with time running backward."""
        return replace(
            self, frame=self.frame[-1] - self.frame[::-1], t_s=self.t_s[-1] - self.t_s[::-1], xy_um=self.xy_um[::-1],
            looks=self.looks[::-1], inside_um=self.inside_um[::-1],
        )  # fmt: skip

    def times_s(self) -> Floats:
        """Of every frame, `[n_frames]`; NaN where nothing was seen."""
        times_s = np.full(int(self.frame[-1]) + 1, np.nan)
        times_s[self.frame] = self.t_s
        return times_s

    def near(self, places_um: Floats, frame: Ints, reach_um: Floats, others: Ints) -> tuple[Ints, Ints]:
        """Which of M `places_um` in frames `[M]` are within `reach_um[M]` of which of the rows `others` of that frame.

        Frames are laid out side by side, so that one search finds the pairs of all.
        """
        if not len(places_um) or not len(others):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        both = np.concatenate([places_um, self.xy_um[others]])
        pitch_um = both.max(axis=0) - both.min(axis=0) + reach_um.max() + 1.0
        n_across = int(np.ceil(np.sqrt(self.frame[-1] + 1)))
        tiles = [np.stack(np.divmod(f, n_across), axis=1) * pitch_um for f in (frame, self.frame[others])]
        one, other = pairs_within(places_um + tiles[0], reach_um, self.xy_um[others] + tiles[1])
        return one, others[other]


def sightings_of(lineages: Lineages, graph: Graph) -> Sightings:
    """Of tracks as they are in the graph. What is not known (NaN) is taken to be equal for all."""
    t_s = (lineages.t_ns - lineages.t_ns[0]) / NS_PER_S
    frames, first = np.unique(lineages.frame, return_index=True)
    interval_s = float(np.median(np.diff(t_s[first]) / np.diff(frames))) if len(frames) > 1 else 1.0
    area_um2, intensity = _known(lineages.area_um2), _known(lineages.mean_intensity)
    diameter_um = float(np.sqrt(4 / np.pi * np.median(area_um2)))
    low_um, high_um = lineages.xy_um.min(axis=0), lineages.xy_um.max(axis=0)
    return Sightings(
        frame=lineages.frame,
        t_s=t_s,
        xy_um=lineages.xy_um - _common_way(lineages, graph)[lineages.frame],
        looks=np.log(np.stack([area_um2, intensity], axis=1)),
        inside_um=np.minimum(lineages.xy_um - low_um, high_um - lineages.xy_um).min(axis=1),
        field_um2=float((high_um - low_um + diameter_um).prod()),
        interval_s=max(interval_s, 1e-9),
        diameter_um=diameter_um,
    )


def _known(values: Floats) -> Floats:
    usual = float(np.median(values[~np.isnan(values)])) if (~np.isnan(values)).any() else 1.0
    return np.maximum(np.where(np.isnan(values), usual, values), 1e-6)


def _common_way(lineages: Lineages, graph: Graph) -> Floats:
    """How far all cells have gone together by each frame, `[n_frames, 2]`."""
    row = np.flatnonzero(graph.after != NONE)
    row = row[lineages.frame[graph.after[row]] == lineages.frame[row] + 1]
    moved_um, start = lineages.xy_um[graph.after[row]] - lineages.xy_um[row], lineages.frame[row]
    step_um = np.zeros((lineages.n_frames, 2))
    for part in np.split(np.arange(len(row)), np.flatnonzero(np.diff(start)) + 1):
        if len(part) >= FEWEST:
            step_um[start[part[0]] + 1] = _common(moved_um[part])
    return np.cumsum(step_um, axis=0)


def _common(moved_um: Floats) -> Floats:
    """The median movement, or nothing if that may be chance: a median varies by 1.25 σ / √n."""
    common: Floats = np.median(moved_um, axis=0)
    sigma_um = 1.4826 * float(np.median(np.abs(moved_um - common)))
    return common if np.hypot(*common) > COMMON * 1.2533 * sigma_um / np.sqrt(len(moved_um)) else np.zeros(2)
