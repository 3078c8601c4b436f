"""Uncompressed chunks, one file each, written straight from the ring past the page cache where the system allows it.

Through the page cache a long, fast stream is only as steady as the kernel's memory: writeback stalls, and in a virtual
machine every fresh page is paid for (measured here: 20 ms of a core for a frame of 8.4 MB, 1 ms past the cache).
Elsewhere the same files are written in the ordinary way. A file gets its name when it is whole.
"""

import errno
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from acquisition.replayed.recorded import Pixels

BLOCK = 4096
"""Length and place of what is written past the page cache are multiples of this."""
WORTHWHILE = 250_000
"""Bytes. Smaller files are better off in the page cache."""
O_DIRECT = getattr(os, "O_DIRECT", 0)


class ChunkFiles:
    """Writes frames of one series on a few threads; the pixels are read where they lie until the future is done."""

    def __init__(self, array: Path, most_in_flight: int) -> None:
        self._array = array
        self._threads = ThreadPoolExecutor(most_in_flight, thread_name_prefix="chunk-writer")

    def write(self, n: int, pixels: Pixels) -> "Future[None]":
        """Frame `n` of the series as chunk c.n.0.0; its future carries an OSError if that fails."""
        return self._threads.submit(self._write, n, pixels)

    def close(self) -> None:
        """Wait for what was begun."""
        self._threads.shutdown()

    def _write(self, n: int, pixels: Pixels) -> None:
        path = self._array / f"c.{n}.0.0"
        new = path.with_suffix(".new")
        data = pixels.reshape(-1).view(np.uint8).data
        n_direct = len(data) // BLOCK * BLOCK if _suits_direct(pixels) else 0
        if n_direct:
            n_direct = _write_direct(new, data[:n_direct])
        if n_direct < len(data):
            with new.open("ab", buffering=0) as file:
                _write_all(file.fileno(), data[n_direct:])
        new.rename(path)


def _suits_direct(pixels: Pixels) -> bool:
    return bool(O_DIRECT) and pixels.nbytes >= WORTHWHILE and pixels.ctypes.data % BLOCK == 0


def _write_direct(path: Path, data: memoryview) -> int:
    """Bytes written past the page cache: all, or none where the file system cannot (tmpfs, some network disks)."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_DIRECT, 0o644)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return 0
    try:
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)
    return len(data)


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
