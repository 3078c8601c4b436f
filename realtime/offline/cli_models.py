"""`reflexscope segment | classify | models`: networks at work on files, without a microscope."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from realtime.offline.cli_evaluate import ListFile, Where, evaluate_app
from realtime.offline.progress import progress_bar
from realtime.offline.selection import files_by_stem, listed, read_selection
from realtime.plugins import ConfigError, convert_settings

app = typer.Typer()
app.add_typer(evaluate_app, name="evaluate")
console = Console()
errors = Console(stderr=True)

FAILED = 1

EngineName = Annotated[str, typer.Option(help="auto, openvino, onnxruntime, torch or tensorrt.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")]
Threads = Annotated[int, typer.Option(help="For the engine; 0: OMP_NUM_THREADS, or one.", min=0)]
Force = Annotated[bool, typer.Option("--force", help="Overwrite earlier results.")]


@app.command()
def segment(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Grey PNG or TIFF files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the label TIFFs.", metavar="DIR")],
    model: Annotated[
        str, typer.Option(help="A shipped model or the folder of one; see `reflexscope models`.")
    ] = "nuclei",
    method: Annotated[str, typer.Option(help="deep_watershed or pixel_classes.")] = "deep_watershed",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    zoom: Annotated[float, typer.Option(help="Enlarge for the network, to the scale it was trained at.")] = 1.0,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw outlines, DIR/overlays/*.png.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Also measure the cells, DIR/cells.csv.")] = False,
    features: Annotated[str, typer.Option(help="More columns for --csv: names with commas, or all.")] = "",
    um_per_px: Annotated[float | None, typer.Option(help="Pixel size, where the TIFF does not say.", min=1e-6)] = None,
    stack: Annotated[bool, typer.Option("--stack", help="Planes of a TIFF are images of their own.")] = False,
    table: ListFile = None,
    where: Where = [],  # noqa: B006  # typer reads the default, nobody changes it
    force: Force = False,
) -> None:
    """Label images of the cells in images: 16-bit TIFFs (32-bit beyond 65,535 cells) under the images' names."""
    from acquisition.clock import SystemClock
    from models.segmenter import NetworkSegmenter
    from realtime.offline.segmenting import Report, Wanted, plan
    from realtime.offline.segmenting import segment as segment_all

    settings = {"model": model, "method": method, "zoom": zoom, "engine": _engine(engine, precision, threads)}
    segmenter = convert_settings(NetworkSegmenter, settings, "segment")
    wanted = Wanted(out, overlay, csv or bool(features), _feature_names(features), um_per_px, stack, force)
    report = Report()
    paths = _chosen(images, table, where)
    jobs = plan(paths, wanted, report)
    if not jobs:
        _fail_for(report.failed, len(paths))
    with written(out):
        out.mkdir(parents=True, exist_ok=True)
    try:
        with progress_bar("segmenting", len(jobs)) as done, written(out):
            segment_all(jobs, segmenter, wanted, report, SystemClock(), done)
        _say(f"{counted(report.n_images, 'image')}, {counted(report.n_cells, 'cell')} → {out}{_shares(report.spent_s)}")
        _say(segmenter.description)
    finally:
        segmenter.close()
    _fail_for(report.failed, len(paths))


@app.command()
def classify(
    crops: Annotated[Path, typer.Argument(help="A folder of images, a TIFF stack or an .npz with images[N, H, W].")],
    out: Annotated[Path, typer.Option(help="Table of classes and probabilities.", metavar="FILE.csv")],
    model: Annotated[str, typer.Option(help="A shipped model or the folder of one.")] = "mitosis",
    classes: Annotated[str, typer.Option(help="all, or groups for the model's few groups of classes.")] = "all",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    force: Force = False,
) -> None:
    """Classes of single cells: columns index, class, p_<class>…, and file for a folder."""
    from models.classifier import NetworkClassifier
    from models.crop_files import read_crops
    from realtime.offline.classifying import class_rows, require_side, write_rows

    settings = {"model": model, "classes": classes, "engine": _engine(engine, precision, threads)}
    classifier = convert_settings(NetworkClassifier, settings, "classify")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; the table needs the name of a file, such as {out / 'classes.csv'}")
    if out.exists() and not force:
        raise ConfigError(f"{out} exists already: give another --out, or --force to overwrite")
    found = read_crops(crops)
    require_side(found, model, crops)
    with written(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with progress_bar("classifying", len(found.images)) as done:
            rows = list(class_rows(found, classifier, done))
    finally:
        classifier.close()
    with written(out):
        write_rows(out, rows)
    _say(f"{counted(len(rows), 'crop')} → {out}")


@app.command()
def models(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Print this model's card.")] = "",
) -> None:
    """The models that are shipped, or the card of one: data, figures and limits of use."""
    from realtime.offline.model_list import card, model_lines

    for line in [card(name)] if name else model_lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _engine(name: str, precision: str, threads: int) -> dict[str, Any]:
    return {"use": name, "precision": precision, "threads": threads}


def _feature_names(words: str) -> tuple[str, ...]:
    from models.features import FEATURES
    from models.measure import check_features

    names = tuple(FEATURES) if words == "all" else tuple(word.strip() for word in words.split(",") if word.strip())
    try:
        check_features(names)
    except ValueError as error:
        raise ConfigError(f"--features {words}: {error}") from error
    return names


def _chosen(images: list[Path], table: Path | None, where: list[str]) -> list[Path]:
    """Every file, those of a folder in natural order; with a table, those of its rows."""
    from models.images import image_files

    selection = read_selection(table, where)
    if selection is None:
        return [file for path in images for file in (image_files(path) if path.is_dir() else [path])]
    if len(images) != 1 or not images[0].is_dir():
        raise ConfigError(
            f"--list chooses files of one folder: give that folder instead of {listed(list(map(str, images)))}"
        )
    return list(selection.of(files_by_stem(images[0]), images[0]).values())


@contextmanager
def written(out: Path, option: str = "--out ") -> Iterator[None]:
    """A disk that refuses is the user's to put right; `option` is what the folder was given by."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{option}{out}: {error.filename2 or error.filename} cannot be written: {error.strerror}"
        ) from error


def _shares(spent_s: dict[str, float]) -> str:
    """` in 9.8 s: network 81 %, labels 9 %, …`."""
    total = sum(spent_s.values())
    shares = sorted(spent_s.items(), key=lambda item: -item[1])
    parts = [f"{what} {100 * seconds / total:.0f} %" for what, seconds in shares if seconds > 0.005 * total]
    return f" in {total:.1f} s: {', '.join(parts)}" if parts else ""


def _fail_for(failed: dict[Path, str], n_images: int) -> None:
    for why in failed.values():
        errors.print(f"error: {why}", style="bold red", highlight=False, markup=False, soft_wrap=True)
    if failed:
        names = listed([path.name for path in failed], most=len(failed))
        errors.print(
            f"{len(failed)} of {n_images} images failed: {names}", highlight=False, markup=False, soft_wrap=True
        )
        raise typer.Exit(FAILED)


def _say(line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
