"""The card of a classifier: what it is, what it was made from, how good it is, where it fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.class_metrics import ClassFigures, Floats, class_figures, group_of_class, of_groups
from models.crops import normalise
from models.training.card import PURPOSE, limits, purposes, table, title, training
from models.training.class_pictures import confusions, crop_sheet, reliability_plot
from models.training.classifier import ClassifierRecipe
from models.training.classifier_data import LabelledCrops
from models.training.pictures import curves
from models.training.run import Validation

SHOWN = 32
"""Mistakes on the sheet."""
SCORE = "geometric mean of the probability of the true class, temperature fitted"
LEGEND = (
    "Accuracy is the share of each class that was recognised, balanced accuracy their mean; AUC is the area under the ROC "
    "curve of each class against all others; the calibration error is that of the largest probability in 15 bins. A class "
    "with few crops has an accuracy that may be off by tens of percent."
)
MISTAKES = (
    "## Mistakes\n\nValidation crops that were named wrongly with the highest probability, as *true > given*.\n\n"
    "![mistakes](mistakes.png)"
)


@dataclass(frozen=True)
class Answers:
    """What a network said of the crops of one split."""

    crops: LabelledCrops
    p: Floats
    """[N, K] calibrated."""


@dataclass(frozen=True)
class ClassCardFacts:
    """What a card is written from."""

    recipe: ClassifierRecipe
    crops: LabelledCrops
    temperature: float
    answers: Mapping[str, Answers]
    """Split → what the network said."""
    history: Sequence[Validation]


def write_card(facts: ClassCardFacts, folder: Path) -> None:
    """card.md, curves.png, confusions.png, reliability.png and mistakes.png."""
    if facts.history:
        curves(facts.history, folder / "curves.png")
    by_class = {
        split: class_figures(each.p, each.crops.classes, each.crops.names) for split, each in facts.answers.items()
    }
    by_group = {split: group_figures(each, facts.recipe) for split, each in facts.answers.items()}
    confusions(list(by_class.items()), folder / "confusions.png")
    reliability_plot(list(by_class.items()), folder / "reliability.png")
    mistakes = MISTAKES if _write_mistakes(facts.answers["val"], folder / "mistakes.png") else ""
    figured = [_figures(split, by_class[split], by_group[split]) for split in by_class]
    parts = [title(facts.recipe), limits(facts.recipe), _input(facts), _data(facts.crops), _groups(facts.recipe)]
    parts += [*figured, LEGEND, "![confusions](confusions.png)\n\n![reliability](reliability.png)"]
    parts += [_training(facts), mistakes]
    (folder / "card.md").write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def group_figures(answers: Answers, recipe: ClassifierRecipe) -> ClassFigures:
    """The same figures of the groups."""
    groups, names = recipe.groups, answers.crops.names
    truth = group_of_class(names, groups)[answers.crops.classes]
    return class_figures(of_groups(answers.p, names, groups), truth, tuple(groups))


def _input(facts: ClassCardFacts) -> str:
    side_px = facts.recipe.training.network.side_px
    return (
        f"## Input and output\n\nCrops of {side_px} × {side_px} px with the cell in the middle, each scaled by its own levels "
        "(`models/crops.py`): the brightness of a cell beside others is not seen, its shape and texture are. Output: one "
        f"logit a class; probabilities are softmax(logits / {facts.temperature:.3f}), the temperature fitted on val."
    )


def _data(crops: LabelledCrops) -> str:
    splits = [str(split) for split in dict.fromkeys(crops.splits.tolist())]
    counts = {split: crops.of(split).n_of_class() for split in splits}
    rows = [(name, *(str(counts[split][k]) for split in splits)) for k, name in enumerate(crops.names)]
    source = f"{crops.rules.name}, {crops.rules.licence}: {crops.rules.source}."
    return f"## Data\n\n{source} {purposes(splits)}\n\n{table(('class', *splits), rows)}"


def _groups(recipe: ClassifierRecipe) -> str:
    rows = [(name, ", ".join(members)) for name, members in recipe.groups.items()]
    return f"## Groups\n\nA group's probability is the sum of its classes'.\n\n{table(('group', 'classes'), rows)}"


def _figures(split: str, by_class: ClassFigures, by_group: ClassFigures) -> str:
    head = ("", "n", "accuracy", "balanced", "calibration error", "log loss")
    both = table(head, [_overall("classes", by_class), _overall("groups", by_group)])
    each = table(("class or group", "n", "accuracy", "AUC"), [*_each(by_class), *_each(by_group, "**")])
    return f"## Figures: {split} ({PURPOSE.get(split, 'held back')})\n\n{both}\n\n{each}"


def _overall(name: str, figures: ClassFigures) -> tuple[str, ...]:
    numbers = (figures.accuracy, figures.balanced_accuracy, figures.calibration_error, figures.log_loss)
    return (name, str(figures.n), *(f"{number:.3f}" for number in numbers))


def _each(figures: ClassFigures, mark: str = "") -> list[tuple[str, ...]]:
    columns = zip(figures.class_names, figures.n_of_class, figures.accuracy_of_class, figures.auc_of_class, strict=True)
    return [(f"{mark}{name}{mark}", str(n), _written(accuracy), _written(auc)) for name, n, accuracy, auc in columns]


def _written(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3f}"


def _training(facts: ClassCardFacts) -> str:
    settings, network = facts.recipe.training, facts.recipe.training.network
    details = [
        f"Network: residual convolutions, widths {', '.join(map(str, network.widths))}, behind patches of "
        f"{network.patch_px} × {network.patch_px} px.",
        f"Up to {settings.steps} steps of {settings.batch} crops, seed {settings.seed}.",
    ]
    if facts.recipe.teachers:
        details.append(
            f"Learned from the labels ({1 - settings.teaching:.0%}) and from the mean of {len(facts.recipe.teachers)} "
            f"networks ({settings.teaching:.0%}) that were trained on the same split."
        )
    return training(facts.recipe, details, facts.history, SCORE)


def _write_mistakes(answers: Answers, path: Path) -> bool:
    """Were there any?"""
    given = answers.p.argmax(axis=1)
    wrong = np.flatnonzero(given != answers.crops.classes)
    worst = wrong[np.argsort(-answers.p[wrong].max(axis=1), kind="stable")][:SHOWN]
    names, truth = answers.crops.names, answers.crops.classes
    texts = [f"{names[truth[i]][:9]}>{names[given[i]][:9]}" for i in worst]
    if len(worst):
        crop_sheet(normalise(answers.crops.images[worst].astype(np.float32)), texts, path)
    return bool(len(worst))
