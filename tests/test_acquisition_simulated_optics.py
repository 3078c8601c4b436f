"""The simulated microscope's optics, and the light that falls on its specimen, as a reader of the settings expects."""

import math
from typing import Any

import numpy as np
import pytest

from acquisition.clock import NS_PER_S, SimulatedClock
from acquisition.commands import MoveStage, SetChannel, SetLight, SetRoi
from acquisition.frame import Frame
from acquisition.microscope import Imaging
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.optics import COARSE_PX, Focus, blur_um, blurred, vignette
from acquisition.simulated.settings import Biology, LightSettings, Optics, SensorSettings
from tests.polling import next_frame, next_frames

IMAGING = Imaging(interval_ms=50.0, exposure_ms=10.0, light_mw=1.0)
QUIET = SensorSettings(read_noise_e=0.0, e_per_count=1.0)
SMALL: dict[str, Any] = {
    "height_px": 128, "width_px": 128, "n_cells": 8, "specimen_um": (400.0, 400.0), "background": 0.0, "sensor": QUIET,
}  # fmt: skip
VIEW_CM2 = (128 * 0.65e-4) ** 2


def opened(clock: SimulatedClock, imaging: Imaging = IMAGING, **changes: object) -> SimulatedMicroscope:
    microscope = SimulatedMicroscope(**(SMALL | changes))
    microscope.open(clock, imaging)
    microscope.start()
    return microscope


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


# --- point spread ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_px", [0.0, 0.05, 0.54, 1.7, 4.0, 5.9, 6.1, 9.0, 14.0])
def test_a_point_keeps_its_light_and_is_spread_as_wide_as_asked(sigma_px: float) -> None:
    point = np.zeros((181, 161), np.float32)
    point[90, 80] = 1000.0
    spread = blurred(point, sigma_px)
    assert spread.shape == point.shape
    assert spread.sum() == pytest.approx(1000.0, rel=2e-3)
    if sigma_px > 0.3:
        y_px, x_px = np.indices(spread.shape)
        variance = [np.average((at - middle) ** 2, weights=spread) for at, middle in ((y_px, 90), (x_px, 80))]
        slack = 0.02 if 1 < sigma_px < COARSE_PX else 0.05  # a sampled, narrow Gaussian is not quite one
        assert np.sqrt(variance) == pytest.approx(sigma_px, rel=slack)


@pytest.mark.parametrize(
    ("defocus_um", "expected_um"), [(0.0, 0.35), (1.0, math.hypot(0.35, 0.35)), (-8.0, math.hypot(0.35, 2.8))]
)
def test_blur_grows_with_the_distance_from_the_plane_of_focus(defocus_um: float, expected_um: float) -> None:
    assert blur_um(Optics(), defocus_um) == pytest.approx(expected_um)


def test_out_of_focus_cells_are_dimmer_and_wider_but_no_light_is_lost(clock: SimulatedClock) -> None:
    microscope = opened(clock)
    sharp = next_frame(microscope, clock).pixels.astype(float) - 100
    microscope.apply(MoveStage(z_um=6.0))
    clock.sleep_s(0.1)
    frame = next_frames(microscope, clock, 4)[-1]
    assert frame.header.stage.z_um == 6.0
    assert microscope.defocus_um() == 6.0
    hazy = frame.pixels.astype(float) - 100
    assert hazy.max() < 0.8 * sharp.max()
    assert (hazy > 100).sum() > 1.2 * (sharp > 100).sum()
    assert hazy.sum() == pytest.approx(sharp.sum(), rel=0.06), "but for what crosses the frame's edges"


# --- focus ----------------------------------------------------------------------------------------------------


def test_the_focus_drifts_in_a_straight_line() -> None:
    focus = Focus(Optics(focus_drift_um_h=3.6), seed=0)
    assert [focus.plane_um(t_s) for t_s in (0.0, 1000.0, 3600.0)] == pytest.approx([0.0, 1.0, 3.6])


