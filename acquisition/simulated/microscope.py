"""A simulated microscope: camera, stage, light and trigger output looking at a simulated specimen.

The world advances on the run's clock. On a simulated clock everything happens in the caller's thread, and the
same seed and commands give the same bytes. On a real clock a worker thread renders while the exposure lasts.
"""

from collections import deque
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from acquisition.clock import NS_PER_S, Clock
from acquisition.commands import (
    AtLeastOne,
    Command,
    MoveStage,
    NotNegative,
    Positive,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)
from acquisition.frame import Frame, FrameHeader, affine_at
from acquisition.microscope import Capabilities, DeviceState, Imaging, MicroscopeError
from acquisition.simulated.devices import KEPT_RECORDS, SimulatedCamera, SimulatedStage, roi_on
from acquisition.simulated.rendering import Picture, Sensor, Truth, View, draw_light, random_stream
from acquisition.simulated.specimen import Culture, Nuclei, Specimen

NAME = "simulated microscope"
APPLIES = ("MoveStage", "SetInterval", "SetExposure", "SetLight", "SetChannel", "SetRoi")
SERVED_BY_THE_LOOP = ("PulseSorter", "AcquireBurst")
STAINS = {"nuclei": (1.0, 1.0), "cytoplasm": (1.8, 0.3)}
"""Channel → size and brightness of the stained body, in nuclei."""


