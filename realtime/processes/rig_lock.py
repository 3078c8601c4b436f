"""One run a rig: a lock that the operating system releases when its holder ends, however it ends."""

import os
import re
import tempfile
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from acquisition.clock import utc_now

LOCK_FOLDER = Path(tempfile.gettempdir()) / "reflexscope-rigs"


class RigBusy(RuntimeError):
    """Another run holds the rig."""


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
        LOCK_FOLDER.mkdir(parents=True, exist_ok=True)
        path = LOCK_FOLDER / (re.sub(r"[^A-Za-z0-9.-]+", "_", self._rig_id).strip("_")[-120:] + ".lock")
        note = path.with_suffix(".json")
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RigBusy(f"rig {self._rig_id} is in use by {_holder(note)}; end that run first") from error
        self._lock = lock
        note.write_bytes(msgspec.json.encode(Holder(self._run, os.getpid(), utc_now())))
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()


def _holder(note: Path) -> str:
    try:
        holder = msgspec.json.decode(note.read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return "another process"
    return f"run {holder.run} (process {holder.pid}, since {holder.since})"
