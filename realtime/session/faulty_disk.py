"""Faults of the disk: it fills up, or lets the recorder wait."""

from pathlib import Path

from acquisition.clock import Clock
from acquisition.faults import Faults
from realtime.session.disk import BYTES_PER_GB, DiskFull, free_gb

BYTES_PER_MB = 1_000_000


class FaultyDisk:
    """Stands between the recorder and the disk of a folder; without faults it does nothing."""

    def __init__(self, folder: Path, needed_gb: float, faults: Faults, clock: Clock) -> None:
        """`needed_gb` must stay free: the room of the fault comes on top of it, so that a run can begin."""
        self._folder, self._needed_gb, self._clock = folder, needed_gb, clock
        self._delay_s = faults.slow_disk.delay_ms / 1000 if faults.slow_disk else 0.0
        self._left_bytes: float | None = None
        if faults.full_disk is not None:
            self._left_bytes = needed_gb * BYTES_PER_GB + faults.full_disk.after_mb * BYTES_PER_MB

    def take(self, n_bytes: int) -> None:
        """A frame of so many bytes is about to be written. Raises DiskFull if it has no room."""
        if self._delay_s:
            self._clock.sleep_s(self._delay_s)
        if self._left_bytes is None:
            return
        if n_bytes > self._left_bytes:
            self._left_bytes = 0
            raise self._full(0.0)
        self._left_bytes -= n_bytes

    def look(self) -> None:
        """Raise DiskFull if less is free than must be."""
        free = self.free_gb()
        if free < self._needed_gb:
            raise self._full(free)

    def free_gb(self) -> float:
        """What is free, by its own account."""
        really_gb = free_gb(self._folder)
        return really_gb if self._left_bytes is None else min(really_gb, self._left_bytes / BYTES_PER_GB)

    def _full(self, free: float) -> DiskFull:
        by_fault = self._left_bytes is not None and self._left_bytes / BYTES_PER_GB <= free
        return DiskFull(self._folder, free, self._needed_gb, " (fault full_disk)" if by_fault else "")
