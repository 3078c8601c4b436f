"""What `reflexscope classify` does: crops of single cells → a table of their classes."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from models.classifier import NetworkClassifier
from models.crop_files import CropSet
from models.crops import normalise
from models.images import ImageError
from models.label_files import replaced
from models.manifest import find_classifier

AT_ONCE = 512
"""Crops that are normalised together."""
Row = dict[str, str]


def require_side(found: CropSet, model: str, path: Path) -> None:
    """Raises ImageError if the crops are not of the size that the model was trained with."""
    side_px = find_classifier(model)[1].side_px
    _, height_px, width_px = found.images.shape
    if (height_px, width_px) != (side_px, side_px):
        raise ImageError(
            f"{path}: crops of {width_px} × {height_px} px; model {model} looks at {side_px} × {side_px} px. Cut them again "
            "at that size, the cell in the middle"
        )


def class_rows(found: CropSet, classifier: NetworkClassifier, done: Callable[[int], None]) -> Iterator[Row]:
    """A row a crop: index, class, p_<class>…, and file if it had one; `done` is told how many after each batch."""
    names = classifier.class_names
    for start in range(0, len(found.images), AT_ONCE):
        images = found.images[start : start + AT_ONCE]
        p_class = classifier.probabilities(normalise(images.astype(np.float32)))
        for index, p in enumerate(p_class.tolist(), start):
            row = {"index": str(index), "class": names[p.index(max(p))]}
            row |= {f"p_{name}": f"{share:.6g}" for name, share in zip(names, p, strict=True)}
            yield row if found.names is None else row | {"file": found.names[index]}
        done(len(images))


def write_rows(path: Path, rows: list[Row]) -> None:
    """All rows as CSV; the file appears whole or not at all."""
    with replaced(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
