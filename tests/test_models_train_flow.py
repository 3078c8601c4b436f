"""Training a classifier of cells in flow, on discs: what passes, how a camera sees it, how several looks are joined."""

import math
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("matplotlib", reason="cards have pictures")

import torch
from numpy.testing import assert_allclose

from acquisition.clock import SimulatedClock
from models.flow_classifier import FlowClassifier
from models.manifest import find_flow_classifier
from models.training.data import DataError, DataRules
from models.training.flow_card import false_share
from models.training.flow_looks import Camera, LookSettings, crop, crops_of, found_centre, smeared
from models.training.flow_passing import (
    CANVAS_PX,
    Image,
    Passing,
    PassingSettings,
    Sprites,
    doublet,
    moved,
    passing,
    placed,
    reach_px,
    speck,
)
from models.training.flow_shipping import fitted_correlation, joint
from models.training.flow_task import FlowTask
from models.training.flow_training import FlowRecipe, FlowTraining, made
from models.training.recipe import RecipeError, changed, load_recipe
from models.training.steps import Progress
from models.training.train import train

PAIRS = PassingSettings(pairs={"large+small": 1.0}, neighbour_share=0.0)
LOOKS = LookSettings()
CLEAR = Camera(background=200, counts_per_e=1e-9, read_noise=0.0, smear_px=0.0, background_error=0.0, wall_px=0.0)
RECIPE = """
kind = "flow"
name = "discs"
classes = { large = 0.4, small = 0.2, doublet = 0.2, debris = 0.2 }
[training]
steps = 60
batch = 16
warm_up_steps = 5
average = 0.9
made = 256
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
every = 30
"""


class Unwatched:
    def begin(self, title: str, n_steps: int) -> None: ...
    def stepped(self, progress: Progress) -> None: ...
    def validated(self, validation: object) -> None: ...
    def finishing(self) -> None: ...
    def stop(self) -> bool:
        return False


def disc(radius_px: float, depth: float) -> Image:
    y, x = np.mgrid[:41, :41] - 20.0
    return (depth * np.clip(radius_px + 0.5 - np.hypot(x, y), 0, 1)).astype(np.float32)


def discs(*more: float) -> Sprites:
    return Sprites({
        "large": [disc(12 + by, 0.5) for by in (0.0, *more)], "small": [disc(5 + by, 0.3) for by in (0.0, *more)],
    })  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> FlowRecipe:
    path = tmp_path_factory.mktemp("recipe") / "discs.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return load_recipe(str(path), FlowRecipe)


@pytest.fixture(scope="module")
def task(recipe: FlowRecipe) -> FlowTask:
    cells = {"train": discs(0.5, 1.0), "val": discs(0.7), "public_test": discs(0.2)}
    return FlowTask(recipe, cells, DataRules(name="discs"))


# --- what passes ------------------------------------------------------------------------------------------------


def test_a_picture_is_turned_about_the_middle_of_its_canvas() -> None:
    bar = np.zeros((21, 21), np.float32)
    bar[10, 2:19] = 1
    upright = placed(bar, math.pi / 2, 1.0)
    assert upright.shape == (CANVAS_PX, CANVAS_PX)
    across, along = upright.sum(axis=0), upright.sum(axis=1)
    assert np.count_nonzero(along > 0.4) > 3 * np.count_nonzero(across > 0.4)
    assert_allclose(centre_of(upright), (CANVAS_PX - 1) / 2, atol=0.05)
    assert_allclose(centre_of(moved(upright, 3.25, -2)), (CANVAS_PX - 1) / 2 + np.array([3.25, -2]), atol=0.05)
    assert placed(bar, 0, 2.0).sum() == pytest.approx(4 * bar.sum(), rel=0.05)


def test_the_cells_of_a_doublet_touch(rng: np.random.Generator) -> None:
    for _ in range(10):
        pair = doublet(discs(), PAIRS, rng)
        n, _ = cv2.connectedComponents((pair > 0.02).astype(np.uint8), connectivity=8)
        assert n <= 3
        assert np.count_nonzero(pair > 0.1) > 1.05 * np.count_nonzero(disc(12, 0.5) > 0.1) / PAIRS.size**2
        assert pair.max() <= 1


def test_debris_is_small_and_irregular(rng: np.random.Generator) -> None:
    specks = [speck(PAIRS, rng) for _ in range(20)]
    assert max(map(reach_px, specks)) < 1.6 * PAIRS.debris_px[1]
    assert len({round(float(each.sum()), 3) for each in specks}) == 20


