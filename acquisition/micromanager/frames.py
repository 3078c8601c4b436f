"""Frames made of the camera's images; each gets its index when it is handed out, so that dropped ones leave no gap."""

from dataclasses import dataclass

from msgspec.structs import replace

from acquisition.frame import Affine, Frame, FrameHeader, PixelType, StagePosition, affine_at
from acquisition.micromanager.images import CameraImage
from acquisition.micromanager.settings import Matrix
from acquisition.micromanager.timing import InForce


@dataclass(frozen=True)
class Unnumbered:
    """A frame that may still be dropped."""

    frame: Frame
    lost_before: int
    """Wanted frames that the camera lost right before it."""


class FrameLine:
    """Where frames are made and, in order, handed out."""

    def __init__(self, um_per_px: float, um_from_px: Matrix, sensor_shape: tuple[int, int]) -> None:
        self.um_per_px, self._um_from_px, self._sensor_shape = um_per_px, um_from_px, sensor_shape
        self.lost = 0
        """Lost frames before those that were handed out."""
        self._next_index = 0

    def make(self, image: CameraImage, settings: InForce, stage: StagePosition) -> Unnumbered:
        """A frame of an image that was taken under these settings with the stage there."""
        height, width = image.pixels.shape
        dtype: PixelType = "uint8" if image.pixels.dtype.itemsize == 1 else "uint16"
        header = FrameHeader(
            index=0,
            t_ns=image.ended_ns,
            t_read_ns=image.read_ns,
            height_px=height,
            width_px=width,
            dtype=dtype,
            channel=settings.channel,
            exposure_ms=settings.exposure_ms,
            interval_ms=settings.interval_ms,
            light_mw=settings.light_mw,
            stage=stage,
            stage_from_pixel=self._affine(stage, settings.roi_px),
            um_per_px=self.um_per_px,
        )
        return Unnumbered(Frame(header, image.pixels), image.lost_before)

    def hand_out(self, made: Unnumbered) -> Frame:
        """Give it its index: the next one, but for frames that were lost before it."""
        index = self._next_index + made.lost_before
        self.lost += made.lost_before
        self._next_index = index + 1
        return Frame(replace(made.frame.header, index=index), made.frame.pixels)

    def _affine(self, stage: StagePosition, roi: tuple[int, int, int, int]) -> Affine:
        """The stage's position is in the middle of the sensor, wherever the region lies on it."""
        a, b, c, d, e, f = affine_at(stage, self._um_from_px, self._sensor_shape)
        return a, b, c + a * roi[0] + b * roi[1], d, e, f + d * roi[0] + e * roi[1]
