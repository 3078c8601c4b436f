"""Recipes: TOML files that say how a network is trained, strictly checked."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import msgspec
import tomli_w
from msgspec import Meta

from models.training.data import DataRules

RECIPES = Path(__file__).parents[1] / "recipes"


class RecipeError(ValueError):
    """A recipe that cannot be found or is wrong: which key, and what is allowed."""


class ValidationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often the validation data are looked at, and when that ends a run."""

    every: Annotated[int, Meta(ge=1)] = 1000
    """Steps from one validation to the next."""
    patience: Annotated[int, Meta(ge=0)] = 0
    """A run ends after this many validations without a better score; 0: never before its last step."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every training needs beside the data; `kind` and `training` are added by what is trained."""

    name: str
    """Of the model, and of the recipe's file."""
    summary: str = "trained with reflexscope"
    """One line for lists."""
    limits: tuple[str, ...] = ()
    """What the model should not be used for: lines of its card."""
    um_per_px: tuple[float, float] | None = None
    """From … to: scales of the images; left out if the data do not tell."""
    data: tuple[DataRules, ...] = ()
    """Data sets by the names of their folders; a folder that is not here is taken as it is."""
    start: str = ""
    """A model to start from (a shipped one or a folder), as `--from` says; empty: random weights."""
    validation: ValidationSettings = ValidationSettings()
    search: dict[str, tuple[float, float]] = {}
    """For `--search`: a setting such as "training.rate" → [from, to]."""


_Recipe = TypeVar("_Recipe", bound=Recipe)


def load_recipe(name: str, kind: type[_Recipe], changes: Sequence[str] = ()) -> _Recipe:
    """A shipped recipe by its name or one of yours by its path, with `key=value` changes. Raises RecipeError."""
    return checked(with_changes(read_tables(name), _parsed(changes)), kind, name)


def changed(recipe: _Recipe, changes: Mapping[str, Any]) -> _Recipe:
    """The same recipe with other values, such as {"training.rate": 0.001}. Raises RecipeError."""
    return checked(with_changes(_tables_of(recipe), changes), type(recipe), recipe.name)


def recipe_toml(recipe: Recipe) -> str:
    """A recipe with every default written out."""
    return tomli_w.dumps(_tables_of(recipe))


def read_tables(name: str) -> dict[str, Any]:
    """A recipe as it is written."""
    shipped = {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}
    path = shipped.get(name, Path(name).expanduser())
    if not path.is_file():
        raise RecipeError(
            f'recipe "{name}" is neither shipped nor a file{hint(name, shipped)}; shipped are {", ".join(shipped)}'
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from error


def with_changes(tables: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the tables in which dotted keys such as `training.rate` have other values."""
    result = _copied(tables)
    for key, value in changes.items():
        *outer, last = key.strip().split(".")
        place = result
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise RecipeError(f"{key}: {part} is a value, not a table")
        place[last] = value
    return result


def checked(tables: dict[str, Any], kind: type[_Recipe], where: str) -> _Recipe:
    """A recipe of the kind, strictly. Raises RecipeError."""
    (wanted,) = get_args(get_type_hints(kind)["kind"])
    if tables.get("kind", wanted) != wanted:
        raise RecipeError(f"{where} is the recipe of a {tables['kind']}, not of a {wanted}")
    _refuse_unknown(tables, kind, where)
    try:
        return msgspec.convert(tables, kind, strict=True)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{where}: {_in_words(str(error))}") from error


def hint(word: str, known: Iterable[str]) -> str:
    """` (did you mean x?)`, or nothing."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _refuse_unknown(value: Any, kind: Any, where: str) -> None:
    """Name a key that is no setting and the one that was meant, which msgspec's own message would not."""
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _refuse_unknown(item, kind, f"{where}[{i}]")
    if not (isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, item in value.items():
        if key not in types:
            raise RecipeError(f"{where}: {key} is not a setting{hint(key, types)}; allowed are {', '.join(types)}")
        _refuse_unknown(item, _struct_in(types[key]), f"{where}: {key}")


def _struct_in(kind: Any) -> Any:
    """The Struct that a setting holds, alone or in a tuple."""
    return kind.__args__[0] if getattr(kind, "__origin__", None) is tuple else kind


def _in_words(message: str) -> str:
    text, _, place = message.partition(" - at `$.")
    return f"{place.rstrip('`')}: {text}" if place else text.removesuffix(" - at `$`")


def _parsed(changes: Iterable[str]) -> dict[str, Any]:
    """`--set key=value`; values are written as in TOML, a plain word needs no quotes."""
    pairs = [change.partition("=") for change in changes]
    for key, equals, text in pairs:
        if not equals:
            raise RecipeError(f"--set {key}{text}: write it as key=value, for example training.rate=0.001")
    return {key: _value(text.strip()) for key, _, text in pairs}


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _tables_of(recipe: Recipe) -> dict[str, Any]:
    """As TOML has it: no value instead of None."""
    return {key: value for key, value in msgspec.to_builtins(recipe).items() if value is not None}


def _copied(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in tables.items()}
