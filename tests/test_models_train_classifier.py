"""Training a classifier on drawn discs, rings and bars: draws, changes, resume, calibration, a model folder in the end."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("matplotlib", reason="cards have pictures")

import torch

from acquisition.clock import SimulatedClock
from models.classifier import NetworkClassifier
from models.crops import normalise
from models.manifest import find_classifier
from models.networks.cell_classifier import CellClassifier, CellClassifierSettings
from models.training.classifier import (
    ClassifierRecipe,
    ClassifierSettings,
    ClassifierTraining,
    drawn_shares,
    logits_of,
    mixed,
    smoothed,
    validation_score,
)
from models.training.classifier_data import LabelledCrops, find_crops, folded, read_crops, reduced
from models.training.classifier_task import ClassifierTask, pretrained_classifier
from models.training.crop_augment import CropAugmentSettings, changed, changed_crops, random_affine, with_neighbour
from models.training.data import DataError, DataRules
from models.training.recipe import RECIPES, RecipeError, load_recipe
from models.training.run import Validation
from models.training.steps import Progress
from models.training.train import train

SIDE = 32
NAMES = ("disc", "ring", "bar")
PLAIN = CropAugmentSettings(
    zoom=1, stretch=1, shift_px=0, gamma=1, noise_share=0, blur_share=0, neighbour_share=0, gain=1, offset=0
)
RECIPE = """
kind = "classifier"
name = "shapes"
groups = { round = ["disc", "ring"], long = ["bar"] }
[training]
steps = 90
batch = 24
warm_up_steps = 5
average = 0.9
[training.network]
n_classes = 3
side_px = 32
widths = [8, 16]
refinements = [1, 0]
[validation]
every = 45
"""


class Unwatched:
    def begin(self, title: str, n_steps: int) -> None: ...
    def stepped(self, progress: Progress) -> None: ...
    def validated(self, validation: Validation) -> None: ...
    def finishing(self) -> None: ...
    def stop(self) -> bool:
        return False


def shape(kind: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A shape of a random size, place and brightness in weak noise."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2 + rng.uniform(-1.5, 1.5, (2, 1, 1))
    distance, radius = np.hypot(x, y), rng.uniform(6, 8)
    inside = (
        distance < radius,
        (distance < radius) & (distance > radius - 3),
        (np.abs(x) < 2) & (np.abs(y) < radius + 2),
    )[kind]
    return (rng.uniform(80, 200) * inside + rng.uniform(0, 12, (SIDE, SIDE))).astype(np.uint8)


def shapes(n_of_class: tuple[int, ...] = (30, 20, 10), seed: int = 0) -> LabelledCrops:
    """Shapes of ten movies; the last two of them validate."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(np.arange(len(n_of_class)), n_of_class)
    images = np.stack([shape(int(kind), rng) for kind in classes])
    movie = np.arange(len(classes)) % 10
    splits = np.where(movie < 8, "train", "val")
    groups = np.array([f"movie {m}" for m in movie])
    return LabelledCrops(images, classes, groups, splits, NAMES, DataRules(name="shapes"))


def write(crops: LabelledCrops, folder: Path) -> Path:
    """The same as a data folder."""
    folder.mkdir(parents=True)
    np.savez(
        folder / "crops.npz", images=crops.images, labels=crops.classes.astype(np.uint8), class_names=crops.names,
        split=crops.splits,
    )  # fmt: skip
    (folder / "labels.csv").write_text("\n".join(["group", *crops.groups.tolist()]) + "\n", encoding="utf-8")
    return folder


def settings_of(**changes: Any) -> ClassifierSettings:
    network = CellClassifierSettings(n_classes=3, side_px=SIDE, widths=(8, 16), refinements=(1, 0))
    return ClassifierSettings(**({"network": network, "steps": 6, "batch": 8, "warm_up_steps": 2} | changes))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> ClassifierTask:
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    recipe = load_recipe(str(folder / "recipe.toml"), ClassifierRecipe)
    return ClassifierTask.find(recipe, [write(shapes((60, 50, 40)), folder / "data")])


