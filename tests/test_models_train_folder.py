"""From a recipe and a data folder to a model folder that a run can use, and studies on the way there."""

import csv
from pathlib import Path

import numpy as np
import pytest
from drawn_cells import data_folder, drawn, tiny_recipe

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from acquisition.clock import SimulatedClock
from models.manifest import SegmenterManifest, find_model, find_segmenter
from models.segmenter import NetworkSegmenter
from models.training.recipe import RecipeError, load_recipe
from models.training.run import CheckpointError, Run, Validation
from models.training.segmenter import SegmenterRecipe
from models.training.segmenter_task import SegmenterTask
from models.training.steps import Progress
from models.training.studies import (
    carried_out,
    fold_words,
    folds,
    fractions,
    learning_curve_words,
    random_search,
    search_words,
    write_report,
)  # fmt: skip
from models.training.train import ship, train


class Spectator:
    def __init__(self, stop_after: int = -1) -> None:
        self.n = 0
        self.stop_after = stop_after

    def begin(self, title: str, n_steps: int) -> None: ...
    def stepped(self, progress: Progress) -> None:
        self.n += 1

    def validated(self, validation: Validation) -> None: ...
    def finishing(self) -> None: ...
    def stop(self) -> bool:
        return self.n == self.stop_after


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> SegmenterTask:
    folder = tmp_path_factory.mktemp("training")
    recipe = load_recipe(str(tiny_recipe(folder)), SegmenterRecipe)
    return SegmenterTask.find(recipe, [data_folder(folder / "discs")])


