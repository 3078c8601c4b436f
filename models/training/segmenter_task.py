"""Everything to train a segmenter, put together: a recipe, its data folders, a run, a model folder in the end."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from torch import nn

from models.networks.unet import UNet, n_parameters
from models.training.augment import random_crop
from models.training.data import DataError, DataSet, find_data
from models.training.images import Prepared, examples, training_images
from models.training.pretrained import pretrained_unet, recentre, start_from
from models.training.recipe import changed, recipe_toml
from models.training.run import Run, Validation
from models.training.scoring import answers, validation_score
from models.training.segmenter import SegmenterRecipe, SegmenterTraining
from models.training.shipping import ship_segmenter
from models.training.splitting import folded, reduced
from models.training.steps import computes_bfloat16


@dataclass(frozen=True)
class SegmenterTask:
    """A recipe and the data it is to be trained on."""

    recipe: SegmenterRecipe
    data: Sequence[DataSet]

    @classmethod
    def find(cls, recipe: SegmenterRecipe, folders: Sequence[Path]) -> "SegmenterTask":
        """The data in these folders. Raises DataError."""
        return cls(recipe, find_data(folders, recipe.data, recipe.training.seed))

    def new_run(self) -> Run:
        """A run at step 0."""
        validation = list(examples(self.data, "val"))
        if not validation:
            raise DataError(f'{self.data[0].folder}: no image has split "val"; some must be kept to validate on')
        methods, bfloat16 = self.recipe.training.network.methods, computes_bfloat16()

        def validate(network: nn.Module) -> float:
            assert isinstance(network, UNet)
            return validation_score(answers(network, validation, self.recipe.levels, bfloat16), methods)

        return Run(self._training(), validate, self.recipe.validation, self.identity())

    def network(self) -> UNet:
        """A network of the recipe's shape, for weights from a checkpoint."""
        return UNet(self.recipe.training.network)

    def ship(self, network: nn.Module, history: Sequence[Validation], folder: Path, final: bool) -> None:
        """Make a model folder."""
        assert isinstance(network, UNet)
        ship_segmenter(network, self.recipe, self.data, folder, history, final)

    def identity(self) -> str:
        """The recipe in full and a fingerprint of the file names: what a checkpoint belongs to."""
        names = {each.name: fingerprint([f"{row['split']} {row['file']}" for row in each.rows]) for each in self.data}
        return recipe_toml(self.recipe) + tomli_w.dumps({"data_files": names})

    def describe(self) -> str:
        """One line for people."""
        n_val, weights = self._n_images("val"), n_parameters(self.network())
        return f"{self.recipe.name}: {self.n_train()} images to learn from, {n_val} to validate on, {weights:,} weights"

    def n_train(self) -> int:
        """Images to learn from."""
        return self._n_images("train")

    def fold(self, number: int, n_folds: int) -> "SegmenterTask":
        """The task of one fold of a cross-validation: another part of train and val is held out each time."""
        return replace(self, data=[folded(each, number, n_folds, self.recipe.training.seed) for each in self.data])

    def fraction(self, share: float) -> "SegmenterTask":
        """The same task with a part of the training images."""
        return replace(self, data=[reduced(each, share, self.recipe.training.seed) for each in self.data])

    def changed(self, changes: Mapping[str, Any]) -> "SegmenterTask":
        """The same task with other settings."""
        return replace(self, recipe=changed(self.recipe, changes))

    def _n_images(self, split: str) -> int:
        return sum(len(each.files(split)) for each in self.data)

    def _training(self) -> SegmenterTraining:
        recipe = self.recipe
        images = training_images(self.data, recipe.levels, recipe.training.size_power)
        teacher = pretrained_unet(recipe.teacher) if recipe.teacher else None
        training = SegmenterTraining(recipe.training, images, teacher)
        if recipe.start:
            start_from(training.network, recipe.start, pretrained_unet(recipe.start), heads="heads.")
            recentre(training.network, _some_crops(images, training))
            training.averaged.load_state_dict(training.network.state_dict())
        return training


def fingerprint(lines: Sequence[str]) -> str:
    """A short hash of some lines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _some_crops(images: Sequence[Prepared], training: SegmenterTraining, n: int = 32) -> torch.Tensor:
    """Crops as training will see them, `[N, 1, S, S]`, drawn without touching the run's own random numbers."""
    settings, rng = training.settings, np.random.default_rng(training.settings.seed)
    chosen = rng.choice(len(images), n, p=training.shares)
    crops = [random_crop(images[i], settings.crop_px, settings.augment, rng).image for i in chosen]
    return torch.from_numpy(np.stack(crops)[:, None])
