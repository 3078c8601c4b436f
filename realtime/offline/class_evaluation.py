"""Classes of single cells against truth: two tables joined by their index."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.class_metrics import ClassFigures, class_figures, group_of_class, of_groups
from models.manifest import find_classifier
from realtime.offline.selection import Row, listed, read_table, repeated, rows_where
from realtime.plugins import ConfigError

CLASS_COLUMNS = ("class", "cls", "label")
PROBABILITY = "p_"


def class_agreement(truth: Path, prediction: Path, where: Sequence[str], model: str = "") -> dict[str, ClassFigures]:
    """Figures of `classes` and, if `model` names their groups, of `groups`. Raises ConfigError.

    Rows are joined by `index`. Predictions of groups alone are judged by the groups of the true classes.
    """
    known = _by_index(read_table(truth), truth)
    wanted = _by_index(rows_where(list(known.values()), where, truth), truth)
    given = _by_index(read_table(prediction), prediction)
    if surplus := [index for index in given if index not in known]:
        raise ConfigError(f"{prediction} has rows without a truth in {truth}: index {listed(surplus)}")
    if missing := [index for index in wanted if index not in given]:
        raise ConfigError(
            f"{prediction} lacks index {listed(missing)} of {truth}: classify all crops, or choose by --where"
        )
    names, p = _probabilities([given[index] for index in wanted], prediction)
    column = _class_column(wanted, truth)
    return _judged([row[column] for row in wanted.values()], names, p, model, prediction)


def _judged(
    truth: list[str], names: tuple[str, ...], p: npt.NDArray[np.float64], model: str, prediction: Path
) -> dict[str, ClassFigures]:
    groups = find_classifier(model)[1].groups if model else {}
    classes = tuple(name for members in groups.values() for name in members)
    if groups and set(names) == set(groups):
        in_group = {name: group for group, members in groups.items() for name in members}
        _require_known(truth, in_group, f"the groups of {model}")
        return {"groups": class_figures(p, _places([in_group[name] for name in truth], names), names)}
    _require_known(truth, names, f"the columns {PROBABILITY}… of {prediction}")
    found = {"classes": class_figures(p, _places(truth, names), names)}
    if not groups:
        return found
    if set(names) != set(classes):
        raise ConfigError(f"{prediction} gives other classes than {model}: {listed(sorted(set(names) ^ set(classes)))}")
    group = group_of_class(names, groups)[_places(truth, names)]
    return found | {"groups": class_figures(of_groups(p, names, groups), group, tuple(groups))}


def _by_index(rows: list[Row], table: Path) -> dict[str, Row]:
    if "index" not in rows[0]:
        raise ConfigError(
            f"{table} has no column index, by which rows are joined; its columns are {', '.join(rows[0])}"
        )
    if twice := repeated(row["index"] for row in rows):
        raise ConfigError(f"{table} has index {listed(twice)} more than once")
    return {row["index"]: row for row in rows}


def _class_column(rows: dict[str, Row], table: Path) -> str:
    columns = next(iter(rows.values()))
    named = [column for column in CLASS_COLUMNS if column in columns]
    if not named:
        raise ConfigError(f"{table} has no column {' or '.join(CLASS_COLUMNS)}; its columns are {', '.join(columns)}")
    return named[0]


def _probabilities(rows: list[Row], table: Path) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Names of the classes and `p[N, K]`."""
    columns = [column for column in rows[0] if column.startswith(PROBABILITY)]
    if not columns:
        raise ConfigError(
            f"{table} has no columns {PROBABILITY}<class> with probabilities; its columns are {', '.join(rows[0])}"
        )
    try:
        p = np.array([[float(row[column]) for column in columns] for row in rows])
    except ValueError as error:
        raise ConfigError(f"{table}: a probability is no number ({error})") from error
    off = np.flatnonzero(~(np.abs(p.sum(axis=1) - 1) < 1e-3) | (p < 0).any(axis=1))
    if off.size:
        raise ConfigError(
            f"{table}, index {rows[off[0]]['index']}: probabilities add up to {p[off[0]].sum():g}; they must be 0 or more and "
            "add up to 1"
        )
    return tuple(column.removeprefix(PROBABILITY) for column in columns), p


def _require_known(truth: list[str], names: Sequence[str] | dict[str, str], where: str) -> None:
    if unknown := sorted(set(truth) - set(names)):
        raise ConfigError(f"true classes {listed(unknown)} are not among {where}: {listed(list(names), most=20)}")


def _places(truth: list[str], names: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([names.index(name) for name in truth])
