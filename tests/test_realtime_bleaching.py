"""How much has bleached, told from images alone: against curves that are known, and against the simulated laboratory."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from acquisition.clock import SimulatedClock
from acquisition.dose_map import j_cm2
from acquisition.microscope import Imaging
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.settings import Biology
from models.perception import Perception
from models.threshold import ThresholdSegmenter
from realtime.bleaching import Bleaching, Brightness, brightness
from realtime.inference import Inference
from tests.scenes import cells_at, header, tracks_of
from tracking.tracker import CausalTracker

N_CELLS = 100


class Culture:
    """Cells of very different brightness whose light is measured with an error of 5 %, look after look."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.own = self.rng.lognormal(3.0, 0.4, N_CELLS)
        self.ids = np.arange(1, N_CELLS + 1)
        self.bleaching = Bleaching()
        self.index = 0

    def look(self, dose: float, left: float, channel: str = "gfp", exposure_ms: float = 10.0) -> float:
        """What is said to be left of cells that have had this dose and have so much left."""
        frame = header(self.index, channel=channel, exposure_ms=exposure_ms)
        self.index += 1
        counts = self.own * left * exposure_ms * self.rng.normal(1, 0.05, N_CELLS)
        cells = cells_at(frame, np.zeros((N_CELLS, 2)))
        tracks = tracks_of(cells, self.ids.tolist())
        return self.bleaching.look(frame, tracks, np.full(N_CELLS, dose), Brightness(counts, 0.0))

    def replace_some(self, n: int) -> None:
        """New cells, of a brightness that nobody knows, in the place of others."""
        gone = self.rng.choice(N_CELLS, n, replace=False)
        self.ids[gone] = self.ids.max() + 1 + np.arange(n)
        self.own[gone] = self.rng.lognormal(3.0, 0.4, n)


def half_after(n: int) -> Callable[[int], float]:
    return lambda i: float(0.5 ** (i / n))


@pytest.mark.parametrize("n_frames", [20, 300])
@pytest.mark.parametrize("n_new", [0, 3])
def test_it_is_within_5_percent_when_half_has_bleached(n_frames: int, n_new: int) -> None:
    culture, left = Culture(), half_after(n_frames)
    for i in range(n_frames + 1):
        said = culture.look(float(i), left(i), exposure_ms=10.0 if i % 7 else 25.0)
        culture.replace_some(n_new)
    assert said == pytest.approx(0.5, rel=0.05)


def test_cells_in_mitosis_do_not_matter() -> None:
    culture, left = Culture(), half_after(100)
    for i in range(101):
        own = culture.own.copy()
        culture.own[(i // 10) * 8 : (i // 10) * 8 + 8] *= 2
        said = culture.look(float(i), left(i))
        culture.own = own
    assert said == pytest.approx(0.5, rel=0.05)


def test_a_place_without_light_is_as_bright_as_the_first_was_and_the_first_is_still_bleached() -> None:
    culture, left = Culture(), half_after(50)
    for i in range(51):
        culture.look(float(i), left(i))
    first = culture.ids, culture.own
    culture.replace_some(N_CELLS)
    for i in range(5):
        fresh = culture.look(float(i), left(i))
    assert fresh == pytest.approx(left(4), rel=0.05)
    culture.ids, culture.own = culture.ids + 1000, first[1]
    assert culture.look(50.0, 0.5) == pytest.approx(0.5, rel=0.05)


def test_channels_bleach_for_themselves() -> None:
    culture = Culture()
    for i in range(31):
        gfp = culture.look(float(i), half_after(30)(i))
        phase = culture.look(float(i), 1.0, channel="phase")
    assert gfp == pytest.approx(0.5, rel=0.05)
    assert phase == pytest.approx(1.0, rel=0.05)


def test_light_that_is_not_known_tells_nothing() -> None:
    frame = header(0, light_mw=0.0)
    cells = cells_at(frame, np.zeros((10, 2)))
    assert Bleaching().look(frame, tracks_of(cells), np.ones(10), Brightness(np.full(10, 50.0), 0.0)) == 1.0
    lit = header(0)
    dark = Brightness(np.full(10, np.nan), 0.0)
    assert Bleaching().look(lit, tracks_of(cells), np.ones(10), dark) == 1.0
    assert Bleaching().look(lit, tracks_of(cells_at(lit)), np.empty(0), Brightness(np.empty(0), 0.0)) == 1.0


def test_it_remembers_a_bounded_curve_and_no_cell_that_is_gone() -> None:
    culture = Culture()
    for i in range(1000):
        culture.look(i * 0.01, half_after(1000)(i))
        culture.replace_some(10)
    arrays = culture.bleaching.arrays()
    assert arrays["ids0"].size == N_CELLS
    assert arrays["curve0"].shape[1] <= 64
    assert (np.diff(arrays["curve0"][0]) > 0).all()


def test_brightness_is_that_above_the_frames_background() -> None:
    pixels = np.full((64, 64), 120, np.uint16)
    pixels[8:40, 8:40] = 520
    labels = np.zeros((64, 64), np.int32)
    labels[8:40, 8:40] = 1
    cells = cells_at(header(0, size_px=64), [(0.0, 0.0)], mean_intensity=[520.0])
    assert brightness(pixels, replace(cells, labels=labels)).counts.tolist() == [400.0]


def test_in_the_laboratory_it_is_within_5_percent_of_the_truth_when_half_has_bleached() -> None:
    side_px, um_per_px, n_frames = 320, 0.65, 50
    frame_j_cm2 = j_cm2(0.01, (side_px * um_per_px) ** 2)
    microscope = SimulatedMicroscope(
        seed=5, height_px=side_px, width_px=side_px, um_per_px=um_per_px, specimen_um=(220.0, 220.0), n_cells=100,
        time_factor=10.0, biology=Biology(bleach_j_cm2=frame_j_cm2 * n_frames / np.log(2)),
    )  # fmt: skip
    clock = SimulatedClock()
    microscope.open(clock, Imaging(interval_ms=500.0, exposure_ms=10.0, light_mw=1.0))
    inference = Inference(Perception(ThresholdSegmenter(), None, ()), CausalTracker(), {}, clock)
    microscope.start()
    dose = None
    for _ in range(n_frames + 1):
        while (frame := microscope.poll_frame()) is None:
            clock.sleep_s(microscope.ready_in_s())
        analysis = inference.look(frame, microscope.dose_mj())
        assert analysis is not None
        dose = analysis.scene.dose
    assert dose is not None
    truth = float(np.median(microscope.nuclei().unbleached))
    microscope.close()
    assert truth == pytest.approx(0.5, abs=0.02)
    assert dose.unbleached == pytest.approx(truth, rel=0.05)
