"""A classifier's training run: balanced draws of changed crops, mixed pairs, a moving average of the weights."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional

from models.class_metrics import fitted_temperature, log_loss, probabilities
from models.crops import normalise
from models.networks.cell_classifier import CellClassifier, CellClassifierSettings
from models.training.classifier_data import LabelledCrops
from models.training.crop_augment import CropAugmentSettings, changed_crops
from models.training.data import DataError
from models.training.recipe import Recipe
from models.training.steps import Training, in_channels_last

AT_A_TIME = 256
Logits = npt.NDArray[np.float32]


class ClassifierSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run."""

    network: CellClassifierSettings
    augment: CropAugmentSettings = CropAugmentSettings()
    steps: Annotated[int, Meta(ge=1)] = 4000
    batch: Annotated[int, Meta(ge=2)] = 64
    """Crops a step."""
    rate: Annotated[float, Meta(gt=0)] = 4e-3
    """Highest learning rate."""
    warm_up_steps: Annotated[int, Meta(ge=0)] = 100
    """In which the rate rises from 0; then it falls to a hundredth, as a half cosine."""
    weight_decay: Annotated[float, Meta(ge=0)] = 0.05
    average: Annotated[float, Meta(ge=0, lt=1)] = 0.998
    """Of the moving average of the weights: how much of it remains after a step."""
    balance: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """0 draws every crop equally often, 1 every class."""
    smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.03
    """Share of each label that is spread over all classes: experts err, too."""
    mix_share: Annotated[float, Meta(ge=0, le=1)] = 0.3
    """Batches in which every crop is a weighted mean of two, and so is its label."""
    mix: Annotated[float, Meta(gt=0)] = 0.2
    """Both parameters of the beta distribution of those weights: the smaller, the more one crop dominates."""
    teaching: Annotated[float, Meta(ge=0, le=1)] = 0.8
    """How much teachers count beside the labels, if the recipe names any."""
    seed: Annotated[int, Meta(ge=0)] = 1


class ClassifierRecipe(Recipe, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a classifier is trained."""

    kind: Literal["classifier"]
    groups: dict[str, tuple[str, ...]]
    """Name → classes whose probabilities add up to it; together they name every class once."""
    teachers: tuple[str, ...] = ()
    """Trained classifiers of the same classes whose mean probabilities are learned as well as the labels: one network
    then comes close to all of them together, and follows single wrong labels less."""
    training: ClassifierSettings


class ClassifierTraining(Training):
    """Crops of single cells; the cost is the cross entropy of their classes, and of teachers' probabilities."""

    def __init__(
        self, settings: ClassifierSettings, crops: LabelledCrops, teachers: Sequence[CellClassifier] = ()
    ) -> None:
        n_classes, side_px = settings.network.n_classes, settings.network.side_px
        if (len(crops.names), *crops.images.shape[1:]) != (n_classes, side_px, side_px):
            raise DataError(
                f"the network takes crops of {side_px} px in {n_classes} classes, but the data are of "
                f"{crops.images.shape[2]} × {crops.images.shape[1]} px in {len(crops.names)}; change [training.network]"
            )
        super().__init__(settings, lambda: CellClassifier(settings.network))
        self.settings = settings
        self.crops = crops
        self.teachers = [in_channels_last(teacher).eval() for teacher in teachers]
        self.shares = drawn_shares(crops.classes, settings.balance)

    def loss(self) -> Tensor:
        """What the network's logits of the next crops cost."""
        settings, rng = self.settings, self.rng
        chosen = rng.choice(len(self.crops), settings.batch, p=self.shares)
        crops = torch.from_numpy(changed_crops(self.crops.images, chosen, settings.augment, rng)[:, None])
        wanted = smoothed(torch.from_numpy(self.crops.classes[chosen]), settings.network.n_classes, settings.smoothing)
        if rng.random() < settings.mix_share:
            crops, wanted = mixed(crops, wanted, settings.mix, rng)
        crops = crops.contiguous(memory_format=torch.channels_last)
        if self.teachers:
            wanted = (1 - settings.teaching) * wanted + settings.teaching * self._taught(crops)
        return functional.cross_entropy(self._logits(self.network, crops), wanted)

    @torch.no_grad()
    def _taught(self, crops: Tensor) -> Tensor:
        """Mean of the teachers' probabilities, `[B, K]`."""
        given = [functional.softmax(self._logits(teacher, crops), dim=1) for teacher in self.teachers]
        return torch.stack(given).mean(dim=0)

    def _logits(self, network: nn.Module, crops: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            logits: Tensor = network(crops)
        return logits.float()


def drawn_shares(classes: npt.NDArray[np.int64], balance: float) -> npt.NDArray[np.float64]:
    """Probability of each crop to be drawn, `[N]`: its class's size to the power −`balance`."""
    weight = np.bincount(classes)[classes].astype(np.float64) ** -balance
    return np.asarray(weight / weight.sum())


def smoothed(classes: Tensor, n_classes: int, smoothing: float) -> Tensor:
    """Labels as probabilities, `[N, K]`."""
    certain = functional.one_hot(classes, n_classes).float()
    return certain * (1 - smoothing) + smoothing / n_classes


def mixed(crops: Tensor, wanted: Tensor, mix: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Every crop and its label as a weighted mean with another's of the batch."""
    drawn = rng.beta(mix, mix, len(crops)).astype(np.float32)
    weight, other = torch.from_numpy(np.maximum(drawn, 1 - drawn)), torch.from_numpy(rng.permutation(len(crops)))
    wide = weight[:, None, None, None]
    return crops * wide + crops[other] * (1 - wide), wanted * weight[:, None] + wanted[other] * (1 - weight[:, None])


@torch.no_grad()
def logits_of(network: nn.Module, images: npt.NDArray[Any]) -> Logits:
    """What the network says of stored crops `[N, S, S]`, in float32, `[N, K]`."""
    network.eval()
    crops = torch.from_numpy(normalise(images.astype(np.float32))[:, None])
    return torch.cat([network(crops[i : i + AT_A_TIME]) for i in range(0, len(crops), AT_A_TIME)]).numpy()


def validation_score(logits: Logits, truth: npt.NDArray[np.int64]) -> float:
    """Geometric mean of the probability that the true class gets, at the temperature that suits best: 0 … 1.

    Smoother than an accuracy: with a handful of crops of the rare classes that jumps by tens of percent.
    """
    exact = logits.astype(np.float64)
    return math.exp(-log_loss(probabilities(exact, fitted_temperature(exact, truth)), truth))
