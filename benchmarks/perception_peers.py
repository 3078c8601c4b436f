"""Who takes part in benchmarks/perception.py: our segmenters, a scikit-image pipeline, and StarDist in its own process.

All take pixels as a camera or file gives them and answer with labels, each on one thread. What is timed is the way from
these pixels to these labels in memory, normalisation included; opening engines and the first image of a size are not.
"""

import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Protocol

import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

from benchmarks.perception_data import Sample
from models.cells import Labels
from models.engines.engine import EngineSettings
from models.images import Counts
from models.manifest import find_segmenter
from models.metrics import agreement, summary
from models.perception import Segmenter, preprocess
from models.segmenter import NetworkSegmenter
from models.threshold import ThresholdSegmenter

ONE_THREAD = EngineSettings(threads=1)
IOU = (0.5, 0.6, 0.7, 0.8, 0.9)
ABOUT = "peer.json"


@dataclass(frozen=True)
class Answer:
    """What a contestant says about one image."""

    labels: Labels
    wall_ms: float
    cpu_ms: float


class Contestant(Protocol):
    name: str

    def prepare(self, height_px: int, width_px: int) -> None:
        """Images of this size follow."""

    def segment(self, pixels: Counts) -> Answer: ...

    def close(self) -> None: ...


# --- ours --------------------------------------------------------------------------------------------------------------


@dataclass
class Ours:
    """A segmenter of this project."""

    name: str
    segmenter: Segmenter

    def prepare(self, height_px: int, width_px: int) -> None:
        if isinstance(self.segmenter, NetworkSegmenter):
            self.segmenter.prepare(height_px, width_px)

    def segment(self, pixels: Counts) -> Answer:
        wall, cpu = time.perf_counter(), time.process_time()
        labels = self.segmenter.label(self.segmenter.infer(preprocess(pixels)))
        return Answer(labels, (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000)

    def close(self) -> None:
        if isinstance(self.segmenter, NetworkSegmenter):
            self.segmenter.close()


def networks(models: Sequence[str]) -> Iterator[Ours]:
    """Every method of every model."""
    for model in models:
        for method in find_segmenter(model)[1].methods:
            name = f"{Path(model).name}, {method.replace('_', ' ')}"
            yield Ours(name, NetworkSegmenter(model=model, method=method, engine=ONE_THREAD))  # type: ignore[arg-type]


def classical() -> Ours:
    return Ours("threshold (ours, defaults)", ThresholdSegmenter())


# --- scikit-image ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """Settings of the usual pipeline."""

    smoothing_px: float
    distance_smoothing_px: float
    min_distance_px: int
    min_area_px: int

    @property
    def words(self) -> str:
        return (
            f"scikit-image, tuned on val: smoothing {self.smoothing_px:g} px, distances smoothed by "
            f"{self.distance_smoothing_px:g} px, maxima at least {self.min_distance_px} px apart, cells of at least "
            f"{self.min_area_px} px"
        )


GRID = tuple(itertools.starmap(Recipe, itertools.product((0.7, 1.0), (1.0, 2.0), (6, 10), (20, 40))))


@dataclass
class ScikitImage:
    """Smooth, threshold by Otsu, distance transform, a watershed from its maxima, drop what is small."""

    recipe: Recipe
    name: str = "scikit-image watershed"

    def prepare(self, height_px: int, width_px: int) -> None:
        pass

    def segment(self, pixels: Counts) -> Answer:
        wall, cpu = time.perf_counter(), time.process_time()
        labels = without_small(split(pixels, self.recipe), self.recipe.min_area_px)
        return Answer(labels, (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000)

    def close(self) -> None:
        pass


def split(pixels: Counts, recipe: Recipe) -> Labels:
    """All but the last step."""
    smooth = gaussian(pixels.astype(np.float32), recipe.smoothing_px)
    inside = smooth > threshold_otsu(smooth)
    depth = gaussian(distance_transform_edt(inside).astype(np.float32), recipe.distance_smoothing_px)
    summits = peak_local_max(
        depth, min_distance=recipe.min_distance_px, labels=inside.astype(np.int32), exclude_border=False
    )
    markers = np.zeros(pixels.shape, np.int32)
    markers[tuple(summits.T)] = np.arange(1, len(summits) + 1)
    labels: Labels = watershed(-depth, markers, mask=inside).astype(np.int32)
    return labels


def without_small(labels: Labels, min_area_px: int) -> Labels:
    kept = np.bincount(labels.ravel()) >= min_area_px
    kept[0] = False
    return (np.cumsum(kept) * kept).astype(np.int32)[labels]


def tuned(sets: Sequence[Sequence[Sample]]) -> Recipe:
    """The recipe with the best mean average precision on validation images, every set counting the same."""
    scores = {recipe: fmean(_score(samples, recipe) for samples in sets) for recipe in GRID}
    return max(scores, key=lambda recipe: scores[recipe])


def _score(samples: Sequence[Sample], recipe: Recipe) -> float:
    found = (without_small(split(sample.pixels, recipe), recipe.min_area_px) for sample in samples)
    pairs = zip(samples, found, strict=True)
    return summary(agreement(sample.truth, labels, IOU) for sample, labels in pairs).mean_average_precision


# --- StarDist ----------------------------------------------------------------------------------------------------------


@dataclass
class StarDist:
    """The model that `benchmarks.stardist_peer train` left in a folder, asked in the environment it was trained in."""

    folder: Path
    name: str = field(init=False)

    def __post_init__(self) -> None:
        about = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
        version = about["versions"]["stardist"]
        self.name = f"StarDist {version}, {about['cpu_minutes']:.0f} CPU minutes ({about['steps']} steps)"
        self._exchange = tempfile.TemporaryDirectory(prefix="benchmark-")
        self._log = Path(self._exchange.name, "log.txt")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [about["python"], "-m", "benchmarks.stardist_peer", "serve", str(self.folder)],
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self._answer()

    def prepare(self, height_px: int, width_px: int) -> None:
        pass

    def segment(self, pixels: Counts) -> Answer:
        path = Path(self._exchange.name, "image.npy")
        np.save(path, pixels)
        assert self._process.stdin
        print(path, file=self._process.stdin, flush=True)
        wall_ms, cpu_ms = map(float, self._answer().split())
        return Answer(np.load(path.with_suffix(".labels.npy")), wall_ms, cpu_ms)

    def close(self) -> None:
        self._process.communicate(timeout=60)
        self._exchange.cleanup()

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"StarDist's process ended: {self._log.read_text()[-2000:]}")
        return line
