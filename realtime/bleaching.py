"""How much fluorescence is left, from the images themselves: the same cells, look after look.

Bleaching is a curve of brightness against dose, not against time: a place that has had no light yet is as bright as the
first one was. The curve is learned from how tracked cells fade, in the logarithm of their brightness.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.frame import FrameHeader
from models.cells import Cells, Floats
from tracking.tracks import COASTING, Ints, Tracks

EVERY_PX = 8
"""The background is the median of every 8th pixel of every 8th row, where no cell is."""
FEWEST = 5
"""Cells that are needed to learn from a frame."""
LOOKS = 8
"""A cell's own brightness is the mean of so many first looks."""
MOST_KNOTS = 64
AGAIN = 0.1
"""How far a look at a dose that was seen before moves the curve there."""


@dataclass(frozen=True)
class Brightness:
    """What the light of one frame makes of its cells."""

    counts: Floats  # [N] above the background
    background: float


def brightness(pixels: npt.NDArray[Any], cells: Cells) -> Brightness:
    """Mean counts of each cell above the background of the frame."""
    some = pixels[EVERY_PX // 2 :: EVERY_PX, EVERY_PX // 2 :: EVERY_PX]
    if cells.labels is not None and cells.labels.shape == pixels.shape:
        free = some[cells.labels[EVERY_PX // 2 :: EVERY_PX, EVERY_PX // 2 :: EVERY_PX] <= 0]
        some = free if free.size else some
    background = float(np.median(some)) if some.size else 0.0
    return Brightness(cells.mean_intensity - background, background)


@dataclass
class _Curve:
    """One channel: the curve, and each cell's own brightness before any light, in logarithms."""

    dose: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    ids: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    own: Floats = field(default_factory=lambda: np.empty(0))
    looks: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    apart: float = 0.0
    """Least distance of two knots in dose."""

    def at(self, dose: Floats) -> Floats:
        """Logarithm of what is left after a dose, `[N]`."""
        if not self.dose:
            return np.zeros(len(dose))
        return np.interp(dose, self.dose, self.left)

    @property
    def end(self) -> float:
        """Share that is left after the largest dose that was seen."""
        return float(np.exp(self.left[-1])) if self.left else 1.0

    def learn(self, dose: float, left: float) -> None:
        """One more point: at the curve's end, or another look at what was seen before."""
        is_new = not self.dose or dose > self.dose[-1]
        if is_new and (len(self.dose) < 2 or self.dose[-1] - self.dose[-2] >= self.apart):
            self.dose.append(dose)
            self.left.append(left)
        elif is_new:
            self.dose[-1], self.left[-1] = dose, left
        else:
            near = int(np.argmin(np.abs(np.array(self.dose) - dose)))
            self.left[near] += AGAIN * (left - float(self.at(np.array([dose]))[0]))
        if len(self.dose) > MOST_KNOTS:
            self.apart = 2 * (self.dose[-1] - self.dose[0]) / MOST_KNOTS
            self.dose[1:-1], self.left[1:-1] = self.dose[2:-1:2], self.left[2:-1:2]

    def remember(self, tracks: Tracks, ids: Ints, own: Floats, looks: Ints, measured: Ints) -> None:
        """These cells, and of those in other rows than `measured` who still has a track: out of sight, or too dark."""
        unseen = np.ones(len(self.ids), bool)
        unseen[measured] = False
        if unseen.any():
            unseen &= np.isin(self.ids, tracks.id)
            ids = np.concatenate([ids, self.ids[unseen]])
            own, looks = np.concatenate([own, self.own[unseen]]), np.concatenate([looks, self.looks[unseen]])
            order = np.argsort(ids)
            ids, own, looks = ids[order], own[order], looks[order]
        self.ids, self.own, self.looks = ids, own, looks


class Bleaching:
    """Estimates what is left by channel; it forgets cells whose tracks have ended."""

    def __init__(self) -> None:
        self._curves: dict[str, _Curve] = {}

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self._curves)

    def look(self, header: FrameHeader, tracks: Tracks, doses: Floats, seen: Brightness | None) -> float:
        """Share of the fluorescence that is left in this frame's channel, of a cell with this frame's median dose."""
        curve = self._curves.setdefault(header.channel, _Curve())
        light = header.light_mw * header.exposure_ms
        rows = np.flatnonzero(tracks.confirmed & (tracks.cell_row != COASTING))
        if seen is not None and light > 0:
            counts = seen.counts[tracks.cell_row[rows]]
            bright = counts > 0  # not so where a cell is not measured, either
            self._take(curve, tracks, rows[bright], doses, np.log(counts[bright] / light))
        return float(np.exp(curve.at(np.array([np.median(doses[rows])]))[0])) if rows.size else curve.end

    def lately(self, channel: str) -> float:
        """The same where nothing is known of the cells in view: after the largest dose that was seen."""
        return self._curves.get(channel, _Curve()).end

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that is remembered, to be saved."""
        kept: dict[str, npt.NDArray[Any]] = {}
        for n, curve in enumerate(self._curves.values()):
            points = np.array([curve.dose, curve.left, [curve.apart] * len(curve.dose)])
            kept |= {f"curve{n}": points, f"ids{n}": curve.ids, f"own{n}": curve.own, f"looks{n}": curve.looks}
        return kept

    def restore(self, channels: tuple[str, ...], arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Go on from what `arrays` gave."""
        for n, channel in enumerate(channels):
            dose, left, apart = arrays[f"curve{n}"].tolist()
            ids, own, looks = (arrays[f"{name}{n}"] for name in ("ids", "own", "looks"))
            self._curves[channel] = _Curve(dose, left, ids, own, looks, apart[0] if apart else 0.0)

    @staticmethod
    def _take(curve: _Curve, tracks: Tracks, rows: Ints, doses: Floats, logs: Floats) -> None:
        """Shift the curve's end to where those cells are that were seen before; then note how bright each cell itself is."""
        order = np.argsort(tracks.id[rows])
        ids, dose, logs = tracks.id[rows][order], doses[rows][order], logs[order]
        place = np.minimum(np.searchsorted(curve.ids, ids), max(0, len(curve.ids) - 1))
        known = curve.ids[place] == ids if len(curve.ids) else np.zeros(len(ids), bool)
        own, looks = np.zeros(len(ids)), np.zeros(len(ids), np.int64)
        own[known], looks[known] = curve.own[place[known]], curve.looks[place[known]]
        left = curve.at(dose)
        if known.sum() >= FEWEST:
            middle = float(np.median(dose[known]))
            shift = float(np.median((logs - own - left)[known]))
            curve.learn(middle, float(curve.at(np.array([middle]))[0]) + shift)
            left = curve.at(dose)
        elif not curve.dose and len(ids):
            curve.learn(float(np.median(dose)), 0.0)
        fresh = looks < LOOKS
        own[fresh] += (logs - left - own)[fresh] / (looks[fresh] + 1)
        looks[fresh] += 1
        curve.remember(tracks, ids, own, looks, place[known])
