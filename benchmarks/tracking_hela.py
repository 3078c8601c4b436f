"""A real movie: HeLa nuclei, 30 frames, three divisions; on its true masks and on our own segmentation. Part of tracking.py.

Everything goes through files: masks and res_track.txt are written, and scored as `reflexscope evaluate tracking` does. Ours
runs with its defaults, peers with settings as published and with the best of the search on this very movie, which favours them.
`python -m benchmarks.tracking_hela search` repeats that search.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.tables import Report
from benchmarks.tracking_btrack import BtrackSettings
from benchmarks.tracking_contest import Contestant, contestants, peer, settings_for
from benchmarks.tracking_peers import AnySettings, LapTrackSettings, TrackpySettings, present, track_by
from benchmarks.tracking_search import keep, quick, search, trials, worth
from models.cells import Cells, Labels
from models.label_files import write_labels
from models.perception import preprocess
from realtime.config import load_config
from realtime.offline.ctc_files import read_ctc, write_ctc
from realtime.offline.label_movie import LabelMovie, Series, open_series
from realtime.offline.mask_scores import score_folders
from realtime.offline.tracking_scores import TrackingScores
from tracking.lineages import Lineages
from tracking.scenarios import Recipe, Scenario, every_other

ROOT = Path(__file__).parents[1]
MOVIE = Path("tracking", "mitocheck_hela_h2b")
CONFIG = ROOT / "hardware_configs" / "replay.toml"
"""Names the segmenter and the classifier that the loop uses on this movie, and the pixel size that is assumed."""
INTERVAL_S = 300.0
"""Not published either: what `reflexscope track` assumes."""
TRUE_MASKS, OWN_MASKS = "HeLa, true masks", "HeLa, our segmentation"
DIAMETER_PX = 20.0
"""Of these nuclei, about."""


def as_published(um_per_px: float) -> dict[str, AnySettings]:
    """Lengths in pixels, as their authors' examples of cells or particles have them.

    laptrack: its example of segmented cells (15 px, 30 px for divisions). btrack: its cell_config.json. trackpy: its
    walkthrough, where features 11 px wide are searched for within 5 px, with a memory of 3 frames.
    """
    px = um_per_px
    return {
        "laptrack": LapTrackSettings(reach_um=15 * px, gap_reach_um=15 * px, split_reach_um=30 * px),
        "btrack": BtrackSettings(px_per_um=1 / px),
        "trackpy": TrackpySettings(reach_um=5 / 11 * DIAMETER_PX * px, memory=3),
    }


@dataclass(frozen=True)
class Detections:
    """The same cells to all."""

    name: str
    """Also in tracking_found.toml."""
    frames: list[Cells]
    labels: list[Labels]


@contextmanager
def detections(data: Path) -> Iterator[list[Detections]]:
    """Of the true masks and of our own segmentation, each with the classes of the loop's classifier."""
    config = load_config(CONFIG)
    um_per_px = float(config.microscope.settings["um_per_px"])
    folder = data / MOVIE
    images = open_series(folder / "01")
    assert config.classifier
    classifier = config.classifier.build()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as own:
        _segment(images, Path(own))
        found = []
        for name, path in ((TRUE_MASKS, folder / "01_GT" / "TRA"), (OWN_MASKS, Path(own))):
            movie = LabelMovie(open_series(path), images, um_per_px, INTERVAL_S)
            frames = [cells for cells, _ in movie.cells(classifier)]
            found.append(Detections(name, frames, list(movie.labels.labels())))
        yield found
    classifier.close()


def _segment(images: Series, out: Path) -> None:
    segmenter = load_config(CONFIG).segmenter.build()
    segmenter.prepare(*images.shape)
    for frame, counts in enumerate(images.counts()):
        write_labels(out / f"t{frame:03d}.tif", segmenter.label(segmenter.infer(preprocess(counts))))
    segmenter.close()


def scored(truth: Path, seen: Detections, lineages: Lineages) -> TrackingScores:
    """By way of files."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        write_ctc(Path(folder), lineages, iter(seen.labels), len(seen.frames))
        return score_folders(truth, Path(folder))


# --- tables ------------------------------------------------------------------------------------------------------------

COLUMNS = (
    "TRA",
    "LNK",
    "DET",
    "SEG",
    "AOGM",
    "divisions found",
    "false",
    "frames late or early",
    "complete tracks",
    "switches",
)


def main(report: Report, data: Path) -> None:
    if not (data / MOVIE).is_dir():
        print(f"hela: not run, for there is no {data / MOVIE}; name its folder with --data", flush=True)
        return
    with detections(data) as both:
        for seen in both:
            rows = [
                (name, *_row(scored(data / MOVIE / "01_GT", seen, track(seen.frames))))
                for name, track in _entries(seen).items()
            ]
            report.table(
                f"Tracking a real movie: {seen.name}",
                f"mitocheck_hela_h2b, 30 frames, three divisions; pixel size and models of {CONFIG.name}; divisions ± 2 frames. "
                f"“Searched”: the best of the search on this movie.{present()[1]}",
                ("tracker", *COLUMNS),
                rows,
            )


def _entries(seen: Detections) -> dict[str, Contestant]:
    config = load_config(CONFIG)
    published = as_published(float(config.microscope.settings["um_per_px"]))
    searched = {
        f"{name}, searched": peer(name, s) for name, s in settings_for(seen.name).items() if name in present()[0]
    }
    plain = {f"{name}, as published": peer(name, s) for name, s in published.items() if name in present()[0]}
    return contestants({}) | dict(sorted((plain | searched).items()))


def _row(scores: TrackingScores) -> tuple[str, ...]:
    graph, divisions = scores.graph, scores.divisions[2]
    off = ", ".join(f"{n} by {frames}" for frames, n in scores.frames_off.items() if n and frames)
    return (
        *(f"{value:.4f}" for value in (graph.tra, graph.lnk or 0.0, graph.det, scores.seg or 0.0)),
        f"{graph.aogm:g}",
        f"{divisions.found} of {divisions.found + divisions.missed}",
        str(divisions.invented),
        off or "none",
        f"{scores.complete.found} of {scores.complete.found + scores.complete.missed}",
        str(scores.identity_switches),
    )


def scenario(data: Path, seen: Detections) -> Scenario:
    """The movie with its true masks as a scenario, so that it can be made worse; its masks bear the numbers of the tracks."""
    truth = read_ctc(data / MOVIE / "01_GT", interval_s=INTERVAL_S)
    tracks = [cells.label.astype(np.int64) for cells in seen.frames]
    return Scenario(TRUE_MASKS, Recipe(n_frames=len(seen.frames)), 0, seen.frames, truth, tracks)


# --- the search on the movie itself ------------------------------------------------------------------------------------


def search_all(data: Path) -> None:
    with detections(data) as both:
        for name in present()[0]:
            for seen in both:
                score = partial(_worth, data / MOVIE / "01_GT", seen, name)
                keep(seen.name, name, *trials(name, score))
            halved = every_other(scenario(data, both[0]))
            keep(halved.name, name, *search(name, [halved]))


def _worth(truth: Path, seen: Detections, name: str, settings: AnySettings, best: float) -> float:
    lineages = track_by(name, seen.frames, quick(settings))
    return worth(scored(truth, seen, lineages), divides=name != "trackpy") if len(lineages) else 0.0


def _main(words: Sequence[str]) -> None:
    data = Path(words[1]) if len(words) > 1 else ROOT.parent / "shared" / "data"
    search_all(data) if words[:1] == ["search"] else main(Report(), data)


if __name__ == "__main__":
    _main(sys.argv[1:])
