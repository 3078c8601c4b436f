"""What `reflexscope segment` does: image files → label files, overlays and measurements, one image after the other."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Protocol

from acquisition.clock import NS_PER_S, Clock
from models.images import Counts, ImageError, ImageFile, open_image, um_per_px
from models.label_files import label_file
from models.overlay import write_overlay
from models.perception import Segmenter, preprocess
from realtime.offline.cell_table import CellTable
from realtime.offline.selection import listed, repeated
from realtime.plugins import ConfigError

TABLE = "cells.csv"


class PreparedSegmenter(Segmenter, Protocol):
    """A segmenter that is told the size of images before it sees them."""

    def prepare(self, height_px: int, width_px: int) -> None: ...


@dataclass(frozen=True)
class Wanted:
    """What is to be made of the images."""

    folder: Path
    overlays: bool = False
    table: bool = False
    """Measure the cells."""
    features: tuple[str, ...] = ()
    um_per_px: float | None = None
    """None: as the files say, if they do."""
    stack: bool = False
    """Planes of one file are images of their own."""
    force: bool = False
    """Overwrite the results of an earlier run."""


@dataclass(frozen=True)
class Job:
    """One image file and where its results go."""

    file: ImageFile
    labels: Path
    um_per_px: float | None


@dataclass
class Report:
    """What became of the images."""

    n_images: int = 0
    n_cells: int = 0
    failed: dict[Path, str] = field(default_factory=dict)
    """Image → why, in words."""
    spent_s: dict[str, float] = field(default_factory=dict)
    """What the time went to."""


def plan(paths: Iterable[Path], wanted: Wanted, report: Report) -> list[Job]:
    """Look at every header before anything is segmented; images of one size will follow one another.

    What cannot be used goes into the report. Raises ConfigError if results would overwrite anything.
    """
    jobs = []
    for path, target in _targets(list(paths), wanted).items():
        try:
            jobs.append(_job(open_image(path), target, wanted))
        except ImageError as error:
            report.failed[path] = str(error)
    return sorted(jobs, key=lambda job: job.file.shape)


def segment(
    jobs: list[Job],
    segmenter: PreparedSegmenter,
    wanted: Wanted,
    report: Report,
    clock: Clock,
    done: Callable[[], None],
) -> None:
    """Segment every image; one that fails is reported and the others go on. `done` is called after each."""
    table = CellTable(wanted.features, wanted.stack) if wanted.table else None
    watch = _Watch(clock, report.spent_s)
    for job, planes in groupby(_read_ahead(jobs), key=lambda plane: plane[0]):
        try:
            report.n_cells += _segment_file(job, (counts for _, counts in planes), segmenter, wanted, table, watch)
            report.n_images += 1
        except ImageError as error:
            report.failed[job.file.path] = str(error)
        except OSError as error:
            report.failed[job.file.path] = f"{error.filename or job.labels} cannot be written: {error.strerror}"
        done()
    if table is not None:
        table.write(wanted.folder / TABLE)
        watch.mark("measures")


def _segment_file(
    job: Job, planes: Iterator[Future[Counts]], segmenter: PreparedSegmenter, wanted: Wanted, table: CellTable | None,
    watch: "_Watch",
) -> int:  # fmt: skip
    """Number of cells found. Raises ImageError, OSError."""
    n_cells = 0
    segmenter.prepare(*job.file.shape)
    watch.mark("engine")
    with label_file(job.labels, job.file.n_planes) as append:
        for number, plane in enumerate(planes):
            counts = plane.result()
            watch.mark("files")
            maps = segmenter.infer(preprocess(counts))
            watch.mark("network")
            labels = segmenter.label(maps)
            watch.mark("labels")
            append(labels)
            watch.mark("files")
            if wanted.overlays:
                write_overlay(_overlay_path(job, number), counts, labels)
            watch.mark("overlays")
            if table is not None:
                table.add(job.file.path.name, number, counts, labels, job.um_per_px)
            watch.mark("measures")
            n_cells += int(labels.max(initial=0))
    return n_cells


def _read_ahead(jobs: list[Job]) -> Iterator[tuple[Job, Future[Counts]]]:
    """Every plane of every image; the next one is read in a thread while one is being worked on."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        reading: deque[tuple[Job, Future[Counts]]] = deque()
        for job in jobs:
            planes = job.file.counts()
            for _ in range(job.file.n_planes):
                reading.append((job, reader.submit(partial(next, planes))))
                if len(reading) > 1:
                    yield reading.popleft()
        yield from reading


def _targets(paths: list[Path], wanted: Wanted) -> dict[Path, Path]:
    """Image → its label file. Raises ConfigError if two results meet or something would be lost."""
    if twice := repeated(path.stem for path in paths):
        raise ConfigError(
            f"more than one image is called {listed(twice)}, and results are named after their images: rename one, or "
            "segment it with another --out"
        )
    targets = {path: wanted.folder / f"{path.stem}.tif" for path in paths}
    if own := [str(path) for path, target in targets.items() if target.resolve() == path.resolve()]:
        raise ConfigError(f"labels would overwrite {listed(own)}: give another --out")
    written = [*targets.values(), *([wanted.folder / TABLE] if wanted.table else [])]
    if not wanted.force and (there := [str(path) for path in written if path.exists()]):
        raise ConfigError(f"{listed(there)} exists already: give another --out, or --force to overwrite")
    return targets


def _job(file: ImageFile, target: Path, wanted: Wanted) -> Job:
    if not wanted.stack:
        file.single()
    scale = (wanted.um_per_px or um_per_px(file.path)) if wanted.table else None
    if wanted.features and scale is None:
        raise ImageError(f"{file.path} does not say how large its pixels are; features need --um-per-px")
    return Job(file, target, scale)


def _overlay_path(job: Job, number: int) -> Path:
    stem = job.file.path.stem
    path = job.labels.parent / "overlays" / (f"{stem}.png" if job.file.n_planes == 1 else f"{stem}/{number:05d}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class _Watch:
    """Adds up what the time between marks went to."""

    def __init__(self, clock: Clock, spent_s: dict[str, float]) -> None:
        self._clock, self._spent_s, self._since_ns = clock, spent_s, clock.now_ns()

    def mark(self, what: str) -> None:
        now_ns = self._clock.now_ns()
        self._spent_s[what] = self._spent_s.get(what, 0.0) + (now_ns - self._since_ns) / NS_PER_S
        self._since_ns = now_ns
