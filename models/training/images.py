"""Labelled images for training: read from data folders, normalised and measured once, kept in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.images import Counts, read_counts, read_labels
from models.normalise import Image, LevelRules, levels, normalised
from models.training.data import DataError, DataSet
from models.training.targets import inner_distance

Labels = npt.NDArray[np.uint16]

USUAL_PIXELS = 65_536
"""An image of 256 × 256 px is drawn as often as its data set's share says; larger ones more often."""


@dataclass(frozen=True)
class Example:
    """One annotated image."""

    data_set: str
    name: str
    pixels: Counts  # [H, W] counts as stored
    labels: Labels  # [H, W] 0 = background


@dataclass(frozen=True)
class Prepared:
    """What a training step draws its crops from, all `[H, W]`."""

    image: Image  # normalised
    labels: Labels
    distance: Image  # 1 in the middle of each object, 0 outside
    share: float = 1.0
    """How often it is drawn, in relation to others."""


def examples(data: Sequence[DataSet], split: str) -> Iterator[Example]:
    """The images of one split, data set after data set in the order of their tables. Raises DataError or ImageError."""
    for each in data:
        for name in each.files(split):
            pixels, labels = read_counts(each.folder / "images" / name), read_labels(each.folder / "labels" / name)
            if pixels.shape != labels.shape:
                raise DataError(
                    f"{each.folder}: images/{name} is {pixels.shape[1]} × {pixels.shape[0]} px, labels/{name} "
                    f"{labels.shape[1]} × {labels.shape[0]} px; they must be equal"
                )
            yield Example(each.name, name, pixels, small_numbers(labels))


def small_numbers(labels: npt.NDArray[np.int32]) -> Labels:
    """The same objects with numbers of 16 bits."""
    if labels.size and labels.max() > np.iinfo(np.uint16).max:
        labels = np.unique(np.append(0, labels), return_inverse=True)[1][1:].reshape(labels.shape).astype(np.int32)
    return labels.astype(np.uint16)


def prepared(example: Example, rules: LevelRules, share: float = 1.0) -> Prepared:
    """Normalise the image and measure the distances, once for all epochs."""
    image = normalised(example.pixels, *levels(example.pixels, rules))
    return Prepared(image, example.labels, inner_distance(example.labels), share)


def training_images(data: Sequence[DataSet], rules: LevelRules, size_power: float) -> list[Prepared]:
    """The training split, ready to draw from; an image of k times the usual size is drawn k ** `size_power` times as often."""
    shares = {each.name: each.rules.share for each in data}
    return [
        prepared(example, rules, shares[example.data_set] * (example.labels.size / USUAL_PIXELS) ** size_power)
        for example in examples(data, "train")
    ]
