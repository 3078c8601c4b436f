"""Parts of every model's card, in Markdown."""

from collections.abc import Iterable, Sequence

from models.training.recipe import Recipe
from models.training.run import Validation

PURPOSE = {
    "train": "learning",
    "val": "choosing: when to stop, and what is tuned after the training",
    "public_test": "final figures only",
    "test": "final figures only",
}
"""What each split is for."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def title(recipe: Recipe) -> str:
    """Name and summary."""
    return f"# {recipe.name}\n\n{recipe.summary[:1].upper()}{recipe.summary[1:]}."


def limits(recipe: Recipe) -> str:
    """What the model should not be used for."""
    scale = recipe.um_per_px
    told = f"{scale[0]:g} to {scale[1]:g} µm/px" if scale else "not stated by the data"
    lines = (*recipe.limits, f"Scale of the training images: {told}.")
    return "## Limits of use\n\n" + "\n".join(f"- {line}" for line in lines)


def purposes(splits: Iterable[str]) -> str:
    """What the splits are for, one sentence."""
    return "; ".join(f"{split}: {PURPOSE.get(split, 'not used')}" for split in splits) + "."


def training(recipe: Recipe, details: Sequence[str], history: Sequence[Validation], score: str) -> str:
    """How it was trained; `score` says what the validation score is. The curves lie in curves.png."""
    kind = getattr(recipe, "kind", "segmenter")
    command = f"`reflexscope train {kind} recipe.toml --data … --out …`"
    lines = [f"{command} trains it again, with the recipe.toml beside this card.", *details]
    if recipe.start:
        lines.append(f"Started from the weights of `{recipe.start}`.")
    if history:
        best = max(history, key=lambda each: each.score)
        lines.append(f"Best validation score {best.score:.4f} at step {best.step} ({score}).")
        lines.append("\n![learning curves](curves.png)")
    return "## Training\n\n" + "\n".join(lines)
