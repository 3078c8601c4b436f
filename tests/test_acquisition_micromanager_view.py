"""Where the Micro-Manager driver's frames lie on the stage: moves, regions, calibrations, on a real MMCore."""

from collections import deque
from pathlib import Path

import cv2
import numpy as np
import pytest

from acquisition.commands import (
    MoveStage,
    SetRoi,
)
from acquisition.frame import Frame, StagePosition, stage_um
from acquisition.micromanager.microscope import MicroManagerMicroscope
from acquisition.micromanager.stage import position_at
from acquisition.microscope import MicroscopeError
from tests.micromanager_cores import Watched
from tests.micromanager_rigs import CLOCK, CONFIG, STEP_UM, Open, fresh_frame, open_rig, stand_still, watched
from tests.polling import next_frame, next_frames

__all__ = ["open_rig", "watched"]


def features_moved_px(before: Frame, after: Frame) -> tuple[float, float]:
    """How far the picture's features went, columns then rows."""
    left, right = (frame.pixels.astype(np.float32) for frame in (before, after))
    (dx, dy), _ = cv2.phaseCorrelate(left - left.mean(), right - right.mean())
    return dx, dy


@pytest.mark.parametrize("mode", ["stream", "snap"])
@pytest.mark.parametrize(("dx_um", "dy_um"), [(20.0, 0.0), (0.0, -15.0)])
def test_the_picture_moves_against_the_stage_and_keeps_its_place_in_the_stage(
    open_rig: Open, mode: str, dx_um: float, dy_um: float
) -> None:
    rig = open_rig(mode=mode)
    rig.start()
    before = next_frame(rig, CLOCK)
    rig.apply(MoveStage(x_um=dx_um, y_um=dy_um))
    stand_still(rig)
    after = fresh_frame(rig)
    moved_px = features_moved_px(before, after)
    assert moved_px == pytest.approx((-dx_um, -dy_um), abs=0.3)
    anywhere_px = np.array([[200.0, 300.0]])
    np.testing.assert_allclose(
        stage_um(after.header.stage_from_pixel, anywhere_px + moved_px),
        stage_um(before.header.stage_from_pixel, anywhere_px),
        atol=0.3,
    )


def test_frames_exposed_before_a_move_say_so_although_they_are_read_after_it(open_rig: Open) -> None:
    rig = open_rig()
    rig.start()
    next_frame(rig, CLOCK)
    CLOCK.sleep_s(0.05)  # a busy loop: images pile up unread
    began_ns = CLOCK.now_ns()
    rig.apply(MoveStage(x_um=30.0))
    stand_still(rig)
    ended_ns = CLOCK.now_ns()
    frames = next_frames(rig, CLOCK, 12)
    before = [f.header.stage.x_um for f in frames if f.header.t_ns <= began_ns]
    after = [f.header.stage.x_um for f in frames if f.header.t_ns >= ended_ns]
    assert len(before) >= 3
    assert before == pytest.approx([0.0] * len(before), abs=STEP_UM)
    assert after == pytest.approx([30.0] * len(after), abs=STEP_UM)
    assert after


def test_positions_between_readings_lie_on_a_straight_line() -> None:
    past = [(10, StagePosition(0.0, 0.0, 0.0)), (20, StagePosition(10.0, 20.0, -4.0))]
    where = [position_at(deque(past), t) for t in (0, 10, 15, 20, 99)]
    assert [p.x_um for p in where] == [0.0, 0.0, 5.0, 10.0, 10.0]
    assert where[2] == StagePosition(5.0, 10.0, -2.0)