def test_a_neighbour_keeps_its_distance(rng: np.random.Generator) -> None:
    settings = PassingSettings(pairs={"large+small": 1.0}, neighbour_share=1.0)
    for _ in range(10):
        seen = passing("large", discs(), settings, rng)
        assert seen.neighbour is not None
        gap_px = math.hypot(*seen.away_px) - reach_px(seen.picture) - reach_px(seen.neighbour)
        assert settings.neighbour_gap_px[0] <= gap_px <= settings.neighbour_gap_px[1]


def test_kinds_that_are_lacking_are_named() -> None:
    with pytest.raises(DataError, match='smear, val: no clean cell of kind "huge"'):
        discs().require(["large", "huge"], "smear, val")


# --- how it is seen ---------------------------------------------------------------------------------------------


def test_a_crop_holds_contrast_with_the_cell_in_its_middle(rng: np.random.Generator) -> None:
    seen = Passing(placed(disc(6, 0.4), 0.0, 1.0), None)
    shown = crop(seen, CLEAR, 0.0, 0.0, 48, rng)
    assert shown.shape == (48, 48)
    assert shown.max() == pytest.approx(0.4, abs=0.01)
    assert_allclose(centre_of(shown), 24, atol=0.55)
    assert abs(shown[0]).max() < 0.01


@pytest.mark.parametrize(("wall_px", "rows"), [(5.0, slice(0, 5)), (-7.0, slice(41, 48))])
def test_beyond_the_view_there_is_nothing(wall_px: float, rows: slice, rng: np.random.Generator) -> None:
    through = Camera(200, 0.05, 2.0, 1.0, 0.05, wall_px)
    shown = crop(Passing(placed(disc(4, 0.4), 0, 1), None), through, 0.0, 1.0, 48, rng)
    assert not shown[rows].any()
    assert np.count_nonzero(shown.any(axis=1)) == 48 - round(abs(wall_px))


@pytest.mark.parametrize("smear_px", [0.0, 0.7, 1.0, 2.4, 3.0])
def test_motion_smears_along_x_alone(smear_px: float) -> None:
    line = np.zeros((9, 31), np.float32)
    line[4, 15] = 1
    seen = smeared(line, smear_px)
    assert seen.sum() == pytest.approx(1, abs=1e-5)
    assert np.count_nonzero(seen.any(axis=1)) == 1
    assert seen.max() == pytest.approx(1 / max(1, smear_px), abs=1e-5)


def test_the_middle_piece_is_found_and_else_the_middle() -> None:
    picture = placed(disc(5, 0.4), 0, 1, 1.5, -1.0) + placed(disc(5, 0.4), 0, 1, 25, 0)
    assert_allclose(found_centre(picture, 0.1), (CANVAS_PX - 1) / 2 + np.array([1.5, -1.0]), atol=0.05)
    assert_allclose(found_centre(0 * picture, 0.1), (CANVAS_PX - 1) / 2)


def test_looks_at_one_cell_differ_less_than_cells(rng: np.random.Generator) -> None:
    settings = LookSettings(turn_deg=0, jitter_px=0, wall_share=0)
    crops = np.stack([crops_of(passing("large", discs(2, 4), PAIRS, rng), settings, 48, 3, rng) for _ in range(12)])
    within, between = crops.var(axis=1).mean(), crops.mean(axis=1).var(axis=0).mean()
    assert 0 < within < between


# --- training ---------------------------------------------------------------------------------------------------


def test_classes_come_in_the_shares_of_the_recipe(recipe: FlowRecipe, rng: np.random.Generator) -> None:
    crops, classes = made(recipe, discs(), 300, 1, rng)
    assert crops.shape == (300, 1, 48, 48)
    assert_allclose(np.bincount(classes) / 300, recipe.class_prior, atol=0.1)
    assert sum(recipe.class_prior) == pytest.approx(1)


def test_training_goes_on_as_if_it_had_not_stopped(recipe: FlowRecipe) -> None:
    through, stopped, later = (FlowTraining(recipe, discs()) for _ in range(3))
    through.run(12)
    stopped.run(7)
    later.restore(stopped.state())
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
    assert np.mean(p.argmax(axis=1)[classes < 2] == classes[classes < 2]) > 0.8
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


def centre_of(picture: Image) -> npt.NDArray[np.float64]:
    y, x = np.indices(picture.shape)
    return np.array([(x * picture).sum(), (y * picture).sum()]) / picture.sum()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)
