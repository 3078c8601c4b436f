"""What does measuring cost? Beside scikit-image, by the number of cells, and whether memory stays flat."""

import gc
import math
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import cv2
import numpy as np
import psutil
from skimage.measure import regionprops_table

from acquisition.frame import FrameHeader, StagePosition, affine_at
from benchmarks.tables import Report
from models.cells import Labels
from models.features import FEATURES
from models.measure import measure, warm_up
from models.runs import Image

UM_PER_PX = 0.5
ALL = tuple(FEATURES)
ALWAYS = ("label", "area", "bbox", "centroid", "intensity_mean")
IN_BOTH = {
    "eccentricity": "eccentricity",
    "orientation_rad": "orientation",
    "major_um": "axis_major_length",
    "minor_um": "axis_minor_length",
    "perimeter_um": "perimeter",
    "solidity": "solidity",
    "max_intensity": "intensity_max",
    "min_intensity": "intensity_min",
    "sd_intensity": "intensity_std",
}
N_CELLS = (10, 100, 1_000, 10_000)
N_FRAMES = 10_000


def nuclei(n: int, size_px: int, axes_px: tuple[float, float], seed: int = 0) -> tuple[Image, Labels]:
    """Ellipses on a jittered grid, mean full axes as given."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size_px, size_px), np.int32)
    side = math.ceil(math.sqrt(n))
    for i in range(n):
        middle = (np.array([i % side, i // side]) + 0.5) * size_px / side + rng.uniform(-2, 2, 2)
        axes = rng.uniform(0.8, 1.2, 2) * axes_px
        cv2.ellipse(labels, (tuple(middle), tuple(axes), rng.uniform(0, 180)), i + 1, -1)
    return rng.gamma(4.0, 200.0, labels.shape).astype(np.float32), labels


def view(labels: Labels) -> FrameHeader:
    rows, columns = labels.shape
    return FrameHeader(
        index=0, t_ns=0, t_read_ns=0, height_px=rows, width_px=columns, dtype="uint16", channel="", exposure_ms=1.0,
        interval_ms=1.0, light_mw=0.0, stage=StagePosition(), um_per_px=UM_PER_PX,
        stage_from_pixel=affine_at(StagePosition(), (UM_PER_PX, 0.0, 0.0, UM_PER_PX), labels.shape),
    )  # fmt: skip


def medians_ms(*works: Callable[[], object], rounds: int) -> list[float]:
    """Of each work, all in turn: the thread's own time, which other programs on the machine hardly change."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, took in zip(works, times, strict=True):
            started = time.thread_time()
            work()
            took.append((time.thread_time() - started) * 1000)
    return [median(took) for took in times]


def peer_rows() -> list[tuple[str, ...]]:
    image, labels = nuclei(252, 512, (15, 21))
    header = view(labels)
    rows = []
    for what, ours, theirs in (
        ("no extra features", (), ()),
        ("the features both have", tuple(IN_BOTH), tuple(IN_BOTH.values())),
        ("all features of ours, the same of theirs", ALL, tuple(IN_BOTH.values())),
    ):
        ms, peer_ms = medians_ms(
            partial(measure, header, image, labels, ours),
            partial(regionprops_table, labels, image, (*ALWAYS, *theirs)),
            rounds=30,
        )
        rows.append((what, f"{ms:.2f}", f"{peer_ms:.1f}", f"{peer_ms / ms:.0f}×"))
    return rows


def scaling_rows() -> list[tuple[str, ...]]:
    rows = []
    for n in N_CELLS:
        image, labels = nuclei(n, 2048, (13, 18))
        header = view(labels)
        works = [partial(measure, header, image, labels, features) for features in ((), tuple(IN_BOTH), ALL)]
        rows.append((str(n), *(f"{ms:.2f}" for ms in medians_ms(*works, rounds=15))))
    return rows


def memory_row() -> tuple[str, ...]:
    image, labels = nuclei(64, 256, (15, 21))
    header, process = view(labels), psutil.Process()
    used_mb = []
    for frame in range(1, N_FRAMES + 1):
        measure(header, image, labels, ALL)
        if frame % (N_FRAMES // 10) == 0:
            gc.collect()
            used_mb.append(process.memory_full_info().uss / 1e6)
    return str(N_FRAMES), f"{used_mb[0]:.1f}", f"{used_mb[-1]:.1f}", f"{used_mb[-1] / used_mb[0] - 1:+.2%}"


def main(report: Report) -> None:
    warm_up()
    report.table(
        "Measurement: private memory after a tenth of the frames and at the end",
        "64 nuclei, 256×256, all features.",
        ("frames", "after a tenth MB", "at the end MB", "growth"),
        [memory_row()],
    )
    report.table(
        "Measurement beside scikit-image: 252 nuclei, 512×512, one thread",
        "Processor time of one frame, median of 30 in turn. Label, area, bounding box, centroid and mean intensity are always "
        "in it; features of both: "
        + ", ".join(IN_BOTH)
        + ". Ours has also the local background, texture and neighbours.",
        ("measured", "ours ms", "regionprops_table ms", "ours is faster"),
        peer_rows(),
    )
    report.table(
        "Measurement by number of cells: 2048×2048, one thread",
        "Processor time of one frame, median of 15, cells of about 180 pixels. Without cells a look at every pixel is left.",
        ("cells", "no extra features ms", "those of scikit-image ms", "all features ms"),
        scaling_rows(),
    )


if __name__ == "__main__":
    main(Report())
