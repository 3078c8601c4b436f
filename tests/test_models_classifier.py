"""The network classifier: a probability for every cell, whatever their number and place. The tiny model knows shapes."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scenes import cells_at, header

from models.classifier import NetworkClassifier
from models.crops import normalised_crops
from models.normalise import Image
from models.perception import Perception
from models.threshold import ThresholdSegmenter

TINY = str(Path(__file__).parent / "tiny_classifier")
CLASSES = ("disc", "ring", "pair", "noise")


@pytest.fixture
def tiny() -> Iterator[NetworkClassifier]:
    classifier = NetworkClassifier(model_path=TINY, classes="all")
    yield classifier
    classifier.close()


def frame_with(names: list[str], rng: np.random.Generator) -> tuple[Image, list[tuple[float, float]]]:
    """Shapes 48 px apart on a noisy background, and their middles."""
    image = np.full((48 * 4, 48 * -(-len(names) // 4)), 100.0)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    middles = [(24.0 + 48 * (i // 4), 24.0 + 48 * (i % 4)) for i in range(len(names))]
    for name, (x0, y0) in zip(names, middles, strict=True):
        dx, dy = x - x0, y - y0
        shape = {
            "disc": np.hypot(dx, dy) < 8,
            "ring": np.abs(np.hypot(dx, dy) - 8) < 2,
            "pair": np.hypot(np.abs(dx) - 8, dy) < 4,
            "noise": dx > 1e9,
        }[name]
        image[shape] += 300
    return rng.poisson(image).astype(np.float32), middles


@pytest.mark.parametrize("n", [1, 4, 15, 16, 17, 40])
def test_every_cell_gets_its_class_whatever_their_number(tiny: NetworkClassifier, n: int) -> None:
    rng = np.random.default_rng(n)
    names = [CLASSES[i] for i in rng.integers(4, size=n)]
    image, middles = frame_with(names, rng)
    p = tiny.probabilities(normalised_crops(image, np.array(middles), 32))
    assert p.shape == (n, 4)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert np.mean([CLASSES[i] == name for i, name in zip(p.argmax(axis=1), names, strict=True)]) > 0.9


def test_an_empty_frame_has_no_probabilities(tiny: NetworkClassifier) -> None:
    cells = cells_at(header(size_px=64))
    assert tiny.classify(np.zeros((64, 64), np.float32), cells).shape == (0, 4)


def test_cells_at_the_border_and_beyond_one_another_are_classified(tiny: NetworkClassifier) -> None:
    frame = header(size_px=40, um_per_px=1.0)
    cells = cells_at(frame, [(-20.0, -20.0), (19.0, 19.0), (0.0, 0.0), (0.0, 0.0)])
    p = tiny.classify(np.random.default_rng(0).poisson(100, (40, 40)).astype(np.float32), cells)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(p[2], p[3])


def test_a_group_is_the_sum_of_its_members(tiny: NetworkClassifier) -> None:
    groups = NetworkClassifier(model_path=TINY)
    assert groups.class_names == ("interphase", "mitotic", "artefact")
    crops = np.random.default_rng(0).random((20, 32, 32)).astype(np.float32)
    every = tiny.probabilities(crops)
    expected = np.stack([every[:, 0], every[:, 1] + every[:, 2], every[:, 3]], axis=1)
    np.testing.assert_allclose(groups.probabilities(crops), expected, atol=1e-6)


def test_the_answer_does_not_depend_on_the_batch(tiny: NetworkClassifier) -> None:
    crops = np.random.default_rng(1).random((7, 32, 32)).astype(np.float32)
    one_by_one = NetworkClassifier(model_path=TINY, classes="all", batch=1)
    np.testing.assert_allclose(one_by_one.probabilities(crops), tiny.probabilities(crops), atol=0.02)


def test_it_is_ready_before_the_first_frame_and_says_on_what(tiny: NetworkClassifier) -> None:
    assert "no engine yet" in tiny.description
    Perception(ThresholdSegmenter(), tiny, ()).prepare(64, 64)
    assert "no engine" not in tiny.description


def test_the_last_batch_is_not_filled_with_earlier_cells(tiny: NetworkClassifier) -> None:
    crops = np.random.default_rng(2).random((5, 32, 32)).astype(np.float32)
    alone = tiny.probabilities(crops)
    tiny.probabilities(np.ones((16, 32, 32), np.float32))
    np.testing.assert_array_equal(tiny.probabilities(crops), alone)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "mitosos"}, "mitosos"),
        ({"model_path": str(Path(__file__).parent / "tiny_model")}, "a classifier is needed"),
        ({"model_path": TINY, "classes": "some"}, "some"),
        ({"model_path": TINY, "batch": 0}, "batch"),
    ],
)
def test_mistakes_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(settings, NetworkClassifier)
