"""A training with its folder: checkpoints and history on the way, a model folder at the end."""

import csv
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from acquisition.clock import Clock
from models.training.recipe import Recipe, recipe_toml
from models.training.run import CheckpointError, End, Run, Validation, Watch, read_record, read_state

NOTES = "training"
"""Subfolder for what is only needed to go on training; a model folder works without it."""
RECIPE = "recipe.toml"
"""The recipe with every default and change written out, beside the model."""


class Task(Protocol):
    """A recipe and its data, ready to be trained; see SegmenterTask."""

    @property
    def recipe(self) -> Recipe: ...
    def new_run(self) -> Run: ...
    def network(self) -> nn.Module: ...
    def ship(self, network: nn.Module, history: Sequence[Validation], folder: Path, final: bool) -> None: ...
    def describe(self) -> str: ...
    def identity(self) -> str: ...
    def n_train(self) -> int: ...
    def fold(self, number: int, n_folds: int) -> "Task": ...
    def fraction(self, share: float) -> "Task": ...
    def changed(self, changes: Mapping[str, Any]) -> "Task": ...


def train(task: Task, out: Path, watch: Watch, clock: Clock, resume: bool = False, final: bool = False) -> End:
    """Train and make `out` a model folder; interrupted, it holds a checkpoint to resume from. Raises CheckpointError.

    With `final`, the model's card also gets the figures of the test splits.
    """
    checkpoint = out / NOTES / "checkpoint.pt"
    if (out / "manifest.toml").exists() and not checkpoint.exists():
        raise CheckpointError(f"{out} holds a model that was not trained there: give another --out")
    run = opened(task, checkpoint, resume)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    (out / RECIPE).write_text(recipe_toml(task.recipe), encoding="utf-8")
    watch.begin(task.recipe.name, run.training.settings.steps)
    end = run.go(watch, clock, checkpoint)
    write_history(run.record.history, out / NOTES / "history.csv")
    if end != "interrupted":
        watch.finishing()
        ship(task, checkpoint, out, final)
    return end


def ship(task: Task, checkpoint: Path, folder: Path, final: bool = False) -> Validation:
    """Make a model folder of the best weights so far; the validation that found them. Raises CheckpointError."""
    record = read_record(checkpoint)
    if not record.history:
        raise CheckpointError(f"{checkpoint} has not reached its first validation: resume the training")
    require_same_files(checkpoint, task.identity())
    network = task.network()
    try:
        network.load_state_dict(record.best)
    except RuntimeError as error:  # names or shapes differ
        raise CheckpointError(
            f"{checkpoint} holds the weights of another network than the recipe's: undo what was changed in its "
            "[training.network]"
        ) from error
    task.ship(network.eval(), record.history, folder, final)
    return record.best_validation


def require_same_files(checkpoint: Path, identity: str) -> None:
    """Learned images must not be among those that choose label rules and give figures. Raises CheckpointError."""
    before, now = (tomllib.loads(text)["data_files"] for text in (read_state(checkpoint)["identity"], identity))
    if changed := sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name)):
        raise CheckpointError(
            f"{checkpoint} was trained on other files of {', '.join(changed)} than --data holds now: give the data as they were"
        )


def opened(task: Task, checkpoint: Path, resume: bool) -> Run:
    """A run at its start, or where the checkpoint was written. Raises CheckpointError."""
    if checkpoint.exists() and not resume:
        raise CheckpointError(f"{checkpoint} exists: go on with --resume, or give another --out")
    run = task.new_run()
    if resume:
        run.resume(checkpoint)
    return run


def write_history(history: Sequence[Validation], path: Path) -> None:
    """One line a validation."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Validation.__struct_fields__)
        writer.writerows([each.step, f"{each.loss:.6g}", f"{each.rate:.6g}", f"{each.score:.6g}"] for each in history)