def test_the_focus_wanders_as_a_function_of_time_alone() -> None:
    optics = Optics(focus_wander_um=2.0)
    forth, back = Focus(optics, 5), Focus(optics, 5)
    times_s = np.linspace(0.0, 40_000.0, 57)
    assert [forth.plane_um(t) for t in times_s] == [back.plane_um(t) for t in times_s[::-1]][::-1]
    assert forth.plane_um(0.0) == 0.0
    assert forth.plane_um(7e3) != Focus(optics, 6).plane_um(7e3)
    after_an_hour = [Focus(optics, seed).plane_um(3600.0) for seed in range(400)]
    assert np.std(after_an_hour) == pytest.approx(2.0, rel=0.12)
    assert max(abs(forth.plane_um(t + 0.1) - forth.plane_um(t)) for t in np.arange(0.0, 100.0, 0.1)) < 0.02


def test_following_the_focus_keeps_the_picture_sharp(clock: SimulatedClock) -> None:
    def sharpness(z_um: float, wait_s: float) -> float:
        own = SimulatedClock()
        microscope = opened(own, optics=Optics(focus_drift_um_h=36.0), time_factor=1e-3)
        microscope.apply(MoveStage(z_um=z_um))
        own.sleep_s(wait_s)
        return float(next_frames(microscope, own, 12)[-1].pixels.max())

    assert sharpness(10.0, 1000.0) == pytest.approx(sharpness(0.0, 0.0), rel=0.05)
    assert sharpness(0.0, 1000.0) < 0.7 * sharpness(0.0, 0.0)


# --- vignetting -----------------------------------------------------------------------------------------------


def test_corners_are_as_much_darker_as_set(clock: SimulatedClock) -> None:
    flat = {"brightness": 0.0, "background": 500.0, "optics": Optics(vignetting=0.4)}
    frame = next_frame(opened(clock, **flat), clock).pixels.astype(float) - 100
    middle, corner = frame[60:68, 60:68].mean(), frame[:4, :4].mean()
    assert corner / middle == pytest.approx(0.6 + 0.4 * 0.06, abs=0.03)
    assert frame[:4, -4:].mean() == pytest.approx(corner, rel=0.05)


def test_a_region_of_the_sensor_is_vignetted_as_there(clock: SimulatedClock) -> None:
    flat = {"brightness": 0.0, "background": 500.0, "optics": Optics(vignetting=0.4)}
    whole = next_frame(opened(clock, **flat), clock).pixels.astype(float)
    other = SimulatedClock()
    microscope = opened(other, **flat)
    microscope.apply(SetRoi(0, 0, 32, 24))
    part = next_frames(microscope, other, 2)[-1].pixels.astype(float)
    assert part.mean() == pytest.approx(whole[:24, :32].mean(), rel=0.01)


def test_vignetting_has_its_maximum_where_it_is_told() -> None:
    shares = vignette((20, 30), (7.0, 12.0), 40.0, 0.5)
    assert np.unravel_index(shares.argmax(), shares.shape) == (12, 7)
    assert shares.max() == 1.0


# --- light on the specimen ------------------------------------------------------------------------------------


def doses(microscope: SimulatedMicroscope) -> dict[int, float]:
    nuclei = microscope.nuclei()
    return dict(zip(nuclei.id.tolist(), nuclei.dose_j_cm2.tolist(), strict=True))


def test_every_exposure_counts_for_every_cell_in_the_field_whatever_part_of_it_is_read(clock: SimulatedClock) -> None:
    microscope = opened(clock, sensor=SensorSettings(buffer_frames=2))
    microscope.apply(SetRoi(0, 0, 16, 16))
    clock.sleep_s(1.0)  # frames are lost, their light is not
    frame = next_frames(microscope, clock, 3)[-1]
    assert microscope.lost_frames() > 10
    before = round((frame.header.t_ns / NS_PER_S - 0.01) / 0.05)
    nuclei = microscope.nuclei()
    inside = np.all(np.abs(nuclei.xy_um) < 128 * 0.65 / 2 - 1, axis=1)
    outside = np.any(np.abs(nuclei.xy_um) > 128 * 0.65 / 2 + 1, axis=1)
    assert nuclei.dose_j_cm2[inside] == pytest.approx(before * 1e-3 * 0.010 / VIEW_CM2)
    assert set(nuclei.dose_j_cm2[outside]) == {0.0}


