"""Strips of a channel → sightings: background, cells that stand out from it, their places and pictures."""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.sightings import Sightings
from models.strip_background import FOLLOWED_EVERY, Plane, learned
from models.strip_cells import (
    AREA,
    COLUMNS,
    CONTRAST,
    MOST,
    MOST_IN_STRIP,
    SQUARES,
    X0,
    X1,
    XX,
    XY,
    Y0,
    Y1,
    YY,
    Strips,
    X,
    Y,
    find_in_stack,
)
from models.strip_crops import cut_into
from models.strip_settings import FEATURES, FinderSettings

SIGN = {"dark": 1, "bright": -1, "both": 0}
RELEARNED_AFTER = 8
"""So many strips flooded in a row are a new background."""


class StripFinder:
    """Finds cells in stack after stack; remembers the background, nothing else. One per process."""

    def __init__(self, settings: FinderSettings, um_per_px: float) -> None:
        self.settings, self._um_per_px = settings, um_per_px
        self._sign = SIGN[settings.polarity]
        self._learning: list[npt.NDArray[np.integer[Any]]] = []
        self._background: Plane | None = None
        self._limit: Plane | None = None
        self._strips: Strips = np.empty((0, 0, 0), np.uint8)
        self._n_strips = self._flooded_in_a_row = 0
        self._is_outdated = False
        self._sightings = _sightings(np.empty((0, len(COLUMNS))), np.empty(0, np.int32), (), 0, um_per_px)
        self.unseen = np.zeros(0, np.bool_)
        """Strips of the stack found last in which no cell could be found: the background was being learned, or more stood
        out than cells can."""

    @property
    def knows_background(self) -> bool:
        """False while it is learned: until then nothing is found."""
        return self._background is not None and not self._is_outdated

    def find(self, strips: Strips, t_ns: tuple[int, ...]) -> Sightings:
        """All cells in `strips[B, h, W]`, whose exposures ended at `t_ns`. The strips must not change until `crops`."""
        if strips.ndim != 3 or len(strips) != len(t_ns) or min(strips.shape[1:]) < 3:
            raise ValueError(
                f"strips[B, h, W] of at least 3×3 pixels with B times are needed, not {strips.shape}, {len(t_ns)}"
            )
        self._strips = strips
        if not self.knows_background:
            self.unseen = np.ones(len(strips), np.bool_)
            self._learn(strips)
            found, strip = np.empty((0, len(COLUMNS))), np.empty(0, np.int32)
        else:
            found, strip = self._found(strips)
        self._sightings = _sightings(found, strip, t_ns, strips.shape[2], self._um_per_px)
        return self._sightings

    def crops(self, rows: npt.NDArray[np.intp], side_px: int) -> npt.NDArray[np.float32]:
        """Pictures `[n, S, S]` around sightings of the stack found last: |background − pixel| / background.

        Signed so that cells of the finder's polarity are positive; 0 beyond the view.
        """
        crops = np.zeros((len(rows), side_px, side_px), np.float32)
        if len(rows):
            assert self._background is not None
            seen = self._sightings
            corners = np.floor(seen.xy_px[rows] + 0.5).astype(np.int64) - side_px // 2
            sign = -1 if self._sign < 0 else 1
            cut_into(crops, self._strips, self._background, seen.strip[rows], corners, sign)
        return crops

    def _learn(self, strips: Strips) -> None:
        self._background, self._is_outdated = None, False
        self._learning.append(strips)
        if sum(map(len, self._learning)) < self.settings.background_strips:
            return
        self._background, sd = learned(np.concatenate(self._learning))
        sum_of_nine_sd = 3 * sd
        self._limit = (self.settings.threshold * sum_of_nine_sd).astype(np.float32)
        self._learning = []

    def _found(self, strips: Strips) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
        """Rows of COLUMNS, and the strip of each; what is too small for a cell is left out."""
        assert self._background is not None
        assert self._limit is not None
        n_strips = len(strips)
        rows = np.empty((n_strips * MOST_IN_STRIP, len(COLUMNS)))
        per_strip, flooded = np.zeros(n_strips, np.int64), np.zeros(n_strips, np.bool_)
        n = find_in_stack(
            strips, self._background, self._limit, self._sign, self._n_strips, FOLLOWED_EVERY, rows, per_strip, flooded
        )
        self._n_strips += n_strips
        self.unseen = flooded
        self._note_flood(flooded)
        strip = np.repeat(np.arange(n_strips, dtype=np.int32), per_strip)
        large = rows[:n, AREA] * self._um_per_px**2 >= self.settings.least_area_um2
        found, strip = rows[:n][large], strip[large]
        order = np.lexsort((found[:, X], strip))
        return found[order], strip[order]

    def _note_flood(self, flooded: npt.NDArray[np.bool_]) -> None:
        """Light that has changed for good is a background to be learned anew, from the next stack on."""
        if not flooded.any():
            self._flooded_in_a_row = 0
            return
        for is_flooded in flooded.tolist():
            self._flooded_in_a_row = self._flooded_in_a_row + 1 if is_flooded else 0
            if self._flooded_in_a_row >= RELEARNED_AFTER:
                self._is_outdated, self._flooded_in_a_row = True, 0
                return


def _sightings(
    found: npt.NDArray[np.float64], strip: npt.NDArray[np.int32], t_ns: tuple[int, ...], width_px: int, um_per_px: float
) -> Sightings:
    contrast = found[:, CONTRAST]
    spread = (found[:, XX] - found[:, YY]) / 2, (found[:, XX] + found[:, YY]) / 2
    root = np.sqrt(np.square(spread[0]) + np.square(found[:, XY]))
    long, short = np.maximum(spread[1] + root, 1 / 12), np.maximum(spread[1] - root, 1 / 12)  # one pixel's own
    features = (
        (found[:, X1] - found[:, X0]) * um_per_px, (found[:, Y1] - found[:, Y0]) * um_per_px, np.sqrt(long / short),
        np.sqrt(np.maximum(found[:, SQUARES] - np.square(contrast), 0.0)), found[:, MOST],
    )  # fmt: skip
    return Sightings(
        strip=strip, t_ns=np.array(t_ns, np.int64)[strip], xy_px=found[:, [X, Y]],
        bbox_px=found[:, [X0, Y0, X1, Y1]].astype(np.int32), whole=(found[:, X0] > 0) & (found[:, X1] < width_px),
        area_um2=found[:, AREA] * um_per_px**2, contrast=contrast, features=np.stack(features, axis=1),
        feature_names=FEATURES,
    )  # fmt: skip
