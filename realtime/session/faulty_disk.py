"""Faults of the disk: it fills up, or lets the recorder wait."""

import errno
import os

from acquisition.clock import Clock
from acquisition.faults import Faults
from realtime.session.disk import BYTES_PER_GB

BYTES_PER_MB = 1_000_000


class FaultyDisk:
    """Stands between the recorder and the disk; without faults it does nothing."""

    def __init__(self, faults: Faults, clock: Clock) -> None:
        self._clock = clock
        self._delay_s = faults.slow_disk.delay_ms / 1000 if faults.slow_disk else 0.0
        self._left_bytes = faults.full_disk.after_mb * BYTES_PER_MB if faults.full_disk else None

    def take(self, n_bytes: int) -> None:
        """A frame of so many bytes is about to be written. Raises OSError as a full disk does."""
        if self._delay_s:
            self._clock.sleep_s(self._delay_s)
        if self._left_bytes is None:
            return
        if n_bytes > self._left_bytes:
            self._left_bytes = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._left_bytes -= n_bytes

    def free_gb(self, really_gb: float) -> float:
        """What is free, by its own account."""
        return really_gb if self._left_bytes is None else min(really_gb, self._left_bytes / BYTES_PER_GB)
