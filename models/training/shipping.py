"""A trained segmenter → a model folder: model.onnx, manifest.toml, parity.npz, recipe.toml, card.md and its pictures."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import tomli_w
import torch

from models.engines.choose import open_engine
from models.engines.engine import EngineSettings
from models.label_rules import LabelRules
from models.manifest import PARITY_INPUT, ClassifierManifest, DataSource, SegmenterManifest, find_model
from models.networks.fusing import fused
from models.networks.unet import UNet
from models.normalise import Image, LevelRules, levels, normalised
from models.training.data import DataRules, DataSet
from models.training.exporting import onnx_bytes
from models.training.images import Example, examples
from models.training.recipe import recipe_toml
from models.training.run import Validation
from models.training.scoring import answers, tuned_rules
from models.training.segmenter import SegmenterRecipe
from models.training.segmenter_card import CardFacts, write_card

PARITY_PX = (128, 160)
"""Height and width of the image that every engine must answer like torch, before rounding up to the network's multiple."""
FREE_AXES = {2: "height", 3: "width"}
FINAL_SPLITS = ("public_test", "test")
"""Splits that are looked at once, when everything is chosen."""


def ship_segmenter(
    network: UNet, recipe: SegmenterRecipe, data: Sequence[DataSet], folder: Path,
    history: Sequence[Validation] = (), final: bool = False,
) -> None:  # fmt: skip
    """Tune the label rules on the validation images, then write all that `find_model(folder)` needs.

    With `final`, the card also gets the figures of the test splits: only once, when nothing will be chosen any more.
    Raises EngineError if the engine of this machine does not answer like torch.
    """
    network.eval()
    validation = answers(network, examples(data, "val"), recipe.levels)
    methods = {method: tuned_rules(validation, method) for method in recipe.training.network.methods}
    seen = {"val": validation}
    if final:
        seen |= {split: answers(network, examples(data, split), recipe.levels) for split in _final_splits(data)}
    folder.mkdir(parents=True, exist_ok=True)
    write_network(network, recipe, [each.rules for each in data], methods, folder)
    write_parity(network, parity_image([answer.example for answer in validation], recipe.levels, network), folder)
    (folder / "recipe.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    write_card(CardFacts(recipe, data, methods, seen, history), folder)
    require_parity(folder, tuple(methods))


def write_network(
    network: UNet, recipe: SegmenterRecipe, data: Sequence[DataRules], methods: dict[str, LabelRules], folder: Path
) -> None:
    """model.onnx and manifest.toml."""
    example = torch.zeros(1, 1, 2 * network.multiple, 3 * network.multiple)
    free = dict.fromkeys(("image", *methods), FREE_AXES)
    content = onnx_bytes(network, example, "image", tuple(methods), free)
    (folder / "model.onnx").write_bytes(content)
    manifest = SegmenterManifest(
        format=1, name=recipe.name, summary=recipe.summary, sha256=hashlib.sha256(content).hexdigest(),
        um_per_px=recipe.um_per_px, recipe=recipe.name, data=tuple(source_of(each) for each in data),
        levels=recipe.levels, multiple_px=network.multiple, methods=methods,
        network=msgspec.to_builtins(recipe.training.network),
    )  # fmt: skip
    write_manifest(manifest, folder)


def write_manifest(manifest: SegmenterManifest | ClassifierManifest, folder: Path) -> None:
    """manifest.toml; what is None is left out, since TOML has no word for it."""
    tables = {key: value for key, value in msgspec.to_builtins(manifest).items() if value is not None}
    (folder / "manifest.toml").write_text(tomli_w.dumps(tables), encoding="utf-8")


def write_parity(network: UNet, image: Image, folder: Path) -> None:
    """parity.npz: a fixed input, and what torch in float32 answers."""
    batch = np.ascontiguousarray(image)[None, None]
    with torch.no_grad():
        maps = fused(network)(torch.from_numpy(batch))
    arrays: dict[str, Any] = {PARITY_INPUT: batch} | {method: each.numpy() for method, each in maps.items()}
    np.savez_compressed(folder / "parity.npz", **arrays)


def require_parity(folder: Path, outputs: Sequence[str]) -> None:
    """Open the finished folder as a run would. Raises EngineError beyond tolerance."""
    model = find_model(str(folder))
    shape = model.parity()[PARITY_INPUT].shape
    for output in outputs:
        open_engine(model, output, shape, EngineSettings()).close()


def parity_image(images: Sequence[Example], rules: LevelRules, network: UNet) -> Image:
    """A piece of the image with the most objects for its size: the middle of it, mirrored where it is too small."""
    busiest = max(images, key=lambda example: int(example.labels.max()) / example.labels.size)
    image = normalised(busiest.pixels, *levels(busiest.pixels, rules))
    sides = [-(-side // network.multiple) * network.multiple for side in PARITY_PX]
    room = [max(0, side - length) for side, length in zip(sides, image.shape, strict=True)]
    image = cv2.copyMakeBorder(image, 0, room[0], 0, room[1], cv2.BORDER_REFLECT_101).astype(np.float32)
    top, left = ((length - side) // 2 for side, length in zip(sides, image.shape, strict=True))
    return image[top : top + sides[0], left : left + sides[1]]


def source_of(rules: DataRules) -> DataSource:
    """What the manifest keeps of a data set."""
    return DataSource(name=rules.name, licence=rules.licence, source=rules.source)


def _final_splits(data: Sequence[DataSet]) -> list[str]:
    there = {split for each in data for split in each.splits()}
    return [split for split in FINAL_SPLITS if split in there]