@pytest.fixture(scope="module")
def trained(task: ClassifierTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "shapes"
    assert train(task, out, Unwatched(), SimulatedClock()) == "complete"
    return out


def test_a_data_folder_is_read_as_it_was_written(tmp_path: Path) -> None:
    crops = shapes()
    found = read_crops(write(crops, tmp_path / "a"), DataRules(name="a"))
    for name in ("images", "classes", "groups", "splits"):
        np.testing.assert_array_equal(getattr(found, name), getattr(crops, name))
    assert found.names == NAMES
    (tmp_path / "a" / "labels.csv").unlink()
    assert len(set(read_crops(tmp_path / "a", DataRules(name="a")).groups.tolist())) == len(crops)


def test_the_folder_that_the_recipe_names_is_found_inside_another(tmp_path: Path) -> None:
    write(shapes(), tmp_path / "shapes")
    rules = DataRules(name="shapes", licence="CC0 1.0")
    assert find_crops([tmp_path], [rules]).rules == rules
    with pytest.raises(DataError, match=r"no crops\.npz"):
        find_crops([tmp_path], [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((60, SIDE, SIDE), np.float32)}, "integer counts"),
        ({"images": np.zeros((60, SIDE, SIDE, 3), np.uint8)}, "integer counts"),
        ({"classes": np.full(60, 3)}, "do not fit together"),
        ({"splits": np.array(["train"])}, "do not fit together"),
    ],
)
def test_broken_data_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    broken = LabelledCrops(**{name: getattr(shapes(), name) for name in LabelledCrops.__dataclass_fields__} | change)
    with pytest.raises(DataError, match=message):
        read_crops(write(broken, tmp_path / "a"), DataRules(name="a"))


def test_folds_hold_out_every_movie_once_and_tear_none_apart() -> None:
    crops = shapes()
    parts = [folded(crops, number, 3, seed=4) for number in range(3)]
    held_out = [set(part.of("val").groups.tolist()) for part in parts]
    assert not any(one & other for one, other in itertools.combinations(held_out, 2))
    assert set.union(*held_out) == set(crops.groups.tolist())
    assert not any(set(p.of("train").groups.tolist()) & held for p, held in zip(parts, held_out, strict=True))


def test_a_fraction_keeps_the_validation_and_a_share_of_each_class() -> None:
    crops = shapes((40, 20, 10))
    for share in (0.01, 0.25, 0.5, 1.0):
        part = reduced(crops, share)
        wanted = np.maximum(1, np.round(share * crops.of("train").n_of_class()))
        assert part.of("train").n_of_class().tolist() == wanted.tolist()
        np.testing.assert_array_equal(part.of("val").images, crops.of("val").images)


def test_a_plain_turn_by_a_half_is_a_flip_of_both_axes() -> None:
    image = shape(2, np.random.default_rng(0))
    rng = np.random.default_rng(3)
    linear = random_affine(SIDE, PLAIN, rng)[:, :2]
    np.testing.assert_allclose(linear @ linear.T, np.eye(2), atol=1e-12)
    crop = changed(image, PLAIN, rng)
    assert crop.sum() == pytest.approx(image.sum(), rel=0.2)


def test_changes_move_the_cell_no_further_than_asked() -> None:
    rng = np.random.default_rng(0)
    settings = CropAugmentSettings(shift_px=3.0, zoom=1.2)
    for _ in range(200):
        matrix = random_affine(SIDE, settings, rng)
        moved = matrix @ [(SIDE - 1) / 2, (SIDE - 1) / 2, 1] - (SIDE - 1) / 2
        assert np.abs(moved).max() <= 3.0 + 1e-9
        assert 1 / 1.2**2 - 1e-9 <= abs(np.linalg.det(matrix[:, :2])) <= 1.2**2 + 1e-9


