"""Other divisions of the same data: folds of a cross-validation, parts of the training images. Groups stay together."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from models.training.data import FILE_COLUMN, GROUP_COLUMN, SPLIT_COLUMN, DataSet, Row


def folded(data: DataSet, number: int, n_folds: int, seed: int) -> DataSet:
    """Fold `number` (from 0) of `n_folds`: its part of train and val validates, the rest is learned from."""
    rows = [row for row in data.rows if row[SPLIT_COLUMN] in ("train", "val")]
    fold_of = {group: i % n_folds for i, group in enumerate(shuffled_groups([group_of(row) for row in rows], seed))}
    parts = tuple(row | {SPLIT_COLUMN: "val" if fold_of[group_of(row)] == number else "train"} for row in rows)
    return replace(data, rows=parts)


def reduced(data: DataSet, share: float, seed: int) -> DataSet:
    """The same validation images and about `share` of the training images; a smaller share is part of a larger one."""
    train = [row for row in data.rows if row[SPLIT_COLUMN] == "train"]
    kept: set[str] = set()
    n = 0
    for group in shuffled_groups([group_of(row) for row in train], seed):
        if n and n >= share * len(train):
            break
        kept.add(group)
        n += sum(group_of(row) == group for row in train)
    return replace(data, rows=tuple(r for r in data.rows if r[SPLIT_COLUMN] != "train" or group_of(r) in kept))


def shuffled_groups(groups: Sequence[str], seed: int) -> list[str]:
    """Each group once, in an order that depends on nothing but its name and the seed."""
    return sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).digest())


def group_of(row: Row) -> str:
    """What must not be torn apart: the column `group` where there is one, else the image alone."""
    return row.get(GROUP_COLUMN) or row[FILE_COLUMN]
