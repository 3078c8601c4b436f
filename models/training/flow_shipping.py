"""A trained classifier of cells in flow → a model folder, calibrated for one look and for several at the same cell."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from models.class_metrics import Floats, fitted_temperature, probabilities
from models.manifest import ClassifierManifest, LookRules
from models.networks.cell_classifier import CellClassifier
from models.training.classifier_shipping import FREE_AXES, INPUT, OUTPUT, write_parity
from models.training.data import DataRules
from models.training.exporting import onnx_bytes
from models.training.flow_answers import Seen, fitted_correlation
from models.training.flow_card import FlowCardFacts, write_card
from models.training.flow_passing import Image, Sprites
from models.training.flow_training import Classes, FlowRecipe, look_logits, made
from models.training.recipe import recipe_toml
from models.training.run import Validation
from models.training.shipping import require_parity, source_of, write_manifest


def ship_flow_classifier(
    network: CellClassifier, recipe: FlowRecipe, cells: Mapping[str, Sprites], splits: Sequence[str],
    rules: DataRules, folder: Path, history: Sequence[Validation] = (),
) -> None:  # fmt: skip
    """Fit temperature and correlation on the split `val`, then write all that `find_model(folder)` needs.

    The card has figures of all `splits`. Raises EngineError if this machine's engine does not answer like torch.
    """
    looked = {split: _looked(network, recipe, cells[split], seed) for seed, split in enumerate(splits, 2)}
    crops, classes, logits = looked["val"]
    n_looks = logits.shape[1]
    temperature = fitted_temperature(logits.reshape(-1, logits.shape[2]), np.repeat(classes, n_looks))
    seen = {split: Seen(*each[:2], _calibrated(each[2], temperature)) for split, each in looked.items()}
    correlation = fitted_correlation(seen["val"].p, classes, recipe.class_prior)
    folder.mkdir(parents=True, exist_ok=True)
    write_network(network, recipe, rules, temperature, correlation, folder)
    first = np.unique(classes, return_index=True)[1]
    write_parity(network, crops[first, 0], folder)
    (folder / "recipe.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    write_card(FlowCardFacts(recipe, rules, cells, temperature, correlation, seen, history), folder)
    require_parity(folder, (OUTPUT,))


def write_network(
    network: CellClassifier, recipe: FlowRecipe, rules: DataRules, temperature: float, correlation: float, folder: Path
) -> None:
    """model.onnx and manifest.toml."""
    side_px, classes = recipe.training.network.side_px, tuple(recipe.classes)
    free = {INPUT: FREE_AXES, OUTPUT: FREE_AXES}
    content = onnx_bytes(network, torch.zeros(3, 1, side_px, side_px), INPUT, (OUTPUT,), free)
    (folder / "model.onnx").write_bytes(content)
    manifest = ClassifierManifest(
        format=1, name=recipe.name, summary=recipe.summary, sha256=hashlib.sha256(content).hexdigest(),
        um_per_px=recipe.um_per_px, recipe=recipe.name, data=(source_of(rules),), side_px=side_px,
        classes=classes, groups={name: (name,) for name in classes}, temperature=temperature,
        looks=LookRules(class_prior=recipe.class_prior, correlation=correlation),
        network=msgspec.to_builtins(recipe.training.network),
    )  # fmt: skip
    write_manifest(manifest, folder)


def _looked(
    network: CellClassifier, recipe: FlowRecipe, cells: Sprites, seed: int
) -> tuple[Image, Classes, npt.NDArray[np.float64]]:
    settings = recipe.training
    crops, classes = made(
        recipe, cells, settings.n_validate, settings.n_looks, np.random.default_rng([settings.seed, seed])
    )
    return crops, classes, look_logits(network, crops)


def _calibrated(logits: npt.NDArray[np.float64], temperature: float) -> Floats:
    return probabilities(logits.reshape(-1, logits.shape[2]), temperature).reshape(logits.shape)
