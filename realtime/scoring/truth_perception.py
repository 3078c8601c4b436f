"""A segmenter and a classifier without errors, and a segmenter that finds nothing: to judge a policy alone, or none."""

from dataclasses import dataclass, field

import numpy as np

from acquisition.simulated.biology import ANAPHASE, DEAD, METAPHASE, PROMETAPHASE
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.nuclei import Nuclei
from acquisition.simulated.rendering import Truth
from models.cells import Cells, Floats, Labels
from models.perception import Image
from tracking.tracks import Ints

CLASSES = ("interphase", "mitotic", "apoptotic", "rare")
INTERPHASE, MITOTIC, APOPTOTIC, RARE = range(4)


@dataclass
class TruthSegmenter:
    """Outlines as they really are, numbered anew from 1, as segmenters do."""

    microscope: SimulatedMicroscope
    description: str = "true outlines"
    truth: Truth | None = field(default=None, init=False)
    cell_ids: Ints = field(default_factory=lambda: np.empty(0, np.int64), init=False)
    """Of label 1, 2, 3 …"""

    def infer(self, image: Image) -> Truth:
        """The truth of the frame that was read last, which is the one that is being looked at."""
        self.truth = self.microscope.truth()
        return self.truth

    def label(self, maps: Truth) -> Labels:
        """`[H, W]`, 1…N."""
        self.cell_ids = np.unique(maps.labels[maps.labels > 0])
        numbers = np.zeros(int(maps.labels.max()) + 1, np.int32)
        numbers[self.cell_ids] = np.arange(1, len(self.cell_ids) + 1)
        labels: Labels = numbers[maps.labels]
        return labels


@dataclass
class TruthClassifier:
    """Classes as they really are, with probability 1."""

    segmenter: TruthSegmenter
    class_names: tuple[str, ...] = CLASSES
    needs: tuple[str, ...] = ()
    description: str = "true classes"

    def classify(self, image: Image, cells: Cells) -> Floats:
        """`[N, K]`, one-hot."""
        assert self.segmenter.truth is not None
        nuclei = self.segmenter.truth.nuclei
        order = np.argsort(nuclei.id)
        rows = order[np.searchsorted(nuclei.id, self.segmenter.cell_ids[cells.label - 1], sorter=order)]
        return np.eye(len(CLASSES))[true_classes(nuclei)[rows]]


@dataclass
class NoSegmenter:
    """Finds nothing and costs nothing: for arms without policies."""

    description: str = "nobody looks"

    def infer(self, image: Image) -> Image:
        """The image."""
        return image

    def label(self, maps: Image) -> Labels:
        """No cells."""
        return np.zeros(maps.shape, np.int32)


def true_classes(nuclei: Nuclei) -> Ints:
    """Which of CLASSES each nucleus is, `[N]`. Prophase is interphase, as for the networks: its outline has not changed."""
    classes = np.full(len(nuclei.id), INTERPHASE)
    classes[nuclei.rare] = RARE
    classes[np.isin(nuclei.phase, (PROMETAPHASE, METAPHASE, ANAPHASE))] = MITOTIC
    classes[nuclei.phase == DEAD] = APOPTOTIC
    return classes
