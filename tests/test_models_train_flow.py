"""Training a classifier of cells in flow, on discs: draws, resume, a model folder in the end, several looks joined."""

import math
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("matplotlib", reason="cards have pictures")

import torch
from discs_in_flow import discs
from numpy.testing import assert_allclose

from acquisition.clock import SimulatedClock
from models.flow_classifier import FlowClassifier
from models.manifest import find_flow_classifier
from models.training.data import DataError, DataRules
from models.training.flow_answers import fitted_correlation, joint
from models.training.flow_card import false_share
from models.training.flow_task import FlowTask
from models.training.flow_training import FlowRecipe, FlowTraining, made
from models.training.recipe import RecipeError, changed, load_recipe
from models.training.steps import Progress
from models.training.train import train

RECIPE = """
kind = "flow"
name = "discs"
classes = { large = 0.4, small = 0.2, doublet = 0.2, debris = 0.2 }
[training]
steps = 50
batch = 16
warm_up_steps = 5
average = 0.9
made = 128
renewed = 4
n_validate = 96
n_looks = 3
[training.network]
n_classes = 4
side_px = 48
widths = [8, 16]
refinements = [0, 0]
[training.passing]
pairs = { "large+small" = 1.0 }
[validation]
every = 25
"""
SMEARED = [
    ("WBC", 150, 80, (200, 100, 110)),
    ("RBC", 330, 51, (165, 160, 170)),
    ("Platelets", 480, 26, (220, 190, 180)),
]
"""Kind, place, radius in pixels, blue, green and red."""


class Unwatched:
    def begin(self, title: str, n_steps: int) -> None: ...
    def stepped(self, progress: Progress) -> None: ...
    def validated(self, validation: object) -> None: ...
    def finishing(self) -> None: ...
    def stop(self) -> bool:
        return False


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> FlowRecipe:
    path = tmp_path_factory.mktemp("recipe") / "discs.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return load_recipe(str(path), FlowRecipe)


@pytest.fixture(scope="module")
def task(recipe: FlowRecipe) -> FlowTask:
    cells = {"train": discs(0.5, 1.0), "val": discs(0.7), "public_test": discs(0.2)}
    return FlowTask(recipe, cells, DataRules(name="discs"))


def test_classes_come_in_the_shares_of_the_recipe(recipe: FlowRecipe, rng: np.random.Generator) -> None:
    crops, classes = made(recipe, discs(), 300, 1, rng)
    assert crops.shape == (300, 1, 48, 48)
    assert_allclose(np.bincount(classes) / 300, recipe.class_prior, atol=0.1)
    assert sum(recipe.class_prior) == pytest.approx(1)


