"""Maps of any size, and label rules that are tuned to them."""

import numpy as np
import pytest
from drawn_cells import drawn

torch = pytest.importorskip("torch")

from models.networks.unet import UNet, UNetSettings  # noqa: E402
from models.training.images import Example  # noqa: E402
from models.training.scoring import Answer, figures, maps_of, score, tuned_rules, usual_rules  # noqa: E402
from models.training.targets import inner_distance, pixel_classes  # noqa: E402


def perfect(seed: int) -> Answer:
    """What a network would say that has learned everything."""
    example = Example("discs", f"{seed}.png", *drawn(seed))
    inside = np.where(example.labels > 0, 8, -8).astype(np.float32)
    logits = 8.0 * (pixel_classes(example.labels)[None] == np.arange(3)[:, None, None])
    maps = {"deep_watershed": np.stack([inside, inner_distance(example.labels)]), "pixel_classes": logits.astype("f4")}
    return Answer(example, maps)


@pytest.mark.parametrize("shape", [(33, 47), (64, 64), (5, 5)])
def test_an_image_of_any_size_has_maps_of_its_own_size(shape: tuple[int, int]) -> None:
    network = UNet(UNetSettings(widths=(4, 8))).eval()
    image = np.random.default_rng(0).random(shape, np.float32)
    assert {name: maps.shape for name, maps in maps_of(network, image).items()} == {
        "deep_watershed": (2, *shape),
        "pixel_classes": (3, *shape),
    }


def test_the_part_that_is_added_at_the_edge_changes_little_inside() -> None:
    network = UNet(UNetSettings(widths=(4, 8))).eval()
    image = np.random.default_rng(0).random((64, 64), np.float32)
    whole, cut = maps_of(network, image)["pixel_classes"], maps_of(network, image[:61, :62])["pixel_classes"]
    np.testing.assert_allclose(cut[:, :40, :40], whole[:, :40, :40], atol=1e-5)


@pytest.mark.parametrize("method", ["deep_watershed", "pixel_classes"])
def test_tuning_never_scores_less_than_the_usual_rules(method: str) -> None:
    given = [perfect(seed) for seed in range(3)]
    best = tuned_rules(given, method, {"prominence": (0.2, 0.4, 0.6), "peak": (0.4, 0.8), "min_area_px": (16, 200)})
    assert best.method == method
    assert score(given, best) >= score(given, usual_rules(method)) - 1e-3
    assert best.min_area_px == 16


def test_data_sets_count_alike_whatever_their_number_of_images() -> None:
    good, bad = perfect(0), perfect(1)
    bad = Answer(
        Example("others", "1.png", bad.example.pixels, bad.example.labels),
        {name: -maps for name, maps in bad.maps.items()},
    )
    rules = usual_rules("deep_watershed")
    assert list(figures([good, bad], rules)) == ["discs", "others"]
    assert score([good, good, good, bad], rules) == pytest.approx(score([good, bad], rules))
