"""A segmenter's training run: random crops, both methods' losses at once, a moving average of the weights."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from models.networks.unet import MAPS, UNet, UNetSettings
from models.normalise import LevelRules
from models.training.augment import AugmentSettings, Crop, NotNegative, random_crop
from models.training.images import Prepared
from models.training.losses import LossSettings, Maps, loss_from_teacher, loss_of, weight_of
from models.training.recipe import Recipe
from models.training.steps import Training

Positive = Annotated[float, Meta(gt=0)]


class SegmenterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run."""

    network: UNetSettings = UNetSettings()
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    steps: Annotated[int, Meta(ge=1)] = 14_000
    batch: Annotated[int, Meta(ge=1)] = 8
    """Crops a step."""
    crop_px: Annotated[int, Meta(ge=16)] = 160
    """Side of a crop; a multiple of the network's (2 × 2 × … for each level)."""
    rate: Positive = 3e-3
    """Highest learning rate."""
    warm_up_steps: Annotated[int, Meta(ge=0)] = 200
    """In which the rate rises from 0; then it falls to a hundredth, as a half cosine."""
    weight_decay: NotNegative = 0.02
    average: Annotated[float, Meta(ge=0, lt=1)] = 0.998
    """Of the moving average of the weights: how much of it remains after a step."""
    size_power: NotNegative = 0.4
    """An image of k times as many pixels is drawn k to this power times as often."""
    seed: Annotated[int, Meta(ge=0)] = 1

    def __post_init__(self) -> None:
        if not self.network.methods or not set(self.network.methods) <= set(MAPS):
            raise ValueError(f"network.methods must be some of {', '.join(MAPS)}, not {list(self.network.methods)}")
        multiple = self.network.unshuffle * 2 ** (len(self.network.widths) - 1)
        if self.crop_px % multiple:
            raise ValueError(f"crop_px {self.crop_px} must be a multiple of {multiple} for this network")


class SegmenterRecipe(Recipe, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a segmenter is trained."""

    kind: Literal["segmenter"]
    levels: LevelRules = LevelRules()
    """Which counts become 0 and 1."""
    teacher: str = ""
    """A larger model to learn from as well as from the labels; empty: labels only."""
    training: SegmenterSettings = SegmenterSettings()


class SegmenterTraining(Training):
    """Crops of labelled images; the cost is that of both methods, and of a teacher's maps."""

    def __init__(self, settings: SegmenterSettings, images: Sequence[Prepared], teacher: UNet | None = None) -> None:
        super().__init__(settings, lambda: UNet(settings.network))
        self.settings = settings
        self.images = images
        self.teacher = teacher
        shares = np.array([image.share for image in images])
        self.shares = shares / shares.sum()

    def loss(self) -> Tensor:
        """What the network's maps of the next crops cost."""
        return self._loss(self._draw())

    def _draw(self) -> list[Crop]:
        chosen = self.rng.choice(len(self.images), self.settings.batch, p=self.shares)
        return [random_crop(self.images[i], self.settings.crop_px, self.settings.augment, self.rng) for i in chosen]

    def _loss(self, crops: list[Crop]) -> Tensor:
        image = torch.from_numpy(np.stack([crop.image for crop in crops])[:, None])
        image = image.contiguous(memory_format=torch.channels_last)
        cost, maps = self.settings.loss, self._maps(self.network, image)
        loss = loss_of(maps, crops, cost)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            taught = self._maps(self.teacher, image)
        return (1 - cost.teacher) * loss + cost.teacher * loss_from_teacher(maps, taught, weight_of(crops, cost), cost)

    def _maps(self, network: torch.nn.Module, image: Tensor) -> Maps:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            return {method: each.float() for method, each in network(image).items()}
