"""How long does a frame take, by the number of cells, beside peers? One thread, all in one process, in turns.

Part of benchmarks/tracking.py. The crowd has a constant density, with births and deaths (tracking/scenarios.py, growth).
Peers are timed as one would use them: laptrack on a whole recording (without divisions), divided by its frames; trackpy level
by level, by its Linker and by tables; btrack by append and step, and its optimiser after all frames. A peer that would need
more than a minute a round at a size, by what it took at the size before, is left out there.
"""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from benchmarks.tables import Report
from benchmarks.tracking_btrack import BtrackSettings, btrack_session, objects
from benchmarks.tracking_peers import LapTrackSettings, laptrack, present
from models.cells import Cells
from tracking.scenarios import growth
from tracking.tracker import CausalTracker

SIZES = {200: (1000, 40), 1_000: (500, 30), 5_000: (200, 10), 20_000: (100, 4)}
"""Cells: frames for ours, and frames for each peer."""
N_WARM, ROUNDS, SEED = 10, 3, 1
LIMIT_S = 60.0
REACH_UM = 10.0
NAMES = (
    "laptrack",
    "trackpy, Linker",
    "trackpy, link_df_iter",
    "btrack, append and step",
    "btrack, with its optimiser",
)


@dataclass
class Times:
    """Of frames, in milliseconds."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    """The thread's own time, which other programs on the machine hardly change."""

    @contextlib.contextmanager
    def frame(self, n_frames: int = 1) -> Iterator[None]:
        """What happens inside is the work of so many frames."""
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        self.wall_ms.append((time.perf_counter() - wall) * 1000 / n_frames)
        self.cpu_ms.append((time.thread_time() - cpu) * 1000 / n_frames)


# --- contestants -------------------------------------------------------------------------------------------------------


def time_ours(frames: Sequence[Cells], times: Times) -> None:
    tracker = CausalTracker()
    for i, cells in enumerate(frames):
        with (times if i >= N_WARM else Times()).frame():
            tracker.update(cells)


def time_laptrack(frames: Sequence[Cells], times: Times) -> None:
    settings = LapTrackSettings(reach_um=REACH_UM, gap_reach_um=REACH_UM, split_reach_um=0.0)
    with times.frame(len(frames)):
        laptrack(frames, settings)


def time_trackpy(frames: Sequence[Cells], times: Times) -> None:
    from trackpy.linking.linking import Linker

    linker = Linker(REACH_UM, memory=3, adaptive_stop=REACH_UM / 20, adaptive_step=0.9)
    linker.init_level(frames[0].xy_um, 0)
    for i, cells in enumerate(frames[1:], start=1):
        with times.frame():
            linker.next_level(cells.xy_um, i)


def time_trackpy_tables(frames: Sequence[Cells], times: Times) -> None:
    """The way its documentation shows for streams: a table a frame."""
    import pandas as pd
    import trackpy

    trackpy.quiet()
    tables = [pd.DataFrame(cells.xy_um, columns=["x", "y"]).assign(frame=i) for i, cells in enumerate(frames)]
    linked = trackpy.link_df_iter(tables, REACH_UM, pos_columns=["x", "y"], memory=3, adaptive_stop=REACH_UM / 20)
    next(linked)
    for _ in frames[1:]:
        with times.frame():
            next(linked)


def time_btrack(frames: Sequence[Cells], times: Times) -> None:
    """All are appended first: it reads the list of frames only once, at the first step."""
    settings, appending = _btrack_settings(), Times()
    with btrack_session(frames, settings, approximate=len(frames[0]) >= 1000) as tracker:
        with appending.frame(len(frames)):
            tracker.append(objects(frames, settings))
        for _ in frames[1:]:
            with times.frame():
                tracker.step()
            times.wall_ms[-1] += appending.wall_ms[0]
            times.cpu_ms[-1] += appending.cpu_ms[0]


