"""Does the tracker's memory stay flat? 100,000 frames of about 200 cells that are born and die. About 20 minutes.

Runs only when asked for: `python -m benchmarks.tracking memory`.
"""

import gc
import itertools
import time

import numpy as np
import psutil

from benchmarks.tables import Report
from tracking.scenarios import endless
from tracking.tracker import CausalTracker

N_FRAMES, N_CELLS, SEED = 100_000, 200, 1
MARKS = 10


def rows(n_frames: int = N_FRAMES) -> list[tuple[str, ...]]:
    tracker, process = CausalTracker(), psutil.Process()
    found: list[tuple[str, ...]] = []
    took_ms: list[float] = []
    n_cells = most_tracks = 0
    for frame, cells in enumerate(itertools.islice(endless(N_CELLS, SEED), n_frames), start=1):
        started = time.thread_time()
        tracks = tracker.update(cells)
        took_ms.append((time.thread_time() - started) * 1000)
        n_cells, most_tracks = n_cells + len(cells), max(most_tracks, len(tracks))
        if frame % (n_frames // MARKS) == 0:
            gc.collect()
            private_mb = process.memory_full_info().uss / 1e6
            half, most = np.quantile(took_ms, (0.5, 0.99))
            counts = f"{n_cells / len(took_ms):.0f}", str(most_tracks), f"{int(tracks.id.max()):,}"
            found.append(
                (f"{frame:,}", *counts, f"{len(tracker.saved()):,}", f"{private_mb:.2f}", f"{half:.2f}", f"{most:.2f}")
            )
            took_ms.clear()
            n_cells = 0
    return found


def main(report: Report, n_frames: int = N_FRAMES) -> None:
    found = rows(n_frames)
    first, last = (float(row[5]) for row in (found[0], found[-1]))
    report.table(
        f"Tracking: private memory over {n_frames:,} frames",
        f"About {N_CELLS} cells with births and deaths. From the first mark to the last {last / first - 1:+.2%}. "
        "Counts and times are since the mark before.",
        ("frames", "cells a frame", "most tracks so far", "greatest id", "saved state bytes", "private MB",
         "processor ms p50", "p99"),
        found,
    )  # fmt: skip


if __name__ == "__main__":
    main(Report())