@dataclass
class SimulatedMicroscope:
    """Stained nuclei, ~9 µm, seen by a noisy 16-bit camera with one photo-electron per count."""

    seed: Annotated[int, Meta(ge=0)] = 0
    """The same seed and commands on a simulated clock give the same bytes."""
    height_px: AtLeastOne = 512
    width_px: AtLeastOne = 512
    um_per_px: Positive = 0.65
    specimen_um: tuple[Positive, Positive] = (1000.0, 1000.0)
    """Width and height of the dish, at least one view, centred on (0, 0); the stage travels to its rim."""
    n_cells: AtLeastOne = 100
    """Cells in one view at the start, on average; the rest of the dish is as dense."""
    nucleus_um: Positive = 9.0
    """Mean diameter of a nucleus."""
    speed_um_min: NotNegative = 0.5
    """Root mean square speed of a cell's random walk."""
    persistence_min: Positive = 20.0
    """How long a cell remembers its direction."""
    cycle_min: Positive = 1200.0
    """Mean time between divisions, at least twice mitosis_min; a culture that has tripled stops growing."""
    mitosis_min: Positive = 40.0
    """How long before its division a nucleus is small, round and twice as bright."""
    time_factor: Positive = 1.0
    """The specimen lives so many times faster than the clock: 60 shows one minute of its life in a second."""
    edge_um: Positive = 1.2
    """Width of a nucleus's blurred edge."""
    brightness: NotNegative = 100.0
    """Photo-electrons per pixel, mW and ms in an average nucleus."""
    background: NotNegative = 10.0
    """Photo-electrons per pixel, mW and ms everywhere."""
    offset_counts: NotNegative = 100.0
    """What the camera reads in the dark."""
    read_noise: NotNegative = 2.0
    """Standard deviation of the dark counts."""
    stage_speed_um_s: Positive = 2000.0
    stage_settle_ms: NotNegative = 10.0
    """How long after arrival the stage still counts as busy."""
    buffer_frames: AtLeastOne = 8
    """Frames the camera holds until they are read; further ones are lost."""
    stall_after: Annotated[int, Meta(ge=0)] = 0
    """The camera stops delivering after so many frames, to test what the run makes of it; 0: never."""

    def __post_init__(self) -> None:
        if self.cycle_min < 2 * self.mitosis_min:
            raise ValueError(f"cycle_min {self.cycle_min:g} must be at least twice mitosis_min {self.mitosis_min:g}")
        width_um, height_um = self._view_um()
        if self.specimen_um[0] < width_um or self.specimen_um[1] < height_um:
            seen = f"the camera sees {width_um:g} × {height_um:g} µm"
            raise ValueError(f"specimen_um {list(self.specimen_um)} is smaller than one view: {seen}")
        self.pulses: deque[tuple[int, int]] = deque(maxlen=KEPT_RECORDS)
        """When the trigger output was open, (on_ns, off_ns): the latest 10,000."""
        self._gate_since_ns: int | None = None
        self._is_open = False

    @property
    def rig_id(self) -> str | None:
        """None: any number of simulated microscopes may run side by side."""
        return None

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        """Grow the specimen and switch everything on; the light stays off."""
        if self._is_open:
            raise MicroscopeError(f"the {NAME} is open already; close it first")
        self._imaging = _checked(replace(imaging, channel=imaging.channel or next(iter(STAINS))))
        self._roi = SetRoi(0, 0, self.width_px, self.height_px)
        self._clock, self._opened_ns = clock, clock.now_ns()
        self._specimen = Specimen(self._culture(), random_stream(self.seed, "specimen"))
        self._sensor = Sensor(self.seed, self.height_px * self.width_px, self.read_noise, self.offset_counts)
        self._stage = SimulatedStage(self.specimen_um, self.stage_speed_um_s, self.stage_settle_ms)
        self._camera = SimulatedCamera(clock, self._header, self._picture, self.buffer_frames, self.stall_after)
        self._camera.set_pace(self._imaging.interval_ms, self._imaging.exposure_ms)
        self._latest: tuple[FrameHeader, Nuclei] | None = None
        self._is_open = True
        return Capabilities(
            name=NAME, height_px=self.height_px, width_px=self.width_px, dtype="uint16",
            um_per_px=self.um_per_px, channels=tuple(STAINS),
            commands=frozenset(APPLIES + SERVED_BY_THE_LOOP),
        )  # fmt: skip

    def start(self) -> None:
        """Open the shutter and begin the first exposure now."""
        self._require_open()
        self._camera.start()

    def stop(self) -> None:
        """Close the shutter; frames that nobody has read by now are dropped, the one under way is given up."""
        self._require_open()
        self._camera.stop()

    def ready_in_s(self) -> float:
        """Time until the next frame is there or the next exposure begins."""
        self._require_open()
        return self._camera.ready_in_s()

    def poll_frame(self) -> Frame | None:
        """The next frame in order, or None."""
        self._require_open()
        exposed = self._camera.poll()
        if exposed is None:
            return None
        header, picture = exposed
        self._latest = header, picture.nuclei
        return Frame(replace(header, t_read_ns=self._clock.now_ns()), picture.pixels)

    def lost_frames(self) -> int:
        """Frames that found the camera's buffer full."""
        return self._camera.n_lost

    def dose_mj(self) -> float:
        """Power × time of all exposures so far, the part of the one under way included."""
        return self._camera.dose_mj()

    def exhausted(self) -> bool:
        """Never: cells live on."""
        return False

    def apply(self, command: Command) -> None:
        """Obey from the next exposure on; a move begins at once."""
        self._require_open()
        now_ns = self._camera.catch_up()
        match command:
            case MoveStage():
                self._stage.go(command, now_ns)
                self._camera.amend(self._aimed)
            case SetInterval(interval_ms=interval_ms):
                self._image_with(replace(self._imaging, interval_ms=interval_ms))
            case SetExposure(exposure_ms=exposure_ms):
                self._image_with(replace(self._imaging, exposure_ms=exposure_ms))
            case SetLight(light_mw=light_mw):
                self._image_with(replace(self._imaging, light_mw=light_mw))
            case SetChannel(channel=channel):
                self._image_with(replace(self._imaging, channel=channel))
            case SetRoi():
                self._roi = roi_on((self.height_px, self.width_px), command)
            case _:
                name = type(command).__name__
                raise MicroscopeError(f"the {NAME} itself cannot {name}; it can {', '.join(APPLIES)}")

    def busy(self) -> bool:
        """True while the stage is moving or settling."""
        self._require_open()
        return self._stage.busy(self._clock.now_ns())

    def halt(self) -> None:
        """The stage stands at once and need not settle; the exposure under way shows it where it stands."""
        self._require_open()
        self._stage.halt(self._camera.catch_up())
        self._camera.amend(self._aimed)

    def set_gate(self, opened: bool) -> None:
        """Open or shut the trigger output; `pulses` keeps when it was open."""
        self._require_open()
        now_ns = self._clock.now_ns()
        if opened and self._gate_since_ns is None:
            self._gate_since_ns = now_ns
        elif not opened and self._gate_since_ns is not None:
            self.pulses.append((self._gate_since_ns, now_ns))
            self._gate_since_ns = None

    def state(self) -> DeviceState:
        """The devices as they are now; the light's power is what it gives while the shutter is open."""
        self._require_open()
        imaging = self._imaging
        return DeviceState(
            stage=self._stage.at(self._clock.now_ns()), exposure_ms=imaging.exposure_ms,
            interval_ms=imaging.interval_ms, light_mw=imaging.light_mw, channel=imaging.channel,
            shutter_open=self._camera.running, gate_open=self._gate_since_ns is not None,
        )  # fmt: skip

    def make_safe(self) -> None:
        """Gate shut, camera stopped, shutter closed, stage halted; nothing to do on a closed microscope."""
        if self._is_open:
            self.set_gate(False)
            self._camera.stop()
            self.halt()

    def close(self) -> None:
        """Make safe and end the rendering thread."""
        if self._is_open:
            self.make_safe()
            self._camera.close()
            self._is_open = False

    @property
    def lit(self) -> deque[tuple[int, int]]:
        """When light fell on the specimen, (on_ns, off_ns): the latest 10,000 exposures since open()."""
        return self._camera.lit

    def truth(self) -> Truth:
        """What really was in the frame that was read last."""
        if not self._is_open or self._latest is None:
            raise MicroscopeError(f"the {NAME} tells the truth of the frame that was read last; read one first")
        return Truth.of(*self._latest)

    def _require_open(self) -> None:
        if not self._is_open:
            raise MicroscopeError(f"the {NAME} is not open; call open() first")

    def _view_um(self) -> tuple[float, float]:
        return self.width_px * self.um_per_px, self.height_px * self.um_per_px

    def _culture(self) -> Culture:
        width_um, height_um = self._view_um()
        n_views = self.specimen_um[0] * self.specimen_um[1] / (width_um * height_um)
        return Culture(
            n_cells=round(self.n_cells * n_views), size_um=self.specimen_um, nucleus_um=self.nucleus_um,
            speed_um_min=self.speed_um_min, persistence_min=self.persistence_min, cycle_min=self.cycle_min,
            mitosis_min=self.mitosis_min,
        )  # fmt: skip

    def _image_with(self, imaging: Imaging) -> None:
        self._imaging = _checked(imaging)
        self._camera.set_pace(imaging.interval_ms, imaging.exposure_ms)

    def _header(self, index: int, t_ns: int) -> FrameHeader:
        """All of a frame whose exposure begins now and ends at `t_ns`, but when it will be read."""
        imaging, roi, stage = self._imaging, self._roi, self._stage.at(t_ns)
        scale = self.um_per_px
        a, b, x_um, d, e, y_um = affine_at(stage, (scale, 0.0, 0.0, scale), (self.height_px, self.width_px))
        return FrameHeader(
            index=index, t_ns=t_ns, t_read_ns=t_ns,
            height_px=roi.height_px, width_px=roi.width_px, dtype="uint16",
            channel=imaging.channel, exposure_ms=imaging.exposure_ms, interval_ms=imaging.interval_ms,
            light_mw=imaging.light_mw, stage=stage, um_per_px=scale,
            stage_from_pixel=(a, b, x_um + scale * roi.x_px, d, e, y_um + scale * roi.y_px),
        )  # fmt: skip

    def _aimed(self, header: FrameHeader) -> FrameHeader:
        """The same frame, ending where the stage is sent now."""
        stage, (a, b, x_um, d, e, y_um) = self._stage.at(header.t_ns), header.stage_from_pixel
        dx_um, dy_um = stage.x_um - header.stage.x_um, stage.y_um - header.stage.y_um
        return replace(header, stage=stage, stage_from_pixel=(a, b, x_um + dx_um, d, e, y_um + dy_um))

    def _picture(self, header: FrameHeader) -> Picture:
        """The specimen as it is when the exposure ends. On a real clock this runs in the camera's thread."""
        life_min = (header.t_ns - self._opened_ns) / NS_PER_S / 60 * self.time_factor
        nuclei = self._specimen.nuclei_at(life_min)
        size, brightness = STAINS[header.channel]
        electrons = draw_light(nuclei, View.of(header), size, self.edge_um)
        electrons *= self.brightness * brightness
        electrons += self.background
        electrons *= header.light_mw * header.exposure_ms
        return Picture(self._sensor.counts(electrons, header.index), nuclei)


def _checked(imaging: Imaging) -> Imaging:
    """The same, if the simulated devices can do it."""
    if imaging.channel not in STAINS:
        raise MicroscopeError(f"{NAME}: no channel {imaging.channel!r}; it has {', '.join(STAINS)}")
    exposure_ms, interval_ms = imaging.exposure_ms, imaging.interval_ms
    if exposure_ms > interval_ms:
        remedy = "shorten the exposure or lengthen the interval"
        raise MicroscopeError(f"{NAME}: exposure {exposure_ms:g} ms exceeds interval {interval_ms:g} ms; {remedy}")
    return imaging