def time_btrack_optimised(frames: Sequence[Cells], times: Times) -> None:
    settings = _btrack_settings()
    with (
        btrack_session(frames, settings, approximate=len(frames[0]) >= 1000) as tracker,
        times.frame(len(frames)),
    ):
        tracker.append(objects(frames, settings))
        tracker.track(step_size=len(frames))
        tracker.optimise()


def _btrack_settings() -> BtrackSettings:
    return BtrackSettings(search_px=2 * REACH_UM)


WORKS: dict[str, Callable[[Sequence[Cells], Times], None]] = dict(
    zip(NAMES, (time_laptrack, time_trackpy, time_trackpy_tables, time_btrack, time_btrack_optimised), strict=True)
)


# --- tables ------------------------------------------------------------------------------------------------------------


def measured(n_cells: int, took_s: dict[str, float]) -> dict[str, Times]:
    """Ours and every peer that is quick enough, in turns; `took_s` is what a round of each took, a frame and a cell squared."""
    ours, theirs = SIZES[n_cells]
    frames = growth(n_cells, ours + N_WARM, SEED).frames
    times = {"ours": Times()} | {name: Times() for name in WORKS if name.split(",")[0] in present()[0]}
    gc.collect()
    gc.freeze()  # as a live run does: the frames that wait here are not its garbage
    for i in range(ROUNDS):
        share = frames[i * ours // ROUNDS : (i + 1) * ours // ROUNDS + N_WARM]
        time_ours(share, times["ours"])
        for name in list(times)[1:]:
            if took_s.get(name, 0.0) * theirs * n_cells**2 < LIMIT_S:
                started = time.thread_time()
                WORKS[name](frames[:theirs], times[name])
                took_s[name] = (time.thread_time() - started) / theirs / n_cells**2
    gc.unfreeze()
    return times


def main(report: Report) -> None:
    took_s: dict[str, float] = {}
    everything = {n_cells: measured(n_cells, took_s) for n_cells in SIZES}
    report.table(
        "Tracking: time of one `update`, by number of cells",
        f"Births and deaths at a constant density; one thread; {', '.join(f'{v[0]} frames of {k}' for k, v in SIZES.items())}. "
        "Processor time is the thread's own.",
        ("cells", "wall ms p50", "p99", "p99 / p50", "processor ms p50", "p99", "p99 / p50", "µs a cell"),
        [_ours_row(n_cells, times["ours"]) for n_cells, times in everything.items()],
    )
    report.table(
        "Tracking: milliseconds a frame beside peers",
        "Processor time, median over frames (laptrack and btrack's optimiser: whole call / frames, median of rounds), in "
        "turns in one process, one thread; in brackets how many times as fast ours is. btrack links approximately from 1,000 "
        f"cells on, as its documentation advises. –: would take more than {LIMIT_S:.0f} s a round.{present()[1]}",
        ("cells", "ours", *NAMES),
        [_peer_row(n_cells, times) for n_cells, times in everything.items()],
    )


def _ours_row(n_cells: int, times: Times) -> tuple[str, ...]:
    columns = []
    for each in (times.wall_ms, times.cpu_ms):
        half, most = np.quantile(each, (0.5, 0.99))
        columns += [f"{half:.2f}", f"{most:.2f}", f"{most / half:.1f}"]
    return f"{n_cells:,}", *columns, f"{1000 * median(times.cpu_ms) / n_cells:.2f}"


def _peer_row(n_cells: int, times: dict[str, Times]) -> tuple[str, ...]:
    ours_ms = median(times["ours"].cpu_ms)

    def cell(name: str) -> str:
        if name not in times or not times[name].cpu_ms:
            return "–"
        ms = median(times[name].cpu_ms)
        return f"{ms:.0f} ({ms / ours_ms:.0f}×)" if ms >= 10 else f"{ms:.1f} ({ms / ours_ms:.1f}×)"

    return f"{n_cells:,}", f"{ours_ms:.2f}", *map(cell, NAMES)


if __name__ == "__main__":
    main(Report())
