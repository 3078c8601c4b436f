"""`reflexscope evaluate segmentation | classification | tracking`: predictions against truth, as tables or JSON."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from realtime.offline.progress import progress_bar
from realtime.offline.selection import read_selection
from realtime.plugins import ConfigError

evaluate_app = typer.Typer(no_args_is_help=True, help="Compare predictions with truth.")
console = Console()

WIDEST = 1000

ListFile = Annotated[
    Path | None, typer.Option("--list", help="CSV whose column file (image, name) chooses files.", metavar="FILE.csv")
]
Where = Annotated[list[str], typer.Option(help="Rows that count, may be repeated.", metavar="COLUMN=VALUE")]
Json = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]


@evaluate_app.command()
def segmentation(
    truth: Annotated[Path, typer.Argument(help="A folder of label images, or one.")],
    prediction: Annotated[Path, typer.Argument(help="The same images, matched by name without extension.")],
    iou: Annotated[str, typer.Option(help="Thresholds with commas; 0.50, 0.55 … 0.95 without it.")] = "",
    table: ListFile = None,
    where: Where = [],  # noqa: B006  # typer reads the default, nobody changes it
    per_image: Annotated[bool, typer.Option("--per-image", help="Also every image, worst first.")] = False,
    stack: Annotated[bool, typer.Option("--stack", help="Planes of a TIFF are images of their own.")] = False,
    json: Json = False,
) -> None:
    """AP, precision, recall and F1 at IoU thresholds, Dice, Jaccard, splits and merges."""
    from models.metrics import summary
    from realtime.offline.evaluation import as_json, compare, paired
    from realtime.offline.figure_tables import image_table, summary_lines, summary_table

    thresholds = _thresholds(iou)
    pairs = paired(truth, prediction, read_selection(table, where))
    with progress_bar("comparing", len(pairs)) as done:
        found = compare(pairs, thresholds, stack, done)
    if json:
        _print_json(as_json(found, per_image))
        return
    figures = summary(found.values())
    _print_tables([image_table(found)] if per_image else [])
    _print_tables([summary_table(figures)], summary_lines(figures))


@evaluate_app.command()
def classification(
    truth: Annotated[Path, typer.Argument(help="CSV with columns index and class (cls, label).")],
    prediction: Annotated[Path, typer.Argument(help="CSV with columns index and p_<class>…, as classify writes.")],
    where: Where = [],  # noqa: B006
    groups: Annotated[str, typer.Option(help="Also judge the groups of classes of this model.", metavar="MODEL")] = "",
    json: Json = False,
) -> None:
    """Accuracy a class, balanced accuracy, confusions, areas under curves, calibration error."""
    from realtime.offline.class_evaluation import class_agreement
    from realtime.offline.figure_tables import class_lines, class_table

    found = class_agreement(truth, prediction, where, groups)
    if json:
        _print_json(found)
        return
    for figures in found.values():
        _print_tables([class_table(figures)], class_lines(figures))


@evaluate_app.command()
def tracking(
    truth: Annotated[Path, typer.Argument(help="Cell Tracking Challenge folder: 01_GT, or its TRA alone.")],
    result: Annotated[Path, typer.Argument(help="maskTTT.tif and res_track.txt, as track writes.")],
    json: Json = False,
) -> None:
    """TRA, DET, LNK, SEG and their errors, divisions exactly and within 2 frames, complete tracks, identity switches."""
    from realtime.offline.mask_scores import score_folders, truth_series
    from realtime.offline.tracking_scores import as_json
    from realtime.offline.tracking_tables import division_table, tracking_lines

    with progress_bar("comparing", len(truth_series(truth))) as done:
        scores = score_folders(truth, result, done)
    if json:
        _print_json(as_json(scores))
        return
    _print_tables([division_table(scores)], tracking_lines(scores))


def _thresholds(words: str) -> tuple[float, ...]:
    from models.metrics import THRESHOLDS

    try:
        given = tuple(float(word) for word in words.split(",")) if words else THRESHOLDS
    except ValueError:
        given = ()
    if not given or not all(0 < threshold <= 1 for threshold in given):
        raise ConfigError(f"--iou {words}: numbers above 0 and up to 1 with commas are needed, as in 0.5,0.7")
    return tuple(dict.fromkeys(given))


def _print_json(figures: Any) -> None:
    content = msgspec.json.format(msgspec.json.encode(figures), indent=2)
    console.print(content.decode(), highlight=False, markup=False, soft_wrap=True)


def _print_tables(tables: list[Table], lines: list[str] | None = None) -> None:
    for table in tables:
        needed = console.measure(table, options=console.options.update_width(WIDEST)).maximum
        Console(width=max(needed, console.width)).print(table)  # a long line may wrap; a figure must not be cut off
    for line in lines or []:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
