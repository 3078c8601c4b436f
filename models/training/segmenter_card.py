"""The card of a segmenter: what it is, what it was made from, how good it is, where it fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.cells import Labels
from models.label_rules import LabelRules
from models.labelling import label_maps
from models.metrics import Summary, agreement
from models.training.card import PURPOSE, limits, purposes, table, title, training
from models.training.data import DataSet
from models.training.pictures import curves, sheet
from models.training.run import Validation
from models.training.scoring import IOUS, Answer, figures
from models.training.segmenter import SegmenterRecipe

SHOWN = 3
"""Images on each sheet of examples."""
COLUMNS = ("mean AP", "F1 0.5", "F1 0.7", "Dice", "split", "merged")
LEGEND = (
    "AP is found / (found + invented + missed) at an IoU, averaged over images, and mean AP the mean of these columns; F1 "
    "is of all objects pooled; split and merged are shares of the true and of the predicted objects."
)
EXAMPLES = (
    "## Examples\n\nValidation images, the truth in green, the prediction over it in pink; the number is the image's mean "
    "AP.\n\nAmong the best:\n\n![best](best.png)\n\nThe worst:\n\n![worst](worst.png)"
)


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from."""

    recipe: SegmenterRecipe
    data: Sequence[DataSet]
    methods: dict[str, LabelRules]
    answers: Mapping[str, Sequence[Answer]]
    """Split → what the network said."""
    history: Sequence[Validation]


def write_card(facts: CardFacts, folder: Path) -> None:
    """card.md, curves.png, best.png and worst.png."""
    if facts.history:
        curves(facts.history, folder / "curves.png")
    _write_examples(facts, folder)
    figured = [_figures(split, answers, facts.methods) for split, answers in facts.answers.items()]
    parts = [title(facts.recipe), limits(facts.recipe), _data(facts.data), *figured, LEGEND, _rules(facts.methods)]
    parts += [_training(facts), EXAMPLES]
    (folder / "card.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _data(data: Sequence[DataSet]) -> str:
    rows = [(each.name, _counted(each), each.rules.licence, each.rules.source) for each in data]
    splits = dict.fromkeys(split for each in data for split in each.splits())
    return f"## Data\n\n{table(('data set', 'images', 'licence', 'source'), rows)}\n\n{purposes(splits)}"


def _counted(data: DataSet) -> str:
    return ", ".join(f"{split} {len(data.files(split))}" for split in data.splits())


def _figures(split: str, answers: Sequence[Answer], methods: dict[str, LabelRules]) -> str:
    head = ("data set", "method", "images", *(f"AP {iou:g}" for iou in IOUS), *COLUMNS)
    rows = [
        (name, method, *_row(each))
        for method, rules in methods.items()
        for name, each in figures(answers, rules).items()
    ]
    return f"## Figures: {split} ({PURPOSE.get(split, 'held back')})\n\n{table(head, rows)}"


def _row(of_set: Summary) -> tuple[str, ...]:
    ap = [of_set.mean_ap[iou] for iou in IOUS]
    f1 = [of_set.pooled[iou].f1 for iou in (0.5, 0.7)]
    numbers = (*ap, float(np.mean(ap)), *f1, of_set.dice, of_set.split_rate, of_set.merge_rate)
    return (str(of_set.n_images), *(f"{number:.3f}" for number in numbers))


def _rules(methods: dict[str, LabelRules]) -> str:
    names = [name for name in LabelRules.__struct_fields__ if name != "method"]
    rows = [(method, *(f"{getattr(rules, name):g}" for name in names)) for method, rules in methods.items()]
    return f"## Label rules\n\nChosen on val, one after the other.\n\n{table(('method', *names), rows)}"


def _training(facts: CardFacts) -> str:
    settings, network = facts.recipe.training, facts.recipe.training.network
    details = [
        f"Network: residual U-Net, widths {', '.join(map(str, network.widths))}, behind a {network.unshuffle}× "
        "pixel-unshuffle.",
        f"Up to {settings.steps} steps of {settings.batch} crops of {settings.crop_px} px, seed {settings.seed}.",
    ]
    if facts.recipe.teacher:
        details.append(f"Learned from the labels and from the maps of `{facts.recipe.teacher}`.")
    score = "mean AP over images, data sets and methods, with untuned label rules"
    return training(facts.recipe, details, facts.history, score)


def _write_examples(facts: CardFacts, folder: Path) -> None:
    rules = next(iter(facts.methods.values()))
    ranked = sorted(facts.answers["val"], key=lambda answer: _image_score(answer, rules))
    others = ranked[SHOWN:] or ranked  # with a handful of images the best must not be the worst again
    for name, chosen in (("worst.png", ranked[:SHOWN]), ("best.png", _of_many_objects(others)[-SHOWN:])):
        shown = [
            (f"{_image_score(each, rules):.2f} {each.example.name}", each.example, _labels(each, rules))
            for each in chosen
        ]
        sheet(shown, facts.recipe.levels, folder / name)


def _of_many_objects(ranked: Sequence[Answer]) -> Sequence[Answer]:
    """Those with at least as many objects as the median: an image with two cells is easily perfect."""
    counts = [len(np.unique(answer.labels)) for answer in ranked]
    return [answer for answer, n in zip(ranked, counts, strict=True) if n >= np.median(counts)]


def _image_score(answer: Answer, rules: LabelRules) -> float:
    agreed = agreement(answer.labels, _labels(answer, rules), IOUS)
    return float(np.mean([each.average_precision for each in agreed.at.values()]))


def _labels(answer: Answer, rules: LabelRules) -> Labels:
    return label_maps(answer.maps[rules.method], rules)
