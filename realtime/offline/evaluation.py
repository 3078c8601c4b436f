"""Segmentations against truth, image by image: which files belong together, and all figures for JSON."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from models.images import ImageFile, open_image
from models.metrics import Agreement, Counts, Scores, agreement, summary
from realtime.offline.selection import Selection, files_by_stem, listed
from realtime.plugins import ConfigError

Pair = tuple[str, Path, Path]
"""Name, truth and prediction of an image."""
Agreements = dict[str, Agreement]
"""Image name → its figures."""
SCORES = {"average_precision": "AP", "precision": "precision", "recall": "recall", "f1": "F1"}


def compare(
    pairs: Iterable[Pair], thresholds: Sequence[float], stack: bool = False, done: Callable[[], None] = lambda: None
) -> Agreements:
    """Figures of every pair of label images; `done` is called after each. Raises ConfigError, ImageError."""
    found = {}
    for name, true_file, predicted_file in pairs:
        true, predicted = open_image(true_file), open_image(predicted_file)
        for file in () if stack else (true, predicted):
            file.single()
        if (true.n_planes, true.shape) != (predicted.n_planes, predicted.shape):
            raise ConfigError(
                f"{predicted_file} is {_size(predicted)}, its truth {true_file} is {_size(true)}: "
                "they do not show the same"
            )
        for number, planes in enumerate(zip(true.labels(), predicted.labels(), strict=True)):
            found[name if true.n_planes == 1 else f"{name}[{number}]"] = agreement(*planes, thresholds)
        done()
    return found


def paired(truth: Path, prediction: Path, selection: Selection | None) -> list[Pair]:
    """Label images of two folders, matched by name without extension, or two files as they are.

    Raises ConfigError if one is missing or too many.
    """
    for path in (truth, prediction):
        if not path.exists():
            raise ConfigError(f"{path} does not exist; a folder of label images, or one label image, is needed")
    if truth.is_dir() != prediction.is_dir():
        raise ConfigError(f"{truth} and {prediction} must both be folders of label images, or both be one label image")
    if not truth.is_dir():
        if selection is not None:
            raise ConfigError(f"--list chooses files of folders, and {truth} is a file")
        return [(truth.stem, truth, prediction)]
    true, predicted = files_by_stem(truth), files_by_stem(prediction)
    known = frozenset(true) if selection is None else selection.known
    if surplus := [file.name for name, file in predicted.items() if name not in known]:
        source = truth if selection is None else selection.table
        raise ConfigError(f"{prediction} has files that {source} does not: {listed(surplus)}; take them out")
    if selection is not None:
        true, predicted = selection.of(true, truth), selection.of(predicted, prediction)
    if missing := [file.name for name, file in true.items() if name not in predicted]:
        raise ConfigError(
            f"{prediction} lacks a prediction for {listed(missing)} of {truth}: add it, or choose with --list"
        )
    return [(name, file, predicted[name]) for name, file in true.items()]


def as_json(found: Agreements, per_image: bool) -> dict[str, Any]:
    """All figures, IoU thresholds as text keys; `per_image` adds those of every image."""
    figures = summary(found.values())
    plain = {
        "images": figures.n_images,
        "images_without_objects": figures.n_empty,
        "true_objects": figures.n_true,
        "predicted_objects": figures.n_predicted,
        "mean_average_precision": figures.mean_average_precision,
        "per_image": {threshold_words(t): _scores(scores) for t, scores in figures.per_image.items()},
        "pooled": {threshold_words(t): _counts(counts) for t, counts in figures.pooled.items()},
        "dice": {"per_image": figures.dice, "pooled": figures.pixels.f1},
        "jaccard": {"per_image": figures.jaccard, "pooled": figures.pixels.average_precision},
        "split_rate": figures.split_rate,
        "merge_rate": figures.merge_rate,
    }
    return plain | ({"each_image": {name: _one_image(each) for name, each in found.items()}} if per_image else {})


def _one_image(each: Agreement) -> dict[str, Any]:
    return {
        "true_objects": each.n_true,
        "predicted_objects": each.n_predicted,
        "mean_average_precision": each.mean_average_precision,
        "at": {threshold_words(t): _counts(counts) for t, counts in each.at.items()},
        "dice": each.dice,
        "jaccard": each.jaccard,
        "split": each.split,
        "merged": each.merged,
    }


def _counts(counts: Counts) -> dict[str, float]:
    return {"found": counts.found, "invented": counts.invented, "missed": counts.missed} | _scores(counts)


def _scores(scores: Scores | Counts) -> dict[str, float]:
    return {name: getattr(scores, name) for name in SCORES}


def threshold_words(threshold: float) -> str:
    """`0.5`, `0.55`."""
    return f"{threshold:g}"


def _size(file: ImageFile) -> str:
    planes = f" × {file.n_planes} planes" if file.n_planes > 1 else ""
    return f"{file.shape[1]} × {file.shape[0]} px{planes}"
