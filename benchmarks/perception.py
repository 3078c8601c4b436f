"""How good are the shipped networks, and how fast, beside peers on the same images, one thread each?

`python -m benchmarks perception`, or with options `python -m benchmarks.perception --help`. Accuracy is that of
`reflexscope evaluate` (models/metrics.py, models/class_metrics.py) on splits that no choice was made on; the scikit-image
pipeline is tuned on the validation split first. Contestants take turns image by image, so that the machine's mood hits all
alike. StarDist takes part if benchmarks/stardist_peer.py was run before. Stages: perception_speed.py; scaling and
memory: perception_growth.py.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from benchmarks import perception_growth, perception_speed
from benchmarks.perception_data import FLUORESCENCE, PHASE, U2OS, UNLIKE_TRAINING, Sample, crops, samples
from benchmarks.perception_peers import (
    ABOUT,
    IOU,
    ONE_THREAD,
    Contestant,
    ScikitImage,
    StarDist,
    classical,
    networks,
    tuned,
)
from benchmarks.tables import Report
from models.class_metrics import class_figures, group_of_class, of_groups
from models.classifier import NetworkClassifier
from models.crops import normalise
from models.manifest import find_classifier
from models.metrics import Agreement, Summary, agreement, summary

ROOT = Path(__file__).parents[1]
ROUNDS = 2
NUCLEI = (
    (FLUORESCENCE, "dsb2018, fluorescence"),
    (UNLIKE_TRAINING, "dsb2018, imaging unlike the training set (ood)"),
    (U2OS, "bbbc039"),
)
PUBLISHED = ("StarDist as published", 0.864, 0.804, 0.685, 0.450, 0.119)
"""Average precision on the authors' own split of this set (Schmidt et al., MICCAI 2018, arXiv:1806.03535)."""


@dataclass(frozen=True)
class Options:
    """What takes part."""

    data: Path = ROOT.parent / "shared" / "data"
    nuclei: tuple[str, ...] = ("nuclei", "nuclei-fast")
    phase: str = "phase-cells"
    classifier: str = "mitosis"
    stardist: Path = Path("stardist")


@dataclass
class Entry:
    """A contestant's answers to one set of images."""

    figures: list[Agreement] = field(default_factory=list)
    wall_ms: list[list[float]] = field(default_factory=list)
    """A list an image, of its rounds."""
    cpu_ms: float = 0.0

    @property
    def speed(self) -> tuple[str, ...]:
        """See SPEED."""
        each = [median(rounds) for rounds in self.wall_ms]
        cpu_s = self.cpu_ms / 1000 / ROUNDS
        tails = (f"{median(each):.1f}", f"{np.quantile(each, 0.95):.1f}")
        return f"{1000 * len(each) / sum(each):.1f}", f"{len(each) / cpu_s:.1f}", *tails


SPEED = ("images/s", "images per processor second", "wall ms p50", "p95")


def contest(contestants: Sequence[Contestant], images: Sequence[Sample]) -> dict[str, Entry]:
    """All answer to all images: once for the figures, then in turns for the times."""
    entries = {contestant.name: Entry() for contestant in contestants}
    for shape, same_size in groupby(images, lambda sample: sample.pixels.shape):
        for contestant in contestants:
            contestant.prepare(*shape)
        for sample in same_size:
            for contestant in contestants:
                answer = contestant.segment(sample.pixels)
                entries[contestant.name].figures.append(agreement(sample.truth, answer.labels))
            for contestant, times in _times(contestants, sample):
                entries[contestant.name].wall_ms.append([wall_ms for wall_ms, _ in times])
                entries[contestant.name].cpu_ms += sum(cpu_ms for _, cpu_ms in times)
    return entries


def _times(contestants: Sequence[Contestant], sample: Sample) -> Iterator[tuple[Contestant, list[tuple[float, float]]]]:
    rounds = [[contestant.segment(sample.pixels) for contestant in contestants] for _ in range(ROUNDS)]
    for contestant, answers in zip(contestants, zip(*rounds, strict=True), strict=True):
        yield contestant, [(answer.wall_ms, answer.cpu_ms) for answer in answers]


def nuclei_tables(report: Report, options: Options) -> None:
    recipe = tuned([samples(options.data, question, "val") for question in (FLUORESCENCE, U2OS)])
    contestants: list[Contestant] = [*networks(options.nuclei), classical(), ScikitImage(recipe)]
    missing = "" if (options.stardist / ABOUT).is_file() else " StarDist: not run (see benchmarks/stardist_peer.py)."
    if not missing:
        contestants.append(StarDist(options.stardist.resolve()))
    for question, title in NUCLEI:
        entries = contest(contestants, samples(options.data, question, "public_test"))
        rows = [(name, *_figures(entry), *entry.speed) for name, entry in entries.items()]
        if question is FLUORESCENCE:
            rows.append(_published())
        report.table(
            f"Nuclei beside peers: {title}, public_test",
            f"{_size(entries)}; one thread each, from pixels to labels. AP: mean of the images' TP / (TP + FP + FN); F1 of all "
            f"nuclei pooled. {recipe.words}.{missing}",
            ("contestant", *(f"AP {iou:g}" for iou in IOU), "mean AP", "F1 0.5", "F1 0.7", "split", "merged", *SPEED),
            rows,
        )
    for contestant in contestants:
        contestant.close()


