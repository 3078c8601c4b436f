"""Pictures of cells as the camera saw them last: those that were sorted, and those that nearly were."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.sort.record import SortRecord
from realtime.sort.report_gate import COLOURS, OTHER, logit, thresholds
from realtime.sort.report_words import verdict_words

ACROSS = 24
"""Pictures in a row."""
LONG = 12
"""Letters that are wider than a picture."""
CLEAR = ("unwanted", "outside_gate", "too_few_looks")
"""Verdicts that nobody doubts, or whose cells were never seen whole."""


def crop_rows(page: Any, place: Any, record: SortRecord) -> None:
    """Two rows of pictures, if there are any."""
    grid = place.subgridspec(2, ACROSS + 2, hspace=0.7, wspace=0.1)
    for number, (title, rows) in enumerate(
        (("sorted", _sorted(record)), ("not sorted,\nnearest first", _nearly(record)))
    ):
        words = page.add_subplot(grid[number, 0:2])
        words.axis("off")
        words.text(0.0, 0.5, title if len(rows) else f"{title}:\nno picture kept", fontsize=11, va="center")
        for column, row in enumerate(rows):
            _picture(page.add_subplot(grid[number, column + 2]), record, int(row))


def picture_of(data: bytes) -> npt.NDArray[np.uint8]:
    """A recorded crop as `[S, S]`."""
    side = math.isqrt(len(data))
    return np.frombuffer(data, np.uint8)[: side * side].reshape(side, side)


def _picture(axes: Any, record: SortRecord, row: int) -> None:
    verdict = str(record.events["verdict"][row])
    axes.imshow(picture_of(record.events["crop"][row]), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(COLOURS.get(verdict, OTHER))
        spine.set_linewidth(2.0)
    words = verdict_words(verdict)
    words = words if len(words) < LONG else words.replace(" ", "\n")
    shown = "" if verdict == "sorted" else f"\n{words}"
    axes.set_title(f"{record.events['p_wanted'][row]:.3f}{shown}", fontsize=5.8, pad=2, color="#555555")


def _sorted(record: SortRecord) -> npt.NDArray[np.intp]:
    """Some of them, evenly over the run."""
    rows = np.flatnonzero(_kept(record) & record.sorted_rows)
    return rows[np.linspace(0, len(rows) - 1, min(ACROSS, len(rows))).astype(np.intp)]


def _nearly(record: SortRecord) -> npt.NDArray[np.intp]:
    """Those that were not clear first, and of them those nearest to the threshold."""
    rows = np.flatnonzero(_kept(record) & ~record.sorted_rows)
    short = logit(np.array(thresholds(record)[1])) - logit(record.events["p_wanted"][rows])
    is_clear = np.isin(record.events["verdict"][rows].astype(str), CLEAR)
    return rows[np.lexsort((np.abs(short), is_clear))[:ACROSS]]


def _kept(record: SortRecord) -> npt.NDArray[np.bool_]:
    if "crop" not in record.events:
        return np.zeros(len(record), bool)
    return np.array([data is not None for data in record.events["crop"]], bool)
