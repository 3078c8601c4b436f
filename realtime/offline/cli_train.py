"""`reflexscope train segmenter|classifier|flow` and `reflexscope export`: data in, a model folder out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from acquisition.clock import SystemClock
from realtime.offline.training_watch import TerminalWatch
from realtime.plugins import ConfigError

if TYPE_CHECKING:
    from models.training.studies import Trial, TrialResult
    from models.training.train import Task

app = typer.Typer()
console = Console(stderr=True)

INTERRUPTED = 1
NEEDED = ("torch", "onnx", "matplotlib")

Data = Annotated[
    list[Path], typer.Option(help="A data set, or a folder that holds the recipe's; again for more.", metavar="FOLDER")
]
Final = Annotated[
    bool, typer.Option("--final", help="Also the test splits' figures in the card: once, when all is chosen.")
]
Threads = Annotated[int, typer.Option(help="Of the processor; more only if the cores are free.", min=1)]


class Kind(StrEnum):
    """What can be trained."""

    SEGMENTER = "segmenter"
    CLASSIFIER = "classifier"
    FLOW = "flow"


@dataclass(frozen=True)
class Studies:
    """What was asked for instead of a model."""

    folds: int | None
    learning_curve: bool
    search: int | None

    @property
    def n_asked(self) -> int:
        return sum(map(bool, (self.folds, self.learning_curve, self.search)))


@app.command()
def train(
    kind: Annotated[Kind, typer.Argument(help="Networks that outline cells, that name them, or that name cells in flow.")],
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe by its name, or a TOML file.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the model, its card and the checkpoint.", metavar="FOLDER")],
    name: Annotated[str, typer.Option(help="Of the model, instead of the recipe's.")] = "",
    start: Annotated[str, typer.Option("--from", help="Start from a model's weights: a shipped one or a folder.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the checkpoint in --out.")] = False,
    steps: Annotated[int | None, typer.Option(help="Training steps, instead of the recipe's.", min=1)] = None,
    changes: Annotated[list[str], typer.Option("--set", help="table.key=value; again for more.", metavar="KEY=VALUE")] = [],  # noqa: B006
    folds: Annotated[int | None, typer.Option(help="K-fold cross-validation instead of a model.", min=2)] = None,
    learning_curve: Annotated[bool, typer.Option("--learning-curve", help="Is there enough data? Its scores in parts.")] = False,
    search: Annotated[int | None, typer.Option(help="So many random trials of the ranges in the recipe.", min=1)] = None,
    final: Final = False,
    threads: Threads = 1,
) -> None:  # fmt: skip
    """Train a network on your data or ours; at the end, a model folder with its card."""
    _require_torch(threads)
    studies = Studies(folds, learning_curve, search)
    if final and studies.n_asked:
        raise ConfigError("--final is for the card of a model, and --folds, --learning-curve and --search make none")
    with _mistakes():
        task = _task(kind, recipe, data, [*_settings(name, start, steps), *changes])
        console.print(f"{task.describe()}; {_arithmetic()}", highlight=False, soft_wrap=True)
        if studies.n_asked:
            _study(task, studies, out)
        else:
            _train(task, out, resume, final)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="FOLDER", help="The --out of a training, interrupted or not.")],
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Folder for the model; FOLDER itself without it.")] = None,
    final: Final = False,
    threads: Threads = 1,
) -> None:
    """Make a model folder again from a training's best weights so far."""
    _require_torch(threads)
    from models.training.recipe import read_tables
    from models.training.train import NOTES, RECIPE, ship

    if not (run / RECIPE).is_file():
        raise ConfigError(f"{run} is not the --out of a training: it holds no {RECIPE}")
    with _mistakes():
        recipe = str(run / RECIPE)
        task = _task(str(read_tables(recipe).get("kind")), recipe, data, [])
        best = ship(task, run / NOTES / "checkpoint.pt", out or run, final)
    console.print(f"{out or run}: the weights of step {best.step}, validation score {best.score:.4f}", highlight=False)


