"""The pictures of blood cells that the simulated flow cell draws with: what is shipped, and how they are cut from smears."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from acquisition.simulated.cut_flow_sprites import (
    FILE,
    KINDS,
    SIDE_PX,
    SPLIT,
    UM_PER_PX,
    Box,
    Smear,
    absorbance,
    cut,
    smears,
)

PX_PER_UM = 13.7333
SIZES_UM = {"wbc": (7, 19), "rbc": (4.5, 10), "platelet": (1, 5)}
Disc = tuple[int, int, int]
RED, WHITE = (0.3, -0.05), (0.5, 0.4)


def smear(cells: list[tuple[Disc, tuple[float, float]]]) -> Smear:
    """Discs (x, y, radius) with their absorbance and how blue they are."""
    green, blue = np.zeros((480, 640), np.float32), np.zeros((480, 640), np.float32)
    for (x, y, radius), (depth, stain) in cells:
        cv2.circle(green, (x, y), radius, depth, cv2.FILLED)
        cv2.circle(blue, (x, y), radius, stain, cv2.FILLED)
    return Smear(green, blue, [])


def box(disc: Disc) -> Box:
    x, y, radius = disc
    return (x - radius, y - radius, x + radius, y + radius)


def test_shipped_cells_are_whole_clean_and_of_the_right_size() -> None:
    with np.load(FILE, allow_pickle=False) as stored:
        pictures, kinds, um_per_px = stored["absorbance"], stored["kind"], float(stored["um_per_px"])
    assert FILE.stat().st_size < 300_000
    assert pictures.shape == (len(kinds), SIDE_PX, SIDE_PX)
    assert pictures.dtype == np.uint8
    assert um_per_px == UM_PER_PX
    assert not np.concatenate([pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]]).any()
    for kind, (low, high) in SIZES_UM.items():
        areas = [np.count_nonzero(picture > 0.3 * picture.max()) for picture in pictures[kinds == kind]]
        assert len(areas) >= 25
        diameters_um = np.sqrt(np.array(areas) * 4 / np.pi) * um_per_px
        assert low < np.median(diameters_um) < high


def test_a_cell_alone_is_cut_out_as_it_is() -> None:
    disc = (300, 200, 51)
    sprite = cut(smear([(disc, RED)]), "rbc", box(disc), PX_PER_UM)
    assert sprite is not None
    area_um2 = sprite.sum() / RED[0] * UM_PER_PX**2
    assert area_um2 == pytest.approx(np.pi * (51 / PX_PER_UM) ** 2, rel=0.05)
    y, x = np.indices(sprite.shape)
    assert np.average(x, weights=sprite) == pytest.approx((SIDE_PX - 1) / 2, abs=0.1)
    assert np.average(y, weights=sprite) == pytest.approx((SIDE_PX - 1) / 2, abs=0.1)
    assert sprite.max() == pytest.approx(RED[0], abs=0.01)


@pytest.mark.parametrize(("disc", "kind", "stain"), [
    ((45, 200, 51), "rbc", RED),  # cut off by the image's edge
    ((300, 200, 20), "rbc", RED),  # too small
    ((300, 200, 51), "rbc", WHITE),  # blue
    ((300, 200, 90), "wbc", RED),  # not blue
    ((300, 200, 160), "wbc", WHITE),  # too large
])  # fmt: skip
def test_what_is_no_such_cell_is_refused(disc: Disc, kind: str, stain: tuple[float, float]) -> None:
    assert cut(smear([(disc, stain)]), kind, box(disc), PX_PER_UM) is None


def test_a_red_cell_in_a_crowd_is_refused() -> None:
    middle = (300, 200, 51)
    around = [(300 + dx, 200 + dy, 51) for dx, dy in ((100, 0), (-100, 0), (0, 100), (0, -100))]
    assert cut(smear([(disc, RED) for disc in (middle, *around)]), "rbc", box(middle), PX_PER_UM) is None


def test_a_red_neighbour_is_taken_off_a_white_cell() -> None:
    white, red = (300, 200, 90), (430, 200, 51)
    alone = cut(smear([(white, WHITE)]), "wbc", box(white), PX_PER_UM)
    beside = cut(smear([(red, RED), (white, WHITE)]), "wbc", box(white), PX_PER_UM)
    assert alone is not None
    assert beside is not None
    assert np.abs(beside - alone).sum() < 0.02 * alone.sum()


def test_absorbance_knows_no_uneven_light() -> None:
    light = np.tile(np.linspace(206, 230, 640, dtype=np.float32), (480, 1))
    cv2.circle(light, (300, 200), 51, 140, cv2.FILLED)
    seen = absorbance(np.rint(light).astype(np.uint8))
    assert np.abs(seen[400:, 50:590]).max() < 0.04
    assert seen[200, 300] == pytest.approx(1 - 140 / 217.3, abs=0.03)


def test_the_first_images_give_the_first_shipped_cells(shared_data: Path) -> None:
    with np.load(FILE, allow_pickle=False) as stored:
        shipped = {picture.tobytes() for picture in stored["absorbance"]}
    sprites = [
        cut(smear, kind, box, PX_PER_UM)
        for smear in islice(smears(shared_data / "bccd", SPLIT), 3)
        for kind, box in smear.boxes
    ]
    found = [np.rint(255 * np.clip(sprite, 0, 1)).astype(np.uint8) for sprite in sprites if sprite is not None]
    assert len(found) > 3
    assert all(each.tobytes() in shipped for each in found)
    assert set(KINDS.values()) == set(SIZES_UM)
