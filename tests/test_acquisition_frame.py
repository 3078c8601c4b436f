"""Frames and where their pixels lie: what a header promises about pixels, and the pixel → stage map."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.frame import Affine, Frame, FrameHeader, StagePosition, affine_at, stage_um


def header(**changes: object) -> FrameHeader:
    plain = FrameHeader(
        index=3, t_ns=10, t_read_ns=12, height_px=4, width_px=6, dtype="uint16", channel="nuclei",
        exposure_ms=10.0, interval_ms=50.0, light_mw=1.0,
        stage=StagePosition(), stage_from_pixel=(1, 0, 0, 0, 1, 0), um_per_px=1.0,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def test_a_frame_locks_its_pixels() -> None:
    frame = Frame(header(), np.zeros((4, 6), np.uint16))
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[0, 0] = 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_shape_and_size_follow_the_header(dtype: str) -> None:
    pixels = np.ones((4, 6), dtype)
    frame = Frame(header(dtype=dtype), pixels)
    assert frame.header.shape == (4, 6)
    assert frame.header.n_bytes == pixels.nbytes


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            np.zeros((6, 4), np.uint16),
            r"frame 3: pixels are uint16\[6, 4\], but its header says uint16\[4, 6\]",
        ),
        (np.zeros((4, 6), np.uint8), r"frame 3: pixels are uint8\[4, 6\]"),
        (np.zeros((4, 6, 1), np.uint16), r"frame 3: pixels are uint16\[4, 6, 1\]"),
        (np.zeros((6, 4), np.uint16).T, "frame 3: pixels must be C-contiguous"),
        (np.zeros((4, 12), np.uint16)[:, ::2], "frame 3: pixels must be C-contiguous"),
    ],
)
def test_pixels_that_do_not_fit_their_header_are_refused(pixels: np.ndarray, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        Frame(header(), pixels)


def test_a_reason_is_given_without_touching_anything_else() -> None:
    frame = Frame(header(), np.zeros((4, 6), np.uint16))
    because = frame.because("3.follow.0")
    assert because.header == header(reason="3.follow.0")
    assert because.pixels is frame.pixels
    assert frame.header.reason == "start"


def test_a_header_survives_the_wire() -> None:
    packed = msgspec.msgpack.encode(header(stage=StagePosition(1.5, -2.5, 3.0)))
    assert msgspec.msgpack.decode(packed, type=FrameHeader) == header(stage=StagePosition(1.5, -2.5, 3.0))


@pytest.mark.parametrize(
    ("um_from_px", "first_pixel_um"),
    [
        ((0.5, 0.0, 0.0, 0.5), (98.75, -10.75)),
        ((-0.5, 0.0, 0.0, 0.5), (101.25, -10.75)),  # camera mirrored in x
        ((0.0, -0.5, 0.5, 0.0), (100.75, -11.25)),  # camera turned by a quarter
    ],
)
def test_the_affine_of_a_mirrored_or_turned_camera(
    um_from_px: tuple[float, float, float, float], first_pixel_um: tuple[float, float]
) -> None:
    affine = affine_at(StagePosition(100.0, -10.0), um_from_px, (4, 6))
    assert tuple(stage_um(affine, np.zeros((1, 2)))[0]) == pytest.approx(first_pixel_um)


def test_pixels_are_x_first() -> None:
    affine: Affine = (2.0, 0.0, 10.0, 0.0, 3.0, 20.0)
    np.testing.assert_array_equal(stage_um(affine, np.array([[1.0, 0.0], [0.0, 1.0]])), [[12.0, 20.0], [10.0, 23.0]])


def test_no_pixels_are_no_places() -> None:
    assert stage_um((1, 0, 0, 0, 1, 0), np.empty((0, 2))).shape == (0, 2)


micrometres = st.floats(-1e5, 1e5)
scales = st.floats(0.05, 10.0).flatmap(lambda value: st.sampled_from([value, -value]))


@given(
    st.builds(StagePosition, micrometres, micrometres),
    st.tuples(scales, st.floats(-1, 1), st.floats(-1, 1), scales),
    st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
)
def test_the_middle_of_the_view_is_the_stages_position(
    stage: StagePosition, um_from_px: tuple[float, float, float, float], shape: tuple[int, int]
) -> None:
    middle_px = np.array([[(shape[1] - 1) / 2, (shape[0] - 1) / 2]])
    found_um = stage_um(affine_at(stage, um_from_px, shape), middle_px)[0]
    np.testing.assert_allclose(found_um, [stage.x_um, stage.y_um], atol=1e-6)


@given(st.builds(StagePosition, micrometres, micrometres), micrometres, micrometres)
def test_when_the_stage_moves_every_pixel_moves_along(stage: StagePosition, dx_um: float, dy_um: float) -> None:
    corners_px = np.array([[0.0, 0.0], [511.0, 0.0], [0.0, 255.0]])
    moved = StagePosition(stage.x_um + dx_um, stage.y_um + dy_um)
    before, after = (
        stage_um(affine_at(at, (0.65, 0.01, -0.01, 0.65), (256, 512)), corners_px) for at in (stage, moved)
    )
    np.testing.assert_allclose(after - before, np.broadcast_to([dx_um, dy_um], (3, 2)), atol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["exposure_ms", "interval_ms", "light_mw", "um_per_px"])
def test_what_is_no_number_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"FrameHeader.{name} must be finite, not {value}"):
        header(**{name: value})
    with pytest.raises(ValueError, match=r"FrameHeader.stage_from_pixel must be finite, not \(1, 0, "):
        header(stage_from_pixel=(1, 0, value, 0, 1, 0))
    with pytest.raises(ValueError, match=f"StagePosition.z_um must be finite, not {value}"):
        StagePosition(z_um=value)


def test_large_numbers_are_numbers() -> None:
    assert header(exposure_ms=1.7e308, interval_ms=1.7e308).exposure_ms == 1.7e308, "although their sum is not"
