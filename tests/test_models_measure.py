"""Measurements: micrometres on the stage, unusual frames, errors, and what the loop needs of them."""

import gc
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.outline
import models.runs
import models.surroundings
import models.texture
from acquisition.frame import StagePosition, affine_at, stage_um
from models.features import FEATURES
from models.measure import measure, warm_up
from models.regions import NEIGHBOUR_UM, RING_FROM_UM, RING_TO_UM, Regions
from tests.label_images import SIZE_PX, UM_PER_PX, scene, view
from tests.scenes import header

ALL = tuple(FEATURES)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    warm_up()


def test_positions_go_through_the_headers_affine() -> None:
    """A camera turned by 90° and flipped, on a stage far from zero."""
    image, labels = scene()
    stage = StagePosition(1000.0, -2000.0)
    turned = affine_at(stage, (0.0, UM_PER_PX, UM_PER_PX, 0.0), labels.shape)
    head = header(stage=(1000.0, -2000.0), size_px=SIZE_PX, um_per_px=UM_PER_PX, stage_from_pixel=turned)
    straight, cells = measure(view(), image, labels, ALL), measure(head, image, labels, ALL)
    assert cells.xy_um == pytest.approx(stage_um(turned, cells.xy_px))
    assert cells.xy_um - (1000.0, -2000.0) == pytest.approx(straight.xy_um[:, ::-1])
    for name in ("major_um", "minor_um", "eccentricity"):
        assert cells.feature(name) == pytest.approx(straight.feature(name))
    swapped = math.pi / 2 - straight.feature("orientation_rad")
    assert np.cos(2 * (cells.feature("orientation_rad") - swapped)) == pytest.approx(1.0)


@settings(deadline=None)
@given(st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)))
def test_a_stage_move_shifts_positions_and_nothing_else(stage: tuple[float, float]) -> None:
    image, labels = scene()
    there, here = measure(view(stage), image, labels, ALL), measure(view(), image, labels, ALL)
    assert there.xy_um - here.xy_um == pytest.approx(np.broadcast_to(stage, there.xy_um.shape), abs=1e-6)
    assert np.array_equal(there.area_um2, here.area_um2)
    assert np.array_equal(there.features, here.features)


def test_an_empty_frame_has_no_cells_but_all_columns() -> None:
    nothing = np.zeros((SIZE_PX, SIZE_PX), np.int32)
    cells = measure(view(), nothing.astype(np.float32), nothing, ALL)
    assert len(cells) == 0
    assert cells.features.shape == (0, len(ALL))
    assert cells.xy_um.shape == (0, 2)
    assert cells.bbox_px.shape == (0, 4)


@pytest.mark.parametrize("step", [7, 1000, 170_000_000])
def test_labels_with_gaps_keep_their_numbers(step: int) -> None:
    image, labels = scene()
    sparse = np.where(labels > 0, labels * step, 0).astype(np.int32)
    cells, known = measure(view(), image, sparse, ALL), measure(view(), image, labels, ALL)
    assert cells.label.tolist() == (known.label * step).tolist()
    assert np.array_equal(cells.features, known.features)
    assert np.array_equal(cells.bbox_px, known.bbox_px)


def test_numbers_of_labels_mean_nothing() -> None:
    """The same cells numbered from the last to the first."""
    image, labels = scene()
    backwards = np.where(labels > 0, labels.max() + 1 - labels, 0).astype(np.int32)
    cells, known = measure(view(), image, backwards, ALL), measure(view(), image, labels, ALL)
    beside = ("background_intensity", "corrected_mean_intensity", "corrected_integrated_intensity", "snr", "sharpness")
    same = [name for name in ALL if name not in beside]
    for name in same:  # a pixel as near to two cells is the first one's background
        assert cells.feature(name)[::-1] == pytest.approx(known.feature(name))
    assert cells.xy_um[::-1] == pytest.approx(known.xy_um)


def test_one_pixel_is_a_round_cell_of_no_length() -> None:
    labels = np.zeros((SIZE_PX, SIZE_PX), np.int32)
    labels[7, 30] = 1
    cells = measure(view(), labels.astype(np.float32), labels, ALL)
    assert cells.xy_px.tolist() == [[30.0, 7.0]]
    assert np.isfinite(cells.features).all()
    assert cells.feature("eccentricity")[0] == cells.feature("major_um")[0] == 0.0


def test_every_cell_is_simply_a_cell_at_first() -> None:
    cells = measure(view(), *scene())
    assert cells.class_names == ("cell",)
    assert (cells.p_class == 1.0).all()
    assert cells.features.shape == (len(cells), 0)


def test_unknown_feature_is_named_with_the_nearest_known() -> None:
    with pytest.raises(ValueError, match=r"'excentricity' is not known; did you mean 'eccentricity'\?.*major_um"):
        measure(view(), *scene(), features=("excentricity",))


def test_shapes_must_agree() -> None:
    image, labels = scene()
    with pytest.raises(ValueError, match=r"image \[95, 96\] and labels \[96, 96\].*header's shape \[96, 96\]"):
        measure(view(), image[1:], labels)


# --- what the loop needs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [models.runs, models.outline, models.texture, models.surroundings])
def test_nothing_is_compiled_after_the_warm_up(module: ModuleType) -> None:
    """Whatever an image is like, compiled code has seen its like."""
    image, labels = scene()
    before = compilations(module)
    assert before
    sealed = image.copy()
    sealed.flags.writeable = False
    for unusual in (sealed, image.astype(np.uint16), image.astype(np.float64), np.asfortranarray(image)):
        measure(view(), unusual, labels, ALL)
    for strange in (labels.astype(np.int64), labels.astype(np.uint16), np.asfortranarray(labels), labels * 3):
        measure(view(), image, strange, ALL)
    assert compilations(module) == before


def compilations(module: ModuleType) -> dict[str, int]:
    return {name: len(f.signatures) for name, f in vars(module).items() if hasattr(f, "signatures")}


@pytest.mark.parametrize(
    ("asked", "computed"),
    [
        ((), set()),
        (("integrated_intensity", "perimeter_um"), set()),
        (("major_um", "eccentricity"), {"covariance_um2", "variances_um2"}),
        (("sd_intensity",), {"spread"}),
        (("texture_contrast",), {"texture"}),
        (("neighbours",), {"near", "neighbours"}),
        (("corrected_mean_intensity",), {"near", "background"}),
    ],
)
def test_only_what_is_asked_is_computed(asked: tuple[str, ...], computed: set[str]) -> None:
    regions = Regions.of(view(), *scene())
    given = set(vars(regions))
    for name in asked:
        FEATURES[name](regions)
    assert set(vars(regions)) - given - {"n_pixels", "xy_px", "mean_intensity"} == computed


def test_no_memory_is_kept_from_frame_to_frame() -> None:
    image, labels = scene()
    process = psutil.Process()
    used_mb = []
    for _ in range(4):
        for _ in range(
            150
        ):  # a float32 image of these is 37 kB: one lost a frame would be 11 MB over the last two rounds
            measure(view(), image, labels, ALL)
        gc.collect()
        used_mb.append(process.memory_info().rss / 1e6)
    assert min(used_mb[2:]) - used_mb[0] < 5


def test_the_distances_in_the_readme_are_true() -> None:
    readme = (Path(__file__).resolve().parents[1] / "hardware_configs" / "README.md").read_text("utf-8")
    assert f"{RING_FROM_UM:g} to {RING_TO_UM:g} µm around the cell" in readme
    assert f"within {NEIGHBOUR_UM:g} µm" in readme
