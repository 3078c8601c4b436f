"""The truth beside the images: `truth/cells.parquet` and `truth/events.json` of a microscope that knows what it shows."""

from pathlib import Path

import msgspec
import numpy as np

from acquisition.clock import NS_PER_S, Clock
from acquisition.frame import FrameHeader
from acquisition.microscope import Microscope, TellsTruth
from acquisition.simulated.biology import PHASES
from acquisition.simulated.nuclei import Nuclei
from acquisition.simulated.truth import table_of, teller
from realtime.session.aside import Aside, lacking, unfinished
from realtime.session.disk import write_whole
from realtime.session.sort_truth import SortTruthWriter, sort_teller
from realtime.session.tables import Columns, PartTable, read_parts, warm_up

TRUTH, CELLS, EVENTS = "truth", "cells.parquet", "events.json"
MOST_WAITING = 200
"""Frames whose truth may wait for the disk; of further ones it is lost."""
PART_NS = 20 * NS_PER_S
"""Rarely enough that what writing takes from the loop is not seen in one frame of a hundred."""
EVENTS_NS = 20 * NS_PER_S
EVENTS_SHARE = 0.01
"""The most of the time that may go into telling again, while the run goes on, what has happened."""


class TruthWriter:
    """Writes frame by frame what was really there. With `threaded` the caller never waits for the disk."""

    def __init__(self, folder: Path, microscope: TellsTruth, clock: Clock, threaded: bool) -> None:
        self.n_lost = 0
        """Frames whose truth is not written, since the disk was too slow or failed."""
        self._problem = ""
        self._folder, self._microscope = folder / TRUTH, microscope
        self._folder.mkdir(parents=True)
        warm_up()
        self._table = PartTable(self._folder / CELLS, clock, {"phase": PHASES}, PART_NS)
        self._clock, self._events_due_ns = clock, clock.now_ns() + EVENTS_NS
        self._aside: Aside[tuple[FrameHeader, Nuclei]] = Aside(self._write, "truth-writer", MOST_WAITING, threaded)

    def see(self, header: FrameHeader) -> None:
        """The frame that was read last."""
        if not self._aside.put((header, self._microscope.nuclei())):
            self.n_lost += 1

    def close(self) -> str:
        """Write the rest, and what has happened, while the microscope is still open; what is missing, in words."""
        if not self.stop():
            return unfinished(self._folder)
        try:
            self._table.close_part()
            self._write_events()
        except OSError as error:
            self._problem = self._problem or str(error)
        if not self.n_lost and not self._problem:
            return ""
        return lacking(f"{self.n_lost} frames", self._folder, self._problem)

    def stop(self) -> bool:
        """Once what waits is written; False if the disk does not take that. Stopping twice is harmless."""
        return self._aside.stop()

    def _write(self, seen: tuple[FrameHeader, Nuclei]) -> None:
        """A disk that fails loses the truth, and ends no run: the recorder is there for that."""
        header, nuclei = seen
        if self._problem:
            self.n_lost += 1
            return
        try:
            self._table.add_rows(table_of(nuclei, header))
            if self._clock.now_ns() >= self._events_due_ns:
                self._write_events()
        except OSError as error:
            self._problem = str(error)
            self.n_lost += 1

    def _write_events(self) -> None:
        """All that has happened by now, and when to do so again: a killed run has the truth of most of its time."""
        began_ns = self._clock.now_ns()
        events = msgspec.json.encode(self._microscope.history())
        write_whole(self._folder / EVENTS, msgspec.json.format(events, indent=1) + b"\n")
        now_ns = self._clock.now_ns()
        self._events_due_ns = now_ns + max(EVENTS_NS, round((now_ns - began_ns) / EVENTS_SHARE))


def read_truth(session: Path) -> Columns:
    """The rows of `cells.parquet`, phases by their places in PHASES. Raises RecordingError."""
    columns = read_parts(session / TRUTH / CELLS)
    return columns | {"phase": np.array([PHASES.index(name) for name in columns["phase"].tolist()], dtype=np.int8)}


def truth_writer(
    folder: Path, microscope: Microscope, clock: Clock, threaded: bool
) -> TruthWriter | SortTruthWriter | None:
    """None where nobody knows the truth."""
    if (sorts := sort_teller(microscope)) is not None:
        return SortTruthWriter(folder, sorts, clock, threaded)
    told_by = teller(microscope)
    return None if told_by is None else TruthWriter(folder, told_by, clock, threaded)