@pytest.fixture(scope="module")
def trained(task: SegmenterTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "tiny"
    better = task.changed({"training.steps": 150, "training.rate": 0.02, "validation.every": 75})
    assert train(better, out, Spectator(), SimulatedClock()) == "complete"
    return out


def test_a_trained_folder_is_a_model(trained: Path) -> None:
    model, manifest = find_segmenter(str(trained))
    assert set(manifest.methods) == {"deep_watershed", "pixel_classes"}
    assert (manifest.name, manifest.multiple_px, manifest.recipe) == ("tiny", 4, "tiny")
    assert [(each.name, each.licence) for each in manifest.data] == [("discs", "CC0 1.0")]
    assert model.parity()["input"].shape == (1, 1, 128, 160)
    assert len(model.onnx_bytes()) > 1000


@pytest.mark.parametrize("method", ["deep_watershed", "pixel_classes"])
def test_it_finds_the_discs(trained: Path, method: str) -> None:
    segmenter = NetworkSegmenter(model_path=str(trained), method=method)  # type: ignore[arg-type]
    pixels, truth = drawn(77)
    found = segmenter.label(segmenter.infer(pixels.astype(np.float32)))
    segmenter.close()
    both = ((found > 0) & (truth > 0)).sum()
    assert both > 0.7 * ((found > 0) | (truth > 0)).sum()


def test_the_card_says_what_it_was_made_of_and_where_it_fails(trained: Path) -> None:
    card = (trained / "card.md").read_text(encoding="utf-8")
    for words in ("drawn by the test", "CC0 1.0", "train 4, val 2", "## Limits of use", "## Figures: val", "worst.png"):
        assert words in card
    assert "## Figures: public_test" not in card
    assert all((trained / name).stat().st_size for name in ("curves.png", "best.png", "worst.png", "recipe.toml"))
    with (trained / "training" / "history.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["75", "150"]


def test_final_figures_come_only_when_asked_for(tmp_path: Path) -> None:
    splits = {"a.png": "train", "b.png": "val", "c.png": "public_test"}
    recipe = load_recipe(str(tiny_recipe(tmp_path)), SegmenterRecipe)
    final = SegmenterTask.find(recipe, [data_folder(tmp_path / "discs", splits)])
    train(final, tmp_path / "out", Spectator(), SimulatedClock(), final=True)
    assert "## Figures: public_test (final figures only)" in (tmp_path / "out" / "card.md").read_text(encoding="utf-8")


def test_an_interrupted_training_is_resumed_and_can_be_exported(task: SegmenterTask, tmp_path: Path) -> None:
    assert train(task, tmp_path, Spectator(2), SimulatedClock()) == "interrupted"
    assert not (tmp_path / "manifest.toml").exists()
    with pytest.raises(CheckpointError, match="first validation"):
        ship(task, tmp_path / "training" / "checkpoint.pt", tmp_path)
    with pytest.raises(CheckpointError, match="--resume"):
        train(task, tmp_path, Spectator(), SimulatedClock())
    assert train(task, tmp_path, Spectator(3), SimulatedClock(), resume=True) == "interrupted"
    assert ship(task, tmp_path / "training" / "checkpoint.pt", tmp_path / "early").step == 4
    assert isinstance(find_model(str(tmp_path / "early")).manifest, SegmenterManifest)
    assert train(task, tmp_path, Spectator(), SimulatedClock(), resume=True) == "complete"
    assert (tmp_path / "manifest.toml").exists()


def test_weights_of_another_network_are_not_exported(task: SegmenterTask, tmp_path: Path) -> None:
    train(task, tmp_path, Spectator(), SimulatedClock())
    other = task.changed({"training.network.widths": [4, 12]})
    with pytest.raises(CheckpointError, match="another network than the recipe's"):
        ship(other, tmp_path / "training" / "checkpoint.pt", tmp_path / "other")


def test_a_model_is_not_exported_with_other_data_than_it_was_trained_on(task: SegmenterTask, tmp_path: Path) -> None:
    train(task, tmp_path, Spectator(), SimulatedClock())
    with pytest.raises(CheckpointError, match="other files of discs"):
        ship(task.fraction(0.5), tmp_path / "training" / "checkpoint.pt", tmp_path / "other")


def test_a_model_that_lies_there_is_not_overwritten(task: SegmenterTask, tmp_path: Path) -> None:
    (tmp_path / "manifest.toml").write_text("")
    with pytest.raises(CheckpointError, match="give another --out"):
        train(task, tmp_path, Spectator(), SimulatedClock())


def test_fine_tuning_starts_where_the_model_ended(task: SegmenterTask, trained: Path) -> None:
    begun = [validated(each.new_run()) for each in (task, task.changed({"start": str(trained)}))]
    assert begun[1] > begun[0] + 0.1


def test_a_student_is_taught_by_a_model(task: SegmenterTask, trained: Path) -> None:
    run = task.changed({"teacher": str(trained)}).new_run()
    run.training.run(1)
    alone = task.new_run()
    alone.training.run(1)
    assert run.training.step == 1
    assert any(
        not (a == b).all()
        for a, b in zip(run.training.averaged.parameters(), alone.training.averaged.parameters(), strict=True)
    )


def validated(run: Run) -> float:
    return run.validate(run.training.averaged)


def test_studies_are_carried_out_and_go_on_where_they_were(task: SegmenterTask, tmp_path: Path) -> None:
    watch = Spectator(stop_after=11)
    assert carried_out(folds(task, 3), tmp_path, watch, SimulatedClock()) is None
    again = Spectator()
    results = carried_out(folds(task, 3), tmp_path, again, SimulatedClock())
    assert results is not None
    assert again.n == 3 * 8 - 11
    assert [each.n_train for each in results] == [4, 4, 4]
    assert "over 3 folds" in fold_words(results)
    write_report("Cross-validation", fold_words(results), results, tmp_path, "fold")
    assert "| fold 1 of 3 | 1 | 4 |" in (tmp_path / "report.md").read_text()
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 4


def test_a_learning_curve_says_whether_data_are_enough(task: SegmenterTask, tmp_path: Path) -> None:
    results = carried_out(fractions(task, (0.5, 1.0)), tmp_path, Spectator(), SimulatedClock())
    assert results is not None
    assert [each.n_train for each in results] == [2, 4]
    assert "from 2 to 4 images" in learning_curve_words(results)


def test_a_search_draws_within_the_ranges_and_names_the_best(task: SegmenterTask, tmp_path: Path) -> None:
    trials = list(random_search(task, 20))
    for trial in trials:
        assert 0.001 <= trial.values["training.rate"] <= 0.01
        assert trial.values["training.batch"] in (1, 2, 3)
        assert trial.task.recipe.training.batch == trial.values["training.batch"]
    assert [each.values for each in random_search(task, 20)] == [each.values for each in trials]
    results = carried_out(trials[:2], tmp_path, Spectator(), SimulatedClock())
    assert results is not None
    assert "--set training.rate=" in search_words(results)
    with pytest.raises(RecipeError, match="not a setting of this recipe"):
        next(random_search(task.changed({"search": {"training.rat": [0, 1]}}), 1))
