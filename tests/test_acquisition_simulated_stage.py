"""The simulated microscope's stage: every frame shows the specimen where its header says, also on the way."""

import numpy as np
import pytest

from acquisition.clock import NS_PER_MS, SimulatedClock
from acquisition.commands import (
    MoveStage,
    SetExposure,
    SetRoi,
)
from acquisition.frame import stage_um
from acquisition.simulated.settings import StageSettings
from tests.polling import next_frame
from tests.simulated_rigs import HandClock, clock, next_frame_by_hand, opened

__all__ = ["clock"]


@pytest.mark.parametrize("target_um", [(0.0, 0.0), (50.0, -35.0), (-120.0, 110.0)])
@pytest.mark.parametrize("roi", [SetRoi(0, 0, 0, 0), SetRoi(32, 10, 90, 70)])
def test_cells_are_found_at_their_place_in_stage_coordinates(
    clock: SimulatedClock, target_um: tuple[float, float], roi: SetRoi
) -> None:
    microscope = opened(clock, n_cells=30)
    microscope.apply(MoveStage(*target_um))
    microscope.apply(roi)
    clock.sleep_s(1.0)
    microscope.start()
    header, truth = next_frame(microscope, clock).header, microscope.truth()
    assert (header.stage.x_um, header.stage.y_um) == target_um
    off_um = []
    for cell, xy_um in zip(truth.nuclei.id, truth.nuclei.xy_um, strict=True):
        xy_px = np.argwhere(truth.labels == cell)[:, ::-1]
        if np.all(xy_px > 0) and np.all(xy_px < [header.width_px - 1, header.height_px - 1]):  # not cut off
            found_um = stage_um(header.stage_from_pixel, xy_px.mean(axis=0, keepdims=True))[0]
            off_um.append(np.hypot(*(found_um - xy_um)))
    assert len(off_um) >= 5
    assert np.mean(np.array(off_um) < 0.25) > 0.8, "a few are hidden by others; the rest are centred"


def test_frames_taken_during_a_move_show_where_the_stage_was_at_their_end(clock: SimulatedClock) -> None:
    microscope = opened(clock, stage=StageSettings(speed_um_s=100.0, settle_ms=30.0))
    microscope.start()
    next_frame(microscope, clock)
    set_off_ns = clock.now_ns()
    microscope.apply(MoveStage(x_um=30.0, y_um=40.0))  # 50 µm: half a second
    busy_ns = []
    for frame in (next_frame(microscope, clock) for _ in range(14)):
        way = min(1.0, (frame.header.t_ns - set_off_ns) / (500 * NS_PER_MS))
        assert (frame.header.stage.x_um, frame.header.stage.y_um) == pytest.approx((30 * way, 40 * way))
        if microscope.busy():
            busy_ns.append(clock.now_ns() - set_off_ns)
    assert max(busy_ns) == pytest.approx(500 * NS_PER_MS, abs=30 * NS_PER_MS)
    assert not microscope.busy()


@pytest.mark.parametrize("clock_type", [SimulatedClock, HandClock])
def test_a_move_during_the_exposure_moves_that_frame_and_nothing_else(
    clock_type: type[SimulatedClock],
) -> None:
    clock = clock_type()
    microscope = opened(clock, stage=StageSettings(speed_um_s=1e6))
    microscope.start()
    clock.sleep_s(0.004)  # in the middle of the first exposure
    microscope.apply(SetExposure(20.0))
    microscope.apply(MoveStage(x_um=25.0))
    first, second = next_frame_by_hand(microscope, clock), next_frame_by_hand(microscope, clock)
    microscope.close()
    assert [f.header.stage.x_um for f in (first, second)] == [25.0, 25.0]
    assert [f.header.exposure_ms for f in (first, second)] == [10.0, 20.0]
    a, b = first.pixels.astype(float).ravel(), second.pixels.astype(float).ravel()
    assert np.corrcoef(a, b)[0, 1] > 0.95, "both show the same place"


def test_make_safe_stops_a_move_on_its_way(clock: SimulatedClock) -> None:
    microscope = opened(clock, stage=StageSettings(speed_um_s=100.0, settle_ms=5.0))
    microscope.apply(MoveStage(x_um=100.0))
    clock.sleep_s(0.25)
    microscope.make_safe()
    assert not microscope.busy()
    clock.sleep_s(5.0)
    assert microscope.state().stage.x_um == pytest.approx(25.0)


def test_a_frame_under_way_shows_where_the_stage_was_halted(clock: SimulatedClock) -> None:
    microscope = opened(clock, stage=StageSettings(speed_um_s=1000.0))
    microscope.start()
    microscope.apply(MoveStage(x_um=100.0))
    clock.sleep_s(0.004)
    microscope.halt()
    assert next_frame(microscope, clock).header.stage.x_um == pytest.approx(4.0)
