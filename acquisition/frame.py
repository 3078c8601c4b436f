"""A frame: pixels, and everything that was true of the rig when their exposure ended."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

PixelType = Literal["uint8", "uint16"]
Affine = tuple[float, float, float, float, float, float]
"""2×3 matrix, row by row (a, b, c, d, e, f): x_um = a·x_px + b·y_px + c, y_um = d·x_px + e·y_px + f."""


class StagePosition(msgspec.Struct, frozen=True):
    """Where the stage stands: the specimen point (x_um, y_um) is in the middle of the view, focused at z_um."""

    x_um: float = 0.0
    y_um: float = 0.0
    z_um: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.x_um + self.y_um + self.z_um):
            _refuse_what_is_no_number(self)


class FrameHeader(msgspec.Struct, frozen=True, kw_only=True):
    """All of a frame but its pixels; this is what travels over ZeroMQ and what a policy sees."""

    index: int
    """0, 1, 2 … within a run. A jump means that the camera lost frames before anyone could read them."""
    t_ns: int
    """End of exposure, acquisition clock."""
    t_read_ns: int
    """When the pixels were in the acquisition process's hands."""
    height_px: int
    width_px: int
    dtype: PixelType
    channel: str
    exposure_ms: float
    interval_ms: float
    light_mw: float
    stage: StagePosition
    stage_from_pixel: Affine
    um_per_px: float
    reason: str = "start"
    """Why this frame was taken as it was: `start`, or the id of the decision that last changed the imaging."""
    strip_t_ns: tuple[int, ...] = ()
    """A fast camera hands out stacks: the end of exposure of each strip, the uppermost first. Empty: one picture."""

    def __post_init__(self) -> None:
        # One sum instead of a look at each number: this runs for every frame, in every process that reads it.
        if not math.isfinite(
            self.exposure_ms + self.interval_ms + self.light_mw + self.um_per_px + sum(self.stage_from_pixel)
        ):
            _refuse_what_is_no_number(self)
        if self.strip_t_ns:
            _check_stack(self)

    @property
    def shape(self) -> tuple[int, int]:
        return self.height_px, self.width_px

    @property
    def strips_t_ns(self) -> tuple[int, ...]:
        """End of exposure of every strip; a picture is a stack of one."""
        return self.strip_t_ns or (self.t_ns,)

    @property
    def n_bytes(self) -> int:
        return self.height_px * self.width_px * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Frame:
    """One image, `pixels[H, W]`, uint8 or uint16, read-only and contiguous."""

    header: FrameHeader
    pixels: npt.NDArray[np.generic]

    def __post_init__(self) -> None:
        pixels, header = self.pixels, self.header
        if pixels.shape != header.shape or pixels.dtype != header.dtype:
            raise ValueError(
                f"frame {header.index}: pixels are {pixels.dtype}{list(pixels.shape)}, "
                f"but its header says {header.dtype}{list(header.shape)}"
            )
        if not pixels.flags.c_contiguous:
            raise ValueError(f"frame {header.index}: pixels must be C-contiguous; copy them once at the camera")
        if pixels.flags.writeable:
            pixels.flags.writeable = False

    def strips(self) -> npt.NDArray[np.generic]:
        """The strips of a stack, `[B, H / B, W]`, without a copy; a picture is a stack of one."""
        n_strips = len(self.header.strips_t_ns)
        return self.pixels.reshape(n_strips, self.header.height_px // n_strips, self.header.width_px)

    def because(self, reason: str) -> "Frame":
        """The same frame, saying why it was taken as it was."""
        return Frame(msgspec.structs.replace(self.header, reason=reason), self.pixels)


def _refuse_what_is_no_number(struct: StagePosition | FrameHeader) -> None:
    """What is not finite cannot be journalled, and nobody can steer by it."""
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{type(struct).__name__}.{name} must be finite, not {value}")


def _check_stack(header: FrameHeader) -> None:
    """Strips are of one height, and their times in order up to the frame's own."""
    times = header.strip_t_ns
    if header.height_px % len(times):
        raise ValueError(f"frame {header.index}: {header.height_px} rows are no {len(times)} strips of one height")
    if times[-1] != header.t_ns or any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise ValueError(f"frame {header.index}: strip_t_ns must rise up to t_ns {header.t_ns}, not be {times[:4]} …")


def affine_at(stage: StagePosition, um_from_px: tuple[float, float, float, float], shape: tuple[int, int]) -> Affine:
    """The pixel → stage µm map of a view of `shape` (H, W) taken at `stage`; the view's middle is the stage's position.

    `um_from_px` is the 2×2 part (a, b, d, e) of the calibration: scale, rotation and flips of the camera.
    """
    a, b, d, e = um_from_px
    x_mid_px, y_mid_px = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    return (
        a, b, stage.x_um - a * x_mid_px - b * y_mid_px,
        d, e, stage.y_um - d * x_mid_px - e * y_mid_px,
    )  # fmt: skip


def stage_um(affine: Affine, xy_px: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Pixel coordinates `[N, 2]` (x first) → stage micrometres `[N, 2]`."""
    matrix = np.asarray(affine, dtype=np.float64).reshape(2, 3)
    return xy_px @ matrix[:, :2].T + matrix[:, 2]
