"""How well a segmenter does on labelled images, and which label rules serve it best."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch

from models.label_rules import LabelRules
from models.labelling import Maps, label_maps
from models.metrics import Agreement, Summary, agreement, summary
from models.networks.unet import UNet
from models.normalise import Image, LevelRules, levels, normalised
from models.tiling import padded, rounded_up
from models.training.images import Example, Labels

IOUS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""At these the figures are taken, as most of the field's tables are."""
GRID: dict[str, tuple[Any, ...]] = {
    "prominence": (0.1, 0.14, 0.17, 0.2, 0.23, 0.27, 0.32, 0.38, 0.45, 0.52, 0.6),
    "peak": (0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75),
    "foreground": (0.35, 0.4, 0.45, 0.5, 0.55, 0.6),
    "certainty": (0.3, 0.5, 0.6, 0.7, 0.8, 0.87, 0.92, 0.95),
    "min_area_px": (8, 12, 16, 20, 24, 32, 48, 72, 108, 160),
}
"""What is tried for each label rule, in this order."""
AS_GOOD = 2e-4
"""Scores that differ by less are taken as equal."""
MOST_ROUNDS = 4
QUICK_PROMINENCES = (0.2, 0.32, 0.45)
"""Tried at every validation."""


@dataclass(frozen=True)
class Answer:
    """What a network said of one labelled image."""

    example: Example
    maps: dict[str, Maps]
    """Method → `[C, H, W]`."""

    @property
    def labels(self) -> Labels:
        return self.example.labels


def answers(network: UNet, images: Iterable[Example], rules: LevelRules, bfloat16: bool = False) -> list[Answer]:
    """The maps of every image, as one pass of the network over the whole of it."""
    network.eval()
    return [Answer(e, maps_of(network, normalised(e.pixels, *levels(e.pixels, rules)), bfloat16)) for e in images]


@torch.no_grad()
def maps_of(network: UNet, image: Image, bfloat16: bool = False) -> dict[str, Maps]:
    """Maps `[C, H, W]` of a normalised image of any size, which is mirrored at its lower right to fit the network."""
    height, width = image.shape
    side_px = (rounded_up(height, network.multiple), rounded_up(width, network.multiple))
    batch = torch.from_numpy(padded(image, side_px))[None, None]
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        maps = network(batch.contiguous(memory_format=torch.channels_last))
    return {method: each[0, :, :height, :width].float().contiguous().numpy() for method, each in maps.items()}


def figures(given: Sequence[Answer], rules: LabelRules) -> dict[str, Summary]:
    """Figures of every data set, in the order in which they come."""
    names = dict.fromkeys(answer.example.data_set for answer in given)
    return {name: summary([_agreement(a, rules) for a in given if a.example.data_set == name]) for name in names}


def score(given: Sequence[Answer], rules: LabelRules) -> float:
    """One number to choose by: average precision, the mean over thresholds and images, then over data sets."""
    return float(np.mean([mean_ap(each) for each in figures(given, rules).values()]))


def mean_ap(of_set: Summary) -> float:
    """Average precision, averaged over images and IOUS."""
    return float(np.mean(list(of_set.mean_ap.values())))


def validation_score(given: Sequence[Answer], methods: Iterable[str]) -> float:
    """The mean over methods of the score under the usual rules, at the best of a few prominences.

    The prominence that suits grows while the maps become sharper; a fixed one would judge the rules, not the network.
    """
    return float(np.mean([max(score(given, rules) for rules in _quick_rules(method)) for method in methods]))


def usual_rules(method: str) -> LabelRules:
    """The defaults for a method."""
    return msgspec.convert({"method": method}, LabelRules)


def tuned_rules(given: Sequence[Answer], method: str, grid: Mapping[str, tuple[Any, ...]] = GRID) -> LabelRules:
    """The best rules on these answers, one after the other until none changes any more: validation data only."""
    best = usual_rules(method)
    for _ in range(MOST_ROUNDS):
        before = best
        for name, values in grid.items():
            best = _with_best(given, best, name, values)
        if best == before:
            break
    return best


def _with_best(given: Sequence[Answer], rules: LabelRules, name: str, values: tuple[Any, ...]) -> LabelRules:
    """The same rules with the best of some values for one of them.

    Of values that do equally well the middle one: it is the least likely to sit on an edge.
    """
    tried = [msgspec.structs.replace(rules, **{name: value}) for value in values]
    scores = [score(given, each) for each in tried]
    good = [each for each, result in zip(tried, scores, strict=True) if result >= max(scores) - AS_GOOD]
    return good[len(good) // 2]


def _quick_rules(method: str) -> list[LabelRules]:
    return [msgspec.structs.replace(usual_rules(method), prominence=value) for value in QUICK_PROMINENCES]


def _agreement(answer: Answer, rules: LabelRules) -> Agreement:
    return agreement(answer.labels, label_maps(answer.maps[rules.method], rules), IOUS)
