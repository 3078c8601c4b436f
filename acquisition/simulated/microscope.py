"""A simulated microscope: camera, stage, light and trigger output looking at a simulated specimen.

The world advances on the run's clock. On a simulated clock everything happens in the caller's thread, and the
same seed and commands give the same bytes. On a real clock a worker thread renders while the exposure lasts.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from acquisition.clock import Clock
from acquisition.commands import (
    Command,
    MoveStage,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)
from acquisition.frame import Frame, FrameHeader, affine_at
from acquisition.microscope import Capabilities, DeviceState, Imaging, MicroscopeError
from acquisition.simulated.camera import SimulatedCamera, check_pace, roi_on
from acquisition.simulated.history import TrueEvent
from acquisition.simulated.light import KEPT_RECORDS, Lamp
from acquisition.simulated.nuclei import Nuclei
from acquisition.simulated.rendering import Picture, Truth
from acquisition.simulated.sensor import Sensor
from acquisition.simulated.settings import MicroscopeSettings
from acquisition.simulated.stage import SimulatedStage
from acquisition.simulated.world import CHANNELS, World

NAME = "simulated microscope"
APPLIES = ("MoveStage", "SetInterval", "SetExposure", "SetLight", "SetChannel", "SetRoi")
SERVED_BY_THE_LOOP = ("PulseSorter", "AcquireBurst")


@dataclass
class SimulatedMicroscope(MicroscopeSettings):
    """Stained nuclei, ~9 µm, seen by a noisy 16-bit camera with one photo-electron per count."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pulses: deque[tuple[int, int]] = deque(maxlen=KEPT_RECORDS)
        """When the trigger output was open, (on_ns, off_ns): the latest 10,000."""
        self._gate_since_ns: int | None = None
        self._is_open = False
        self.blank = False
        """True spares the work of drawing: frames come as ever, but black, for who wants the truth alone."""

    @property
    def rig_id(self) -> str | None:
        """None: any number of simulated microscopes may run side by side."""
        return None

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        """Grow the specimen and switch everything on; the light stays off."""
        if self._is_open:
            raise MicroscopeError(f"the {NAME} is open already; close it first")
        self._clock, self._opened_ns = clock, clock.now_ns()
        self._world = World.grown(self, self._opened_ns)
        self._chip = Sensor(self.sensor, self.seed, self.height_px, self.width_px)
        self._motors = SimulatedStage(self.specimen_um, self.stage)
        self._lamp = Lamp(self.light, self._motors.way)
        self._roi = roi_on(self._chip.shape, SetRoi(0, 0, 0, 0))
        self._imaging = self._checked(replace(imaging, channel=imaging.channel or CHANNELS[0]), self._roi)
        self._camera = SimulatedCamera(
            clock, self._lamp, self._chip, self._header, self._picture, self._world.illuminate
        )  # fmt: skip
        self._camera.set_pace(self._imaging.interval_ms, self._imaging.exposure_ms)
        self._latest: tuple[FrameHeader, Nuclei] | None = None
        self._picture(
            self._header(0, self._opened_ns)
        )  # compiles, or loads what was compiled, before the first exposure
        self._is_open = True
        return Capabilities(
            name=NAME, height_px=self._chip.shape[0], width_px=self._chip.shape[1], dtype="uint16",
            um_per_px=self.um_per_px * self.sensor.binning, channels=CHANNELS,
            commands=frozenset(APPLIES + SERVED_BY_THE_LOOP), lit_share=self._lamp.lit_share,
            off_delay_ms=self.light.off_delay_ms,
        )  # fmt: skip

    def start(self) -> None:
        """Open the shutter and begin the first exposure now."""
        self._require_open()
        self._camera.start(self._imaging.light_mw)

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
                self._motors.go(command, now_ns)
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
                roi = roi_on(self._chip.shape, command)
                self._checked(self._imaging, roi)
                self._roi = roi
            case _:
                name = type(command).__name__
                raise MicroscopeError(f"the {NAME} itself cannot {name}; it can {', '.join(APPLIES)}")

    def busy(self) -> bool:
        """True while the stage is moving or settling."""
        self._require_open()
        return self._motors.busy(self._clock.now_ns())

    def halt(self) -> None:
        """The stage stands at once and need not settle; the exposure under way shows it where it stands."""
        self._require_open()
        self._motors.halt(self._camera.catch_up())
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
            stage=self._motors.at(self._clock.now_ns()), exposure_ms=imaging.exposure_ms,
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
        self._camera.catch_up()
        return self._lamp.lit

    def truth(self) -> Truth:
        """What really was in the frame that was read last."""
        if not self._is_open or self._latest is None:
            raise MicroscopeError(f"the {NAME} tells the truth of the frame that was read last; read one first")
        return Truth.of(*self._latest, self._world.atlas)

    def nuclei(self) -> Nuclei:
        """All cells of the specimen as they were in the frame that was read last."""
        if not self._is_open or self._latest is None:
            raise MicroscopeError(f"the {NAME} tells the truth of the frame that was read last; read one first")
        return self._latest[1]

    def history(self) -> list[TrueEvent]:
        """What has really happened in the specimen until the exposure of the latest frame, on the run's clock."""
        self._require_open()
        return self._world.history()

    def live_on(self, t_ns: int) -> None:
        """Let the specimen live until then without another frame, so that its history goes as far; nothing comes after it."""
        self._require_open()
        self._world.specimen.nuclei_at(self._world.life_min(t_ns))

    def defocus_um(self) -> float:
        """How far from its plane of focus the specimen was in the frame that was read last."""
        return 0.0 if self._latest is None else self._world.defocus_um(self._latest[0])

    def _require_open(self) -> None:
        if not self._is_open:
            raise MicroscopeError(f"the {NAME} is not open; call open() first")

    def _image_with(self, imaging: Imaging) -> None:
        self._imaging = self._checked(imaging, self._roi)
        self._camera.set_pace(imaging.interval_ms, imaging.exposure_ms)
        self._camera.set_light(imaging.light_mw)

    def _checked(self, imaging: Imaging, roi: SetRoi) -> Imaging:
        """The same, if the simulated devices can do it."""
        if imaging.channel not in CHANNELS:
            raise MicroscopeError(f"{NAME}: no channel {imaging.channel!r}; it has {', '.join(CHANNELS)}")
        self._lamp.check_power(imaging.light_mw)
        check_pace(self._chip, imaging.interval_ms, imaging.exposure_ms, roi.height_px)
        return imaging

    def _header(self, index: int, t_ns: int) -> FrameHeader:
        """All of a frame whose exposure begins now and ends at `t_ns`, but when it will be read."""
        imaging, roi, stage = self._imaging, self._roi, self._motors.at(t_ns)
        scale = self.um_per_px * self.sensor.binning
        a, b, x_um, d, e, y_um = affine_at(stage, (scale, 0.0, 0.0, scale), self._chip.shape)
        return FrameHeader(
            index=index, t_ns=t_ns, t_read_ns=t_ns,
            height_px=roi.height_px, width_px=roi.width_px, dtype="uint16",
            channel=imaging.channel, exposure_ms=imaging.exposure_ms, interval_ms=imaging.interval_ms,
            light_mw=imaging.light_mw, stage=stage, um_per_px=scale,
            stage_from_pixel=(a, b, x_um + scale * roi.x_px, d, e, y_um + scale * roi.y_px),
        )  # fmt: skip

    def _aimed(self, header: FrameHeader) -> FrameHeader:
        """The same frame, ending where the stage is sent now."""
        stage, (a, b, x_um, d, e, y_um) = self._motors.at(header.t_ns), header.stage_from_pixel
        dx_um, dy_um = stage.x_um - header.stage.x_um, stage.y_um - header.stage.y_um
        return replace(header, stage=stage, stage_from_pixel=(a, b, x_um + dx_um, d, e, y_um + dy_um))

    def _picture(self, header: FrameHeader) -> Picture:
        """The specimen as it is when the exposure ends. On a real clock this runs in the camera's thread."""
        if self.blank:
            nuclei = self._world.specimen.nuclei_at(self._world.life_min(header.t_ns))
            return Picture(np.zeros(header.shape, np.uint16), nuclei)
        electrons, nuclei = self._world.electrons(header)
        electrons *= self._chip.n_summed
        return Picture(self._chip.counts(electrons, header), nuclei)
