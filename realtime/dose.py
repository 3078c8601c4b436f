"""The dose ledger: what light has fallen on every place and on every tracked cell, and how much fluorescence is left.

All of it follows from frames, the rig's own count of millijoules and tracks, so that a replay counts the same again.
"""

import numpy as np

from acquisition.dose_map import Box, Corner, DoseSettings
from acquisition.frame import FrameHeader
from acquisition.limits import Limits
from models.cells import Floats
from realtime.bleaching import Bleaching, Brightness
from realtime.dose_places import DosePlaces
from realtime.policy import Dose
from tracking.saving import packed, unpacked
from tracking.tracks import Bools, Ints, Tracks


class DoseLedger:
    """A cell begins with what its place had had, a daughter with what her mother had; then it gets what falls on it.

    Cells that are out of view or not seen get what falls on the place where they are expected. Those whose track has
    ended are forgotten. Like places (see DosePlaces), no cell has had more than it says here.
    """

    def __init__(self, settings: DoseSettings, limits: Limits) -> None:
        self._settings, self._limits = settings, limits
        self._sensor_px: tuple[int, int] | None = None
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._places = DosePlaces(self._settings)
        self._places.sensor_px = self._sensor_px
        self._bleaching = Bleaching()
        self._looked_mj = 0.0
        self._untold: list[tuple[Corner, Corner, float]] = []  # J/cm² on rectangles, not yet counted for the cells
        self._ids = self._parents = np.empty(0, np.int64)
        self._xy_um, self._dose, self._confirmed = np.empty((0, 2)), np.empty(0), np.empty(0, bool)
        self.ended_j_cm2: Floats = np.empty(0)
        """What the cells have had whose confirmed tracks ended with the latest frame."""

    def prepare(self, sensor_px: tuple[int, int] | None) -> None:
        """Rows and columns of the whole sensor: frames may show only a part of what is lit."""
        self._sensor_px = self._places.sensor_px = sensor_px

    @property
    def cell_j_cm2(self) -> Floats:
        """What the cells of confirmed tracks have had at the latest frame."""
        return self._dose[self._confirmed]

    def skip(self, header: FrameHeader, dose_mj: float, lit_from_um: Box | None = None) -> None:
        """A frame that nobody looks at: its light has fallen all the same. Arguments as in DosePlaces.add."""
        if lit := self._places.add(header, dose_mj, lit_from_um):
            if self._untold and self._untold[-1][:2] == lit[:2]:
                lit = *lit[:2], lit[2] + self._untold.pop()[2]
            self._untold.append(lit)

    def add(
        self,
        header: FrameHeader,
        dose_mj: float,
        tracks: Tracks | None,
        brightness: Brightness | None = None,
        lit_from_um: Box | None = None,
    ) -> Dose:
        """A frame that was looked at, with the tracks in it; `brightness` of its cells tells how much has bleached.

        `tracks` None: it is not known which there are, so no cell has ended, and each gets this light with the next frame.
        """
        self.skip(header, dose_mj, lit_from_um)
        total_mj = self._places.total_mj
        frame_mj, self._looked_mj = total_mj - self._looked_mj, total_mj
        if tracks is None:
            doses, unbleached = np.empty(0), self._bleaching.lately(header.channel)
            self.ended_j_cm2 = np.empty(0)
        else:
            doses = self._doses_now(tracks)
            unbleached = self._bleaching.look(header, tracks, doses, brightness)
        return Dose(
            total_mj=total_mj, frame_mj=frame_mj, limit_mj=self._limits.dose_mj, track_j_cm2=doses,
            places=self._places.map, limit_j_cm2=self._limits.place_j_cm2, unbleached=unbleached,
        )  # fmt: skip

    def saved(self) -> bytes:
        """Everything it remembers; the same bytes for the same memory."""
        cells = {
            "id": self._ids, "parent": self._parents, "xy_um": self._xy_um, "dose": self._dose,
            "confirmed": self._confirmed, "looked_mj": np.array([self._looked_mj]),
            "untold": np.array([(*low, *high, j_cm2) for low, high, j_cm2 in self._untold]).reshape(-1, 5),
        }  # fmt: skip
        arrays = cells | self._places.arrays() | self._bleaching.arrays()
        return packed(self._identity(), {}, self._bleaching.channels, arrays)

    def restore(self, state: bytes) -> None:
        """Go on as the ledger that was saved. Raises ValueError if these are not bytes of one with the same settings."""
        _, channels, arrays = unpacked(state, self._identity())
        self.forget()
        self._ids, self._parents, self._xy_um, self._dose, self._confirmed = (
            arrays[name] for name in ("id", "parent", "xy_um", "dose", "confirmed")
        )
        self._looked_mj = float(arrays["looked_mj"][0])
        self._untold = [((a, b), (c, d), j_cm2) for a, b, c, d, j_cm2 in arrays["untold"].tolist()]
        self._places.restore(arrays)
        self._bleaching.restore(channels, arrays)

    def _identity(self) -> dict[str, float | list[float]]:
        lit_um = self._settings.lit_um
        return {"ledger": 1, "square_um": self._settings.square_um, "lit_um": list(lit_um) if lit_um else []}

    def _doses_now(self, tracks: Tracks) -> Floats:
        """What each track's cell has had, `[M]`, from now on remembered; what those had that have ended."""
        doses = self._doses(tracks)
        doses.flags.writeable = False
        self.ended_j_cm2 = self.cell_j_cm2[~np.isin(self._ids[self._confirmed], tracks.id)]
        self._ids, self._parents, self._xy_um, self._dose = tracks.id, tracks.parent, tracks.xy_um, doses
        self._confirmed = tracks.confirmed
        return doses

    def _doses(self, tracks: Tracks) -> Floats:
        """What each track's cell has had, `[M]`."""
        row, known = _rows(self._ids, tracks.id)
        fell = self._fell(tracks.xy_um, self._xy_um[row[known]], known)
        dose = np.empty(len(tracks))
        dose[known] = self._dose[row[known]] + fell[known]
        if not known.all():
            dose[~known] = self._places.map.at_all(tracks.xy_um[~known])
        newly = tracks.parent > 0
        newly[known] &= self._parents[row[known]] != tracks.parent[known]
        if newly.any():
            mother, there = _rows(self._ids, tracks.parent)
            daughters = newly & there
            dose[daughters] = self._dose[mother[daughters]] + fell[daughters]
        self._untold.clear()
        return dose

    def _fell(self, xy_um: Floats, before_um: Floats, known: Bools) -> Floats:
        """Light on cells since the last look, for who was in it then or is now, `[M]`."""
        fell = np.zeros(len(xy_um))
        for low_um, high_um, j_cm2 in self._untold:
            lit = _inside(xy_um, low_um, high_um)
            lit[known] |= _inside(before_um, low_um, high_um)
            fell[lit] += j_cm2
        return fell


def _inside(xy_um: Floats, low_um: Corner, high_um: Corner) -> Bools:
    x, y = xy_um[:, 0], xy_um[:, 1]
    inside: Bools = (x >= low_um[0]) & (x <= high_um[0]) & (y >= low_um[1]) & (y <= high_um[1])
    return inside


def _rows(ids: Ints, wanted: Ints) -> tuple[Ints, Bools]:
    """Where each wanted id stands among `ids`, and whether it does; the row of one that does not means nothing."""
    if np.array_equal(ids, wanted):
        return np.arange(len(ids)), np.ones(len(ids), dtype=bool)
    if not len(ids):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), dtype=bool)
    order = np.argsort(ids, kind="stable")
    place = np.searchsorted(ids, wanted, sorter=order)
    row = order[np.minimum(place, len(ids) - 1)]
    return row, ids[row] == wanted
