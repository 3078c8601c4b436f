"""What `reflexscope track` does: label images → tracks, frame by frame, and a folder of everything that shows them."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from acquisition.clock import Clock
from models.cells import Labels
from models.images import Counts
from models.label_files import replaced
from models.perception import Classifier, Perception
from models.threshold import ThresholdSegmenter
from realtime.offline.ctc_files import write_ctc
from realtime.offline.geff_files import write_geff
from realtime.offline.label_movie import LabelMovie
from realtime.offline.lineage_picture import write_lineage_pictures
from realtime.offline.track_picture import write_track_picture
from realtime.offline.track_table import write_track_table
from realtime.offline.trackmate_files import ImageInfo, write_trackmate
from realtime.plugins import ConfigError
from realtime.processes.inference import warm_up_tracker
from tracking.lineages import Lineages, LineagesWriter
from tracking.tracker import Tracker
from tracking.tracks import Ints, TrackEvent

EVENTS, TABLE, GEFF, TRACKMATE = "events.csv", "tracks.parquet", "tracks.geff", "tracks.xml"
TRACKS, LINEAGE = "tracks.png", "lineage"
REFINED = "refined"
"""Folder of the same files, of the answer with hindsight."""


@dataclass(frozen=True)
class LiveAnswer:
    """What a tracker said about a whole movie."""

    lineages: Lineages
    events: list[tuple[int, TrackEvent]]
    """Frame in which it was told, and what."""
    n_cells: int
    took_ns: Ints
    """Time of the tracker alone, frame by frame."""
    last_labels: Labels
    last_image: Counts | None


def track(
    movie: LabelMovie,
    new_tracker: Callable[[], Tracker],
    classifier: Classifier | None,
    clock: Clock,
    done: Callable[[], None],
) -> LiveAnswer:
    """Follow the cells from frame to frame; `done` is called after each. Raises ImageError."""
    writer = LineagesWriter()
    tracker = new_tracker()
    events: list[tuple[int, TrackEvent]] = []
    took_ns: list[int] = []
    n_cells = 0
    # As a run does it: compiled code is loaded before the first frame, so that no frame's time holds it.
    warm_up_tracker(new_tracker(), Perception(ThresholdSegmenter(), classifier, classifier.needs if classifier else ()))
    for cells, counts in movie.cells(classifier):
        began_ns = clock.now_ns()
        tracks = tracker.update(cells)
        took_ns.append(clock.now_ns() - began_ns)
        writer.add(cells, tracks)
        events += [(cells.frame_index, event) for event in tracks.events]
        n_cells += len(cells)
        last_labels, last_image = cells.labels, counts
        done()
    assert last_labels is not None  # a series has at least one frame, and measured cells have their labels
    lineages = writer.lineages()
    if movie.images is None:  # every cell was given the same brightness, which nobody must take for measured
        lineages = replace(lineages, mean_intensity=np.full(len(lineages), np.nan))
    return LiveAnswer(lineages, events, n_cells, np.array(took_ns), last_labels, last_image)


def write_tracks(
    folder: Path, lineages: Lineages, movie: LabelMovie, live: LiveAnswer, done: Callable[[], None]
) -> None:
    """Every format and picture; `done` is called after each frame's masks. Raises ConfigError, ImageError, OSError.

    The masks come last: they are what can be refused (write_ctc), and the rest is there by then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_track_table(folder / TABLE, lineages)
    write_geff(folder / GEFF, lineages)
    write_trackmate(folder / TRACKMATE, lineages, _image_info(movie))
    write_lineage_pictures(folder / LINEAGE, lineages)
    last = len(movie) - 1
    write_track_picture(folder / TRACKS, lineages, last, live.last_labels, live.last_image, movie.um_per_px)
    for mask in folder.glob("mask*.tif"):  # an earlier movie may have been longer
        mask.unlink()
    write_ctc(folder, lineages, _told(movie.labels.labels(), done), len(movie))


def write_events(path: Path, events: list[tuple[int, TrackEvent]]) -> None:
    """A row an event, in the order in which they were told."""
    with replaced(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["frame", "kind", "track", "others", "confidence", "late_frames"])
        for frame, event in events:
            others = " ".join(map(str, event.others))
            table.writerow([frame, event.kind, event.track_id, others, f"{event.confidence:.4g}", event.late_frames])


def require_free(out: Path, inputs: list[Path], force: bool) -> None:
    """Raises ConfigError if results would overwrite anything that matters."""
    if inside := [path for path in inputs if path.is_dir() and path.resolve() == out.resolve()]:
        raise ConfigError(f"--out {out}: results would lie among the images of {inside[0]}; give another folder")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; the results are many and need a folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ConfigError(
            f"--out {out} holds files already: give another folder, or --force to overwrite earlier results"
        )


def _image_info(movie: LabelMovie) -> ImageInfo:
    """TrackMate opens a stack; single files it would take for a movie of one frame."""
    stack = movie.images.path if movie.images is not None and movie.images.path.is_file() else None
    return ImageInfo(movie.labels.shape, len(movie), movie.um_per_px, movie.interval_s, stack)


def _told(labels: Iterator[Labels], done: Callable[[], None]) -> Iterator[Labels]:
    for image in labels:
        yield image
        done()
