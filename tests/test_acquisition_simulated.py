"""The simulated microscope: light, noise, time, stage and truth are what a reader of its settings expects."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from acquisition.clock import Clock, SimulatedClock
from acquisition.commands import (
    AcquireBurst,
    Command,
    MoveStage,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)
from acquisition.frame import Frame
from acquisition.microscope import Imaging, MicroscopeError
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.settings import SensorSettings
from tests.polling import next_frame, next_frames
from tests.simulated_rigs import EMPTY, IMAGING, HandClock, clock, film, microscope, opened

__all__ = ["clock", "microscope"]

# --- the same seed, the same bytes --------------------------------------------------------------------------


def same(a: list[Frame], b: list[Frame]) -> bool:
    return all(
        x.header.t_ns == y.header.t_ns and x.header.stage == y.header.stage and x.pixels.tobytes() == y.pixels.tobytes()
        for x, y in zip(a, b, strict=True)
    )


def test_the_same_seed_gives_the_same_bytes_whenever_the_run_begins() -> None:
    first, again = film(SimulatedClock()), film(SimulatedClock(start_ns=10**15))
    assert [f.pixels.tobytes() for f in first] == [f.pixels.tobytes() for f in again]
    assert not same(first, film(SimulatedClock(), seed=1))


def test_the_worker_thread_renders_the_same_bytes() -> None:
    assert same(film(SimulatedClock()), film(HandClock()))


def test_frames_do_not_depend_on_how_often_they_are_asked_for(clock: SimulatedClock) -> None:
    expected = film(clock, n=3)
    impatient, hectic = opened(other := SimulatedClock()), []
    impatient.start()
    while len(hectic) < 3:
        impatient.busy()
        impatient.ready_in_s()
        if (frame := impatient.poll_frame()) is not None:
            hectic.append(frame)
        other.sleep_s(0.00037)
    assert same(expected, hectic)


def test_each_frame_has_noise_of_its_own(clock: SimulatedClock) -> None:
    microscope = opened(clock, **EMPTY, background=100.0)
    microscope.start()
    a, b = (frame.pixels.astype(float).ravel() for frame in next_frames(microscope, clock, 2))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


# --- light and noise ----------------------------------------------------------------------------------------


def dark_frame(clock: Clock, light_mw: float, exposure_ms: float, **changes: object) -> Frame:
    imaging = Imaging(interval_ms=exposure_ms * 2, exposure_ms=exposure_ms, light_mw=light_mw)
    microscope = opened(
        clock, imaging, **(EMPTY | {"height_px": 128, "sensor": SensorSettings(read_noise_e=3.0)} | changes)
    )
    microscope.start()
    return next_frame(microscope, clock, timeout_s=60.0)


@pytest.mark.parametrize(("light_mw", "exposure_ms"), [(1.0, 10.0), (2.0, 10.0), (1.0, 40.0), (0.25, 4.0), (0.0, 10.0)])
def test_signal_and_noise_follow_light_and_exposure(clock: SimulatedClock, light_mw: float, exposure_ms: float) -> None:
    pixels = dark_frame(clock, light_mw, exposure_ms, background=20.0).pixels.astype(float)
    electrons = 20.0 * light_mw * exposure_ms
    assert pixels.mean() == pytest.approx(100.0 + electrons, abs=0.2 + 0.01 * electrons)
    assert pixels.var() == pytest.approx(electrons + 3.0**2 + 1 / 12, rel=0.06)  # shot, read, rounding


def test_the_camera_saturates(clock: SimulatedClock) -> None:
    assert dark_frame(clock, 10.0, 100.0, background=1000.0).pixels.min() == 65535


def test_the_camera_does_not_go_below_zero(clock: SimulatedClock) -> None:
    pixels = dark_frame(clock, 0.0, 10.0, sensor=SensorSettings(offset_counts=0.0, read_noise_e=50.0)).pixels
    assert pixels.min() == 0
    assert pixels.max() < 500


def test_nuclei_are_as_bright_as_set_and_lie_where_the_truth_says(
    microscope: SimulatedMicroscope, clock: SimulatedClock
) -> None:
    frame = next_frame(microscope, clock)
    truth = microscope.truth()
    assert truth.frame_index == frame.header.index
    assert set(np.unique(truth.labels)) == {0, *truth.nuclei.id.tolist()}
    assert 3 <= len(truth.nuclei.id) <= 20
    inside, outside = frame.pixels[truth.labels > 0], frame.pixels[truth.labels == 0]
    assert inside.mean() > 100 + 0.6 * 1000 > 400 > np.percentile(outside, 90)


def test_truth_before_the_first_frame_is_refused(clock: SimulatedClock) -> None:
    with pytest.raises(MicroscopeError, match="read one first"):
        opened(clock).truth()


def test_cytoplasm_is_larger_and_dimmer_than_nuclei(microscope: SimulatedMicroscope, clock: SimulatedClock) -> None:
    nuclei = next_frame(microscope, clock).pixels.astype(float)
    microscope.apply(SetChannel("cytoplasm"))
    cytoplasm = next_frame(microscope, clock).pixels.astype(float)
    assert cytoplasm.max() < nuclei.max()
    assert (cytoplasm > 350).sum() > 1.5 * (nuclei > 600).sum()


# --- mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings_", "named"),
    [
        ({"cycle_min": 60.0, "mitosis_min": 40.0}, "cycle_min 60 must be at least twice mitosis_min 40"),
        ({"specimen_um": [100.0, 1000.0]}, "smaller than one view"),
        ({"seed": -1}, "seed"),
        ({"um_per_px": 0.0}, "um_per_px"),
        ({"um_per_px": "0.65"}, "um_per_px"),
        ({"n_cells": 2.5}, "n_cells"),
        ({"sensor": {"read_noise_e": -1.0}}, "read_noise_e"),
        ({"sensor": {"buffer_frames": 0}}, "buffer_frames"),
        ({"specimen_um": [1000.0]}, "specimen_um"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings_: dict[str, Any], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named):
        msgspec.convert(settings_, SimulatedMicroscope, strict=True)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (SetExposure(50.1), "interval 50 ms is too short: exposure 50.1 ms exceeds it"),
        (SetInterval(9.0), "interval 9 ms is too short: exposure 10 ms exceeds it"),
        (SetChannel("GFP"), "no channel 'GFP'; it has nuclei, cytoplasm, reporter"),
        (SetRoi(100, 0, 40, 10), "the sensor has 128 × 96 px"),
        (SetRoi(0, 0, 10, 0), "the sensor has 128 × 96 px"),
        (MoveStage(x_um=200.1), "x_um 200.1 is out of reach, it travels ±200 µm"),
        (MoveStage(y_um=-201.0), "y_um -201 is out of reach"),
        (AcquireBurst(3, 10.0), "itself cannot AcquireBurst"),
    ],
)
def test_what_the_devices_cannot_do_is_refused_and_changes_nothing(
    microscope: SimulatedMicroscope, clock: SimulatedClock, command: Command, message: str
) -> None:
    before = microscope.state()
    with pytest.raises(MicroscopeError, match=message):
        microscope.apply(command)
    assert microscope.state() == before
    assert next_frame(microscope, clock).header.shape == (96, 128)


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.start(), lambda m: m.stop(), lambda m: m.poll_frame(), lambda m: m.ready_in_s(),
        lambda m: m.apply(SetLight(1.0)), lambda m: m.busy(), lambda m: m.set_gate(True), lambda m: m.state(),
    ],
)  # fmt: skip
def test_a_closed_microscope_says_so(
    use: Callable[[SimulatedMicroscope], object], microscope: SimulatedMicroscope
) -> None:
    microscope.close()
    with pytest.raises(MicroscopeError, match="not open; call open"):
        use(microscope)


def test_opening_twice_and_impossible_imaging_are_refused(
    microscope: SimulatedMicroscope, clock: SimulatedClock
) -> None:
    with pytest.raises(MicroscopeError, match="open already"):
        microscope.open(clock, IMAGING)
    with pytest.raises(MicroscopeError, match="exceeds it"):
        SimulatedMicroscope().open(clock, Imaging(interval_ms=10.0, exposure_ms=20.0))
    with pytest.raises(MicroscopeError, match="no channel 'red'"):
        SimulatedMicroscope().open(clock, Imaging(channel="red"))
