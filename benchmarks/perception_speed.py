"""Where do the milliseconds between a frame and its cells go, and what would scikit-image take for the same?

One thread, a 512×512 field of real nuclei. Part of benchmarks/perception.py.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from skimage.measure import label, regionprops_table
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from acquisition.frame import Frame, FrameHeader, StagePosition, affine_at
from benchmarks.measurement import ALWAYS, IN_BOTH
from benchmarks.perception_data import field_of
from benchmarks.perception_peers import ONE_THREAD, without_small
from benchmarks.rigs import discs
from benchmarks.tables import Report
from models.cells import Cells, Labels
from models.classifier import NetworkClassifier
from models.crops import normalised_crops
from models.images import Counts
from models.label_rules import LabelRules
from models.labelling import Maps, label_maps, logit
from models.measure import measure, warm_up
from models.normalise import levels, normalised
from models.perception import Perception, preprocess
from models.segmenter import NetworkSegmenter

SIDE_PX, N_CELLS, UM_PER_PX = 512, 100, 0.65
N_WARM, N_FRAMES, N_PEER = 5, 150, 40
STAGES = ("preprocessed", "inferred", "labelled", "measured", "classified")
SUMS = {"**labels and measures**": [2, 3], "**after the network**": [2, 3, 4], "**total**": [0, 1, 2, 3, 4]}
"""Places in STAGES. What comes after the network contains a second one, the classifier's."""
TYPICAL = tuple(IN_BOTH)
"""What scikit-image measures as well."""


def frame_of(pixels: Counts) -> Frame:
    rows, columns = pixels.shape
    header = FrameHeader(
        index=0, t_ns=0, t_read_ns=0, height_px=rows, width_px=columns, dtype="uint16", channel="", exposure_ms=1.0,
        interval_ms=1.0, light_mw=0.0, stage=StagePosition(), um_per_px=UM_PER_PX,
        stage_from_pixel=affine_at(StagePosition(), (UM_PER_PX, 0.0, 0.0, UM_PER_PX), pixels.shape),
    )  # fmt: skip
    return Frame(header, np.ascontiguousarray(pixels.astype(np.uint16)))


def real_field(data: Path) -> tuple[Frame, str]:
    """About a hundred nuclei, and what they are; drawn ones where there is no data."""
    if not data.is_dir():
        return frame_of(discs(SIDE_PX, N_CELLS, 0)), "drawn discs"
    sample = field_of(data, SIDE_PX, N_CELLS)
    return frame_of(sample.pixels), f"bbbc039 {sample.name}, middle {SIDE_PX}×{SIDE_PX}"


def segmenter_of(model: str, side_px: int) -> NetworkSegmenter:
    segmenter = NetworkSegmenter(model=model, engine=ONE_THREAD)
    segmenter.prepare(side_px, side_px)
    return segmenter


@dataclass
class Times:
    """Milliseconds of every round."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    """Processor time of this process: other programs on the machine hardly change it."""

    def add(self, wall_s: float, cpu_s: float) -> None:
        self.wall_ms.append(wall_s * 1000)
        self.cpu_ms.append(cpu_s * 1000)

    @property
    def row(self) -> tuple[str, str, str]:
        """See COLUMNS."""
        return f"{median(self.cpu_ms):.2f}", f"{median(self.wall_ms):.2f}", f"{np.quantile(self.wall_ms, 0.95):.2f}"


COLUMNS = ("processor ms p50", "wall ms p50", "p95")


def now_s() -> np.ndarray:
    """Wall and processor time."""
    return np.array([time.perf_counter(), time.process_time()])


def in_turn(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Times of each work, all in turn, after one round that does not count."""
    times = {name: Times() for name in works}
    for i in range(rounds + 1):
        for name, work in works.items():
            started = now_s()
            work()
            if i:
                times[name].add(*(now_s() - started))
    return times


# --- stages ------------------------------------------------------------------------------------------------------------


def stage_tables(report: Report, frame: Frame, what: str, models: Sequence[str], classifier: NetworkClassifier) -> None:
    segmenters = {model: segmenter_of(model, SIDE_PX) for model in models}
    spans: dict[str, list[np.ndarray]] = {model: [] for model in models}
    for i in range(N_WARM + N_FRAMES):
        for model, segmenter in segmenters.items():
            span = _spans_ms(Perception(segmenter, classifier, TYPICAL), frame)
            if i >= N_WARM:
                spans[model].append(span)
    for model, segmenter in segmenters.items():
        perception = Perception(segmenter, classifier, TYPICAL)
        cells = perception.analyse(frame)
        report.table(
            f"Whole perception of a 512×512 frame by `{Path(model).name}`, one thread",
            f"{what}; {len(cells)} cells found; {N_FRAMES} frames, models in turn; {_short(segmenter)}; {_short(classifier)}. "
            f"Measured: {', '.join(TYPICAL)}, and always area, centroid, bounding box, mean. Shares are of processor time.",
            ("stage", *COLUMNS, "share"),
            [*_stage_rows(np.array(spans[model])), *_part_rows(segmenter, frame, cells)],
        )
        segmenter.close()


