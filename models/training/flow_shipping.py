"""A trained classifier of cells in flow → a model folder, calibrated for one look and for several at the same cell."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from models.class_metrics import Floats, fitted_temperature, log_loss, probabilities
from models.manifest import ClassifierManifest, LookRules
from models.networks.cell_classifier import CellClassifier
from models.training.classifier_shipping import FREE_AXES, INPUT, OUTPUT, write_parity
from models.training.data import DataRules
from models.training.exporting import onnx_bytes
from models.training.flow_passing import Image, Sprites
from models.training.flow_training import Classes, FlowRecipe, look_logits, made
from models.training.recipe import recipe_toml
from models.training.run import Validation
from models.training.shipping import require_parity, source_of, write_manifest

SUREST = 1e-5
"""No single look counts as surer than this, as in a sort."""


@dataclass(frozen=True)
class Seen:
    """Looks at cells of one split and what the network said, calibrated for a single look."""

    crops: Image  # [N, L, S, S]
    classes: Classes  # [N]
    p: Floats  # [N, L, K]


def ship_flow_classifier(
    network: CellClassifier, recipe: FlowRecipe, cells: Mapping[str, Sprites], rules: DataRules, folder: Path,
    history: Sequence[Validation] = (),
) -> None:  # fmt: skip
    """Fit temperature and correlation on the split `val`, then write all that `find_model(folder)` needs.

    The card has figures of all splits in `cells`. Raises EngineError if this machine's engine does not answer like torch.
    """
    from models.training.flow_card import FlowCardFacts, write_card

    looked = {split: _looked(network, recipe, each, seed) for seed, (split, each) in enumerate(cells.items(), 2)}
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


def joint(p: Floats, prior: Sequence[float], correlation: float) -> Floats:
    """Probabilities `[N, K]` after all looks `p[N, L, K]`: their evidence added up, as that of fewer independent ones."""
    share = np.array(prior)
    evidence = np.log(np.maximum(p, SUREST) / share).sum(axis=1) / (1 + (p.shape[1] - 1) * correlation)
    together: Floats = softmax(evidence + np.log(share), axis=1)
    return together


def fitted_correlation(p: Floats, classes: Classes, prior: Sequence[float]) -> float:
    """With which the probabilities of two and of all looks have the smallest log loss."""

    def loss(correlation: float) -> float:
        return log_loss(joint(p[:, :2], prior, correlation), classes) + log_loss(joint(p, prior, correlation), classes)

    return float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded").x)


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
