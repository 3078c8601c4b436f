"""Cells in strips of a channel: found where they are, whatever the light, the dirt and the pieces they come in."""

import numpy as np
import numpy.typing as npt
import pytest

from models.sightings import Sightings
from models.strip_settings import FinderSettings
from models.strips import StripFinder

H, W, UM_PER_PX, NOISE = 64, 256, 0.5, 3.0
SETTINGS = FinderSettings(background_strips=64)
YY, XX = np.mgrid[:H, :W]
LIGHT = 200 * (1 - 0.1 * ((XX - 128) / 128) ** 2) * (1 - 0.15 * ((YY - 32) / 32) ** 2)
DIRT = (80.0, 40.0, 3.0, 0.4)
Disc = tuple[float, float, float, float]  # x, y, radius, contrast
Strips = npt.NDArray[np.uint8]


def strips(
    discs: list[list[Disc]], seed: int = 0, light: npt.NDArray[np.float64] = LIGHT, dtype: type = np.uint8
) -> npt.NDArray[np.integer]:
    """One strip for each list of discs, on a background with dirt."""
    rng = np.random.default_rng(seed)
    pictures = []
    for seen in discs:
        picture = light.copy()
        for x, y, radius, contrast in [DIRT, *seen]:
            picture *= 1 - contrast * np.clip(radius + 0.5 - np.hypot(XX - x, YY - y), 0, 1)
        pictures.append(picture + rng.normal(0, NOISE, picture.shape))
    return np.clip(np.rint(pictures), 0, np.iinfo(dtype).max).astype(dtype)


def traffic(n_strips: int, first: int = 0) -> list[list[Disc]]:
    """Four cells a strip at 47.3 px a strip."""
    return [
        [((30 + 47.3 * (first + s) + 60 * k) % 300 - 20, 14 + 12 * k, 6.0 + k, 0.25) for k in range(4)]
        for s in range(n_strips)
    ]


def finder(settings: FinderSettings = SETTINGS, **light: npt.NDArray[np.float64]) -> StripFinder:
    """One that knows its background, learned while cells went by."""
    ready = StripFinder(settings, UM_PER_PX)
    seen = ready.find(strips(traffic(settings.background_strips), seed=1, **light), times(settings.background_strips))
    assert ready.knows_background
    assert not len(seen)
    return ready


def times(n: int, first: int = 0) -> tuple[int, ...]:
    return tuple(range(first + 1, first + n + 1))


def places(seen: Sightings, strip: int) -> npt.NDArray[np.float64]:
    return seen.xy_px[seen.strip == strip]


def test_nothing_is_found_in_an_empty_channel_nor_where_dirt_lies() -> None:
    assert not len(finder().find(strips([[]] * 32, seed=2), times(32)))


def test_centres_are_met_to_a_tenth_of_a_pixel_without_bias() -> None:
    discs = traffic(96, first=64)
    seen = finder().find(strips(discs, seed=3), times(96))
    errors = []
    for strip, cells in enumerate(discs):
        for x, y, radius, _ in cells:
            if radius + 3 < x < W - radius - 3 and np.hypot(x - DIRT[0], y - DIRT[1]) > 15:
                apart = places(seen, strip) - (x, y)
                errors.append(apart[np.argmin(np.hypot(*apart.T))])
    errors_px = np.array(errors)
    assert len(errors_px) > 200
    assert np.all(np.abs(errors_px.mean(axis=0)) < 0.01)
    assert np.all(errors_px.std(axis=0) < 0.06)


@pytest.mark.parametrize("radius_px", [4.0, 8.0, 13.0])
def test_area_contrast_and_length_are_those_of_the_cell(radius_px: float) -> None:
    seen = finder().find(strips([[(150.3, 30.6, radius_px, 0.3)]], seed=4), times(1))
    assert len(seen) == 1
    assert seen.area_um2[0] == pytest.approx(np.pi * (radius_px * UM_PER_PX) ** 2, rel=0.1)
    assert seen.feature("max_contrast")[0] == pytest.approx(0.33, abs=0.06)
    assert seen.feature("length_um")[0] == pytest.approx(2 * radius_px * UM_PER_PX, abs=1.5)
    assert seen.feature("elongation")[0] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("x", "whole"), [(4.0, False), (60.0, True), (252.0, False)])
def test_a_cell_at_the_view_s_end_is_not_whole(x: float, whole: bool) -> None:
    seen = finder().find(strips([[(x, 12.0, 7.0, 0.3)]], seed=5), times(1))
    assert seen.whole.tolist() == [whole]


def test_stacks_may_be_cut_anyhow() -> None:
    pictures = strips(traffic(48), seed=6)
    at_once, by_ones = finder(), finder()
    whole = at_once.find(pictures, times(48))
    pieces = [by_ones.find(picture[None], (n + 1,)) for n, picture in enumerate(pictures)]
    assert np.array_equal(whole.xy_px, np.concatenate([piece.xy_px for piece in pieces]))
    assert np.array_equal(whole.t_ns, np.concatenate([piece.t_ns for piece in pieces]))
    assert np.array_equal(whole.features, np.concatenate([piece.features for piece in pieces]))


