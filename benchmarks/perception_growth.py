"""How does the cost after the network grow with the cells, and does memory stay flat? One thread.

Part of benchmarks/perception.py; measurement by itself is in measurement.py.
"""

import gc
import math
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import psutil

from acquisition.frame import Frame
from benchmarks.perception_peers import ONE_THREAD
from benchmarks.perception_speed import SIDE_PX, TYPICAL, frame_of, in_turn, real_field, segmenter_of
from benchmarks.tables import Report
from models.classifier import NetworkClassifier
from models.features import FEATURES
from models.label_rules import LabelRules
from models.labelling import Maps, label_maps
from models.measure import measure, warm_up
from models.perception import Perception

SCALES = (10, 100, 1_000, 10_000)
LARGE_PX, PITCH_PX, RADIUS_PX = 2048, 20, 7
N_MEMORY, SMALL_PX = 10_000, 128


def scaling_table(report: Report, classifier: NetworkClassifier) -> None:
    rows = []
    for n in SCALES:
        for side_px in (math.ceil(math.sqrt(n)) * PITCH_PX, LARGE_PX):
            ms = _scaling_ms(n, side_px, classifier)
            total_ms = sum(ms.values()) - ms["measured"]
            row = [f"{v:.2f}" for v in (*ms.values(), total_ms)]
            rows.append((str(n), f"{side_px}×{side_px}", *row, f"{1000 * total_ms / n:.0f}"))
    report.table(
        "After the network: cost by number of cells",
        f"Drawn discs of {RADIUS_PX} px radius: close to each other in a frame just large enough, and spread over "
        f"{LARGE_PX}×{LARGE_PX}, where every pixel is looked at whatever it holds. Processor time, medians. “typical” measures "
        "the typical features, and is what “all” contains.",
        ("cells", "frame", "labelled ms", "measured ms", "typical ms", "classified ms", "all ms", "µs a cell"),
        rows,
    )


def _scaling_ms(n: int, side_px: int, classifier: NetworkClassifier) -> dict[str, float]:
    maps, rules = drawn_maps(n, side_px), LabelRules()
    image = np.random.default_rng(0).gamma(4.0, 200.0, maps[0].shape).astype(np.float32)
    labels = label_maps(maps, rules)
    assert labels.max() == n, f"{labels.max()} of {n} drawn cells were found"
    header = frame_of(image.astype(np.uint16)).header
    cells = measure(header, image, labels)
    works: dict[str, Callable[[], object]] = {
        "labelled": lambda: label_maps(maps, rules),
        "measured": lambda: measure(header, image, labels),
        "typical": lambda: measure(header, image, labels, TYPICAL),
        "classified": lambda: classifier.classify(image, cells),
    }
    return {name: median(times.cpu_ms) for name, times in in_turn(works, 5 if n > 1000 else 20).items()}


def drawn_maps(n: int, side_px: int) -> Maps:
    """Foreground logit and distance `[2, H, W]` of `n` discs on a grid, slightly rough as a network's."""
    labels = np.zeros((side_px, side_px), np.uint8)
    per_row = math.ceil(math.sqrt(n))
    pitch_px = side_px / per_row
    for i in range(n):
        y, x = ((place + 0.5) * pitch_px for place in divmod(i, per_row))
        cv2.circle(labels, (int(x), int(y)), RADIUS_PX, 1, -1)
    height = cv2.distanceTransform(labels, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / (RADIUS_PX + 1)
    height += np.random.default_rng(0).uniform(0, 0.05, height.shape).astype(np.float32) * labels
    return np.stack([np.where(labels > 0, np.float32(5), np.float32(-5)), height]).astype(np.float32)


# --- memory ------------------------------------------------------------------------------------------------------------


def memory_table(report: Report, frame: Frame, model: str, classifier: NetworkClassifier) -> None:
    segmenter = segmenter_of(model, SMALL_PX)
    perception = Perception(segmenter, classifier, tuple(FEATURES))
    frames = [frame_of(part) for part in _parts(frame.pixels)]
    process, marks = psutil.Process(), []
    tracemalloc.start()
    for i in range(1, N_MEMORY + 1):
        cells = perception.analyse(frames[i % len(frames)])
        if i % (N_MEMORY // 10) == 0:
            del cells
            gc.collect()
            memory = process.memory_info()
            marks.append(((memory.rss - getattr(memory, "shared", 0)) / 1e6, tracemalloc.get_traced_memory()[0] / 1e6))
    tracemalloc.stop()
    segmenter.close()
    rows = [
        (name, f"{first:.2f}", f"{last:.2f}", f"{last - first:+.2f}")
        for name, first, last in zip(("private", "traced"), marks[0], marks[-1], strict=True)
    ]
    report.table(
        f"Memory of the whole perception over {N_MEMORY} frames",
        f"{SMALL_PX}×{SMALL_PX}, `{Path(model).name}`, all features, classes. Private is what is resident and not mapped from "
        "a file (mapped libraries count or not as other processes come and go); traced is what Python and numpy hold, by "
        "tracemalloc.",
        ("memory", "after a tenth MB", "at the end MB", "growth MB"),
        rows,
    )


def _parts(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Overlapping small squares, so that the number of cells changes from frame to frame."""
    for y in range(0, SIDE_PX - SMALL_PX + 1, SMALL_PX // 2):
        for x in range(0, SIDE_PX - SMALL_PX + 1, SMALL_PX // 2):
            yield pixels[y : y + SMALL_PX, x : x + SMALL_PX]


def main(report: Report, data: Path, model: str, classifier_model: str) -> None:
    warm_up()
    classifier = NetworkClassifier(model=classifier_model, engine=ONE_THREAD)
    classifier.prepare(512, 512)
    scaling_table(report, classifier)
    memory_table(report, real_field(data)[0], model, classifier)
    classifier.close()
