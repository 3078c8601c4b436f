"""Files of a session: written whole or not at all, and errors that say what the disk lacks."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BYTES_PER_GB = 1_000_000_000


class RecordingError(RuntimeError):
    """A session that cannot be written or read; the message says what, where and what to do."""


class DiskFull(RecordingError):
    """Too little space is left to go on."""

    def __init__(self, path: Path, free_gb: float, needed_gb: float) -> None:
        self.path, self.free_gb, self.needed_gb = path, free_gb, needed_gb
        must = f"{needed_gb:g} GB (recorder.min_free_gb) must stay free"
        super().__init__(
            f"{path}: {free_gb:.2f} GB free, {f'but {must}' if free_gb < needed_gb else 'the disk is full'}; "
            "make room, choose another folder with --out, or shorten the run"
        )


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


@contextmanager
def explained(path: Path, needed_gb: float) -> Iterator[None]:
    """Turn what the operating system says about a write into our own words."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(path, free_gb(path), needed_gb) from error
        raise RecordingError(f"{path}: cannot be written: {error}; check the disk and its permissions") from error
    except ValueError as error:  # tensorstore raises nothing else for a failed write
        if "No space left" in str(error) or "RESOURCE_EXHAUSTED" in str(error):
            raise DiskFull(path, free_gb(path), needed_gb) from error
        raise RecordingError(f"{path}: cannot be written: {error}; check the disk and its permissions") from error
