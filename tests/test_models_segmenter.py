"""The network segmenter around its engine: sizes, tiles, zoom, rules, mistakes. The tiny model finds bright discs."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.engines.engine import EngineSettings
from models.normalise import Image
from models.segmenter import NetworkSegmenter, RuleChanges
from tests.contracts.test_segmenter_contract import discs

TINY = str(Path(__file__).parent / "tiny_model")


@pytest.fixture
def tiny() -> Iterator[NetworkSegmenter]:
    segmenter = NetworkSegmenter(model_path=TINY)
    yield segmenter
    segmenter.close()


def n_cells(segmenter: NetworkSegmenter, image: Image) -> int:
    return int(segmenter.label(segmenter.infer(image)).max())


@pytest.mark.parametrize("method", ["deep_watershed", "pixel_classes"])
@pytest.mark.parametrize("shape", [(128, 128), (130, 127), (101, 300)])
def test_both_methods_find_the_discs_at_any_size(method: str, shape: tuple[int, int]) -> None:
    segmenter = msgspec.convert({"model_path": TINY, "method": method}, NetworkSegmenter)
    assert n_cells(segmenter, discs(shape)) == 9


def test_a_large_image_is_tiled_without_seams() -> None:
    image = discs((448, 640), n=80)  # tiles end where it ends; otherwise the mirrored rest differs within a few pixels
    exact = EngineSettings(precision="fp32")  # in bf16, sums are rounded differently at different places of an image
    whole, tiled = (
        NetworkSegmenter(model_path=TINY, engine=exact, tile_px=side, overlap_px=64) for side in (2048, 256)
    )
    maps = whole.infer(image)
    np.testing.assert_allclose(tiled.infer(image), maps, atol=1e-4)
    assert np.array_equal(tiled.label(tiled.infer(image)), whole.label(maps))
    assert whole.label(maps).max() == 80


def test_frames_of_other_sizes_use_the_engine_of_the_first(tiny: NetworkSegmenter) -> None:
    tiny.prepare(256, 256)
    engine = tiny._engine
    assert n_cells(tiny, discs((128, 128))) == 9
    assert n_cells(tiny, discs((300, 520))) == 9
    assert tiny._engine is engine


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (20, 90), (31, 31)])
def test_the_shipped_network_takes_slivers_and_then_a_whole_frame(shape: tuple[int, int]) -> None:
    shipped = NetworkSegmenter(model="nuclei-fast")  # its tiles are multiples of 32 px
    assert shipped.label(shipped.infer(np.full(shape, 100, np.float32))).shape == shape
    assert n_cells(shipped, discs((128, 128))) > 0
    shipped.close()


@pytest.mark.parametrize("name", ["nuclei", "nuclei-fast"])
def test_hot_pixels_are_no_cells(name: str) -> None:
    image = np.random.default_rng(0).poisson(100, (128, 128)).astype(np.float32)
    image[10::40, 10::40] = 65_535
    shipped = NetworkSegmenter(model=name)
    assert n_cells(shipped, image) == 0
    shipped.close()


def test_zoom_finds_what_is_too_small() -> None:
    small = discs((360, 360))[1::3, 1::3]
    plain, zoomed = (NetworkSegmenter(model_path=TINY, zoom=z, labels=RuleChanges(min_area_px=4)) for z in (1.0, 3.0))
    labels = zoomed.label(zoomed.infer(small))
    assert labels.shape == small.shape
    assert labels.max() == 9
    assert n_cells(plain, small) < 9


def test_rules_of_the_config_replace_the_models(tiny: NetworkSegmenter) -> None:
    strict = NetworkSegmenter(model_path=TINY, labels=RuleChanges(min_area_px=5000))
    assert n_cells(strict, discs((128, 128))) == 0
    assert strict.rules.prominence == tiny.rules.prominence


def test_what_runs_is_said(tiny: NetworkSegmenter) -> None:
    assert "no engine yet" in tiny.description
    tiny.prepare(64, 64)
    assert tiny.description.startswith("tiny (")
    assert "no engine" not in tiny.description


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "nucleii"}, "nucleii"),
        ({"model_path": TINY, "method": "threshold"}, "threshold"),
        ({"model_path": TINY, "tile_px": 256, "overlap_px": 200}, "overlap_px 200"),
        ({"model_path": TINY, "zoom": 0.0}, "zoom"),
        ({"model_path": TINY, "labels": {"peek": 0.3}}, "peek"),
        ({"model_path": TINY, "engine": {"threads": -1}}, "threads"),
    ],
)
def test_mistakes_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(settings, NetworkSegmenter)