def test_sightings_are_ordered_by_strip_then_x() -> None:
    seen = finder().find(strips(traffic(16), seed=7), times(16))
    assert np.array_equal(np.lexsort((seen.xy_px[:, 0], seen.strip)), np.arange(len(seen)))
    assert np.array_equal(seen.t_ns, seen.strip + 1)


@pytest.mark.parametrize(("polarity", "contrast", "n"), [
    ("dark", 0.3, 1), ("dark", -0.2, 0), ("bright", -0.2, 1), ("bright", 0.3, 0), ("both", 0.3, 1), ("both", -0.2, 1),
])  # fmt: skip
def test_polarity_says_which_cells_count(polarity: str, contrast: float, n: int) -> None:
    settings = FinderSettings(polarity=polarity, background_strips=64)  # type: ignore[arg-type]
    assert len(finder(settings).find(strips([[(150.0, 30.0, 8.0, contrast)]], seed=8), times(1))) == n


def test_crops_hold_the_contrast_around_the_cell_and_nothing_beyond_the_view() -> None:
    ready = finder()
    ready.find(strips([[(150.0, 30.0, 8.0, 0.3)], [(150.0, 6.0, 5.0, 0.3)]], seed=9), times(2))
    middle, cut = ready.crops(np.array([0, 1]), 32)
    assert middle[10:22, 10:22].mean() == pytest.approx(0.3, abs=0.02)
    assert middle[:4].mean() == pytest.approx(0.0, abs=0.01)
    assert not cut[:9].any()
    assert ready.crops(np.array([], np.intp), 32).shape == (0, 32, 32)


def test_cells_of_a_bright_finder_are_positive_in_crops() -> None:
    ready = finder(FinderSettings(polarity="bright", background_strips=64))
    ready.find(strips([[(150.0, 30.0, 8.0, -0.2)]], seed=10), times(1))
    assert ready.crops(np.array([0]), 32)[0, 12:20, 12:20].mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("factor", [0.6, 1.2])
def test_other_light_is_no_flood_of_cells_but_a_background_to_be_learned(factor: float) -> None:
    ready, n_unseen = finder(), 0
    for n in range(6):
        seen = ready.find(strips([[]] * 16, seed=20 + n, light=LIGHT * factor), times(16, 16 * n))
        n_unseen += np.count_nonzero(ready.unseen)
        assert not len(seen)
    assert n_unseen == 16 + SETTINGS.background_strips
    assert ready.knows_background
    seen = ready.find(strips([[(150.0, 30.0, 8.0, 0.3)]], seed=30, light=LIGHT * factor), times(1))
    assert len(seen) == 1


def test_cells_seen_just_before_the_light_changed_have_their_pictures() -> None:
    ready, cell = finder(), (150.0, 30.0, 8.0, 0.3)
    before, after = strips([[cell]] * 4, seed=21), strips([[]] * 12, seed=22, light=LIGHT * 0.6)
    seen = ready.find(np.concatenate((before, after)), times(16))
    assert seen.strip.tolist() == [0, 1, 2, 3]
    assert ready.unseen.tolist() == [False] * 4 + [True] * 12
    assert ready.crops(np.arange(4), 32)[:, 10:22, 10:22].mean() == pytest.approx(0.3, abs=0.02)
    assert not ready.knows_background
    assert not len(ready.find(strips([[cell]] * 16, seed=23), times(16, 16))), "it is learned anew"


def test_what_sticks_to_the_glass_becomes_background() -> None:
    ready, stacks = finder(), [strips([[(200.0, 20.0, 6.0, 0.2)]] * 16, seed=100 + n) for n in range(4)]
    assert len(ready.find(stacks[0], times(16))) == 16
    for n in range(1, 1600):
        seen = ready.find(stacks[n % 4], times(16, 16 * n))
    assert not len(seen)


def test_small_specks_are_left_out_if_told_so() -> None:
    disc = (150.0, 30.0, 3.0, 0.3)  # 7 µm²
    for least, n in ((3.0, 1), (15.0, 0)):
        settings = FinderSettings(background_strips=64, least_area_um2=least)
        assert len(finder(settings).find(strips([[disc]], seed=11), times(1))) == n


def test_sixteen_bits_serve_as_well() -> None:
    ready = StripFinder(SETTINGS, UM_PER_PX)
    light = LIGHT * 100
    ready.find(strips([[]] * 64, light=light, dtype=np.uint16), times(64))
    seen = ready.find(strips([[(150.0, 30.0, 8.0, 0.3)]], light=light, dtype=np.uint16), times(1))
    assert len(seen) == 1


@pytest.mark.parametrize("shape", [(64, 256), (2, 64, 256), (1, 2, 256)])
def test_what_is_no_stack_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="strips"):
        StripFinder(SETTINGS, UM_PER_PX).find(np.zeros(shape, np.uint8), (1,))