def test_a_region_of_the_sensor(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(roi_px=(100, 40, 200, 120))
    assert watched.core.getROI() == [100, 40, 200, 120]
    rig.start()
    header = next_frame(rig, CLOCK).header
    assert header.shape == (120, 200)
    assert stage_um(header.stage_from_pixel, np.zeros((1, 2)))[0] == pytest.approx([100 - 255.5, 40 - 255.5])
    with pytest.raises(MicroscopeError, match=r"5000×10.*512×512"):
        rig.apply(SetRoi(0, 0, 5000, 10))
    assert next_frame(rig, CLOCK).header.shape == (120, 200), "a refused region changes nothing"


def test_a_region_larger_than_the_run_began_with_is_refused(open_rig: Open, watched: Watched) -> None:
    rig = open_rig(roi_px=(100, 40, 200, 120))
    for larger in (SetRoi(0, 0, 0, 0), SetRoi(0, 0, 200, 121)):
        with pytest.raises(MicroscopeError, match=r"more than the 24000 pixels .*roi_px"):
            rig.apply(larger)
        assert watched.core.getROI() == [100, 40, 200, 120]
    rig.apply(SetRoi(0, 0, 300, 80))
    rig.start()
    assert next_frame(rig, CLOCK).header.shape == (80, 300), "another shape of as many pixels fits"


@pytest.mark.parametrize(
    ("settings", "um_per_px", "matrix"),
    [
        ({}, 1.0, (1, 0, 0, 1)),
        ({"um_per_px": 0.325}, 0.325, (0.325, 0, 0, 0.325)),
        ({"um_from_px": (0, -0.5, 0.5, 0)}, 0.5, (0, -0.5, 0.5, 0)),
    ],
)
def test_the_calibration_comes_from_the_settings_else_from_the_configuration(
    open_rig: Open, settings: dict[str, object], um_per_px: float, matrix: tuple[float, ...]
) -> None:
    rig = open_rig(**settings)
    rig.start()
    header = next_frame(rig, CLOCK).header
    a, b, _, d, e, _ = header.stage_from_pixel
    assert (a, b, d, e) == matrix
    assert header.um_per_px == um_per_px


QUARTER_TURN = "0.0,-0.65,0.0,0.65,0.0,0.0"


@pytest.mark.parametrize(
    ("size_um", "affine", "binning", "um_per_px", "matrix"),
    [
        (0.65, None, 1, 0.65, (0.65, 0, 0, 0.65)),
        (0.65, None, 2, 1.3, (1.3, 0, 0, 1.3)),
        (0.65, "1.0,0.0,0.0,0.0,1.0,0.0", 1, 0.65, (0.65, 0, 0, 0.65)),
        (0.65, QUARTER_TURN, 1, 0.65, (0, -0.65, 0.65, 0)),
        (0.65, QUARTER_TURN, 2, 1.3, (0, -1.3, 1.3, 0)),
        (0.64, QUARTER_TURN, 1, 0.64, (0, -0.65, 0.65, 0)),
    ],
)
@pytest.mark.parametrize("core", ["pymmcore", "java"])
def test_a_pixel_size_without_an_affine_is_along_the_stage(
    open_calibrated: Open, core: str, size_um: float, affine: str | None, binning: int,
    um_per_px: float, matrix: tuple[float, ...],
) -> None:  # fmt: skip
    """MMCore answers with the identity where there is no affine, scaled by the binning."""
    rig = open_calibrated(core, size_um, affine, properties={"Camera.Binning": str(binning)})
    rig.start()
    header = next_frame(rig, CLOCK).header
    a, b, _, d, e, _ = header.stage_from_pixel
    assert (a, b, d, e) == pytest.approx(matrix)
    assert header.um_per_px == pytest.approx(um_per_px)


@pytest.mark.parametrize("affine", ["0.5,0.0,0.0,0.0,0.5,0.0", "0.0,-1.0,0.0,1.0,0.0,0.0"])
def test_a_configuration_that_states_two_pixel_sizes_is_refused(open_calibrated: Open, affine: str) -> None:
    said = "1" if "1.0" in affine else "0.5"
    with pytest.raises(MicroscopeError, match=rf"pixel size is 0\.65 µm, but its affine transform says {said} µm"):
        open_calibrated("pymmcore", 0.65, affine)


@pytest.fixture
def open_calibrated(open_rig: Open, tmp_path: Path) -> Open:
    """Opens the demonstration rig with another pixel calibration."""

    def open_one(core: str, size_um: float, affine: str | None, **settings: object) -> MicroManagerMicroscope:
        lines = [line for line in CONFIG.read_text().splitlines() if not line.startswith(("PixelSize", "ConfigPixel"))]
        lines += ["ConfigPixelSize,Res10x,Objective,Label,Nikon 10X S Fluor", f"PixelSize_um,Res10x,{size_um}"]
        lines += [f"PixelSizeAffine,Res10x,{affine}"] if affine else []
        config = tmp_path / "calibrated.cfg"
        config.write_text("\n".join(lines) + "\n")
        return open_rig(core, config_file=str(config), **settings)

    return open_one
