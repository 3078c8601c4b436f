"""The camera through MMCore: a sequence read image by image, or single snaps. For the core's thread only."""

from collections.abc import Callable
from dataclasses import replace

from acquisition.clock import NS_PER_MS, Clock
from acquisition.micromanager.core_calls import CoreCalls
from acquisition.micromanager.devices import Property, find_property
from acquisition.micromanager.images import CameraImage, Exposures
from acquisition.micromanager.settings import MicroManagerSettings
from acquisition.micromanager.timing import ExposureEnds, Spacing
from acquisition.microscope import MicroscopeError

ENDLESS = 2**31 - 1
Roi = tuple[int, int, int, int]
WHOLE_SENSOR: Roi = (0, 0, 0, 0)
FULL_RATE = 1.01
"""An interval no longer than this many exposures is the camera's full rate; it may round its exposure."""


class Camera:
    """Exposure, rate and region of the core's camera, and its images."""

    def __init__(
        self, core: CoreCalls, settings: MicroManagerSettings, clock: Clock, interval_ms: float, exposures: Exposures
    ) -> None:
        """`exposures` is told of every image that the sample was exposed for."""
        self._core, self._settings, self._clock, self._exposures = core, settings, clock, exposures
        self.label = core.text("getCameraDevice")
        if not self.label:
            raise MicroscopeError("this configuration has no camera: set the role Core-Camera in the .cfg file")
        self._rate: Property | None = None
        if settings.interval_property:
            self._rate = find_property(core, settings.interval_property, "interval_property")
        core.do("setCircularBufferMemoryFootprint", settings.buffer_mb)
        self.sensor_shape = self._whole_sensor_shape()
        self.interval_ms = interval_ms
        self.running = False
        self.room_px: int | None = None
        """Pixels of the largest frame that there is room for; None while it is being set up."""
        self.last_exposure_ms = 0.0
        """As last read from the camera."""
        self.spacing = Spacing()
        self._ends = ExposureEnds()
        self._expected = 0
        self._previous_ended_ns = 0
        self._burst_left = 0
        self._steady_interval_ms = interval_ms
        self.burst_failure = ""
        """Why the last burst has fewer images than were asked for; empty if it has not."""

    # --- settings -----------------------------------------------------------------------------------------

    def exposure_ms(self) -> float:
        """As the camera reads it back."""
        self.last_exposure_ms = self._core.number("getExposure")
        return self.last_exposure_ms

    def set_exposure(self, exposure_ms: float) -> None:
        """MicroscopeError if the camera then says something else; the interval is kept."""
        before_ms = self.exposure_ms()
        self._core.do("setExposure", float(exposure_ms))
        after_ms = self.exposure_ms()
        if abs(after_ms - exposure_ms) > max(0.05, 0.05 * exposure_ms):
            self._core.do("setExposure", before_ms)
            raise MicroscopeError(
                f"the camera made {after_ms:g} ms of an exposure of {exposure_ms:g} ms; is it in its range?"
            )
        self.set_interval(self.interval_ms)

    def set_interval(self, interval_ms: float) -> None:
        """Time between images; the camera's rate too where a property sets it."""
        self.interval_ms = interval_ms
        if self._rate is None:
            return
        if self._settings.interval_means == "rate_hz":
            self._rate.write(1000 / interval_ms)
            self.interval_ms = 1000 / self._rate.number()
        else:
            self._rate.write(max(0.0, interval_ms - self.exposure_ms()))
            self.interval_ms = self.exposure_ms() + self._rate.number()

    def set_roi(self, roi: Roi) -> None:
        """Read this part of the sensor; all zero means the whole. MicroscopeError if it does not fit."""
        rows, columns = self.sensor_shape
        x, y, width, height = roi if roi != WHOLE_SENSOR else (0, 0, columns, rows)
        if not (0 <= x < x + width <= columns and 0 <= y < y + height <= rows):
            raise MicroscopeError(
                f"SetRoi {width}×{height} at ({x}, {y}) is not within the sensor of {columns}×{rows} pixels"
            )
        if self.room_px is not None and width * height > self.room_px:
            raise MicroscopeError(
                f"SetRoi {width}×{height} has more than the {self.room_px} pixels with which this run began, and there "
                "is room for no more; begin the run with the largest region (roi_px in [microscope]) and make it smaller"
            )
        if roi == WHOLE_SENSOR:
            self._core.do("clearROI")
        else:
            self._core.do("setROI", x, y, width, height)
        self._core.learn_image_format()

    def _whole_sensor_shape(self) -> tuple[int, int]:
        """Rows and columns without any region, which is put back."""
        region = self._core.roi()
        self._core.do("clearROI")
        self._core.learn_image_format()
        shape = self._core.shape
        if region[2:] != (shape[1], shape[0]):
            self._core.do("setROI", *region)
            self._core.learn_image_format()
        return shape

    # --- images -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Get ready for `snap`, or start the sequence that `take` reads."""
        self._core.learn_image_format()
        if self._settings.mode == "stream":
            self.resume()
        self.running = True

    def stop(self) -> None:
        """End the sequence; images that nobody has taken by now are dropped."""
        was_streaming, was_bursting, self.running = self.streaming, self.bursting, False
        if self._core.flag("isSequenceRunning"):
            self._core.do("stopSequenceAcquisition")
        if was_streaming or was_bursting:
            self._drop_waiting()
        if was_bursting:
            self.end_burst()

    @property
    def streaming(self) -> bool:
        """True while a sequence of ours runs, or should."""
        return self.running and self._settings.mode == "stream"

    def interrupt(self) -> list[CameraImage]:
        """Stop the sequence for a change; the wanted images that it had taken by then.

        Whatever comes after the order to stop may be an exposure that was cut short, and is dropped.
        MicroscopeError if the sequence has ended by itself; its images can then still be taken.
        """
        if not self._core.flag("isSequenceRunning"):
            raise self._ended_error()
        images = [self._pop() for _ in range(self._waiting())]
        self._core.do("stopSequenceAcquisition")
        self._drop_waiting()
        return [image for image in images if image is not None]

    def resume(self) -> None:
        """Start the sequence; its images count from 0 again."""
        self._core.learn_image_format()
        if self._settings.on_overflow == "stop":
            self._core.do("startSequenceAcquisition", ENDLESS, 0.0, True)
        else:
            self._core.do("startContinuousSequenceAcquisition", 0.0)
        self._count_anew()

    def take(self) -> CameraImage | None:
        """The oldest wanted image, or None. MicroscopeError if the sequence has ended by itself."""
        n = self._waiting()
        if n == 0 and not self._core.flag("isSequenceRunning"):
            n = self._waiting()  # one may have come between the two questions
            if n == 0:
                raise self._ended_error()
        for _ in range(n):
            if image := self._pop():
                return image
        return None

    def snap(self, light_on: Callable[[], None], light_off: Callable[[], None]) -> CameraImage:
        """One exposure, lit only while it lasts; its end is when the driver returns."""
        begin_ns = self._clock.now_ns()
        try:
            light_on()
            self._core.do("snapImage")
            ended_ns = self._ends.end_ns(None, self._clock.now_ns())
        finally:
            light_off()
        pixels = self._core.snapped()
        return CameraImage(pixels, ended_ns, begin_ns, self._clock.now_ns(), 0)

    # --- bursts -------------------------------------------------------------------------------------------

    @property
    def bursting(self) -> bool:
        """True until the last image of a burst has been taken out of the buffer."""
        return self._burst_left > 0

    def can_sequence(self, interval_ms: float) -> bool:
        """Whether the camera keeps this interval by itself: it takes a rate, or is asked for its full one.

        A shutter that the loop has to work stays open during a burst, so that a slow one would light too much.
        """
        dark_between = self._settings.shutter_follows_camera or self._settings.mode == "stream"
        full_rate = interval_ms <= FULL_RATE * self.exposure_ms()
        return full_rate or (self._rate is not None and dark_between)

    def plan_burst(self, n_images: int, interval_ms: float) -> None:
        """Set the interval of a burst; `end_burst` sets the one of before again."""
        self._burst_left, self._steady_interval_ms = n_images, self.interval_ms
        self.burst_failure = ""
        self.set_interval(interval_ms)
        self._core.learn_image_format()

    def start_burst(self) -> None:
        """The camera takes its images and stops, or stops before one would be lost."""
        self._core.do("startSequenceAcquisition", self._burst_left, float(self.interval_ms), True)
        self._count_anew()

    def take_burst(self) -> list[CameraImage]:
        """The oldest image of the burst, if one has come; all that are left once the camera has stopped."""
        stopped = not self._core.flag("isSequenceRunning")  # asked first: what comes after it is counted
        n_waiting = self._waiting()
        images = [self._pop_any() for _ in range(n_waiting if stopped else min(n_waiting, 1))]
        self._burst_left -= len(images)
        if stopped and self._burst_left:
            self.burst_failure = str(self._ended_error())
            self._exposures.dropped(1)
            self._burst_left = 0
        return images

    def end_burst(self) -> None:
        """No burst is under way; the interval of before."""
        self._burst_left = 0
        self.set_interval(self._steady_interval_ms)

    def _drop_waiting(self) -> None:
        """The sequence was stopped: images that wait, and the exposure that was cut short, were light all the same."""
        self._exposures.dropped(self._waiting() + 1)

    def _waiting(self) -> int:
        return self._core.count("getRemainingImageCount")

    def _pop(self) -> CameraImage | None:
        """Take an image out of the buffer; None if it came before the interval was over."""
        image = self._pop_any()
        lost = self.spacing.lost_before(image.ended_ns, image.lost_before, round(self.interval_ms * NS_PER_MS))
        return None if lost is None else replace(image, lost_before=lost)

    def _pop_any(self) -> CameraImage:
        """Take an image out of the buffer, wanted or not."""
        seen_ns = self._clock.now_ns()
        image = self._core.pop()
        missing = self._missing_before(image.number)
        ended_ns, previous_ns = self._ends.end_ns(image.elapsed_ms, seen_ns), self._previous_ended_ns
        self._previous_ended_ns = ended_ns
        self._exposures.taken(1 + missing, ended_ns, previous_ns)
        return CameraImage(image.pixels, ended_ns, previous_ns, self._clock.now_ns(), missing)

    def _count_anew(self) -> None:
        """A sequence begins: its images count from 0, its camera's time too."""
        self._ends.restart()
        self._expected = 0
        self._previous_ended_ns = self._clock.now_ns()
        self.spacing.restart(self._previous_ended_ns)

    def _missing_before(self, number: int | None) -> int:
        """How many images MMCore discarded between the one popped before and this."""
        if number is None:  # tags are not read where MMCore stops on overflow and so cannot discard
            return 0
        missing, self._expected = number - self._expected, number + 1
        if missing < 0:
            raise MicroscopeError(
                f"image {number} of the sequence came again: another program has restarted the camera's "
                "sequence; let this one have the camera alone (Micro-Manager's live window closed)"
            )
        return missing

    def _ended_error(self) -> MicroscopeError:
        if self._core.flag("isBufferOverflowed"):
            capacity = self._core.count("getBufferTotalCapacity")
            return MicroscopeError(
                f"images came faster than they were read: the buffer of {self._settings.buffer_mb} MB, "
                f"{capacity} images, overflowed and the camera stopped. Raise buffer_mb, image more slowly "
                "or a smaller region, or set on_overflow = 'count' to lose images and go on"
            )
        return MicroscopeError(
            f"{self.label}: the sequence has ended by itself; look at the camera's cable and trigger, and "
            "whether another program has stopped it"
        )