def test_training_goes_on_as_if_it_had_not_stopped(recipe: FlowRecipe) -> None:
    through = FlowTraining(recipe, discs())
    through.run(12)
    stopped = FlowTraining(recipe, discs())
    stopped.run(7)
    state = stopped.state()
    later = FlowTraining(recipe, discs())
    later.restore(state)
    later.run(12)
    for one, other in zip(through.network.parameters(), later.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_run_ends_with_a_model_that_serves(task: FlowTask, tmp_path: Path) -> None:
    assert train(task, tmp_path / "model", Unwatched(), SimulatedClock(), final=True) == "complete"
    _, manifest, looks = find_flow_classifier(str(tmp_path / "model"))
    assert manifest.classes == ("large", "small", "doublet", "debris")
    assert looks.class_prior == pytest.approx((0.4, 0.2, 0.2, 0.2))
    classifier = FlowClassifier(model_path=str(tmp_path / "model"))
    crops, classes = made(task.recipe, discs(), 60, 1, np.random.default_rng(9))
    p = classifier.probabilities(crops[:, 0])
    assert p[classes == 0, 0].min() > p[classes == 1, 0].max()
    card = (tmp_path / "model" / "card.md").read_text(encoding="utf-8")
    assert "public_test, 3 looks" in card
    assert {path.stem for path in (tmp_path / "model").glob("*.png")} >= {
        "confusions",
        "curves",
        "looks",
        "reliability",
    }


def test_folds_hold_out_every_cell_once(task: FlowTask) -> None:
    folds = [task.fold(number, 2) for number in range(2)]
    held_out = [picture for fold in folds for picture in fold.cells["val"].of_kind["large"]]
    all_cells = [*task.cells["train"].of_kind["large"], *task.cells["val"].of_kind["large"]]
    assert sorted(map(np.sum, held_out)) == sorted(map(np.sum, all_cells))
    assert task.fraction(0.34).n_train() == 2
    assert task.identity() != task.fraction(0.34).identity()


def test_cells_are_found_in_a_smear(recipe: FlowRecipe, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    boxes, splits = ["file,cls,xmin,ymin,xmax,ymax"], ["file,split"]
    for split in ("train", "val", "public_test"):
        image = np.full((480, 640, 3), 230, np.uint8)
        for kind, x, radius, colour in SMEARED:
            cv2.circle(image, (x, 200), radius, colour, cv2.FILLED)
            boxes.append(f"{split}.png,{kind},{x - radius},{200 - radius},{x + radius},{200 + radius}")
        cv2.imwrite(str(tmp_path / "images" / f"{split}.png"), image)
        splits.append(f"{split}.png,{split}")
    (tmp_path / "boxes.csv").write_text("\n".join(boxes), encoding="utf-8")
    (tmp_path / "splits.csv").write_text("\n".join(splits), encoding="utf-8")
    found = FlowTask.find(load_recipe("flow-blood", FlowRecipe), [tmp_path])
    for cells in found.cells.values():
        assert {kind: len(pictures) for kind, pictures in cells.of_kind.items()} == {"wbc": 1, "rbc": 1, "platelet": 1}
    assert found.n_train() == 3
    lacking = changed(
        found.recipe, {"classes": {"wbc": 1.0, "rbc": 1.0, "eosinophil": 1.0, "doublet": 1.0, "debris": 1.0}}
    )
    with pytest.raises(DataError, match='no clean cell of kind "eosinophil" was found'):
        FlowTask.find(lacking, [tmp_path])


def test_a_recipe_that_does_not_fit_together_is_refused(recipe: FlowRecipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"4 classes are named, network.n_classes is 3"):
        FlowTask.find(changed(recipe, {"training.network.n_classes": 3}), [])
    with pytest.raises(DataError, match=r"no boxes.csv in "):
        FlowTask.find(recipe, [tmp_path])


def test_the_shipped_recipe_is_complete() -> None:
    recipe = load_recipe("flow-blood", FlowRecipe)
    assert recipe.name == "flow-blood"
    assert all(each.licence != "not stated" and each.source != "not stated" for each in recipe.data)


# --- several looks ----------------------------------------------------------------------------------------------


PRIOR = (0.3, 0.7)


def looks_with(
    shared: float, n_looks: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Calibrated probabilities of two classes, from normal measurements of which a share of the variance is the cell's."""
    classes = (rng.random(20_000) < PRIOR[1]).astype(np.int64)
    own, each = rng.standard_normal((len(classes), 1)), rng.standard_normal((len(classes), n_looks))
    value = classes[:, None] + math.sqrt(shared) * own + math.sqrt(1 - shared) * each
    odds = value - 0.5 + math.log(PRIOR[1] / PRIOR[0])
    p = 1 / (1 + np.exp(-odds))
    return np.stack([1 - p, p], axis=2), classes


@pytest.mark.parametrize("shared", [0.05, 0.4, 0.9])
def test_the_correlation_of_looks_is_found(shared: float, rng: np.random.Generator) -> None:
    p, classes = looks_with(shared, 4, rng)
    assert fitted_correlation(p, classes, PRIOR) == pytest.approx(shared, abs=0.08)


def test_a_joint_look_is_one_look_if_nothing_new_is_seen(rng: np.random.Generator) -> None:
    p, _ = looks_with(0.4, 1, rng)
    assert_allclose(joint(np.repeat(p, 3, axis=1), PRIOR, 1.0), p[:, 0], atol=1e-4)
    assert_allclose(joint(p, PRIOR, 0.3), p[:, 0], atol=1e-4)


def test_false_share_is_counted_where_most_of_the_own_pass() -> None:
    p = np.column_stack([np.r_[np.linspace(0.5, 1, 100), np.linspace(0, 0.6, 100)], np.zeros(200)])
    assert false_share(p, np.repeat([0, 1], 100), 0, recall=1.0) == pytest.approx(0.17)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)
