"""Several short trainings that answer a question: how sure is the score, are there enough data, which settings are best?"""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from acquisition.clock import Clock
from models.training.card import table
from models.training.pictures import score_plot
from models.training.recipe import RecipeError
from models.training.run import Watch
from models.training.train import Task, opened

FRACTIONS = (0.125, 0.25, 0.5, 1.0)
"""Of the training images, for a learning curve: each is half of the next."""
WORTH_IT = 0.005
"""A gain of the score by the last doubling of the data from which more of them are worth their work."""


class Trial(msgspec.Struct, frozen=True):
    """One training of a study."""

    name: str
    values: dict[str, float]
    """What makes it different from the others."""
    task: Task


class TrialResult(msgspec.Struct, frozen=True):
    """How it ended."""

    name: str
    values: dict[str, float]
    n_train: int
    best_step: int
    score: float


def folds(task: Task, n_folds: int) -> Iterator[Trial]:
    """A k-fold cross-validation: every image of train and val is validated on once."""
    for number in range(n_folds):
        yield Trial(f"fold {number + 1} of {n_folds}", {"fold": number + 1}, task.fold(number, n_folds))


def fractions(task: Task, shares: Sequence[float] = FRACTIONS) -> Iterator[Trial]:
    """A learning curve: the same training with growing parts of the data."""
    for share in shares:
        yield Trial(f"{100 * share:g} % of the images", {"share": share}, task.fraction(share))


def random_search(task: Task, n_trials: int, seed: int = 0) -> Iterator[Trial]:
    """Settings drawn from the recipe's [search] table, alike in their logarithm where the range is positive."""
    if not task.recipe.search:
        raise RecipeError(
            f'{task.recipe.name} has no [search] table: add ranges such as "training.rate" = [0.001, 0.006]'
        )
    rng = np.random.default_rng(seed)
    for number in range(n_trials):
        values = {key: drawn(task.recipe, key, *ends, rng) for key, ends in task.recipe.search.items()}
        yield Trial(f"trial {number + 1} of {n_trials}", values, task.changed(values))


def drawn(recipe: Any, key: str, low: float, high: float, rng: np.random.Generator) -> float:
    """A value between both ends, whole where the setting is."""
    share = rng.random()
    value = math.exp((1 - share) * math.log(low) + share * math.log(high)) if low > 0 else low + share * (high - low)
    return round(value) if isinstance(_setting(recipe, key), int) else float(f"{value:.4g}")


def carried_out(trials: Iterable[Trial], out: Path, watch: Watch, clock: Clock) -> list[TrialResult] | None:
    """Train them one after the other; None if one was interrupted. Begun anew, it goes on where it was.

    Every trial has its checkpoint in `out`; results.csv grows with each that ends.
    """
    out.mkdir(parents=True, exist_ok=True)
    results: list[TrialResult] = []
    for trial in trials:
        checkpoint = out / f"{trial.name.replace(' ', '_').replace('%', 'percent')}.pt"
        run = opened(trial.task, checkpoint, resume=checkpoint.exists())
        watch.begin(trial.name, run.training.settings.steps)
        if run.go(watch, clock, checkpoint) == "interrupted":
            return None
        best = run.record.best_validation
        results.append(TrialResult(trial.name, trial.values, trial.task.n_train(), best.step, best.score))
        write_results(results, out / "results.csv")
    return results


def write_results(results: Sequence[TrialResult], path: Path) -> None:
    """One line a trial."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", *results[0].values, "n_train", "best_step", "score"])
        writer.writerows([r.name, *r.values.values(), r.n_train, r.best_step, f"{r.score:.5f}"] for r in results)


def fold_words(results: Sequence[TrialResult]) -> str:
    """`score 0.701 ± 0.012 (standard deviation over 5 folds)`."""
    scores = np.array([each.score for each in results])
    spread = scores.std(ddof=1) if len(scores) > 1 else math.nan
    return f"score {scores.mean():.4f} ± {spread:.4f} (standard deviation over {len(scores)} folds)"


def learning_curve_words(results: Sequence[TrialResult]) -> str:
    """Whether more data would help, from what the last step of the curve gained."""
    if len(results) < 2:
        return f"score {results[-1].score:.4f}"
    before, last = results[-2], results[-1]
    gain = last.score - before.score
    advice = "more data would still help" if gain > WORTH_IT else "more data of this kind would hardly help"
    return f"from {before.n_train} to {last.n_train} images the score went {gain:+.4f}, to {last.score:.4f}: {advice}"


def search_words(results: Sequence[TrialResult]) -> str:
    """The best settings, as they are given to `train`."""
    best = max(results, key=lambda each: each.score)
    settings = " ".join(f"--set {key}={value:g}" for key, value in best.values.items())
    return f"best of {len(results)}: score {best.score:.4f} with {settings}"


def write_report(title: str, words: str, results: Sequence[TrialResult], out: Path, along: str) -> None:
    """report.md and score.png, the score plotted along one of the values or `n_train`."""
    places = [float(each.n_train) if along == "n_train" else each.values[along] for each in results]
    score_plot(places, [each.score for each in results], along, out / "score.png")
    head = ("trial", *results[0].values, "training images", "best step", "score")
    rows = [
        (r.name, *(f"{value:g}" for value in r.values.values()), str(r.n_train), str(r.best_step), f"{r.score:.4f}")
        for r in results
    ]
    text = f"# {title}\n\n{words[:1].upper()}{words[1:]}.\n\n{table(head, rows)}\n\n![scores](score.png)\n"
    (out / "report.md").write_text(text, encoding="utf-8")


def _setting(recipe: Any, key: str) -> Any:
    """The value of a setting by its dotted name. Raises RecipeError."""
    value = recipe
    for name in key.split("."):
        if name not in getattr(value, "__struct_fields__", ()):
            raise RecipeError(f'[search]: "{key}" is not a setting of this recipe')
        value = getattr(value, name)
    return value