def _short(part: NetworkSegmenter | NetworkClassifier) -> str:
    """What runs on which engine, without remarks in brackets and how it was checked."""
    words = part.description
    while (fewer := re.sub(r" ?\([^()]*\)", "", words)) != words:
        words = fewer
    return words.split(";")[0]


def _spans_ms(perception: Perception, frame: Frame) -> np.ndarray:
    """`[stages, 2]`: wall and processor time."""
    ends = [now_s()]
    perception.analyse(frame, lambda stage: ends.append(now_s()))
    return np.diff(ends, axis=0) * 1000


def _stage_rows(spans_ms: np.ndarray) -> Iterator[tuple[str, ...]]:
    """Of `[frames, stages, 2]`; shares are those of each frame, their median."""
    parts = {stage: [i] for i, stage in enumerate(STAGES)} | SUMS
    for name, columns in parts.items():
        part = spans_ms[:, columns].sum(axis=1)
        share = np.median(part[:, 1] / spans_ms[:, :, 1].sum(axis=1))
        yield name, *Times(part[:, 0].tolist(), part[:, 1].tolist()).row, f"{share:.1%}"


def _part_rows(segmenter: NetworkSegmenter, frame: Frame, cells: Cells) -> Iterator[tuple[str, ...]]:
    """What is within a stage, measured by itself."""
    image, labels = preprocess(frame.pixels), cells.labels
    assert labels is not None
    works: dict[str, Callable[[], object]] = {
        "within inferred: normalising": lambda: normalised(image, *levels(image)),
        "measured, if no feature is asked for": lambda: measure(frame.header, image, labels),
        "within classified: cutting crops": lambda: normalised_crops(image, cells.xy_px),
    }
    for name, times in in_turn(works, N_FRAMES).items():
        yield name, *times.row, ""


# --- beside scikit-image -----------------------------------------------------------------------------------------------


def peer_table(report: Report, frame: Frame, what: str, model: str) -> None:
    """Each of ours in turn with the same by scikit-image."""
    image = preprocess(frame.pixels)
    segmenter = segmenter_of(model, SIDE_PX)
    maps, rules = segmenter.infer(image).copy(), segmenter.rules
    labels = label_maps(maps, rules)
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "labels; seeds: where the map is above `peak`": (
            lambda: label_maps(maps, rules),
            lambda: watershed_route(maps, rules, by_prominence=False),
        ),
        "labels; seeds: summits of enough prominence, like ours": (
            lambda: label_maps(maps, rules),
            lambda: watershed_route(maps, rules, by_prominence=True),
        ),
        "area, box, centroid, mean": (
            lambda: measure(frame.header, image, labels),
            lambda: regionprops_table(labels, image, ALWAYS),
        ),
        "and the typical features": (
            lambda: measure(frame.header, image, labels, TYPICAL),
            lambda: regionprops_table(labels, image, (*ALWAYS, *IN_BOTH.values())),
        ),
    }
    report.table(
        "After the network: ours beside scikit-image",
        f"{what}, maps of `{Path(model).name}`: {labels.max()} cells, by scikit-image's routes "
        f"{watershed_route(maps, rules, False).max()} and {watershed_route(maps, rules, True).max()}; measured on the same "
        f"labels. {N_PEER} rounds in turn; the ratio is that of processor times.",
        ("work", *COLUMNS, *(f"scikit-image {column}" for column in COLUMNS), "ours is faster"),
        [(name, *_peer_row(*pair)) for name, pair in pairs.items()],
    )
    segmenter.close()


def _peer_row(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[str, ...]:
    times = in_turn({"ours": ours, "theirs": theirs}, N_PEER)
    ratio = median(long / short for short, long in zip(times["ours"].cpu_ms, times["theirs"].cpu_ms, strict=True))
    return *times["ours"].row, *times["theirs"].row, f"{ratio:.1f}×"


def watershed_route(maps: Maps, rules: LabelRules, by_prominence: bool) -> Labels:
    """Threshold, find seeds, let them grow over the foreground, drop what is small."""
    foreground, height = maps
    inside = foreground > logit(rules.foreground)
    seeds = h_maxima(np.where(inside, height, 0), rules.prominence) if by_prominence else inside & (height > rules.peak)
    return without_small(watershed(-height, label(seeds, connectivity=1), mask=inside), rules.min_area_px)


def main(report: Report, data: Path, models: Sequence[str], classifier_model: str) -> None:
    warm_up()
    frame, what = real_field(data)
    classifier = NetworkClassifier(model=classifier_model, engine=ONE_THREAD)
    classifier.prepare(512, 512)
    stage_tables(report, frame, what, models, classifier)
    peer_table(report, frame, what, models[0])
    classifier.close()
