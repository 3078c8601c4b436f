"""The network segmenter: counts → normalised image → maps (an engine) → labels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import cv2
import msgspec
import numpy as np
from msgspec import Meta

from acquisition.microscope import FilePath
from models import labelling
from models.cells import Labels
from models.engines.choose import CheckedEngine, build_ahead, open_engine
from models.engines.engine import EngineSettings
from models.label_rules import LabelRules, Share
from models.labelling import label_maps
from models.manifest import find_segmenter
from models.normalise import Image, levels, normalised
from models.tiling import Grid, Maps, rounded_up, whole_maps

N_MAPS = {"deep_watershed": 2, "pixel_classes": 3}


class RuleChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Label rules that differ from the model's own; those left out stay as chosen on its validation data."""

    foreground: Share | None = None
    prominence: Share | None = None
    peak: Share | None = None
    certainty: Share | None = None
    min_area_px: Annotated[int, Meta(ge=1)] | None = None


@dataclass
class NetworkSegmenter:
    """Cells found by a trained network.

    The first frame (or `prepare`) fixes the engine's input shape. Frames of other shapes are padded or tiled to it,
    so that a smaller region of interest never waits for an engine in the middle of a run.
    """

    model: str = "nuclei"
    """A shipped model; `reflexscope models` lists them."""
    model_path: FilePath = ""
    """Folder of a model of your own instead."""
    method: Literal["deep_watershed", "pixel_classes"] = "deep_watershed"
    """How maps become cells: hills of a distance map, or inner pixels apart from their boundaries."""
    engine: EngineSettings = EngineSettings()
    labels: RuleChanges = RuleChanges()
    zoom: Annotated[float, Meta(gt=0, le=8)] = 1.0
    """The image is enlarged by this before the network: the model's um_per_px is where it works best."""
    tile_px: Annotated[int, Meta(ge=256)] = 2048
    """Larger images are cut into overlapping tiles of this side."""
    overlap_px: Annotated[int, Meta(ge=0)] = 128
    """Twice as far as a kept pixel lies from the next cut edge."""
    _engine: CheckedEngine | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self._model, self._manifest = find_segmenter(self.model_path or self.model)
        if self.method not in self._manifest.methods:
            raise ValueError(
                f'model "{self._manifest.name}" has no method "{self.method}"; it has {", ".join(self._manifest.methods)}'
            )
        if self.overlap_px * 2 > self.tile_px:
            raise ValueError(f"overlap_px {self.overlap_px} must be at most half of tile_px {self.tile_px}")
        changes = {name: value for name, value in msgspec.structs.asdict(self.labels).items() if value is not None}
        self.rules: LabelRules = msgspec.structs.replace(self._manifest.methods[self.method], **changes)

    @property
    def description(self) -> str:
        """Model, method and engine, for journals."""
        engine = self._engine.choice.words if self._engine else "no engine yet"
        return f"{self._model.words}, {self.method}, {engine}"

    def build_ahead(self, height_px: int, width_px: int, tell: Callable[[str], None]) -> None:
        """Build an engine for frames of this size where one must be built (TensorRT). Raises EngineError."""
        build_ahead(self._model, self.method, self._shape(height_px, width_px), self.engine, tell)

    def prepare(self, height_px: int, width_px: int) -> None:
        """Open an engine for frames of this size; takes up to seconds, so call it before a run. Raises EngineError."""
        shape = self._shape(height_px, width_px)
        if self._engine is None or self._engine.shape != shape:
            self.close()
            self._engine = open_engine(self._model, self.method, shape, self.engine)
        labelling.warm_up()

    def infer(self, image: Image) -> Maps:
        """`image[H, W]` in camera counts → maps `[C, H, W]`, valid until the next call."""
        if self._engine is None:
            self.prepare(*image.shape)
        low, high = levels(image, self._manifest.levels)
        seen = normalised(image, low, high)
        if self.zoom != 1.0:
            seen = _scaled(seen, self._scaled_px(image.shape[0]), self._scaled_px(image.shape[1]))
        maps = whole_maps(seen, N_MAPS[self.method], self._grid(), self._answer)
        return maps if self.zoom == 1.0 else np.stack([_scaled(each, *image.shape) for each in maps])

    def label(self, maps: Maps) -> Labels:
        """`[H, W]` int32, cells 1…N."""
        return label_maps(maps, self.rules)

    def close(self) -> None:
        """Give the engine back."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _answer(self, image: Image) -> Maps:
        assert self._engine is not None
        maps: Maps = self._engine.infer(image[None, None])[0]
        return maps

    def _grid(self) -> Grid:
        assert self._engine is not None
        rows, columns = self._engine.shape[2:]
        return Grid((rows, columns), self.overlap_px, self._manifest.multiple_px)

    def _shape(self, height_px: int, width_px: int) -> tuple[int, ...]:
        return 1, 1, self._engine_side_px(height_px), self._engine_side_px(width_px)

    def _engine_side_px(self, length_px: int) -> int:
        return rounded_up(min(self._scaled_px(length_px), self.tile_px), self._manifest.multiple_px)

    def _scaled_px(self, length_px: int) -> int:
        return max(1, round(length_px * self.zoom))


def _scaled(image: Image, height_px: int, width_px: int) -> Image:
    return cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
