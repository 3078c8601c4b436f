"""Pictures for a classifier's card: confusions, reliability, the mistakes it was surest of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.class_metrics import ClassFigures
from models.crops import Crops

TIMES = 2
"""Crops are shown enlarged."""


def confusions(figures: Sequence[tuple[str, ClassFigures]], path: Path) -> None:
    """A matrix for each (title, figures), rows coloured by the share of the true class, one PNG."""
    from matplotlib.figure import Figure  # without pyplot: no window system is touched

    figure = Figure(figsize=(7.2 * len(figures), 6.8), layout="constrained")
    for axes, (title, each) in zip(np.atleast_1d(figure.subplots(1, len(figures))), figures, strict=True):
        counts = np.array(each.confusion)
        axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(counts)), each.class_names, rotation=90)
        axes.set_yticks(range(len(counts)), each.class_names)
        axes.set(xlabel="given", ylabel="true", title=title)
        for (row, column), n in np.ndenumerate(counts):
            if n:
                dark = n > counts[row].sum() / 2
                axes.text(column, row, str(n), ha="center", va="center", fontsize=7, color="w" if dark else "k")
    figure.savefig(path, dpi=90)


def reliability_plot(figures: Sequence[tuple[str, ClassFigures]], path: Path) -> None:
    """Accuracy over confidence, bin by bin, the points as large as the bin is full, one PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(figures), 4), layout="constrained")
    for axes, (title, each) in zip(np.atleast_1d(figure.subplots(1, len(figures))), figures, strict=True):
        filled = [b for b in each.reliability if b.n]
        confidence, accuracy = [b.confidence for b in filled], [b.accuracy for b in filled]
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        axes.plot(confidence, accuracy, color="tab:blue", linewidth=1)
        axes.scatter(confidence, accuracy, s=[8 + 300 * b.n / each.n for b in filled], color="tab:blue", alpha=0.7)
        axes.set(xlabel="largest probability", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.set_title(f"{title}: calibration error {each.calibration_error:.3f}", fontsize=10)
    figure.savefig(path, dpi=90)


def crop_sheet(crops: Crops, texts: Sequence[str], path: Path, columns: int = 8) -> None:
    """Normalised crops `[N, S, S]` with a line of text above each, one PNG."""
    tiles = [_titled(crop, text) for crop, text in zip(crops, texts, strict=True)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    cv2.imwrite(str(path), np.vstack(rows))


def _titled(crop: npt.NDArray[Any], text: str) -> npt.NDArray[np.uint8]:
    grey = (np.clip(crop, 0, 1) ** 0.7 * 255).astype(np.uint8)  # dim neighbours must show too
    large = cv2.resize(grey, None, fx=TIMES, fy=TIMES, interpolation=cv2.INTER_LINEAR)
    head = np.zeros((15, large.shape[1]), np.uint8)
    cv2.putText(head, text, (2, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.32, 255, 1, cv2.LINE_AA)
    return np.vstack([head, large])
