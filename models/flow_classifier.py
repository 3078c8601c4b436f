"""The network classifier of a sort: pictures of cells in flow → class probabilities, calibrated for joining several looks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from msgspec import Meta
from scipy.special import softmax

from acquisition.microscope import FilePath
from models.cells import Floats
from models.engines.choose import CheckedEngine, build_ahead, open_engine
from models.engines.engine import Array, EngineSettings
from models.manifest import find_flow_classifier

CONTRAST = (-1.0, 1.0)
"""Crops beyond it are cut off: a hot pixel is no cell."""


@dataclass
class FlowClassifier:
    """Classes by a trained network, one look at a time. Crops hold contrast, as `StripFinder.crops` gives them."""

    model: str = "flow-blood"
    """A shipped model; `reflexscope models` lists them."""
    model_path: FilePath = ""
    """Folder of a model of your own instead."""
    engine: EngineSettings = EngineSettings()
    batch: Annotated[int, Meta(ge=1, le=1024)] = 16
    """Looks that the engine takes at a time; a stack's last batch is filled up."""
    _engine: CheckedEngine | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self._model, manifest, looks = find_flow_classifier(self.model_path or self.model)
        self._temperature = manifest.temperature
        self.class_names: tuple[str, ...] = manifest.classes
        self.class_prior: tuple[float, ...] = looks.class_prior
        self.look_correlation: float = looks.correlation
        self.side_px: int = manifest.side_px
        self.um_per_px: tuple[float, float] | None = manifest.um_per_px

    @property
    def description(self) -> str:
        """Model and engine, for journals."""
        return f"{self._model.words}, {self._engine.choice.words if self._engine else 'no engine yet'}"

    def build_ahead(self, height_px: int, width_px: int, tell: Callable[[str], None]) -> None:
        """Build an engine where one must be built (TensorRT); crops are of one size in all strips. Raises EngineError."""
        build_ahead(self._model, "logits", self._shape, self.engine, tell)

    def prepare(self, height_px: int, width_px: int) -> None:
        """Open the engine, the same for strips of any size; takes up to seconds, so call it before a run. Raises EngineError."""
        self._open()

    def probabilities(self, crops: Array) -> Floats:
        """`crops[n, side_px, side_px]` → `[n, K]`, rows sum to 1."""
        engine = self._open()
        logits = np.empty((len(crops), len(self.class_names)))
        for first in range(0, len(crops), self.batch):
            part = crops[first : first + self.batch]
            np.clip(part, *CONTRAST, out=self._input[: len(part), 0])
            logits[first : first + len(part)] = engine.infer(self._input)[: len(part)]
        p: Floats = softmax(logits / self._temperature, axis=1)
        return p

    def close(self) -> None:
        """Give the engine back."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.batch, 1, self.side_px, self.side_px

    def _open(self) -> CheckedEngine:
        if self._engine is None:
            self._engine = open_engine(self._model, "logits", self._shape, self.engine)
            self._input = np.zeros(self._shape, np.float32)
        return self._engine
