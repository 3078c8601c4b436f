"""Figures of an evaluation as tables and lines for people."""

from rich.table import Table

from models.class_metrics import ClassFigures
from models.metrics import Summary
from realtime.offline.evaluation import SCORES, Agreements, threshold_words


def summary_table(figures: Summary) -> Table:
    """A row an IoU: means over images, then values of all objects pooled."""
    table = numbers("IoU", *[f"{of}\n{words}" for of in ("mean", "pooled") for words in SCORES.values()])
    for threshold, scores in figures.per_image.items():
        pooled = figures.pooled[threshold]
        values = [getattr(source, name) for source in (scores, pooled) for name in SCORES]
        table.add_row(threshold_words(threshold), *[f"{value:.3f}" for value in values])
    return table


def summary_lines(figures: Summary) -> list[str]:
    """What the table has no room for."""
    images = "image" if figures.n_images == 1 else "images"
    empty = f" ({figures.n_empty} without any object)" if figures.n_empty else ""
    return [
        f"{figures.n_images} {images}{empty}, {figures.n_true} true and {figures.n_predicted} predicted objects",
        f"mean average precision {figures.mean_average_precision:.3f} (over images and the IoUs above)",
        f"Dice {figures.dice:.3f} mean, {figures.pixels.f1:.3f} pooled; "
        f"Jaccard {figures.jaccard:.3f} mean, {figures.pixels.average_precision:.3f} pooled",
        f"{100 * figures.split_rate:.1f} % of true objects split, {100 * figures.merge_rate:.1f} % of predicted ones merged",
    ]


def image_table(found: Agreements) -> Table:
    """A row an image, worst first."""
    thresholds = list(next(iter(found.values())).at)
    scores = [f"AP {threshold_words(threshold)}" for threshold in thresholds]
    table = numbers("image", "true", "found", "mean AP", *scores, "Dice", "split", "merged")
    for name, each in sorted(found.items(), key=lambda item: item[1].mean_average_precision):
        values = [each.mean_average_precision, *(each.at[t].average_precision for t in thresholds), each.dice]
        words = [str(each.n_true), str(each.n_predicted), *[f"{value:.3f}" for value in values]]
        table.add_row(name, *words, str(each.split), str(each.merged))
    return table


def numbers(first: str, *columns: str) -> Table:
    """An empty table: names to the left, numbers to the right."""
    table = Table(first, box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def class_table(figures: ClassFigures) -> Table:
    """A row a class."""
    table = numbers("class", "n", "accuracy", "AUC")
    table.add_column("if wrong, called")
    for i, name in enumerate(figures.class_names):
        wrong = [(n, figures.class_names[j]) for j, n in enumerate(figures.confusion[i]) if j != i and n]
        instead = ", ".join(f"{other} {n}" for n, other in sorted(wrong, reverse=True)[:3])
        scores = (_words(figures.accuracy_of_class[i]), _words(figures.auc_of_class[i]))
        table.add_row(name, str(figures.n_of_class[i]), *scores, instead)
    return table


def class_lines(figures: ClassFigures) -> list[str]:
    """What the table has no room for."""
    return [
        f"{figures.n} cells: balanced accuracy {figures.balanced_accuracy:.3f}, accuracy {figures.accuracy:.3f}",
        f"expected calibration error {figures.calibration_error:.3f}, log loss {figures.log_loss:.3f}",
    ]


def _words(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
