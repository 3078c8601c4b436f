"""What a restarted inference process needs to go on with the same identities, and with the dose they have had.

The state of the tracker and of the dose ledger lies in a file of the session folder while the run goes on; the highest id that
was ever given lies in the ring, so that an id is not given twice although the frames since the last save are forgotten.
"""

import zlib
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.frame import FrameHeader
from realtime.config import InferenceSettings
from realtime.dose import DoseLedger
from realtime.session.disk import write_whole
from tracking.tracker import Tracker
from tracking.tracks import Tracks

FILE = "tracker.state"
MOST_BYTES = 64_000_000
"""Larger states are not saved: some 200,000 tracks, more than one frame ever shows."""
MOST_STARTS = 2
"""So many processes may begin with one state: if both died before they saved another, it may be the reason."""
CHECK_BYTES = 4


@runtime_checkable
class SavingTracker(Tracker, Protocol):
    """A tracker whose identities outlive its process."""

    def saved(self) -> bytes:
        """Everything it remembers; the same bytes for the same memory."""

    def restore(self, state: bytes) -> None:
        """Go on as the tracker that was saved. Raises ValueError, and stays as it is, if these bytes are not one's own."""

    def skip_ids(self, used: int) -> None:
        """Give no id up to this one to a new track."""


class LastId(Protocol):
    """Where the highest id that was given survives the process: the ring."""

    last_track_id: int


class StateRefused(ValueError):
    """A saved tracker that is not gone on with: which, and why."""


class SavedTracker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds, after a checksum."""

    run: str
    frame_index: int
    t_ns: int
    interval_ms: float
    """Of the frame after which it was saved."""
    starts: int
    """Processes that have begun with it."""
    state: bytes
    ledger: bytes = b""
    """Of the dose ledger, whose cells have the tracker's ids."""


@dataclass(frozen=True)
class Start:
    """How a process begins: after which frame its tracker goes on, which ids were used, and what people should know."""

    from_frame: int | None = None
    ids_used: int = 0
    warning: str = ""


class TrackerMemory:
    """Saves one tracker every so often, and restores what the process before it has saved.

    Trackers that cannot be saved are left alone: they begin empty after a restart, and their ids and doses begin anew.
    """

    def __init__(
        self, tracker: Tracker, settings: InferenceSettings, folder: Path, run: str, last: LastId, ledger: DoseLedger
    ) -> None:
        self._tracker = tracker if isinstance(tracker, SavingTracker) else None
        self._settings, self._path, self._run, self._last = settings, folder / FILE, run, last
        self._ledger = ledger
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tracker-state")
        self._writing: Future[None] | None = None
        self._due_ns = 0
        self._broken = False

    def begin(self, now_ns: int) -> Start:
        """Go on with the newest state if there is one to trust, in any case with ids that nobody had."""
        if self._tracker is None:
            return Start()
        from_frame, warning = None, ""
        try:
            from_frame = self._restored(self._tracker, now_ns)
        except StateRefused as refusal:
            warning = f"the tracker begins empty: {refusal}"
        self._tracker.skip_ids(self._last.last_track_id)
        return Start(from_frame, self._last.last_track_id, warning)

    def note_ids(self, tracks: Tracks) -> None:
        """Before anyone hears of these tracks: no later process may give their ids again."""
        if len(tracks):
            self._last.last_track_id = max(self._last.last_track_id, int(tracks.id.max()))

    def save_if_due(self, frame: FrameHeader, now_ns: int) -> str:
        """Save the tracker as it is after this frame, unless that was done a moment ago; what went wrong, in words.

        Only the copy is made here; a thread of its own writes it, and a disk that is busy makes it wait.
        """
        every_ns = round(self._settings.save_tracker_s * NS_PER_S)
        if self._tracker is None or not every_ns or self._broken or now_ns < self._due_ns:
            return ""
        if self._writing is not None and not self._writing.done():
            return ""
        if complaint := self._complaint():
            return complaint
        self._due_ns = now_ns + every_ns
        state, ledger = self._tracker.saved(), self._ledger.saved()
        kept = SavedTracker(self._run, frame.index, frame.t_ns, frame.interval_ms, 0, state, ledger)
        if len(state) + len(ledger) > MOST_BYTES:
            return self._give_up(f"it takes {len(state) + len(ledger)} bytes, and at most {MOST_BYTES} are kept")
        self._writing = self._thread.submit(write_state, self._path, kept)
        return ""

    def settle(self) -> None:
        """Wait until what was saved is in the file."""
        if self._writing is not None:
            wait((self._writing,))

    def close(self, run_has_ended: bool) -> None:
        """Settle. Nobody goes on with a run that has ended, so its state is removed."""
        self.settle()
        self._thread.shutdown()
        if run_has_ended and self._tracker is not None:
            self._path.unlink(missing_ok=True)

    def _restored(self, tracker: SavingTracker, now_ns: int) -> int | None:
        """The frame whose state the tracker has now; None if nothing was saved. Raises StateRefused."""
        if not self._settings.save_tracker_s or not self._path.exists():
            return None
        kept = read_state(self._path)
        if refusal := self._reason_against(kept, now_ns):
            raise StateRefused(refusal)
        try:
            write_state(self._path, msgspec.structs.replace(kept, starts=kept.starts + 1))
            self._ledger.restore(kept.ledger)
            tracker.restore(kept.state)
        except (OSError, ValueError) as error:
            self._ledger.forget()
            raise StateRefused(f"{self._path.name} of frame {kept.frame_index}: {error}") from error
        return kept.frame_index

    def _reason_against(self, kept: SavedTracker, now_ns: int) -> str:
        if kept.run != self._run:
            return f"{self._path.name} is of run {kept.run[:80]}, not of this one"
        good_for_s = max(self._settings.restore_tracker_s, 3 * kept.interval_ms * NS_PER_MS / NS_PER_S)
        age_s = (now_ns - kept.t_ns) / NS_PER_S
        if age_s > good_for_s:
            return f"its state of frame {kept.frame_index} is {age_s:.0f} s old, and is good for {good_for_s:g} s"
        if kept.starts >= MOST_STARTS:
            return f"{kept.starts} processes that went on from frame {kept.frame_index} died before they saved another"
        return ""

    def _complaint(self) -> str:
        error = self._writing.exception() if self._writing is not None else None
        return self._give_up(str(error)) if error is not None else ""

    def _give_up(self, why: str) -> str:
        self._broken = True
        return f"the tracker is not saved any more: {why}; after a restart identities would begin anew"


def write_state(path: Path, kept: SavedTracker) -> None:
    """Replace the file by this state."""
    data = msgspec.msgpack.encode(kept)
    write_whole(path, zlib.crc32(data).to_bytes(CHECK_BYTES, "little") + data)


def read_state(path: Path) -> SavedTracker:
    """The state in a file. Raises StateRefused."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StateRefused(f"{path.name} cannot be read: {error.strerror}") from error
    check, data = content[:CHECK_BYTES], content[CHECK_BYTES:]
    if zlib.crc32(data).to_bytes(CHECK_BYTES, "little") != check:
        raise StateRefused(f"{path.name} is damaged: its checksum is wrong")
    try:
        return msgspec.msgpack.decode(data, type=SavedTracker)
    except msgspec.MsgspecError as error:
        raise StateRefused(f"{path.name} holds no saved tracker: {error}") from error
