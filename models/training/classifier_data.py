"""Labelled crops of single cells: read from a data folder, told apart by split, divided anew for folds and fractions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.training.data import GROUP_COLUMN, DataError, DataRules, read_rows
from models.training.splitting import shuffled_groups

Mask = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]

CROPS, TABLE = "crops.npz", "labels.csv"
ARRAYS = ("images", "labels", "class_names", "split")


@dataclass(frozen=True)
class LabelledCrops:
    """Crops with their classes; row i of every array is the same crop."""

    images: npt.NDArray[np.integer[Any]]  # [N, S, S] counts as stored
    classes: npt.NDArray[np.int64]  # [N] place in `names`
    groups: Strings  # [N] what must not be torn apart by a split: the movie
    splits: Strings  # [N]
    names: tuple[str, ...]
    rules: DataRules

    def __len__(self) -> int:
        return len(self.classes)

    def part(self, wanted: Mask) -> "LabelledCrops":
        """Some of them."""
        rows = {name: getattr(self, name)[wanted] for name in ("images", "classes", "groups", "splits")}
        return replace(self, **rows)

    def of(self, split: str) -> "LabelledCrops":
        """Those of one split."""
        return self.part(self.splits == split)

    def n_of_class(self) -> npt.NDArray[np.int64]:
        """How many there are of each class, `[K]`."""
        return np.bincount(self.classes, minlength=len(self.names))


def find_crops(folders: Sequence[Path], known: Sequence[DataRules]) -> LabelledCrops:
    """The crops in `folders`: one is a data set, or holds the one that the recipe knows. Raises DataError."""
    rules_of = {rules.name: rules for rules in known}
    for folder in (folder.expanduser().resolve() for folder in folders):
        for place in (folder, *(folder / name for name in rules_of)):
            if (place / CROPS).is_file():
                return read_crops(place, rules_of.get(place.name, DataRules(name=place.name)))
    raise DataError(
        f"no {CROPS} in {', '.join(map(str, folders)) or 'no folder'}: give --data FOLDER with that file, "
        f"which holds {', '.join(ARRAYS)}"
    )


def read_crops(folder: Path, rules: DataRules) -> LabelledCrops:
    """A folder with `crops.npz` (images[N, S, S], labels[N], class_names[K], split[N]) and, if crops belong together,
    `labels.csv` with a line a crop and the column `group`. Raises DataError."""
    path = folder / CROPS
    try:
        with np.load(path, allow_pickle=False) as stored:
            images, labels, names, splits = (stored[name] for name in ARRAYS)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}); it must hold {', '.join(ARRAYS)}") from error
    if images.ndim != 3 or not np.issubdtype(images.dtype, np.integer):
        raise DataError(f"{path}: images are {images.dtype} {list(images.shape)}; integer counts [N, S, S] are needed")
    if (
        not len(images) == len(labels) == len(splits)
        or labels.min(initial=0) < 0
        or labels.max(initial=0) >= len(names)
    ):
        raise DataError(
            f"{path}: {len(images)} images, {len(labels)} labels up to {labels.max(initial=0)}, {len(splits)} splits and "
            f"{len(names)} class names do not fit together"
        )
    kept = tuple(str(name) for name in names)
    return LabelledCrops(images, labels.astype(np.int64), _groups(folder / TABLE, len(images)), splits, kept, rules)


def folded(crops: LabelledCrops, number: int, n_folds: int, seed: int) -> LabelledCrops:
    """Fold `number` (from 0) of `n_folds`: its groups of train and val validate, the rest is learned from."""
    used = crops.part(np.isin(crops.splits, ("train", "val")))
    order = shuffled_groups(used.groups.tolist(), seed)
    held_out = np.isin(used.groups, order[number::n_folds])
    return replace(used, splits=np.where(held_out, "val", "train"))


def reduced(crops: LabelledCrops, share: float) -> LabelledCrops:
    """The same validation crops and about `share` of the training crops of each class, at least one; not by groups:
    a class of which nearly all crops are from one movie would be all there or not at all."""
    rank = np.zeros(len(crops), np.int64)
    train = crops.splits == "train"
    for k in range(len(crops.names)):
        mine = np.flatnonzero(train & (crops.classes == k))
        rank[mine] = np.arange(len(mine))
    kept = ~train | (rank < np.maximum(1, np.round(share * crops.of("train").n_of_class()))[crops.classes])
    return crops.part(kept)


def _groups(table: Path, n: int) -> Strings:
    if not table.is_file():
        return np.arange(n).astype(np.str_)
    rows, _ = read_rows(table)
    if len(rows) != n or not all(row.get(GROUP_COLUMN) for row in rows):
        raise DataError(f"{table} must have {n} lines, one a crop, and the column {GROUP_COLUMN} filled in each")
    return np.array([row[GROUP_COLUMN] for row in rows])
