"""Data folders: `images/` and `labels/` with equal file names, and a `splits.csv` that says which image serves for what."""

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from models.images import image_files

SPLIT_COLUMN, FILE_COLUMN, GROUP_COLUMN = "split", "file", "group"
Row = dict[str, str]
"""A line of splits.csv."""
VALIDATION_IN = 5
"""Of a folder without splits.csv, one image in so many validates."""


class DataError(ValueError):
    """A data folder that cannot be used: which, why, and what is needed."""


class DataRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One data set as a recipe knows it, by the name of its folder."""

    name: str
    where: dict[str, str] = {}
    """Only lines of splits.csv whose columns have these values."""
    share: Annotated[float, Meta(gt=0)] = 1.0
    """How often its images are drawn, in relation to those of other data sets."""
    licence: str = "not stated"
    source: str = "not stated"
    """Where it comes from, and whom to cite."""


@dataclass(frozen=True)
class DataSet:
    """A folder and the images that are wanted of it."""

    folder: Path
    rules: DataRules
    rows: tuple[Row, ...]
    """Lines of its table that are wanted: `file`, `split` and whatever else there is."""
    warning: str = ""

    @property
    def name(self) -> str:
        return self.rules.name

    def files(self, split: str) -> list[str]:
        """Names of the images of one split, in the order of the table."""
        return [row[FILE_COLUMN] for row in self.rows if row[SPLIT_COLUMN] == split]

    def splits(self) -> list[str]:
        """Names of the splits, in the order of their first image."""
        return list(dict.fromkeys(row[SPLIT_COLUMN] for row in self.rows))


def find_data(folders: Sequence[Path], known: Sequence[DataRules], seed: int = 0) -> list[DataSet]:
    """The data sets in `folders`: each is one, or holds those that the recipe knows. Raises DataError.

    They come in the order of the recipe, those it does not know last by their names: a run then repeats whatever the
    order given.
    """
    if not folders:
        names = ", ".join(rules.name for rules in known)
        raise DataError(f"no data: give --data FOLDER, for this recipe {names or 'one with images/ and labels/'}")
    found = [folder for each in folders for folder in _data_sets_in(each, known)]
    rank = {rules.name: i for i, rules in enumerate(known)}
    rules_of = {rules.name: rules for rules in known}
    found.sort(key=lambda folder: (rank.get(folder.name, len(rank)), folder.name))
    for one, other in pairwise(found):
        if one.name == other.name:
            raise DataError(
                f"{one} and {other} have the same name, by which cards and checkpoints know them: rename one"
            )
    return [_data_set(folder, rules_of.get(folder.name, DataRules(name=folder.name)), seed) for folder in found]


def _data_sets_in(folder: Path, known: Sequence[DataRules]) -> list[Path]:
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    if (folder / "images").is_dir():
        return [folder]
    inside = [folder / rules.name for rules in known if (folder / rules.name / "images").is_dir()]
    if not inside:
        names = ", ".join(rules.name for rules in known) or "none"
        raise DataError(
            f"{folder} is not a data set: it has no images/ and labels/, and no folder that the recipe names ({names})"
        )
    return inside


def _data_set(folder: Path, rules: DataRules, seed: int) -> DataSet:
    if not (folder / "labels").is_dir():
        raise DataError(f"{folder} has images/ but no labels/ with the same file names")
    table = folder / "splits.csv"
    rows, warning = (_rows(table, rules.where), "") if table.is_file() else _split_by_name(folder, seed)
    wanted = tuple(row for row in rows if all(row[column] == value for column, value in rules.where.items()))
    if not any(row[SPLIT_COLUMN] == "train" for row in wanted):
        conditions = "".join(f' and {column} "{value}"' for column, value in rules.where.items())
        raise DataError(f'{folder}: no image has split "train"{conditions}; there is nothing to learn from')
    return DataSet(folder, rules, wanted, warning)


def read_rows(table: Path) -> tuple[list[Row], list[str]]:
    """The lines of a CSV file and its columns; what a line lacks is empty. Raises DataError."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            return list(reader), list(reader.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read as CSV ({error}); save it with commas, as UTF-8") from error


def _rows(table: Path, where: dict[str, str]) -> list[Row]:
    rows, columns = read_rows(table)
    for column in (FILE_COLUMN, SPLIT_COLUMN, *where):
        if column not in columns:
            raise DataError(f"{table} has no column {column}; it has {', '.join(columns) or 'none'}")
    for file_name, times in Counter(row[FILE_COLUMN] for row in rows).items():
        if times > 1:
            raise DataError(f"{table} names {file_name} {times} times; an image is learned from or judged by, not both")
    return rows


def _split_by_name(folder: Path, seed: int) -> tuple[list[Row], str]:
    """Split by a hash of each name: images added later move few of the others."""
    names = [path.name for path in image_files(folder / "images")]
    if len(names) < 2:
        raise DataError(f"{folder / 'images'} holds {len(names)} images; at least two are needed: one to validate on")
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    validation = set(drawn[: max(1, round(len(names) / VALIDATION_IN))])
    rows = [{FILE_COLUMN: name, SPLIT_COLUMN: "val" if name in validation else "train"} for name in names]
    return rows, (
        f"{folder} has no splits.csv: {len(validation)} of {len(names)} images were drawn for validation. Fields of one "
        "movie or well must not be on both sides, or the figures flatter: keep them together in a splits.csv with the "
        "columns file,split"
    )