def _settings(name: str, start: str, steps: int | None) -> Iterator[str]:
    """Options that are settings of the recipe, as `--set` writes them.

    What a recipe says of the shipped model's use is not true of another one, which gets a name of its own.
    """
    if name:
        yield f"name='{name}'"
        yield "summary='a network of your own'"
        yield "limits=[]"
    if start:
        yield f"start='{start}'"
    if steps:
        yield f"training.steps={steps}"


def _train(task: "Task", out: Path, resume: bool, final: bool) -> None:
    from models.training import train

    with TerminalWatch(console) as watch:
        end = train.train(task, out, watch, SystemClock(), resume, final)
    if end == "interrupted":
        console.print(f"interrupted; go on with the same command and --resume ({out})", highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED)
    console.print(f"{end}: {out / 'card.md'}", highlight=False, soft_wrap=True)


def _study(task: "Task", asked: Studies, out: Path) -> None:
    from models.training.studies import carried_out, write_report

    study = _chosen_study(task, asked)
    with TerminalWatch(console) as watch:
        results = carried_out(study.trials, out, watch, SystemClock())
    if results is None:
        console.print("interrupted; the same command goes on where it was", highlight=False)
        raise typer.Exit(INTERRUPTED)
    words = study.words(results)
    write_report(study.title, words, results, out, study.along)
    console.print(f"{words}\n{out / 'report.md'}", highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Study:
    """Several trainings, and what is said of them."""

    title: str
    along: str
    """What the scores are plotted along."""
    trials: "Iterator[Trial]"
    words: "Callable[[Sequence[TrialResult]], str]"


def _chosen_study(task: "Task", asked: Studies) -> Study:
    from models.training import studies

    if asked.n_asked > 1:
        raise ConfigError("--folds, --learning-curve and --search are studies of their own: give one of them")
    name = task.recipe.name
    if asked.folds:
        trials = studies.folds(task, asked.folds)
        return Study(f"Cross-validation of {name}", "fold", trials, studies.fold_words)
    if asked.learning_curve:
        trials = studies.fractions(task)
        return Study(f"Learning curve of {name}", "n_train", trials, studies.learning_curve_words)
    trials, along = studies.random_search(task, asked.search or 0), next(iter(task.recipe.search), "")
    return Study(f"Search of settings for {name}", along, trials, studies.search_words)


def _task(kind: str, recipe: str, folders: Sequence[Path], changes: Sequence[str]) -> "Task":
    from models.training.recipe import load_recipe

    if kind == Kind.CLASSIFIER:
        from models.training.classifier import ClassifierRecipe
        from models.training.classifier_task import ClassifierTask

        return ClassifierTask.find(load_recipe(recipe, ClassifierRecipe, changes), folders)
    if kind == Kind.FLOW:
        from models.training.flow_task import FlowTask
        from models.training.flow_training import FlowRecipe

        return FlowTask.find(load_recipe(recipe, FlowRecipe, changes), folders)
    from models.training.segmenter import SegmenterRecipe
    from models.training.segmenter_task import SegmenterTask

    task = SegmenterTask.find(load_recipe(recipe, SegmenterRecipe, changes), folders)
    for each in task.data:
        if each.warning:
            console.print(f"warning: {each.warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    return task


def _arithmetic() -> str:
    from models.training.steps import computes_bfloat16

    if computes_bfloat16():
        return "computed in bfloat16, which this processor multiplies natively"
    return "computed in float32: this processor would only emulate bfloat16"


def _require_torch(threads: int) -> None:
    """Raises ConfigError if the extra is not installed."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ConfigError(
            f'training needs {", ".join(missing)}: pip install "reflexscope[train]"; without an NVIDIA GPU add '
            "--extra-index-url https://download.pytorch.org/whl/cpu, or Linux gets the CUDA build of several GB"
        )
    from models.training.steps import use_threads

    use_threads(threads)


@contextmanager
def _mistakes() -> Iterator[None]:
    """What the user can put right, as one clear line."""
    from models.training.data import DataError
    from models.training.recipe import RecipeError
    from models.training.run import CheckpointError

    try:
        yield
    except (DataError, RecipeError, CheckpointError) as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{error.filename2 or error.filename} cannot be read or written: {error.strerror}") from error
