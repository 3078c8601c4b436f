"""Pictures for a model's card: learning curves and overlays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.cells import Labels
from models.normalise import LevelRules, levels, normalised
from models.training.images import Example
from models.training.run import Validation

Rgb = npt.NDArray[np.uint8]

TRUE_RGB, PREDICTED_RGB = (80, 220, 80), (255, 80, 200)
SIDE_PX, TIMES = 256, 2
"""Each overlay shows the middle of its image, at most so many pixels a side, enlarged."""


def curves(history: Sequence[Validation], path: Path) -> None:
    """Training loss and validation score over the steps, one PNG."""
    steps = [float(each.step) for each in history]
    plots = (("training loss", [each.loss for each in history]), ("validation score", [each.score for each in history]))
    _plot([(title, steps, values) for title, values in plots], "step", path)


def score_plot(places: Sequence[float], scores: Sequence[float], along: str, path: Path) -> None:
    """Scores of several trainings, one PNG."""
    order = np.argsort(places)
    _plot([("validation score", [places[i] for i in order], [scores[i] for i in order])], along, path)


def sheet(shown: Sequence[tuple[str, Example, Labels]], rules: LevelRules, path: Path) -> None:
    """Overlays side by side, a line of text above each: (text, image, predicted labels)."""
    tiles = [_titled(overlay(example, predicted, rules), text) for text, example, predicted in shown]
    height = max(tile.shape[0] for tile in tiles)
    padded = [cv2.copyMakeBorder(tile, 0, height - tile.shape[0], 0, 6, cv2.BORDER_CONSTANT) for tile in tiles]
    cv2.imwrite(str(path), cv2.cvtColor(np.hstack(padded), cv2.COLOR_RGB2BGR))


def overlay(example: Example, predicted: Labels, rules: LevelRules) -> Rgb:
    """The middle of the image in grey, outlines of the truth in green and of the prediction in pink, `[S, S, 3]`."""
    grey = np.clip(normalised(example.pixels, *levels(example.pixels, rules)), 0, 1) ** 0.6  # dim cells must show too
    rows, columns = (_middle(length) for length in grey.shape)
    enlarged = cv2.resize(grey[rows, columns], None, fx=TIMES, fy=TIMES, interpolation=cv2.INTER_LINEAR)
    picture = np.repeat((enlarged * 31).astype(np.uint8)[..., None] * np.uint8(8), 3, axis=2)  # few greys: a small file
    for labels, colour in ((example.labels, TRUE_RGB), (predicted, PREDICTED_RGB)):
        picture[_outlines(labels[rows, columns])] = colour
    return picture


def _middle(length: int) -> slice:
    start = max(0, length - SIDE_PX) // 2
    return slice(start, start + SIDE_PX)


def _outlines(labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
    """Pixels, enlarged, of an object beside a pixel of another or of none."""
    large = labels.repeat(TIMES, axis=0).repeat(TIMES, axis=1).astype(np.uint16)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.asarray((cv2.dilate(large, cross) != cv2.erode(large, cross)) & (large > 0))


def _titled(picture: Rgb, text: str) -> Rgb:
    head = np.zeros((22, picture.shape[1], 3), np.uint8)
    cv2.putText(head, text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([head, picture])


def _plot(plots: Sequence[tuple[str, Sequence[float], Sequence[float]]], along: str, path: Path) -> None:
    """Lines side by side: (title, x, y)."""
    from matplotlib.figure import Figure  # without pyplot: no window system is touched

    figure = Figure(figsize=(3.5 * len(plots), 3.2), layout="constrained")
    for axes, (title, x, y) in zip(figure.subplots(1, len(plots), squeeze=False)[0], plots, strict=True):
        axes.plot(x, y, marker="." if len(x) < 30 else None)
        axes.set_xlabel(along)
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
