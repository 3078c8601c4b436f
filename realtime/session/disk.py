"""Files of a session: their names, written whole or not at all, and errors that say what the disk lacks."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIG, JOURNAL, TRACKS, SUMMARY = "session.toml", "journal.jsonl", "tracks.parquet", "summary.json"
EVENTS = "events.parquet"
"""Of a sort: one row a cell that passed."""
BYTES_PER_GB = 1_000_000_000
LOGS = "logs"


class RecordingError(RuntimeError):
    """A session that cannot be written or read; the message says what, where and what to do."""


class DiskFull(RecordingError):
    """Too little space is left to go on."""

    def __init__(self, path: Path, free_gb: float, needed_gb: float, why: str = "") -> None:
        self.path, self.free_gb, self.needed_gb = path, free_gb, needed_gb
        must = f"{needed_gb:g} GB (recorder.min_free_gb) must stay free"
        super().__init__(
            f"{path}: {free_gb:{'.4g' if free_gb < 10 else '.2f'}} GB free, "
            f"{f'but {must}' if free_gb < needed_gb else 'the disk is full'}; "
            f"make room, choose another folder with --out, or shorten the run{why}"
        )


class PixelsMissing(RecordingError):
    """A frame that is in the journal, but whose pixels cannot be read."""


class SessionExists(RecordingError):
    """The folder holds a session, and sessions are never written over."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: holds a session already; choose another folder or move that one away")


def free_gb(path: Path) -> float:
    """Space that a user's program may still fill."""
    return shutil.disk_usage(path).free / BYTES_PER_GB


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file so that a reader, or a kill, never meets a part of it."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    os.replace(new, path)


def as_os_error(failure: ValueError) -> OSError:
    """What tensorstore says of a failed write, as the operating system would say it."""
    is_full = "No space left" in str(failure) or "RESOURCE_EXHAUSTED" in str(failure)
    return OSError(errno.ENOSPC if is_full else errno.EIO, str(failure))


@contextmanager
def explained(path: Path, needed_gb: float) -> Iterator[None]:
    """Turn what the operating system says about a write into our own words."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(path, free_gb(path), needed_gb) from error
        raise RecordingError(f"{path}: cannot be written: {error}; check the disk and its permissions") from error


def make_session_folder(folder: Path) -> None:
    """A new folder for one run; one that holds more than the logs of a run that could not start is refused."""
    try:
        if folder.exists() and any(path.name != LOGS for path in folder.iterdir()):
            raise RecordingError(f"{folder} holds a session or other files already; give another folder with --out")
        (folder / LOGS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordingError(
            f"{folder} cannot be a session folder: {error.strerror}; give another with --out"
        ) from error
