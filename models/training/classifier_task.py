"""Everything to train a classifier, put together: a recipe, its labelled crops, a run, a model folder in the end."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tomli_w
import torch
from torch import nn

from models.class_metrics import group_of_class
from models.manifest import find_classifier
from models.networks.cell_classifier import CellClassifier, CellClassifierSettings
from models.networks.unet import n_parameters
from models.training.classifier import ClassifierRecipe, ClassifierTraining, logits_of, validation_score
from models.training.classifier_data import LabelledCrops, find_crops, folded, reduced
from models.training.classifier_shipping import ship_classifier
from models.training.crop_augment import changed_crops
from models.training.data import DataError
from models.training.pretrained import recentre, start_from, unfused, weights_of
from models.training.recipe import RecipeError, changed, recipe_toml
from models.training.run import Run, Validation


@dataclass(frozen=True)
class ClassifierTask:
    """A recipe and the crops it is to be trained on."""

    recipe: ClassifierRecipe
    crops: LabelledCrops

    @classmethod
    def find(cls, recipe: ClassifierRecipe, folders: Sequence[Path]) -> "ClassifierTask":
        """The crops in these folders. Raises DataError, or RecipeError if their classes are not those of the recipe."""
        crops = find_crops(folders, recipe.data)
        for split in ("train", "val"):
            if not (crops.splits == split).any():
                raise DataError(f'{crops.rules.name}: no crop has split "{split}"; it is needed to train a classifier')
        try:
            group_of_class(crops.names, recipe.groups)
        except ValueError as error:
            raise RecipeError(f"{recipe.name}, groups: {error}; the classes are {', '.join(crops.names)}") from error
        return cls(recipe, crops)

    def new_run(self) -> Run:
        """A run at step 0."""
        held_out = self.crops.of("val")

        def validate(network: nn.Module) -> float:
            return validation_score(logits_of(network, held_out.images), held_out.classes)

        return Run(self._training(), validate, self.recipe.validation, self.identity())

    def network(self) -> CellClassifier:
        """A network of the recipe's shape, for weights from a checkpoint."""
        return CellClassifier(self.recipe.training.network)

    def ship(self, network: nn.Module, history: Sequence[Validation], folder: Path, final: bool) -> None:
        """Make a model folder."""
        assert isinstance(network, CellClassifier)
        ship_classifier(network, self.recipe, self.crops, folder, history, final)

    def identity(self) -> str:
        """The recipe in full and a fingerprint of the crops: what a checkpoint belongs to."""
        seen = hashlib.sha256(self.crops.images.tobytes())
        seen.update(self.crops.classes.tobytes())
        seen.update("\n".join(self.crops.splits.tolist()).encode())
        return recipe_toml(self.recipe) + tomli_w.dumps({"data_files": {self.crops.rules.name: seen.hexdigest()[:16]}})

    def describe(self) -> str:
        """One line for people."""
        n_val, weights = len(self.crops.of("val")), n_parameters(self.network())
        return (
            f"{self.recipe.name}: {self.n_train()} crops of {len(self.crops.names)} classes to learn from, {n_val} to "
            f"validate on, {weights:,} weights"
        )

    def n_train(self) -> int:
        """Crops to learn from."""
        return len(self.crops.of("train"))

    def fold(self, number: int, n_folds: int) -> "ClassifierTask":
        """The task of one fold of a cross-validation: other movies of train and val are held out each time."""
        return replace(self, crops=folded(self.crops, number, n_folds, self.recipe.training.seed))

    def fraction(self, share: float) -> "ClassifierTask":
        """The same task with a part of the training crops."""
        return replace(self, crops=reduced(self.crops, share))

    def changed(self, changes: Mapping[str, Any]) -> "ClassifierTask":
        """The same task with other settings."""
        return replace(self, recipe=changed(self.recipe, changes))

    def _training(self) -> ClassifierTraining:
        teachers = [self._teacher(name) for name in self.recipe.teachers]
        training = ClassifierTraining(self.recipe.training, self.crops.of("train"), teachers)
        if self.recipe.start:
            start_from(training.network, self.recipe.start, pretrained_classifier(self.recipe.start), heads="head.")
            recentre(training.network, _some_crops(training))
            training.averaged.load_state_dict(training.network.state_dict())
        return training

    def _teacher(self, name: str) -> CellClassifier:
        classes = find_classifier(name)[1].classes
        if classes != self.crops.names:
            raise RecipeError(
                f"teacher {name} knows {', '.join(classes)}; the classes are {', '.join(self.crops.names)}"
            )
        return pretrained_classifier(name)


def pretrained_classifier(name: str) -> CellClassifier:
    """The network of a shipped classifier or of a folder, for inference exactly like its ONNX file. Raises ModelError."""
    model, manifest = find_classifier(name)
    network = CellClassifier(msgspec.convert(manifest.network, CellClassifierSettings))
    network.load_state_dict(unfused(weights_of(model), network))
    return network.eval()


def _some_crops(training: ClassifierTraining, n: int = 64) -> torch.Tensor:
    """Crops as training will see them, `[N, 1, S, S]`, drawn without touching the run's own random numbers."""
    rng = np.random.default_rng(training.settings.seed)
    chosen = rng.choice(len(training.crops), n, p=training.shares)
    return torch.from_numpy(changed_crops(training.crops.images, chosen, training.settings.augment, rng)[:, None])
