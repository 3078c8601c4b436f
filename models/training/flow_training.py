"""The training run of a classifier of cells in flow: every crop is a new look at something new, made from sprites."""

from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional

from models.networks.cell_classifier import CellClassifier, CellClassifierSettings
from models.training.flow_looks import LookSettings, crops_of
from models.training.flow_passing import Image, PassingSettings, Sprites, passing
from models.training.recipe import Recipe
from models.training.steps import Training

AT_A_TIME = 256
Classes = npt.NDArray[np.int64]


class FlowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run."""

    network: CellClassifierSettings
    passing: PassingSettings
    looks: LookSettings = LookSettings()
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
    made: Annotated[int, Meta(ge=64)] = 8192
    """So many crops are kept to draw from; with every step `renewed` of them are made anew."""
    renewed: Annotated[int, Meta(ge=0)] = 16
    n_validate: Annotated[int, Meta(ge=64)] = 2000
    """Passing cells that validate, each looked at `n_looks` times; the temperature is fitted on them, too."""
    n_looks: Annotated[int, Meta(ge=2)] = 4
    seed: Annotated[int, Meta(ge=0)] = 1


class FlowRecipe(Recipe, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a classifier of cells in flow is trained."""

    kind: Literal["flow"]
    classes: dict[str, Annotated[float, Meta(gt=0)]]
    """Name → how often it is drawn, against the others: the shares for which probabilities are calibrated."""
    training: FlowSettings

    @property
    def class_prior(self) -> tuple[float, ...]:
        """Adds up to 1."""
        return tuple(share / sum(self.classes.values()) for share in self.classes.values())


class FlowTraining(Training):
    """Crops from a store that is renewed all the time; the cost is the cross entropy of their classes.

    Crop number n comes from random numbers of its own and takes the place of the oldest: a run that goes on makes the
    store anew instead of keeping it.
    """

    def __init__(self, recipe: FlowRecipe, sprites: Sprites) -> None:
        self.settings = recipe.training
        super().__init__(self.settings, lambda: CellClassifier(self.settings.network))
        self.recipe, self.sprites = recipe, sprites
        n, side_px = self.settings.made, self.settings.network.side_px
        self._crops, self._classes = np.empty((n, side_px, side_px), np.float32), np.empty(n, np.int64)
        self._n_made = 0

    def loss(self) -> Tensor:
        """What the network's logits of the next crops cost."""
        settings, rng = self.settings, self.rng
        self._make_until(settings.made + settings.renewed * self.step)
        chosen = rng.choice(settings.made, settings.batch, replace=False)
        crops = self._crops[chosen]
        crops = crops[:, ::-1] if rng.random() < 0.5 else crops
        crops = crops[:, :, ::-1] if rng.random() < 0.5 else crops
        batch = torch.from_numpy(np.ascontiguousarray(crops)[:, None]).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            logits: Tensor = self.network(batch)
        return functional.cross_entropy(logits.float(), torch.from_numpy(self._classes[chosen]))

    def _make_until(self, end: int) -> None:
        for number in range(max(self._n_made, end - self.settings.made), end):
            rng = np.random.default_rng([self.settings.seed, number])
            crops, classes = made(self.recipe, self.sprites, 1, 1, rng)
            place = number % self.settings.made
            self._crops[place], self._classes[place] = crops[0, 0], classes[0]
        self._n_made = end


def made(recipe: FlowRecipe, sprites: Sprites, n: int, n_looks: int, rng: np.random.Generator) -> tuple[Image, Classes]:
    """Looks at `n` cells, `[n, n_looks, S, S]` contrast, and their classes, in the recipe's shares."""
    settings = recipe.training
    classes = rng.choice(len(recipe.classes), n, p=recipe.class_prior).astype(np.int64)
    names = list(recipe.classes)
    seen = (passing(names[k], sprites, settings.passing, rng) for k in classes)
    crops = [crops_of(each, settings.looks, settings.network.side_px, n_looks, rng) for each in seen]
    return np.stack(crops) if crops else np.empty((0, n_looks, *(settings.network.side_px,) * 2), np.float32), classes


@torch.no_grad()
def look_logits(network: nn.Module, crops: Image) -> npt.NDArray[np.float64]:
    """What the network says of `crops[N, L, S, S]`, in float32, `[N, L, K]`."""
    network.eval()
    flat = torch.from_numpy(crops.reshape(-1, 1, *crops.shape[2:]))
    logits = torch.cat([network(flat[i : i + AT_A_TIME]) for i in range(0, len(flat), AT_A_TIME)]).numpy()
    return logits.reshape(*crops.shape[:2], -1).astype(np.float64)
