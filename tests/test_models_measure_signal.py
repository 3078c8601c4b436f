"""Signal-to-noise and sharpness, and known cells measured again in a frame of another channel."""

import math

import msgspec
import numpy as np
import pytest
from scipy import ndimage

from acquisition.calibration import CameraCalibration
from acquisition.frame import FrameHeader, StagePosition, affine_at
from models.cells import Cells
from models.measure import measure, warm_up
from models.measure_again import measured_again
from tests.scenes import header

SIZE_PX, UM_PER_PX = 96, 0.5


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    warm_up()


def discs(centres_px: list[tuple[int, int]], radius_px: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """An image of ones in discs, and their labels."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    labels = np.zeros((SIZE_PX, SIZE_PX), np.int32)
    for n, (cx, cy) in enumerate(centres_px):
        labels[(x - cx) ** 2 + (y - cy) ** 2 <= radius_px**2] = n + 1
    return (labels > 0).astype(np.float32), labels


def view(stage: tuple[float, float] = (0.0, 0.0), **others: object) -> FrameHeader:
    return header(stage=stage, size_px=SIZE_PX, um_per_px=UM_PER_PX, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "camera", [CameraCalibration(), CameraCalibration(e_per_count=0.5, offset_counts=300, read_noise_e=6)]
)
@pytest.mark.parametrize(("signal_e", "background_e"), [(100.0, 20.0), (1000.0, 0.0), (5.0, 50.0)])
def test_signal_to_noise_is_that_of_a_pixels_photons(
    camera: CameraCalibration, signal_e: float, background_e: float
) -> None:
    """Against the spread that such pixels really have."""
    rng = np.random.default_rng(2)
    mask, labels = discs([(30, 40)], 20)
    electrons = rng.poisson(mask * signal_e + background_e) + rng.normal(0, camera.read_noise_e, mask.shape)
    counts = (electrons / camera.e_per_count + camera.offset_counts).astype(np.float32)
    (snr,) = measure(view(), counts, labels, ("snr",), camera).feature("snr")
    assert snr == pytest.approx(signal_e / electrons[labels > 0].std(), rel=0.1, abs=0.05)


def test_signal_to_noise_grows_with_the_root_of_the_light() -> None:
    mask, labels = discs([(40, 40)])
    camera = CameraCalibration(read_noise_e=0.0)
    faint, bright = (
        measure(view(), (100 + light * (90 * mask + 10)).astype(np.float32), labels, ("snr",), camera).feature("snr")[0]
        for light in (1, 9)
    )
    assert bright == pytest.approx(3 * faint, rel=1e-6)


def test_a_camera_that_reads_less_than_its_offset_has_no_noise_to_speak_of() -> None:
    mask, labels = discs([(40, 40)])
    dark = np.full_like(mask, 50.0)
    camera = CameraCalibration(read_noise_e=0.0)
    assert math.isnan(measure(view(), dark, labels, ("snr",), camera).feature("snr")[0])
    assert measure(view(), dark, labels, ("snr",)).feature("snr")[0] == 0.0


@pytest.mark.parametrize("brightness", [50.0, 3000.0])
def test_blur_makes_a_cell_less_sharp_and_brightness_does_not(brightness: float) -> None:
    rng = np.random.default_rng(4)
    mask, labels = discs([(30, 30), (66, 60)])
    grain = mask * (1 + 0.2 * rng.random(mask.shape))
    looks = [
        measure(
            view(),
            (ndimage.gaussian_filter(grain, sigma) * brightness + 100).astype(np.float32),
            labels,
            ("sharpness",),
        )
        for sigma in (0.5, 1.0, 2.0, 4.0)
    ]
    sharpness = np.array([cells.feature("sharpness") for cells in looks])
    assert np.all(np.diff(sharpness, axis=0) < 0)
    assert sharpness[0] == pytest.approx(plainly(labels, grain), rel=0.05)


def plainly(labels: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """Written plainly."""
    image = ndimage.gaussian_filter(grain, 0.5)
    squares = np.zeros_like(image)
    squares[:, :-2] += (image[:, 2:] - image[:, :-2]) ** 2
    squares[:-2] += (image[2:] - image[:-2]) ** 2
    ids = np.arange(1, labels.max() + 1)
    return ndimage.mean(squares, labels, ids) / ndimage.mean(image, labels, ids) ** 2


def base_and_reporter(stage_um: tuple[float, float]) -> tuple[Cells, Cells, np.ndarray]:
    """Cells found at (0, 0), and measured again in a frame at `stage_um` whose counts are 100, 200, 300 … in cell 1, 2, 3 …"""
    centres = [(20, 20), (60, 20), (20, 70), (75, 75)]
    image, labels = discs(centres)
    found = measure(view(), image, labels, ("max_intensity",))
    shift = (round(-stage_um[0] / UM_PER_PX), round(-stage_um[1] / UM_PER_PX))
    _, moved = discs([(x + shift[0], y + shift[1]) for x, y in centres])
    frame = msgspec.structs.replace(view(stage_um), index=7, t_ns=9, channel="red")
    return found, measured_again(found, frame, (100 * moved).astype(np.float32)), moved


def test_known_cells_are_measured_in_the_other_channel() -> None:
    found, again, _ = base_and_reporter((0.0, 0.0))
    assert (again.frame_index, again.t_ns) == (7, 9)
    assert again.mean_intensity == pytest.approx([100, 200, 300, 400])
    assert again.feature("max_intensity") == pytest.approx([100, 200, 300, 400])
    for name in ("label", "xy_um", "xy_px", "area_um2", "bbox_px", "labels"):
        assert np.array_equal(getattr(again, name), getattr(found, name))


def test_their_outlines_move_with_the_sample() -> None:
    found, again, moved = base_and_reporter((4.0, -3.0))
    assert np.array_equal(again.labels, moved)
    assert np.array_equal(again.xy_um, found.xy_um)
    assert again.mean_intensity == pytest.approx([100, 200, 300, 400])
    assert again.xy_px == pytest.approx(found.xy_px + np.array([-8, 6]))


def test_what_is_out_of_view_by_now_is_not_a_number_and_keeps_its_row() -> None:
    _, again, _ = base_and_reporter((9.0, 0.0))  # 18 pixels: the cells on the left are cut off
    assert again.mean_intensity == pytest.approx([math.nan, 200, math.nan, 400], nan_ok=True)
    _, none, _ = base_and_reporter((900.0, 0.0))
    assert np.isnan(none.mean_intensity).all()
    assert len(none) == 4


def test_a_smaller_part_of_the_sensor_shows_the_cells_that_lie_in_it() -> None:
    image, labels = discs([(20, 20), (60, 60)])
    found = measure(view(), image, labels)
    a, b, x_um, d, e, y_um = affine_at(StagePosition(), (UM_PER_PX, 0, 0, UM_PER_PX), (SIZE_PX, SIZE_PX))
    part = msgspec.structs.replace(
        view(), width_px=50, height_px=48, stage_from_pixel=(a, b, x_um + 40 * UM_PER_PX, d, e, y_um + 40 * UM_PER_PX)
    )
    again = measured_again(found, part, np.full((48, 50), 7.0, np.float32))
    assert again.mean_intensity == pytest.approx([math.nan, 7.0], nan_ok=True)


def test_no_cells_are_no_cells_again() -> None:
    image, labels = discs([])
    again = measured_again(measure(view(), image, labels, ("snr",)), view(), image)
    assert len(again) == 0
    assert again.features.shape == (0, 1)
