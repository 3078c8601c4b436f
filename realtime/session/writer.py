"""A session folder: session.toml, images.ome.zarr, tracks.parquet, journal.jsonl and summary.json; a sort has events.parquet."""

from collections import deque
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from acquisition.clock import NS_PER_S, Clock
from acquisition.commands import AtLeastOne
from acquisition.faults import Faults
from acquisition.replayed.recorded import Pixels
from realtime.session.disk import (
    BYTES_PER_GB,
    CONFIG,
    EVENTS,
    JOURNAL,
    SUMMARY,
    TRACKS,
    SessionExists,
    explained,
)
from realtime.session.faulty_disk import FaultyDisk
from realtime.session.images import Compression, ImageWriter
from realtime.session.journal import JournalWriter
from realtime.session.light_account import settings_in, write_dose_map
from realtime.session.no_images import NoImages, in_brief
from realtime.session.summary import Summary, write_summary
from realtime.session.tables import TrackTable
from realtime.wire import AnyMessage, FrameAnalysed, FrameReady, StripsSorted

if TYPE_CHECKING:
    from realtime.session.event_table import EventTable

LOOK_NS = NS_PER_S // 2
"""Free space is looked at this often, and after each tenth of min_free_gb that was written."""
RATE_OVER_NS = NS_PER_S


class RecorderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[recorder]` table."""

    images: Literal["all", "none"] = "all"
    """`none`: only what was seen in them is kept, and the session cannot be replayed; for sorts, whose cameras are fast."""
    in_flight: AtLeastOne = 4
    """Frames that may be on their way to the disk at once; each keeps its slot of the ring."""
    compression: Compression = "none"
    """`zstd` makes smaller files for more processor time."""
    min_free_gb: Annotated[float, Meta(ge=0)] = 1.0
    """A run is stopped while this much space is still free."""
    truth: bool = True
    """Write what was really there beside the images, for microscopes that know it."""


class SessionWriter:
    """Writes one session. One thread calls it; nothing happens between calls but the writes in flight."""

    def __init__(
        self, folder: Path, session_toml: str, clock: Clock, settings: RecorderSettings, faults: Faults | None = None
    ) -> None:
        self.folder, self._clock, self._settings = folder, clock, settings
        self._disk = FaultyDisk(folder, settings.min_free_gb, faults or Faults(), clock)
        with explained(folder, settings.min_free_gb), ExitStack() as undo:
            _claim(folder)
            self._looked_bytes = 0
            self._look_at_free_space()
            self._journal = JournalWriter(folder / JOURNAL, clock)
            undo.callback(self._journal.close)
            (folder / CONFIG).write_text(session_toml, "utf-8")
            self._tracks = TrackTable(folder / TRACKS, clock)
            self._images = _images(folder, clock, settings)
            undo.pop_all()
        self._events: EventTable | None = None
        """From the first stack of a sort on."""
        self._summary = Summary(settings_in(session_toml))
        self._closed = False
        self._written = deque([(clock.now_ns(), 0)])
        """(when, bytes) at each call of `figures` in the last second, and at the last one before it."""

    def __enter__(self) -> "SessionWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check_space(self) -> None:
        """Raise DiskFull, every now and then, while less than min_free_gb is free. The next writes may still fit."""
        written_gb = (self._images.n_bytes - self._looked_bytes) / BYTES_PER_GB
        is_old = self._clock.now_ns() - self._looked_ns >= LOOK_NS
        if is_old or written_gb > self._settings.min_free_gb / 10:
            self._looked_bytes = self._images.n_bytes
            with explained(self.folder, self._settings.min_free_gb):
                self._look_at_free_space()

    def add_frame(self, message: FrameReady, pixels: Pixels | None) -> None:
        """Begin to write a frame; its pixels, None where no images are kept, must not change until `settled` has counted it.

        Not to be repeated if it raises: the journal may name the frame, but its pixels have not been begun.
        """
        with explained(self.folder, self._settings.min_free_gb):
            if isinstance(self._images, NoImages):
                self._note(in_brief(message))
                self._images.count()
                return
            assert pixels is not None
            self._disk.take(message.header.n_bytes)
            self._note(message)
            self._images.add(message.header, message.dose_mj, pixels)

    def settled(self) -> int:
        """How many frames, in the order of add_frame, no longer need their pixels. Waits for no frame."""
        with explained(self.folder, self._settings.min_free_gb):
            self._images.settle()
            self._journal.flush_if_due()
            self._tracks.close_part_if_due()
            if self._events is not None:
                self._events.close_part_if_due()
        return self.n_settled

    @property
    def n_settled(self) -> int:
        """What `settled` said last, or `close` has made of it; touches no file."""
        return self._images.n_settled

    def add(self, message: AnyMessage) -> None:
        """Journal, tables and summary; frames come by add_frame."""
        if isinstance(message, FrameReady):
            raise TypeError("a frame is recorded by add_frame, with its pixels")
        with explained(self.folder, self._settings.min_free_gb):
            if isinstance(message, FrameAnalysed):
                self._tracks.add(message)
            elif isinstance(message, StripsSorted):
                self._add_events(message)
            self._note(message)

    def figures(self) -> dict[str, float]:
        """For the status line; the rate is that of the last second. Asks the file system: not for every frame."""
        now_ns = self._clock.now_ns()
        self._written.append((now_ns, self._images.n_bytes))
        while now_ns - self._written[1][0] >= RATE_OVER_NS:
            self._written.popleft()
        then_ns, then_bytes = self._written[0]
        elapsed_s = max(1, now_ns - then_ns) / NS_PER_S
        return {
            "free_gb": self._disk.free_gb(),
            "write_mb_s": (self._images.n_bytes - then_bytes) / 1e6 / elapsed_s,
            "in_flight": self._images.in_flight,
        }

    def close(self) -> None:
        """Wait for the last writes and write the summary. Every part is closed even if another fails."""
        if self._closed:
            return
        self._closed = True
        with (
            explained(self.folder, self._settings.min_free_gb),
            ExitStack() as steps,
        ):  # the last is done first
            steps.callback(self._write_summary)
            steps.callback(self._tracks.close_part)
            if self._events is not None:
                steps.callback(self._events.close_part)
            steps.callback(self._images.close)
            steps.callback(self._journal.close)

    def _add_events(self, message: StripsSorted) -> None:
        if self._events is None:
            from realtime.session.event_table import EventTable  # only a sort needs its words

            self._events = EventTable(self.folder / EVENTS, self._clock)
        self._events.add(message)

    def _note(self, message: AnyMessage) -> None:
        self._journal.add(message)
        self._summary.add(message)

    def _write_summary(self) -> None:
        n_readable = self.n_settled if self._settings.images == "all" else 0
        write_summary(self.folder, self._summary.as_dict() | {"frames_readable": n_readable})
        write_dose_map(self.folder, self._summary.light.map)

    def _look_at_free_space(self) -> None:
        self._looked_ns = self._clock.now_ns()
        self._disk.look()


def _images(folder: Path, clock: Clock, settings: RecorderSettings) -> ImageWriter | NoImages:
    if settings.images == "none":
        return NoImages()
    return ImageWriter(folder, clock, settings.in_flight, settings.compression)


def _claim(folder: Path) -> None:
    """Make the folder, unless a session is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if any((folder / name).exists() for name in (CONFIG, JOURNAL, TRACKS, EVENTS, SUMMARY)):
        raise SessionExists(folder)
