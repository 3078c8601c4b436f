"""Writing aside: what the loop hands over is written by a thread, so that the loop never waits for the disk."""

import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
PATIENCE_S = 10.0


class Aside(Generic[T]):
    """Writes one thing after the other in a thread of its own, or without `threaded` at once."""

    def __init__(self, write: Callable[[T], None], name: str, most_waiting: int, threaded: bool) -> None:
        self._write = write
        self._waiting: queue.Queue[T | None] = queue.Queue(most_waiting)
        self._thread = threading.Thread(target=self._work, name=name, daemon=True) if threaded else None
        if self._thread is not None:
            self._thread.start()

    def put(self, thing: T) -> bool:
        """False if too many wait: this one will not be written."""
        if self._thread is None:
            self._write(thing)
            return True
        try:
            self._waiting.put_nowait(thing)
        except queue.Full:
            return False
        return True

    def stop(self) -> bool:
        """End the thread once it has written what waits; False if the disk does not take that. Stopping twice is harmless."""
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=PATIENCE_S)
        thread.join(PATIENCE_S)
        return not thread.is_alive()

    def _work(self) -> None:
        while (thing := self._waiting.get()) is not None:
            self._write(thing)


def lacking(what: str, where: Path, problem: str) -> str:
    """What of the truth could not be written, and why, in words."""
    return f"the truth of {what} is not in {where}: {problem or 'the disk was too slow'}"


def unfinished(where: Path) -> str:
    """That the thread was not waited for any longer, in words."""
    return f"the disk did not take the truth within {PATIENCE_S:g} s: {where} is not whole"
