"""Recipes: what is shipped is valid, what is wrong is said in words."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("torch")

from models.networks.unet import UNetSettings
from models.training.recipe import RECIPES, RecipeError, changed, load_recipe, read_tables, recipe_toml
from models.training.segmenter import SegmenterRecipe

SEGMENTERS = [path.stem for path in sorted(RECIPES.glob("*.toml")) if read_tables(path.stem)["kind"] == "segmenter"]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_shipped_recipes_are_valid_and_named_like_their_files(name: str) -> None:
    recipe = load_recipe(name, SegmenterRecipe)
    assert recipe.name == name
    assert recipe.data
    assert all(each.licence != "not stated" and each.source != "not stated" for each in recipe.data)


def test_nuclei_are_trained_as_the_shipped_ones_were() -> None:
    recipe = load_recipe("nuclei", SegmenterRecipe)
    assert recipe.training.network == UNetSettings(widths=(32, 64, 96, 128, 160))
    assert (recipe.training.steps, recipe.training.batch, recipe.training.crop_px) == (14_000, 8, 160)


def test_changes_are_values_as_in_toml() -> None:
    given = ["training.rate=0.001", "training.network.widths=[4, 8]", "start=nuclei", 'data=[{name="mine"}]']
    recipe = load_recipe("nuclei", SegmenterRecipe, given)
    assert (recipe.training.rate, recipe.training.network.widths, recipe.start) == (0.001, (4, 8), "nuclei")
    assert [each.name for each in recipe.data] == ["mine"]
    assert load_recipe("nuclei", SegmenterRecipe).training.rate == 0.003
    assert changed(recipe, {"training.steps": 5}).training.steps == 5


WRONG = {
    "training.rat=1": "training: rat is not a setting (did you mean rate?); allowed are",
    "training.network.unshufle=1": "training: network: unshufle is not a setting (did you mean unshuffle?)",
    "seed=1": "nuclei: seed is not a setting",
    "training.rate=-1": "training.rate: Expected `float` > 0.0",
    "training.rate=fast": "training.rate: Expected `float`, got `str`",
    "training.network.widths=[1, 'a']": "training.network.widths[1]: Expected `int`",
    "training.network.methods=['stars']": "must be some of deep_watershed, pixel_classes, not ['stars']",
    "training.crop_px=150": "crop_px 150 must be a multiple of 32",
    "training.augment.zoom=0.5": "training.augment.zoom: Expected `float` >= 1.0",
    "levels.low=0.999": "low 0.999 must be below high 0.998",
    "kind=classifier": "nuclei is the recipe of a classifier, not of a segmenter",
    "data=[{nam='mine'}]": "data[0]: nam is not a setting (did you mean name?)",
    "name.first=1": "name.first: name is a value, not a table",
    "training.rate": "write it as key=value",
}


@pytest.mark.parametrize(("change", "words"), WRONG.items())
def test_what_is_wrong_is_said(change: str, words: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe("nuclei", SegmenterRecipe, [change])
    assert words in str(error.value)


def test_an_unknown_recipe_is_refused_with_the_name_that_was_meant() -> None:
    with pytest.raises(RecipeError, match="did you mean nuclei"):
        load_recipe("nucleii", SegmenterRecipe)


def test_a_recipe_written_out_is_the_same_recipe(tmp_path: Path) -> None:
    recipe = load_recipe("phase-cells", SegmenterRecipe, ["training.steps=7"])
    (tmp_path / "written.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    assert load_recipe(str(tmp_path / "written.toml"), SegmenterRecipe) == recipe
    assert msgspec.to_builtins(recipe)["levels"]["low"] == 0.5


def test_the_readme_names_every_setting_of_a_segmenter() -> None:
    readme = (RECIPES / "README.md").read_text(encoding="utf-8")
    missing = [name for name in settings_of(SegmenterRecipe) if f"`{name}`" not in readme and f"[{name}]" not in readme]
    assert not missing


def settings_of(kind: type[msgspec.Struct]) -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        inner = getattr(field.type, "__args__", (field.type,))[0]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from settings_of(inner)
        else:
            yield field.name
