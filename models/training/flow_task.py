"""Everything to train a classifier of cells in flow: a recipe, cells cut from a smear, a run, a model folder in the end."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from torch import nn

from acquisition.simulated.cut_flow_sprites import cut_all
from models.class_metrics import fitted_temperature, log_loss, probabilities
from models.networks.cell_classifier import CellClassifier
from models.networks.unet import n_parameters
from models.training.data import DataError, DataRules
from models.training.flow_passing import Sprites, singles_of
from models.training.flow_shipping import ship_flow_classifier
from models.training.flow_training import FlowRecipe, FlowTraining, look_logits, made
from models.training.recipe import RecipeError, changed, recipe_toml
from models.training.run import Run, Validation
from models.training.shipping import FINAL_SPLITS

TABLE = "boxes.csv"
LEARNED, HELD_OUT = "train", "val"


@dataclass(frozen=True)
class FlowTask:
    """A recipe and single cells by split."""

    recipe: FlowRecipe
    cells: Mapping[str, Sprites]
    rules: DataRules

    @classmethod
    def find(cls, recipe: FlowRecipe, folders: Sequence[Path]) -> "FlowTask":
        """The cells in these folders. Raises DataError, or RecipeError if the recipe does not fit together."""
        if len(recipe.classes) != recipe.training.network.n_classes:
            raise RecipeError(
                f"{recipe.name}: {len(recipe.classes)} classes are named, network.n_classes is "
                f"{recipe.training.network.n_classes}; make them equal"
            )
        folder, rules = _data_of(folders, recipe.data)
        kinds = singles_of(list(recipe.classes))
        cells = {split: Sprites(cut_all(folder, split)) for split in (LEARNED, HELD_OUT, *FINAL_SPLITS)}
        for split in (LEARNED, HELD_OUT):
            cells[split].require(kinds, f"{rules.name}, {split}")
        return cls(recipe, {split: each for split, each in cells.items() if any(each.of_kind.values())}, rules)

    def new_run(self) -> Run:
        """A run at step 0."""
        settings = self.recipe.training
        rng = np.random.default_rng(settings.seed + 1)
        crops, classes = made(self.recipe, self.cells[HELD_OUT], settings.n_validate, 1, rng)

        def validate(network: nn.Module) -> float:
            """Geometric mean of the probability of the true class."""
            logits = look_logits(network, crops)[:, 0]
            p = probabilities(logits, fitted_temperature(logits, classes))
            return float(np.exp(-log_loss(p, classes)))

        return Run(FlowTraining(self.recipe, self.cells[LEARNED]), validate, self.recipe.validation, self.identity())

    def network(self) -> CellClassifier:
        """A network of the recipe's shape, for weights from a checkpoint."""
        return CellClassifier(self.recipe.training.network)

    def ship(self, network: nn.Module, history: Sequence[Validation], folder: Path, final: bool) -> None:
        """Make a model folder."""
        assert isinstance(network, CellClassifier)
        splits = [HELD_OUT, *(split for split in FINAL_SPLITS if final and split in self.cells)]
        ship_flow_classifier(network, self.recipe, self.cells, splits, self.rules, folder, history)

    def identity(self) -> str:
        """The recipe in full and a fingerprint of the cells: what a checkpoint belongs to."""
        seen = hashlib.sha256()
        for cells in self.cells.values():
            for pictures in cells.of_kind.values():
                for picture in pictures:
                    seen.update(np.ascontiguousarray(picture).tobytes())
        return recipe_toml(self.recipe) + tomli_w.dumps({"data_files": {self.rules.name: seen.hexdigest()[:16]}})

    def describe(self) -> str:
        """One line for people."""
        held_out = sum(map(len, self.cells[HELD_OUT].of_kind.values()))
        return (
            f"{self.recipe.name}: {self.n_train()} cells to learn from, {held_out} to validate on, "
            f"{n_parameters(self.network()):,} weights"
        )

    def n_train(self) -> int:
        """Cells to learn from."""
        return sum(map(len, self.cells[LEARNED].of_kind.values()))

    def fold(self, number: int, n_folds: int) -> "FlowTask":
        """The task of one fold of a cross-validation: other cells of train and val are held out each time."""
        rng = np.random.default_rng(self.recipe.training.seed)
        learned, held_out = {}, {}
        for kind, pictures in self.cells[LEARNED].of_kind.items():
            used = [*pictures, *self.cells[HELD_OUT].of_kind.get(kind, [])]
            order = rng.permutation(len(used))
            held_out[kind] = [used[i] for i in order[number::n_folds]]
            learned[kind] = [used[i] for k, i in enumerate(order) if k % n_folds != number]
        return replace(self, cells={LEARNED: Sprites(learned), HELD_OUT: Sprites(held_out)})

    def fraction(self, share: float) -> "FlowTask":
        """The same task with a part of the cells to learn from, at least one of each kind."""
        less = {
            kind: pictures[: max(1, round(share * len(pictures)))]
            for kind, pictures in self.cells[LEARNED].of_kind.items()
        }
        return replace(self, cells={**self.cells, LEARNED: Sprites(less)})

    def changed(self, changes: Mapping[str, Any]) -> "FlowTask":
        """The same task with other settings."""
        return replace(self, recipe=changed(self.recipe, changes))


def _data_of(folders: Sequence[Path], known: Sequence[DataRules]) -> tuple[Path, DataRules]:
    """The folder with boxes around cells: one of these, or in one of these under the name that the recipe knows."""
    rules_of = {rules.name: rules for rules in known}
    for folder in (folder.expanduser().resolve() for folder in folders):
        for place in (folder, *(folder / name for name in rules_of)):
            if (place / TABLE).is_file():
                return place, rules_of.get(place.name, DataRules(name=place.name))
    raise DataError(
        f"no {TABLE} in {', '.join(map(str, folders)) or 'no folder'}: give --data FOLDER with boxes.csv, splits.csv and "
        "images/, as the bccd data have them"
    )
