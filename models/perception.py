"""Frame → Cells: preprocess, segment, measure, classify, each stage marked on the frame's ledger."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from acquisition.calibration import UNCALIBRATED, CameraCalibration
from acquisition.frame import Frame, FrameHeader
from models.cells import ONE_CLASS, Cells, Labels
from models.measure import measure
from models.measure_again import measured_again

Image = npt.NDArray[np.float32]
Mark = Callable[[str], None]
"""Called with a stage's name at the moment the stage has ended."""


class Segmenter(Protocol):
    """Image → labels in two steps, so that the network's time and the labelling's are told apart."""

    def infer(self, image: Image) -> Any:
        """The maps from which labels are made; `image[H, W]` float32, camera counts."""

    def label(self, maps: Any) -> Labels:
        """`[H, W]` int32, background 0, cells 1…N without gaps."""


@runtime_checkable
class Described(Protocol):
    """A segmenter or classifier that can say what it runs on."""

    description: str
    """Model, method, engine and precision."""


@runtime_checkable
class Prepared(Protocol):
    """A segmenter or classifier that has to open something before its first frame."""

    def prepare(self, height_px: int, width_px: int) -> None:
        """For frames of this size."""


@runtime_checkable
class BuiltAhead(Protocol):
    """A segmenter or classifier whose engine may have to be built before a run."""

    def build_ahead(self, height_px: int, width_px: int, tell: Callable[[str], None]) -> None:
        """For frames of this size; may take minutes."""


class Classifier(Protocol):
    """Cells → class probabilities."""

    class_names: tuple[str, ...]
    needs: tuple[str, ...]
    """Features that must be measured for it, beyond area and mean intensity."""

    def classify(self, image: Image, cells: Cells) -> npt.NDArray[np.float64]:
        """`[N, K]`, rows sum to 1."""


class Perception:
    """All that happens to a frame before the tracker. Not thread-safe: one per inference process."""

    def __init__(
        self,
        segmenter: Segmenter,
        classifier: Classifier | None,
        features: tuple[str, ...],
        channel: str = "",
        camera: CameraCalibration = UNCALIBRATED,
    ) -> None:
        """`channel` is the one in whose frames cells are found; empty: in every frame."""
        self.segmenter = segmenter
        self.classifier = classifier
        self.features = features
        self.channel = channel
        self.camera = camera

    @property
    def description(self) -> str:
        """What segments and what classifies, for the journal."""
        return "; ".join(p.description if isinstance(p, Described) else type(p).__name__ for p in self._parts())

    def prepare(self, height_px: int, width_px: int) -> None:
        """Open what depends on the size of the camera's frames, of which later ones may show only a part."""
        for part in self._parts():
            if isinstance(part, Prepared):
                part.prepare(height_px, width_px)

    def build_ahead(self, height_px: int, width_px: int, tell: Callable[[str], None]) -> None:
        """Build engines that must be built before a run; `tell` hears how it goes. Raises EngineError."""
        for part in self._parts():
            if isinstance(part, BuiltAhead):
                part.build_ahead(height_px, width_px, tell)

    def finds_cells_in(self, header: FrameHeader) -> bool:
        """False for a frame of another channel, whose cells are those of the frame before."""
        return self.channel in ("", header.channel)

    def analyse(self, frame: Frame, mark: Mark = lambda stage: None) -> Cells:
        """The cells of one frame, positions in stage µm."""
        image = preprocess(frame.pixels)
        mark("preprocessed")
        maps = self.segmenter.infer(image)
        mark("inferred")
        labels = self.segmenter.label(maps)
        mark("labelled")
        cells = measure(frame.header, image, labels, self.features, self.camera)
        mark("measured")
        if self.classifier is not None:
            cells = with_classes(cells, self.classifier.class_names, self.classifier.classify(image, cells))
        mark("classified")
        return cells

    def analyse_again(self, frame: Frame, known: Cells | None, mark: Mark = lambda stage: None) -> Cells:
        """The cells that were found last, row by row, measured in a frame of another channel; without any, none."""
        image = preprocess(frame.pixels)
        for stage in ("preprocessed", "inferred", "labelled"):
            mark(stage)
        if known is None:
            names = ONE_CLASS if self.classifier is None else self.classifier.class_names
            empty = measure(frame.header, image, np.zeros(image.shape, np.int32), self.features, self.camera)
            cells = with_classes(empty, names, np.empty((0, len(names))))
        else:
            cells = measured_again(known, frame.header, image, self.camera)
        mark("measured")
        mark("classified")
        return cells

    def _parts(self) -> list[Segmenter | Classifier]:
        return [self.segmenter] if self.classifier is None else [self.segmenter, self.classifier]


def preprocess(pixels: npt.NDArray[np.generic]) -> Image:
    """A float32 copy of the counts: after it nobody reads the ring's slot any more."""
    return pixels.astype(np.float32)


def with_classes(cells: Cells, names: tuple[str, ...], p_class: npt.NDArray[np.float64]) -> Cells:
    """The same cells with other class probabilities."""
    fields = {name: getattr(cells, name) for name in cells.__dataclass_fields__}
    return Cells(**(fields | {"class_names": names, "p_class": p_class}))