def test_light_between_exposures_counts_where_the_lamp_stays_on(clock: SimulatedClock) -> None:
    microscope = opened(clock, light=LightSettings(follows_camera=False))
    frame = next_frames(microscope, clock, 10)[-1]
    lit_s = frame.header.t_ns / NS_PER_S - 0.01
    assert max(doses(microscope).values()) == pytest.approx(1e-3 * lit_s / VIEW_CM2)


def test_several_places_of_a_large_specimen_are_lit_each_for_itself(clock: SimulatedClock) -> None:
    microscope = opened(clock, n_cells=10, specimen_um=(1500.0, 1000.0))
    seen: list[set[int]] = []
    for x_um in (-600.0, 0.0, 600.0):
        microscope.apply(SetLight(0.0))
        microscope.apply(MoveStage(x_um=x_um))
        clock.sleep_s(2.0)
        while microscope.poll_frame() is not None:
            pass
        microscope.apply(SetLight(1.0))
        frames = next_frames(microscope, clock, 6)
        assert frames[-1].header.stage.x_um == x_um
        seen.append(set(microscope.truth().nuclei.id.tolist()))
    assert all(seen)
    assert seen[0].isdisjoint(seen[1])
    assert seen[1].isdisjoint(seen[2])
    lit = {cell for cell, dose in doses(microscope).items() if dose > 0}
    assert len(lit & seen[0]) >= len(seen[0]) - 2, "those at the rim may have their middle outside"


def test_a_bleached_and_harmed_world_is_the_same_for_the_same_commands() -> None:
    """The same seed, the same bytes, though light changes what lives."""
    fragile = Biology(bleach_j_cm2=0.05, harm_j_cm2=0.02, harm_death_per_h=1.0, transient_per_h=30.0, rare_per_h=1.0)

    def film(light_mw: float) -> tuple[list[Frame], Any]:
        own = SimulatedClock()
        imaging = Imaging(interval_ms=50.0, exposure_ms=10.0, light_mw=light_mw)
        microscope = opened(own, imaging, biology=fragile, time_factor=600.0, cycle_min=100.0)
        frames = next_frames(microscope, own, 40)
        microscope.apply(SetChannel("reporter"))
        return frames + next_frames(microscope, own, 10), microscope.history()

    (first, events), (again, same_events) = film(1.0), film(1.0)
    assert [f.pixels.tobytes() for f in first] == [f.pixels.tobytes() for f in again]
    assert events == same_events
    assert {event.kind for event in events} >= {"harmed", "mitosis", "transient"}
    assert film(0.1)[1] != events


def test_bleaching_shows_in_the_picture(clock: SimulatedClock) -> None:
    microscope = opened(clock, biology=Biology(bleach_j_cm2=40e-5 / VIEW_CM2), time_factor=1e-3)
    frames = next_frames(microscope, clock, 41)
    first, last = (float((frame.pixels.astype(float) - 100).sum()) for frame in (frames[0], frames[-1]))
    assert last / first == pytest.approx(math.exp(-1), rel=0.02)


def test_the_reporter_flashes_and_the_nuclei_do_not(clock: SimulatedClock) -> None:
    lively = Biology(transient_per_h=200.0, transient_s=20.0, transient_brightness=10.0)
    microscope = opened(clock, Imaging(channel="reporter"), biology=lively)
    clock.sleep_s(60.0)
    reporter = next_frames(microscope, clock, 10)[-1].pixels.astype(float) - 100
    truth = microscope.truth()
    assert truth.nuclei.reporter.max() > 2
    brightest = truth.nuclei.id[truth.nuclei.reporter.argmax()]
    assert reporter[truth.labels == brightest].mean() == pytest.approx(300 * truth.nuclei.reporter.max(), rel=0.25)
