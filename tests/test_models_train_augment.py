"""Random crops: image, labels and distance change alike."""

import numpy as np
import pytest
from drawn_cells import drawn

from models.normalise import LevelRules
from models.training.augment import AugmentSettings, empty_image, random_affine, random_crop
from models.training.images import Example, Prepared, prepared

PLAIN = AugmentSettings(turn=0, gain=1, offset=0, gamma=1, noise_share=0, blur_share=0, slope_share=0, empty_share=0)


@pytest.fixture(scope="module")
def image() -> Prepared:
    return prepared(Example("discs", "a.png", *drawn(0, (200, 240))), LevelRules())


def test_a_crop_without_changes_is_a_piece_of_the_image(image: Prepared) -> None:
    crop = random_crop(image, 128, PLAIN, np.random.default_rng(0))
    assert set(np.unique(crop.labels)) <= set(np.unique(image.labels))
    assert crop.image[crop.labels > 0].mean() > crop.image[crop.labels == 0].mean() + 0.5
    assert ((crop.distance > 0) == (crop.labels > 0)).mean() > 0.97


def test_image_labels_and_distance_stay_aligned_under_every_change(image: Prepared) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        crop = random_crop(image, 160, AugmentSettings(empty_share=0, turn=1), rng)
        assert crop.image.dtype == crop.distance.dtype == np.float32
        inside = crop.distance > 0.5
        assert (crop.labels[inside] > 0).mean() > 0.99
        assert crop.image[inside].mean() > crop.image[crop.labels == 0].mean() + 0.2


def test_an_affine_keeps_areas_to_the_zoom() -> None:
    rng = np.random.default_rng(2)
    settings = AugmentSettings(zoom=1.5, turn=1.0)
    areas = [abs(np.linalg.det(random_affine((500, 500), 100, settings, rng)[:, :2])) for _ in range(200)]
    assert 1 / 1.5**2 - 1e-9 <= min(areas) < 0.6
    assert 1.7 < max(areas) <= 1.5**2 + 1e-9


def test_quarter_turns_and_mirror_images_are_exact() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        linear = random_affine((500, 500), 100, AugmentSettings(turn=0), rng)[:, :2]
        np.testing.assert_allclose(np.abs(linear) @ np.abs(linear).T, np.eye(2), atol=1e-12)


def test_empty_images_show_nothing_and_start_at_zero() -> None:
    image = empty_image(64, np.random.default_rng(0))
    assert np.quantile(image, 0.01) == pytest.approx(0, abs=1e-5)
    assert image.std() > 0


def test_the_same_seed_gives_the_same_crop(image: Prepared) -> None:
    one, other = (random_crop(image, 48, AugmentSettings(), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.labels, other.labels)
