"""Annotated images for benchmarks/perception.py, as stored; none of them is part of the project."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.cells import Labels
from models.images import Counts, read_counts, read_labels


@dataclass(frozen=True)
class Question:
    """A set of images, of which a table names the split."""

    folder: str
    where: tuple[tuple[str, str], ...] = ()
    """Columns of splits.csv and their values."""


@dataclass(frozen=True)
class Sample:
    """One annotated image."""

    name: str
    pixels: Counts  # [H, W]
    truth: Labels  # [H, W] 0 = background


FLUORESCENCE = Question("dsb2018", (("fluo", "1"), ("ood", "0")))
UNLIKE_TRAINING = Question("dsb2018", (("fluo", "1"), ("ood", "1")))
U2OS = Question("bbbc039")
PHASE = Question("usiigaci_t98g_phase")


def samples(data: Path, question: Question, split: str) -> list[Sample]:
    """Images of one split, those of a size one after the other: an engine is made for each size."""
    folder = data / question.folder
    with (folder / "splits.csv").open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["split"] == split]
    files = [row["file"] for row in rows if all(row[column] == value for column, value in question.where)]
    found = [Sample(f, read_counts(folder / "images" / f), read_labels(folder / "labels" / f)) for f in files]
    return sorted(found, key=lambda sample: sample.pixels.shape)


def crops(data: Path, split: str) -> tuple[Counts, np.ndarray, tuple[str, ...]]:
    """MitoCheck: crops `[N, S, S]`, the place of each one's class, and the classes' names."""
    with np.load(data / "mitocheck_phenotypes" / "crops.npz", allow_pickle=False) as arrays:
        here = arrays["split"] == split
        names = tuple(str(name) for name in arrays["class_names"])
        return arrays["images"][here], arrays["labels"][here].astype(np.int64), names


def field_of(data: Path, side_px: int, n_cells: int) -> Sample:
    """The middle of that U2OS field of the validation split which holds about so many nuclei there."""
    middles = [_middle(sample, side_px) for sample in samples(data, U2OS, "val")]
    return min(middles, key=lambda sample: abs(len(np.unique(sample.truth)) - 1 - n_cells))


def _middle(sample: Sample, side_px: int) -> Sample:
    top, left = ((length - side_px) // 2 for length in sample.pixels.shape)
    part = (slice(top, top + side_px), slice(left, left + side_px))
    return Sample(sample.name, np.ascontiguousarray(sample.pixels[part]), np.ascontiguousarray(sample.truth[part]))
