"""The journal: every message of a run as a JSON line, as on the wire but without the tables' columns."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from acquisition.clock import NS_PER_S, Clock
from realtime.session.disk import RecordingError
from realtime.wire import (
    OLDEST_JOURNAL,
    VERSION,
    AnyMessage,
    FrameAnalysed,
    FrameReady,
    Heartbeat,
    RunEnded,
    Status,
    StripsSorted,
    finite,
)

FLUSH_NS = NS_PER_S
MAY_WAIT = (FrameReady, FrameAnalysed, StripsSorted, Heartbeat, Status)
"""Frequent messages; every other one is handed to the system at once."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyMessage).decode


class JournalWriter:
    """Appends to a journal that must not exist yet. Time passes only when it is called."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = path.open("xb", buffering=1 << 20)
        self._clock = clock
        self._flushed_ns = clock.now_ns()

    def add(self, message: AnyMessage) -> None:
        """Write one line."""
        self._file.write(line(message))
        if not isinstance(message, MAY_WAIT):
            self.flush()
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Hand what is in memory to the system if it has waited for a second."""
        if self._clock.now_ns() - self._flushed_ns >= FLUSH_NS:
            self.flush()

    def flush(self) -> None:
        """Hand what is in memory to the system: a kill of this process loses nothing of it."""
        self._file.flush()
        self._flushed_ns = self._clock.now_ns()

    def close(self) -> None:
        """Write the rest. Closing twice is harmless."""
        self._file.close()


def line(message: AnyMessage) -> bytes:
    """A message as the journal keeps it."""
    if isinstance(message, FrameAnalysed) and message.tracks:
        message = msgspec.structs.replace(message, tracks={})
    elif isinstance(message, StripsSorted) and message.events:
        message = msgspec.structs.replace(message, events={}, crops=None, crop_rows=None)
    elif isinstance(message, (RunEnded, Heartbeat, Status)):
        message = msgspec.structs.replace(message, figures=finite(message.figures))
    return _encode(message) + b"\n"


def read_journal(path: Path) -> Iterator[AnyMessage]:
    """All messages in order, but for a last line cut off by a kill; other bad lines raise RecordingError."""
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            if data.endswith(b"\n"):
                yield _message(path, number, data)


def _message(path: Path, number: int, data: bytes) -> AnyMessage:
    try:
        message: AnyMessage = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise RecordingError(
            f"{path}, line {number}: not a message ({error}): {data[:80]!r}; "
            "the journal was changed after the run, or its disk is damaged"
        ) from error
    if not OLDEST_JOURNAL <= message.v <= VERSION:
        raise RecordingError(
            f"{path}, line {number}: version {message.v}, but this program reads versions {OLDEST_JOURNAL} to {VERSION}; "
            "read it with the release that wrote it"
        )
    return message
