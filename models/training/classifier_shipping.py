"""A trained classifier → a model folder: model.onnx, manifest.toml, parity.npz, recipe.toml, card.md and its pictures."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch

from models.class_metrics import fitted_temperature, probabilities
from models.crops import Crops, normalise
from models.manifest import PARITY_INPUT, ClassifierManifest
from models.networks.cell_classifier import CellClassifier
from models.networks.fusing import fused
from models.training.classifier import ClassifierRecipe, logits_of
from models.training.classifier_card import Answers, ClassCardFacts, write_card
from models.training.classifier_data import LabelledCrops
from models.training.exporting import onnx_bytes
from models.training.recipe import recipe_toml
from models.training.run import Validation
from models.training.shipping import FINAL_SPLITS, require_parity, source_of, write_manifest

INPUT, OUTPUT = "crops", "logits"
FREE_AXES = {0: "cells"}


def ship_classifier(
    network: CellClassifier, recipe: ClassifierRecipe, crops: LabelledCrops, folder: Path,
    history: Sequence[Validation] = (), final: bool = False,
) -> None:  # fmt: skip
    """Fit the temperature on the validation crops, then write all that `find_model(folder)` needs.

    With `final`, the card also gets the figures of the test splits: only once, when nothing will be chosen any more.
    Raises EngineError if the engine of this machine does not answer like torch.
    """
    held_out = crops.of("val")
    temperature = fitted_temperature(logits_of(network, held_out.images).astype(np.float64), held_out.classes)
    splits = ["val", *(split for split in FINAL_SPLITS if final and (crops.splits == split).any())]
    seen = {split: answers_of(network, crops.of(split), temperature) for split in splits}
    folder.mkdir(parents=True, exist_ok=True)
    write_network(network, recipe, crops, temperature, folder)
    write_parity(network, one_of_each(held_out), folder)
    (folder / "recipe.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    write_card(ClassCardFacts(recipe, crops, temperature, seen, history), folder)
    require_parity(folder, (OUTPUT,))


def answers_of(network: CellClassifier, crops: LabelledCrops, temperature: float) -> Answers:
    """What the network says of one split."""
    return Answers(crops, probabilities(logits_of(network, crops.images), temperature))


def write_network(
    network: CellClassifier, recipe: ClassifierRecipe, crops: LabelledCrops, temperature: float, folder: Path
) -> None:
    """model.onnx and manifest.toml."""
    side_px = recipe.training.network.side_px
    free = {INPUT: FREE_AXES, OUTPUT: FREE_AXES}
    content = onnx_bytes(network, torch.zeros(3, 1, side_px, side_px), INPUT, (OUTPUT,), free)
    (folder / "model.onnx").write_bytes(content)
    manifest = ClassifierManifest(
        format=1, name=recipe.name, summary=recipe.summary, sha256=hashlib.sha256(content).hexdigest(),
        um_per_px=recipe.um_per_px, recipe=recipe.name, data=(source_of(crops.rules),), side_px=side_px,
        classes=crops.names, groups=recipe.groups, temperature=temperature,
        network=msgspec.to_builtins(recipe.training.network),
    )  # fmt: skip
    write_manifest(manifest, folder)


def write_parity(network: CellClassifier, crops: Crops, folder: Path) -> None:
    """parity.npz: fixed crops `[N, 1, S, S]`, and what torch in float32 answers."""
    batch = np.ascontiguousarray(crops[:, None])
    with torch.no_grad():
        logits = fused(network)(torch.from_numpy(batch)).numpy()
    np.savez_compressed(folder / "parity.npz", **{PARITY_INPUT: batch, OUTPUT: logits})


def one_of_each(crops: LabelledCrops) -> Crops:
    """The first crop of every class that occurs, normalised, `[K, S, S]`."""
    first = np.unique(crops.classes, return_index=True)[1]
    return normalise(crops.images[first].astype(np.float32))
