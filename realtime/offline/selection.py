"""Which files of a folder are meant: all, or those that a table names; files of the same stem belong together."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.images import image_files
from realtime.explain import did_you_mean
from realtime.plugins import ConfigError

Row = dict[str, str]
FILE_COLUMNS = ("file", "image", "name")


@dataclass(frozen=True)
class Selection:
    """The rows of a table that are wanted, and what the whole table speaks of; files by their names without extension."""

    table: Path
    wanted: tuple[str, ...]
    known: frozenset[str]

    def of(self, files: dict[str, Path], folder: Path) -> dict[str, Path]:
        """The wanted ones among the files of a folder. Raises ConfigError if one is missing."""
        if missing := [name for name in self.wanted if name not in files]:
            raise ConfigError(
                f"{folder} lacks {listed(missing)} of {self.table}: add them, or narrow the choice by --where"
            )
        return {name: files[name] for name in self.wanted}


def read_selection(table: Path | None, where: Sequence[str]) -> Selection | None:
    """What `--list` and `--where` choose; None without a table."""
    if table is None:
        if where:
            raise ConfigError(f"--where {where[0]} chooses rows of a table: give the table with --list FILE.csv")
        return None
    rows = read_table(table)
    columns = [name for name in FILE_COLUMNS if name in rows[0]]
    if not columns:
        raise ConfigError(f"{table} has no column {' or '.join(FILE_COLUMNS)}; its columns are {', '.join(rows[0])}")
    column = columns[0]
    wanted = [Path(row[column]).stem for row in rows_where(rows, where, table)]
    if twice := repeated(wanted):
        raise ConfigError(f"{table} names {listed(twice)} more than once; one row a file is needed")
    return Selection(table, tuple(wanted), frozenset(Path(row[column]).stem for row in rows))


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV file by column. Raises ConfigError if it cannot be read or holds none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as CSV: {error}") from error
    if not rows:
        raise ConfigError(f"{path} holds no rows; a line of column names and one line for each entry are needed")
    if ragged := [number for number, row in enumerate(rows, 2) if None in row or None in row.values()]:
        raise ConfigError(
            f"{path}, line {ragged[0]}: its cells do not match the columns {', '.join(filter(None, rows[0]))}"
        )
    return rows


def rows_where(rows: list[Row], where: Sequence[str], table: Path) -> list[Row]:
    """The rows in which every `column=value` holds. Raises ConfigError if there is none."""
    for condition in where:
        column, equals, value = condition.partition("=")
        if not equals:
            raise ConfigError(f"--where {condition}: write column=value, as in --where split=val")
        if column not in rows[0]:
            raise ConfigError(
                f"--where {condition}: {table} has no column {column}{did_you_mean(column, rows[0])}; "
                f"its columns are {', '.join(rows[0])}"
            )
        seen = sorted({row[column] for row in rows})
        rows = [row for row in rows if row[column] == value]
        if not rows:
            raise ConfigError(f"--where {condition}: no row left of {table}; {column} is {listed(seen)}")
    return rows


def files_by_stem(path: Path) -> dict[str, Path]:
    """The image files of a folder, or one file, by name without extension. Raises ConfigError if two share one."""
    files = image_files(path) if path.is_dir() else [path]
    if twice := repeated(file.stem for file in files):
        raise ConfigError(f"{path} has more than one image called {listed(twice)}; files are matched by name: keep one")
    return {file.stem: file for file in files}


def repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, whatever their case: some file systems take such for the same."""
    names = list(names)
    times = Counter(name.casefold() for name in names)
    return sorted({name for name in names if times[name.casefold()] > 1})


def listed(names: Sequence[str], most: int = 5) -> str:
    """`a, b, c and 12 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