def test_a_neighbour_stays_out_of_the_middle() -> None:
    disc = np.zeros((64, 64), np.float32)
    disc[26:38, 26:38] = 100
    rng = np.random.default_rng(0)
    for _ in range(50):
        both = with_neighbour(np.zeros_like(disc), disc, rng)
        assert not both[28:36, 28:36].any()


def test_batches_are_normalised_and_repeat_with_the_seed() -> None:
    crops, chosen = shapes(), np.arange(12)
    one, other = (
        changed_crops(crops.images, chosen, CropAugmentSettings(), np.random.default_rng(1)) for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)
    assert one.shape == (12, SIDE, SIDE)
    assert one.dtype == np.float32
    assert np.median(one.max(axis=(1, 2))) == pytest.approx(1, abs=0.3)
    plain = changed_crops(crops.images, chosen, PLAIN, np.random.default_rng(1))
    assert np.abs(plain.max(axis=(1, 2)) - 1).max() < 0.2


@pytest.mark.parametrize(("balance", "shares"), [(0.0, [0.6, 0.3, 0.1]), (1.0, [1 / 3] * 3)])
def test_balanced_draws(balance: float, shares: list[float]) -> None:
    classes = np.repeat([0, 1, 2], [60, 30, 10])
    p = drawn_shares(classes, balance)
    assert p.sum() == pytest.approx(1)
    assert [p[classes == k].sum() for k in range(3)] == pytest.approx(shares)


def test_mixed_labels_and_crops_stay_in_step() -> None:
    wanted = smoothed(torch.tensor([0, 1, 2, 0]), 3, 0.0)
    crops = (wanted @ torch.tensor([1.0, 2.0, 4.0])).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    both, labels = mixed(crops, wanted, 0.5, np.random.default_rng(0))
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(both[:, 0, 0, 0], labels @ torch.tensor([1.0, 2.0, 4.0]))
    assert (labels.argmax(dim=1) == wanted.argmax(dim=1)).all()


def test_smoothing_spreads_its_share() -> None:
    assert smoothed(torch.tensor([1]), 4, 0.2).tolist() == [pytest.approx([0.05, 0.85, 0.05, 0.05])]


def test_a_run_goes_on_as_if_it_had_not_stopped() -> None:
    crops = shapes().of("train")
    losses: list[list[float]] = [[], []]
    whole = ClassifierTraining(settings_of(), crops)
    whole.run(6, lambda progress: losses[0].append(progress.loss))
    first = ClassifierTraining(settings_of(), crops)
    first.run(3, lambda progress: losses[1].append(progress.loss))
    half_way = first.state()
    second = ClassifierTraining(settings_of(), crops)
    second.restore(half_way)
    second.run(99, lambda progress: losses[1].append(progress.loss))
    assert second.step == 6
    assert losses[0] == losses[1]
    for one, other in zip(whole.averaged.state_dict().values(), second.averaged.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_teacher_counts_as_much_as_asked_for() -> None:
    crops = shapes().of("train")
    stubborn = CellClassifier(settings_of().network)
    torch.nn.init.constant_(stubborn.head[1].bias, -9.0)
    with torch.no_grad():
        stubborn.head[1].bias[2] = 9.0
    for teaching, says_bar in ((0.0, False), (1.0, True)):
        training = ClassifierTraining(settings_of(teaching=teaching, steps=30, average=0.5), crops, [stubborn])
        training.run(30)
        given = logits_of(training.averaged, crops.images).argmax(axis=1)
        assert ((given == 2).mean() > 0.95) == says_bar


def test_a_teacher_of_other_classes_is_refused(task: ClassifierTask, trained: Path) -> None:
    named = replace(task.crops, names=("disc", "ring", "rod"))
    other = replace(task.changed({"teachers": [str(trained)]}), crops=named)
    with pytest.raises(RecipeError, match="knows disc, ring, bar; the classes are disc, ring, rod"):
        other.new_run()


def test_data_of_another_shape_are_refused() -> None:
    network = CellClassifierSettings(n_classes=4, side_px=64)
    with pytest.raises(DataError, match=r"64 px in 4 classes, but the data are of 32 × 32 px in 3"):
        ClassifierTraining(settings_of(network=network), shapes())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (8, 16), "refinements": (1,)}, "one number a level"),
        ({"widths": ()}, "one number a level"),
        ({"side_px": 40}, "multiple of 16"),
    ],
)
def test_networks_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CellClassifierSettings(n_classes=3, **settings)


