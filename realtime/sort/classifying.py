"""What a sort asks of a classifier, and the pictures that it has judged."""

from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from models.cells import Floats
from models.engines.engine import EngineSettings
from realtime.config import RunConfig

Crops = npt.NDArray[np.float32]


class LookClassifier(Protocol):
    """Pictures of cells → calibrated class probabilities, and what must be known to join several looks."""

    class_names: tuple[str, ...]
    side_px: int
    """Crops are `[n, side_px, side_px]`."""
    class_prior: tuple[float, ...]
    """Share of each class for which the probabilities are calibrated, in the order of `class_names`."""
    look_correlation: float
    """Of the errors of two looks at the same cell: 0 independent, 1 the second says nothing new."""
    um_per_px: tuple[float, float] | None
    """Smallest and largest pixels that it knows cells by; None: any will do."""

    @property
    def description(self) -> str:
        """For journals."""

    def prepare(self, height_px: int, width_px: int) -> None:
        """Open the engine. Raises EngineError."""

    def probabilities(self, crops: npt.NDArray[np.float32]) -> Floats:
        """`[n, K]`, rows sum to 1."""


def classifier_of(config: RunConfig) -> Any:
    """The classifier of a config, with as many threads as inference has."""
    assert config.classifier is not None
    classifier = config.classifier.build()
    engine = getattr(classifier, "engine", None)
    if isinstance(engine, EngineSettings) and not engine.threads:
        classifier.engine = msgspec.structs.replace(engine, threads=config.inference.threads)
    return classifier


class Pictures:
    """The last picture of every cell in view that the network has judged."""

    def __init__(self) -> None:
        self._of_cell: dict[int, Crops] = {}

    def add(self, crops: Crops, cell_ids: npt.NDArray[np.int64]) -> None:
        """Crops of one stack, the later after the earlier."""
        self._of_cell.update(zip(cell_ids.tolist(), crops, strict=True))

    def take(self, gone: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]) -> tuple[list[Crops], list[int]]:
        """Those of cells `gone[E]` that are `kept` and their rows in it; the others are forgotten."""
        crops, rows = [], []
        for row, (cell, is_kept) in enumerate(zip(gone.tolist(), kept.tolist(), strict=True)):
            crop = self._of_cell.pop(cell, None)
            if is_kept and crop is not None:
                crops.append(crop)
                rows.append(row)
        return crops, rows

    def keep(self, cell_ids: npt.NDArray[np.int64]) -> None:
        """Copies of those of these cells: any of the originals would keep all crops of its stack in memory."""
        there = set(cell_ids.tolist())
        self._of_cell = {cell: crop.copy() for cell, crop in self._of_cell.items() if cell in there}
