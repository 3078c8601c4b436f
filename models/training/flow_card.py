"""The card of a classifier of cells in flow: how good one look is, how good several are, and how alike they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.class_metrics import ClassFigures, Floats, class_figures
from models.training.card import PURPOSE, limits, purposes, table, title, training
from models.training.class_pictures import confusions, crop_sheet, reliability_plot
from models.training.data import DataRules
from models.training.flow_answers import Seen, joint
from models.training.flow_passing import Image, Sprites
from models.training.flow_training import Classes, FlowRecipe
from models.training.pictures import curves
from models.training.run import Validation

RECALL = 0.98
SHOWN = 32
"""Crops on a sheet."""
MISTAKES = "## Mistakes\n\nOn val, those of the highest probability, as *true > given*.\n\n![mistakes](mistakes.png)"
SCORE = "geometric mean of the probability of the true class, temperature fitted"


@dataclass(frozen=True)
class FlowCardFacts:
    """What a card is written from."""

    recipe: FlowRecipe
    rules: DataRules
    cells: Mapping[str, Sprites]
    temperature: float
    correlation: float
    seen: Mapping[str, Seen]
    """Split → looks and what the network said."""
    history: Sequence[Validation]


def write_card(facts: FlowCardFacts, folder: Path) -> None:
    """card.md, curves.png, confusions.png, reliability.png, looks.png and mistakes.png."""
    if facts.history:
        curves(facts.history, folder / "curves.png")
    figures = [(name, class_figures(p, truth, _names(facts))) for name, p, truth in _judged(facts)]
    confusions(figures, folder / "confusions.png")
    reliability_plot(figures, folder / "reliability.png")
    _write_sheets(facts, folder)
    parts = [title(facts.recipe), limits(facts.recipe), _input(facts), _data(facts), _overall(figures)]
    parts += [_against_the_others(facts), "![confusions](confusions.png)\n\n![reliability](reliability.png)"]
    parts += ["## Looks\n\n![looks](looks.png)", _training(facts), MISTAKES]
    (folder / "card.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def false_share(p: Floats, truth: Classes, k: int, recall: float = RECALL) -> float:
    """Share of the others that pass for class `k` where this share of its own does."""
    threshold = np.quantile(p[truth == k, k], 1 - recall)
    return float(np.mean(p[truth != k, k] >= threshold))


def _names(facts: FlowCardFacts) -> tuple[str, ...]:
    return tuple(facts.recipe.classes)


def _judged(facts: FlowCardFacts) -> list[tuple[str, Floats, Classes]]:
    """Of every split: the first look alone, then all of them together."""
    judged = []
    for split, seen in facts.seen.items():
        together = joint(seen.p, facts.recipe.class_prior, facts.correlation)
        judged += [(f"{split}, 1 look", seen.p[:, 0], seen.classes)]
        judged += [(f"{split}, {seen.p.shape[1]} looks", together, seen.classes)]
    return judged


def _input(facts: FlowCardFacts) -> str:
    side_px = facts.recipe.training.network.side_px
    return (
        f"## Input and output\n\nCrops of {side_px} × {side_px} px around a cell's centre of contrast, each pixel (background − "
        "pixel) / background, 0 beyond the view; what `StripFinder.crops` gives. Output: one logit a class; probabilities are "
        f"softmax(logits / {facts.temperature:.3f}), calibrated on val for the shares of classes in training. Looks at one cell "
        f"resemble each other: n of them tell as much as n / (1 + (n − 1) · {facts.correlation:.2f}) independent ones, as "
        "fitted on val."
    )


def _data(facts: FlowCardFacts) -> str:
    rules, splits = facts.rules, list(facts.cells)
    kinds = list(facts.cells[splits[0]].of_kind)
    rows = [(kind, *(str(len(facts.cells[split].of_kind.get(kind, []))) for split in splits)) for kind in kinds]
    shares = ", ".join(
        f"{name} {share:.0%}" for name, share in zip(_names(facts), facts.recipe.class_prior, strict=True)
    )
    return (
        f"## Data\n\n{rules.name}, {rules.licence}: {rules.source}. {purposes(splits)} Single cells were cut out; doublets, "
        f"debris, neighbours, motion and noise are made. Shares of classes: {shares}.\n\n{table(('cells', *splits), rows)}"
    )


def _overall(figures: Sequence[tuple[str, ClassFigures]]) -> str:
    head = ("", "n", "accuracy", "balanced", "calibration error", "log loss")
    rows = [
        (name, str(f.n), *(f"{v:.4f}" for v in (f.accuracy, f.balanced_accuracy, f.calibration_error, f.log_loss)))
        for name, f in figures
    ]
    told = "; ".join(
        f"{split}: {words}" for split, words in PURPOSE.items() if any(n.startswith(split) for n, _ in figures)
    )
    return f"## Figures\n\n{told}.\n\n{table(head, rows)}"


def _against_the_others(facts: FlowCardFacts) -> str:
    judged = _judged(facts)
    rows = [
        (name, *(f"{100 * false_share(p, truth, k):.3f}" for _, p, truth in judged))
        for k, name in enumerate(_names(facts))
    ]
    return (
        f"One class against all others: percent of the others that pass for it where {RECALL:.0%} of its own do.\n\n"
        f"{table(('class', *(name for name, _, _ in judged)), rows)}"
    )


def _training(facts: FlowCardFacts) -> str:
    settings, network = facts.recipe.training, facts.recipe.training.network
    details = [
        f"Network: residual convolutions, widths {', '.join(map(str, network.widths))}, behind patches of "
        f"{network.patch_px} × {network.patch_px} px.",
        f"Up to {settings.steps} steps of {settings.batch} crops, seed {settings.seed}.",
    ]
    return training(facts.recipe, details, facts.history, SCORE)


def _write_sheets(facts: FlowCardFacts, folder: Path) -> None:
    """Some looks of every class, and the worst mistakes."""
    seen, names = facts.seen["val"], _names(facts)
    crops, p = seen.crops[:, 0], seen.p[:, 0]
    each = max(1, 2 * SHOWN // len(names) // 8 * 8)
    some = np.concatenate([np.flatnonzero(seen.classes == k)[:each] for k in range(len(names))])
    crop_sheet(shown(crops[some]), [names[k] for k in seen.classes[some]], folder / "looks.png")
    given = p.argmax(axis=1)
    wrong = np.flatnonzero(given != seen.classes)
    worst = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")][:SHOWN]
    if len(worst):
        texts = [f"{names[seen.classes[i]][:8]}>{names[given[i]][:8]}" for i in worst]
        crop_sheet(shown(crops[worst]), texts, folder / "mistakes.png")


def shown(crops: Image) -> Image:
    """Contrast as grey values from 0 to 1, the background grey."""
    return np.asarray(np.clip(0.75 - crops, 0, 1), np.float32)
