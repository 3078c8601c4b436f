"""Tracked masks against the truth, both folders in the Cell Tracking Challenge's layout: which mask is which true cell."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array

from models.cells import Floats, Labels
from models.images import image_files, read_labels
from models.metrics import Overlaps
from realtime.offline.ctc_figures import require_library, seg
from realtime.offline.ctc_files import TABLES, read_ctc
from realtime.offline.label_movie import NUMBER, Series, open_series
from realtime.offline.tracking_scores import TrackingScores, score_graphs
from realtime.plugins import ConfigError
from tracking.lineages import Lineages
from tracking.tracks import Ints


@dataclass(frozen=True)
class Covered:
    """True cells of which one mask covers more than half, the Challenge's test of detection; at most one mask can."""

    true_label: Ints  # [P]
    found_label: Ints  # [P]
    iou: Floats  # [P]
    n_true: int


def score_folders(truth: Path, result: Path, done: Callable[[], None] = lambda: None) -> TrackingScores:
    """Masks and `res_track.txt` against a `01_GT`, or its `TRA` alone; SEG where there are masks in `SEG`.

    `done` is called after each frame. Raises ConfigError, ImageError.
    """
    require_library()
    ours = TABLES[0]
    if (truth / ours).exists() and not (result / ours).exists():
        raise ConfigError(f"{truth} holds {ours}, as results do, and {result} does not: the truth comes first")
    markers, masks = truth_series(truth), open_series(result)
    _require_alike(markers, masks)
    true, found = read_ctc(truth), read_ctc(result)
    for lineages, folder in ((true, truth), (found, result)):
        if not len(lineages):
            raise ConfigError(
                f"{folder}: no frame shows a cell, so there is nothing to compare; is it the right folder?"
            )
    matched = []
    for frame, planes in enumerate(zip(markers.labels(), masks.labels(), strict=True)):
        pairs = covered(*planes)
        matched.append([_rows(true, frame, pairs.true_label), _rows(found, frame, pairs.found_label)])
        done()
    scores = score_graphs(true, found, np.concatenate(matched, axis=1).T)
    return replace(scores, seg=_seg(markers.path.parent / "SEG", markers, masks))


def truth_series(truth: Path) -> Series:
    """The markers of a `01_GT` or `TRA` folder. Raises ConfigError, ImageError."""
    return open_series(truth / "TRA" if (truth / "TRA").is_dir() else truth)


def covered(truth: Labels, masks: Labels) -> Covered:
    """Compare two label images, `[H, W]`."""
    overlaps = Overlaps.of(truth, masks)
    pairs = coo_array(overlaps.iou)
    true_labels, found_labels = (np.unique(image[image > 0]).astype(np.int64) for image in (truth, masks))
    most = 2 * overlaps.shared[pairs.row, pairs.col] > overlaps.true_area[pairs.row]
    row, column = pairs.row[most], pairs.col[most]
    return Covered(true_labels[row], found_labels[column], pairs.data[most], len(true_labels))


def _rows(lineages: Lineages, frame: int, labels: Ints) -> Ints:
    """Rows of the sightings with these labels."""
    start, end = np.searchsorted(lineages.frame, [frame, frame + 1])
    order = np.argsort(lineages.label[start:end])
    rows: Ints = start + order[np.searchsorted(lineages.label[start:end], labels, sorter=order)]
    return rows


def _seg(folder: Path, markers: Series, masks: Series) -> float | None:
    """SEG over the frames that have true masks; None without any."""
    if not folder.is_dir():
        return None
    compared = []
    for path in image_files(folder):
        number = NUMBER.search(path.stem)
        frame = int(number[0]) - markers.first if number else -1
        if not 0 <= frame < len(masks):
            raise ConfigError(
                f"{path}: its name must end in the number of a frame of {markers.path}, as in man_seg007.tif"
            )
        true = read_labels(path)
        if true.shape != masks.shape:
            raise ConfigError(
                f"{path} is {_size(true.shape)}, {masks.path} is {_size(masks.shape)}: they must be alike"
            )
        compared.append(covered(true, next(masks.files[frame].labels())))
    return seg([each.n_true for each in compared], [each.iou.tolist() for each in compared])


def _require_alike(markers: Series, masks: Series) -> None:
    if markers.shape != masks.shape:
        raise ConfigError(
            f"{masks.path} is {_size(masks.shape)}, its truth {markers.path} is {_size(markers.shape)}: "
            "they do not show the same"
        )
    if (len(markers), markers.first) != (len(masks), masks.first):
        raise ConfigError(
            f"{masks.path} has {_frames(masks)}, its truth {markers.path} has {_frames(markers)}: every frame of the truth "
            "needs a mask of the same number, one of background if nothing was found"
        )


def _frames(series: Series) -> str:
    return f"frames {series.first} to {series.first + len(series) - 1}"


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} × {shape[0]} px"