def phase_table(report: Report, options: Options) -> None:
    contestants = list(networks([options.phase]))
    entries = contest(contestants, samples(options.data, PHASE, "public_test"))
    report.table(
        "Whole cells in phase contrast: usiigaci_t98g_phase, public_test",
        f"{_size(entries)}; one thread.",
        ("network", *(f"AP {iou:g}" for iou in IOU), "mean AP", "F1 0.5", "F1 0.7", "split", "merged", *SPEED),
        [(name, *_figures(entry), *entry.speed) for name, entry in entries.items()],
    )
    for contestant in contestants:
        contestant.close()


def class_table(report: Report, options: Options) -> None:
    """MitoCheck: figures of the classes, and of the groups that policies use."""
    images, truth, names = crops(options.data, "public_test")
    manifest = find_classifier(options.classifier)[1]
    p = _probabilities(options.classifier, normalise(images.astype(np.float32)))
    truth = np.array([manifest.classes.index(names[i]) for i in truth])
    groups = of_groups(p, manifest.classes, manifest.groups), group_of_class(manifest.classes, manifest.groups)[truth]
    rows = []
    for what, figures in (
        ("classes", class_figures(p, truth, manifest.classes)),
        ("groups", class_figures(*groups, tuple(manifest.groups))),
    ):
        least = min(
            (v, n) for v, n in zip(figures.accuracy_of_class, figures.class_names, strict=True) if v is not None
        )
        rows.append(
            (
                f"{len(figures.class_names)} {what}",
                f"{figures.balanced_accuracy:.3f}",
                f"{figures.accuracy:.3f}",
                f"{figures.calibration_error:.3f}",
                f"{least[1]} {least[0]:.2f}",
                ", ".join(_aucs(figures.class_names, figures.auc_of_class)) if what == "groups" else "",
            )
        )
    report.table(
        "Phenotypes of single nuclei: mitocheck_phenotypes, public_test",
        f"{len(truth)} crops of nuclei, `{options.classifier}`.",
        ("of", "balanced accuracy", "accuracy", "calibration error", "worst", "AUC against the rest"),
        rows,
    )


def _probabilities(model: str, images: np.ndarray) -> np.ndarray:
    classifier = NetworkClassifier(model=model, classes="all", engine=ONE_THREAD)
    p = classifier.probabilities(images)
    classifier.close()
    return p


def _aucs(names: Iterable[str], aucs: Iterable[float | None]) -> list[str]:
    return [f"{name} {auc:.3f}" for name, auc in zip(names, aucs, strict=True) if auc is not None]


def _figures(entry: Entry) -> tuple[str, ...]:
    """Average precisions, their mean, F1 at 0.5 and 0.7, split and merged."""
    found: Summary = summary(entry.figures)
    ap = [found.mean_ap[iou] for iou in IOU]
    pooled = [found.pooled[iou].f1 for iou in (0.5, 0.7)]
    return tuple(f"{value:.3f}" for value in (*ap, np.mean(ap), *pooled, found.split_rate, found.merge_rate))


def _published() -> tuple[str, ...]:
    name, *ap = PUBLISHED
    return (name, *(f"{value:.3f}" for value in (*ap, np.mean(ap))), *[""] * 8)


def _size(entries: dict[str, Entry]) -> str:
    figures = next(iter(entries.values())).figures
    return f"{len(figures)} images, {sum(each.n_true for each in figures)} cells"


def speed_tables(report: Report, options: Options) -> None:
    perception_speed.main(report, options.data, options.nuclei, options.classifier)


def growth_tables(report: Report, options: Options) -> None:
    perception_growth.main(report, options.data, options.nuclei[-1], options.classifier)


PARTS = {
    "nuclei": nuclei_tables,
    "phase": phase_table,
    "classes": class_table,
    "speed": speed_tables,
    "growth": growth_tables,
}


def main(report: Report, options: Options | None = None, parts: Sequence[str] = tuple(PARTS)) -> None:
    options = options or Options()
    cv2.setNumThreads(1)
    for part in parts:
        if options.data.is_dir() or part in ("speed", "growth"):
            PARTS[part](report, options)
        else:
            print(f"{part}: not run, for there is no data in {options.data}; name its folder with --data", flush=True)


def _parser() -> argparse.ArgumentParser:
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.perception")
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"{', '.join(PARTS)}; all without a name")
    parser.add_argument("--data", type=Path, default=usual.data, help="holds dsb2018/, bbbc039/ …")
    parser.add_argument("--model", action="append", help="for nuclei: a shipped name or a folder; may be repeated")
    parser.add_argument("--phase", default=usual.phase, help="for cells in phase contrast")
    parser.add_argument("--classifier", default=usual.classifier)
    parser.add_argument(
        "--stardist", type=Path, default=usual.stardist, help="what benchmarks.stardist_peer train left"
    )
    return parser


if __name__ == "__main__":
    given = _parser().parse_args()
    models = tuple(given.model or Options.nuclei)
    main(Report(), Options(given.data, models, given.phase, given.classifier, given.stardist), given.parts)
