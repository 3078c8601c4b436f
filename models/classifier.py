"""The network classifier: a crop around each cell → class probabilities, one batch a frame."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta
from scipy.special import softmax

from acquisition.commands import Positive
from acquisition.microscope import FilePath
from models.cells import NO_FEATURES, Cells, Floats
from models.crops import normalised_crops
from models.engines.choose import CheckedEngine, build_ahead, open_engine
from models.engines.engine import Array, EngineSettings
from models.manifest import ModelError, find_classifier


@dataclass
class NetworkClassifier:
    """Classes by a trained network; probabilities are calibrated with the model's temperature."""

    model: str = "mitosis"
    """A shipped model; `reflexscope models` lists them."""
    model_path: FilePath = ""
    """Folder of a model of your own instead."""
    classes: Literal["all", "groups"] = "groups"
    """`groups`: the few classes that a policy needs (interphase, mitotic, …), each the sum of its members."""
    engine: EngineSettings = EngineSettings()
    scale: Positive = 1.0
    """A crop's pixel is so many pixels of the frame wide: the model's um_per_px by the camera's."""
    batch: Annotated[int, Meta(ge=1, le=1024)] = 16
    """Cells that the engine takes at a time; a frame's last batch is filled up."""
    needs: tuple[str, ...] = field(init=False, default=NO_FEATURES)
    _engine: CheckedEngine | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self._model, self._manifest = find_classifier(self.model_path or self.model)
        if self._manifest.looks is not None:
            raise ModelError(
                f'model "{self._manifest.name}" classifies cells in flow: use it in a run with [sort], and another one here'
            )
        members = (
            self._manifest.groups if self.classes == "groups" else {name: (name,) for name in self._manifest.classes}
        )
        self.class_names: tuple[str, ...] = tuple(members)
        self._adds_up = np.array(
            [[name in names for names in members.values()] for name in self._manifest.classes], float
        )

    @property
    def description(self) -> str:
        """Model and engine, for journals."""
        return f"{self._model.words}, {self._engine.choice.words if self._engine else 'no engine yet'}"

    def build_ahead(self, height_px: int, width_px: int, tell: Callable[[str], None]) -> None:
        """Build an engine where one must be built (TensorRT); crops are of one size in all frames. Raises EngineError."""
        build_ahead(self._model, "logits", self._shape, self.engine, tell)

    def prepare(self, height_px: int, width_px: int) -> None:
        """Open the engine, the same for frames of any size; takes up to seconds, so call it before a run. Raises EngineError."""
        self._open()

    def classify(self, image: npt.NDArray[np.float32], cells: Cells) -> Floats:
        """`[N, K]`, rows sum to 1."""
        return self.probabilities(normalised_crops(image, cells.xy_px, self._manifest.side_px, self.scale))

    def probabilities(self, crops: Array) -> Floats:
        """Normalised `crops[N, S, S]` → `[N, K]`."""
        self._open()
        logits = [self._answer(crops[i : i + self.batch]) for i in range(0, len(crops), self.batch)]
        if not logits:
            return np.empty((0, len(self.class_names)))
        p: Floats = (
            softmax(np.concatenate(logits).astype(np.float64) / self._manifest.temperature, axis=1) @ self._adds_up
        )
        return p

    def close(self) -> None:
        """Give the engine back."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.batch, 1, self._manifest.side_px, self._manifest.side_px

    def _open(self) -> None:
        if self._engine is None:
            self._engine = open_engine(self._model, "logits", self._shape, self.engine)
            self._input = np.zeros(self._shape, np.float32)

    def _answer(self, crops: Array) -> Array:
        assert self._engine is not None
        self._input[: len(crops), 0] = crops
        return self._engine.infer(self._input)[: len(crops)].copy()
