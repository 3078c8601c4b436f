"""The shipped classifier of cells in flow: it serves a sort, and names what a simulated camera shows."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tomli_w

from models.classifier import NetworkClassifier
from models.engines.engine import EngineSettings
from models.flow_classifier import FlowClassifier
from models.manifest import PARITY_INPUT, ModelError, find_model, read_manifest
from realtime.sort.classifying import LookClassifier

MODEL = "flow-blood"
ONE = EngineSettings(threads=1)


@pytest.fixture(scope="module")
def classifier() -> FlowClassifier:
    return FlowClassifier(engine=ONE)


@pytest.fixture(scope="module")
def crops() -> npt.NDArray[np.float32]:
    """One look at each class, from cells that it was not trained on."""
    return find_model(MODEL).parity()[PARITY_INPUT][:, 0]


def test_it_is_what_a_sort_asks_for(classifier: FlowClassifier) -> None:
    asked: LookClassifier = classifier
    assert asked.class_names == ("wbc", "rbc", "platelet", "doublet", "debris")
    assert sum(asked.class_prior) == pytest.approx(1)
    assert len(asked.class_prior) == len(asked.class_names)
    assert 0 <= asked.look_correlation <= 1
    asked.prepare(64, 256)
    assert asked.description.startswith(MODEL)


def test_it_names_cells(classifier: FlowClassifier, crops: npt.NDArray[np.float32]) -> None:
    named = [classifier.class_names[k] for k in classifier.probabilities(crops).argmax(axis=1)]
    assert named[:4] == ["wbc", "rbc", "platelet", "doublet"]
    assert named[4] in ("debris", "platelet")  # a small round speck is either


@pytest.mark.parametrize("n", [0, 1, 16, 17, 33])
def test_any_number_of_looks_is_judged_one_by_one(
    n: int, classifier: FlowClassifier, crops: npt.NDArray[np.float32]
) -> None:
    some = crops[np.arange(n) % len(crops)]
    p = classifier.probabilities(some)
    assert p.shape == (n, 5)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    alone = [classifier.probabilities(each[None])[0] for each in some[-3:]]
    np.testing.assert_allclose(p[-3:], np.array(alone).reshape(-1, 5), atol=0.02)


def test_crops_stay_as_they_are(classifier: FlowClassifier, crops: npt.NDArray[np.float32]) -> None:
    given = crops * 50
    before = given.copy()
    assert np.isfinite(classifier.probabilities(given)).all()
    np.testing.assert_array_equal(given, before)


def test_an_empty_channel_is_no_cell_for_sure(classifier: FlowClassifier) -> None:
    noise = np.random.default_rng(0).normal(0, 0.012, (16, classifier.side_px, classifier.side_px))
    assert classifier.probabilities(noise.astype(np.float32))[:, :2].max() < 0.1


def test_it_opens_anew_after_it_was_closed(crops: npt.NDArray[np.float32]) -> None:
    classifier = FlowClassifier(engine=ONE, batch=3)
    assert "no engine yet" in classifier.description
    before = classifier.probabilities(crops)
    classifier.close()
    classifier.close()
    np.testing.assert_array_equal(classifier.probabilities(crops), before)


def test_each_classifier_refuses_the_model_of_the_other() -> None:
    with pytest.raises(ModelError, match=f"a sort needs one of cells in flow: {MODEL}"):
        FlowClassifier(model="mitosis")
    with pytest.raises(ModelError, match=r"classifies cells in flow: use it in a run with \[sort\]"):
        NetworkClassifier(model=MODEL)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"class_prior": [0.5, 0.5], "correlation": 0.5}, "one share for every class"),
    ({"class_prior": [0.2] * 5, "correlation": 1.5}, "Expected `float` <= 1.0"),
    ({"class_prior": [0.25] * 4 + [0.0], "correlation": 0.5}, "Expected `float` > 0.0"),
    ({"class_prior": [0.2] * 5}, "missing required field `correlation`"),
]


@pytest.mark.parametrize(("looks", "words"), WRONG)
def test_a_manifest_that_does_not_fit_is_refused(looks: dict[str, Any], words: str, tmp_path: Path) -> None:
    tables = tomllib.loads((find_model(MODEL).folder / "manifest.toml").read_text(encoding="utf-8"))
    (tmp_path / "manifest.toml").write_text(tomli_w.dumps(tables | {"looks": looks}), encoding="utf-8")
    with pytest.raises(ModelError, match=words):
        read_manifest(tmp_path / "manifest.toml")