def test_the_last_layers_see_the_whole_crop() -> None:
    network = CellClassifier(CellClassifierSettings(n_classes=5)).eval()
    crops = torch.rand(1, 1, 64, 64, requires_grad=True)
    logits = network(crops)
    assert logits.shape == (1, 5)
    logits.sum().backward()
    assert (crops.grad != 0).float().mean() > 0.9


def test_the_score_rises_with_certainty_and_truth() -> None:
    truth = np.array([0, 1, 2, 0])
    right = 4 * np.eye(3, dtype=np.float32)[truth]
    none = np.zeros((4, 3), np.float32)
    assert validation_score(none, truth) == pytest.approx(1 / 3, abs=1e-6)
    assert validation_score(-right, truth) < 0.34
    assert validation_score(right, truth) > 0.99


def test_a_trained_folder_names_shapes(trained: Path, task: ClassifierTask) -> None:
    _, manifest = find_classifier(str(trained))
    assert (manifest.classes, manifest.side_px, manifest.name) == (NAMES, SIDE, "shapes")
    assert manifest.groups == {"round": ("disc", "ring"), "long": ("bar",)}
    classifier = NetworkClassifier(model_path=str(trained), classes="all")
    fresh = shapes((8, 8, 8), seed=5)
    p = classifier.probabilities(normalise(fresh.images.astype(np.float32)))
    classifier.close()
    assert (p.argmax(axis=1) == fresh.classes).mean() > 0.8


def test_the_file_answers_like_torch(trained: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = pretrained_classifier(str(trained))
    images = shapes((4, 4, 3), seed=6).images
    session = onnxruntime.InferenceSession(trained / "model.onnx", providers=["CPUExecutionProvider"])
    crops = normalise(images.astype(np.float32))[:, None]
    (logits,) = session.run(["logits"], {"crops": crops})
    np.testing.assert_allclose(logits, logits_of(network, images), atol=1e-4)


def test_the_card_tells_figures_mistakes_and_groups(trained: Path) -> None:
    card = (trained / "card.md").read_text(encoding="utf-8")
    for words in ("## Limits of use", "## Groups", "disc, ring", "## Figures: val", "balanced", "confusions.png"):
        assert words in card
    assert "public_test" not in card
    assert all((trained / name).stat().st_size for name in ("curves.png", "confusions.png", "reliability.png"))


def test_fine_tuning_starts_where_the_model_ended(task: ClassifierTask, trained: Path) -> None:
    began = task.changed({"start": str(trained)}).new_run()
    held_out = task.crops.of("val")
    before = logits_of(pretrained_classifier(str(trained)), held_out.images)
    np.testing.assert_allclose(logits_of(began.training.averaged, held_out.images), before, atol=2e-3)


def test_groups_must_name_every_class_of_the_data(task: ClassifierTask, tmp_path: Path) -> None:
    wrong = task.changed({"groups": {"round": ["disc", "rings"], "long": ["bar"]}}).recipe
    with pytest.raises(RecipeError, match="ring, rings"):
        ClassifierTask.find(wrong, [write(shapes(), tmp_path / "data")])


def test_the_shipped_recipe_is_complete() -> None:
    recipe = load_recipe("mitosis", ClassifierRecipe)
    assert (RECIPES / "mitosis.toml").is_file()
    members = [name for each in recipe.groups.values() for name in each]
    assert len(members) == len(set(members)) == recipe.training.network.n_classes == 16
