"""One run a rig: a lock that the operating system releases when its holder ends, however it ends."""

import contextlib
import os
import re
import tempfile
from pathlib import Path

import msgspec
import psutil
from filelock import FileLock, Timeout

from acquisition.clock import utc_now

LOCK_FOLDER = Path(tempfile.gettempdir()) / "reflexscope-rigs"
FOR_ALL_USERS = 0o1777
"""As the folder of temporary files: everyone of this machine may lock a rig, nobody may remove another's lock."""


class RigBusy(RuntimeError):
    """Another run holds the rig, or whether one does cannot be found out."""


class Holder(msgspec.Struct):
    """Who holds a rig, for the message that the next one gets."""

    run: str
    pid: int
    since: str


class RigLock:
    """Held from before a rig is opened until after it is closed. Nothing to hold where `rig_id` is None."""

    def __init__(self, rig_id: str | None, run: str) -> None:
        self._rig_id, self._run = rig_id, run
        self._lock: FileLock | None = None

    def __enter__(self) -> "RigLock":
        if self._rig_id is None:
            return self
        lock = FileLock(_path(self._rig_id), mode=0o666)
        try:
            _make_folder()
            lock.acquire(timeout=0)
        except Timeout as error:
            holder = _holder(_path(self._rig_id))
            raise RigBusy(f"rig {self._rig_id} is in use by {holder}; end that run first") from error
        except OSError as error:
            raise RigBusy(
                f"rig {self._rig_id} cannot be locked, so another run may have it: {error}; let the owner of "
                f"{LOCK_FOLDER} open it to all users of this machine or, if nothing runs, remove it"
            ) from error
        self._lock = lock
        with contextlib.suppress(OSError):  # without a note the next one is told less; the lock holds all the same
            _note(self._rig_id).write_bytes(msgspec.json.encode(Holder(self._run, os.getpid(), utc_now())))
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None and self._rig_id is not None:
            with contextlib.suppress(OSError):
                _note(self._rig_id).unlink(missing_ok=True)
            self._lock.release()


def _path(rig_id: str) -> Path:
    return LOCK_FOLDER / (re.sub(r"[^A-Za-z0-9.-]+", "_", rig_id).strip("_")[-120:] + ".lock")


def _note(rig_id: str) -> Path:
    return _path(rig_id).with_suffix(".json")


def _make_folder() -> None:
    with contextlib.suppress(FileExistsError):
        LOCK_FOLDER.mkdir(parents=True)
        LOCK_FOLDER.chmod(FOR_ALL_USERS)  # mkdir's own mode is cut down by the user's umask


def _holder(path: Path) -> str:
    try:
        holder = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return "another process"
    if not psutil.pid_exists(holder.pid):
        return "another process"  # the note of a run that was killed, which only its own user can replace
    return f"run {holder.run} (process {holder.pid}, since {holder.since})"
