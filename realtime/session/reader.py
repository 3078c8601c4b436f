"""A session folder: session.toml, images.ome.zarr, tracks.parquet, journal.jsonl and summary.json."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from acquisition.frame import FrameHeader
from acquisition.replayed.movies import open_session
from acquisition.replayed.recorded import Movie, MovieError, Pixels
from realtime.session.disk import CONFIG, JOURNAL, PixelsMissing, RecordingError
from realtime.session.journal import read_journal
from realtime.wire import AnyMessage, FrameReady


class SessionReader:
    """Reads a session, also one whose run was killed or goes on."""

    def __init__(self, folder: Path) -> None:
        if not (folder / JOURNAL).is_file() or not (folder / CONFIG).is_file():
            raise RecordingError(
                f"{folder}: no session is here, which would have {CONFIG} and {JOURNAL}; give a session folder"
            )
        self.folder = folder
        self.config_text = (folder / CONFIG).read_text("utf-8")

    @cached_property
    def run(self) -> str:
        """The run's id."""
        for message in self.records():
            return message.run
        raise RecordingError(f"{self.folder / JOURNAL}: empty, so the run is not known; it recorded nothing")

    def records(self) -> Iterator[AnyMessage]:
        """The journal."""
        return read_journal(self.folder / JOURNAL)

    def headers(self) -> Iterator[FrameHeader]:
        """Of all frames in the journal."""
        return (message.header for message in self.records() if isinstance(message, FrameReady))

    @property
    def n_readable(self) -> int:
        """Frames whose pixels are there."""
        return len(self._movie)

    def pixels(self, frame_index: int) -> Pixels:
        """Pixels of the frame with this index, `[H, W]`, read-only. Raises PixelsMissing."""
        indices = self._movie.indices
        if indices is None:
            raise PixelsMissing(f"{self.folder}: the indices of its frames are missing; it is not whole")
        position = int(np.searchsorted(indices, frame_index))
        if position == len(indices) or indices[position] != frame_index:
            raise PixelsMissing(
                f"{self.folder}: no pixels of frame {frame_index}; {len(indices)} frames from {indices[0]} "
                f"to {indices[-1]} are readable. The camera lost it, or the run was killed too early"
            )
        try:
            return self._movie.pixels(position)
        except MovieError as error:
            raise PixelsMissing(str(error)) from error

    @cached_property
    def _movie(self) -> Movie:
        try:
            return open_session(self.folder)
        except MovieError as error:
            raise PixelsMissing(str(error)) from error
