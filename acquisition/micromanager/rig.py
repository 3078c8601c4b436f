"""A Micro-Manager rig as the core's thread sees it: camera and devices, commands, frames, the safe state."""

from collections import deque
from collections.abc import Callable

from acquisition.clock import Clock
from acquisition.commands import Command, MoveStage, SetChannel, SetExposure, SetInterval, SetLight, SetRoi
from acquisition.frame import Frame
from acquisition.micromanager.abilities import capabilities_of
from acquisition.micromanager.camera import WHOLE_SENSOR, Camera
from acquisition.micromanager.channels import Channels
from acquisition.micromanager.core_calls import CoreCalls
from acquisition.micromanager.devices import (
    Output,
    find_calibration,
    find_output,
    find_property,
    try_all,
)
from acquisition.micromanager.frames import FrameLine, Unnumbered
from acquisition.micromanager.images import CameraImage
from acquisition.micromanager.light import Illumination
from acquisition.micromanager.settings import MicroManagerSettings
from acquisition.micromanager.stage import Stage
from acquisition.micromanager.timing import ImageDose, InForce, Settings
from acquisition.microscope import Capabilities, DeviceState, Imaging, MicroscopeError


class Rig:
    """Everything behind the core. Made, used and closed by the core's thread alone."""

    def __init__(
        self,
        core: CoreCalls,
        release: Callable[[], None],
        settings: MicroManagerSettings,
        clock: Clock,
        imaging: Imaging,
    ) -> None:
        """`release` lets go of the core when the rig is closed."""
        self._core, self._release, self._settings, self._clock = core, release, settings, clock
        self._illumination = self._dark()
        for name, value in settings.properties.items():
            find_property(core, name, "properties").write(value)
        self._illumination = self._dark()  # they may have opened the shutter, or named another one
        self._illumination.set_power(float(imaging.light_mw))
        self._gate: Output | None = None
        if settings.trigger:
            self._gate = find_output(core, settings.trigger, settings.trigger_on, settings.trigger_off)
            self._gate.set(False)
        self._stage = Stage(core, settings.xy_stage, settings.z_stage, settings.stage_tolerance_um)
        self._stage.read(clock.now_ns())
        self._channels = Channels(core, settings.channel_group)
        if imaging.channel:
            self._channels.switch(imaging.channel, self._illumination)
        self._imaging = Settings(
            InForce(
                clock.now_ns(),
                imaging.exposure_ms,
                imaging.interval_ms,
                imaging.light_mw,
                self._channels.current,
                WHOLE_SENSOR,
            )
        )
        self._exposed = ImageDose(self._imaging)
        self.camera = Camera(core, settings, clock, float(imaging.interval_ms), self._exposed)
        if settings.roi_px is not None:
            self.camera.set_roi(settings.roi_px)
        self.camera.set_exposure(imaging.exposure_ms)
        self.camera.room_px = core.shape[0] * core.shape[1]
        self._imaging.change(self._in_force())
        self._frames = FrameLine(*find_calibration(core, settings), self.camera.sensor_shape)
        self._pending: deque[Unnumbered] = deque()

    def _dark(self) -> Illumination:
        """The light as it is found, off."""
        settings = self._settings
        light = Illumination(self._core, self._clock, settings.shutter, settings.light, settings.light_mw_per_unit)
        light.dark()
        light.power_off()
        return light

    def capabilities(self) -> Capabilities:
        """As it is now that all is set up."""
        um_per_px = self._frames.um_per_px
        return capabilities_of(self._core, self._settings, self.camera, self._stage, self._channels, um_per_px)

    # --- imaging ------------------------------------------------------------------------------------------

    @property
    def has_frame(self) -> bool:
        """True if a frame is here already and only has to be taken."""
        return bool(self._pending)

    @property
    def lost(self) -> int:
        """Wanted images that were lost before the frames that were handed out."""
        return self._frames.lost

    def dose_mj(self) -> float:
        """Of the images where they alone are lit, else of the light; for any thread, without asking a device."""
        return self._exposed.mj if self._settings.shutter_follows_camera else self._illumination.meter.mj()

    def start(self) -> None:
        """Light on where the camera runs by itself, camera on; if either fails, the light is off."""
        if self.camera.running:
            return
        try:
            if self._settings.mode == "stream":
                self._illumination.on()
            self._imaging.change(self._in_force())
            self.camera.start()
        except BaseException:
            self._illumination.off()
            raise

    def stop(self) -> None:
        """Camera off, light off; a camera that cannot be stopped must not keep the light on."""
        self._pending.clear()
        try:
            self.camera.stop()
        finally:
            self._illumination.dark()

    def take(self) -> Unnumbered | None:
        """The next image of the sequence, if one is wanted by now."""
        if self._pending:
            return self._pending.popleft()
        if self.camera.bursting:
            return self._take_burst()
        image = self.camera.take()
        if image is not None or self._stage.moving:
            self._stage.read(self._clock.now_ns())
        return None if image is None else self._made(image)

    def burst(self, n_frames: int, interval_ms: float) -> int | None:
        """Let the camera take a burst by itself, between what was imaged before and what is afterwards.

        The moment after which only its frames are exposed, ns; None if the camera cannot keep the interval.
        """
        if not self.camera.running or not self.camera.can_sequence(interval_ms):
            return None
        if self.camera.streaming:
            self._pending.extend(self._made(image) for image in self.camera.interrupt())
        since_ns = self._clock.now_ns()
        try:
            self.camera.plan_burst(n_frames, interval_ms)
            self._imaging.change(self._in_force())
            if self._settings.mode == "snap":
                self._illumination.on_for_sequence()
            self.camera.start_burst()
        except MicroscopeError:
            self._go_on_after_burst()
            raise
        return since_ns

    def burst_failure(self) -> str:
        """Why the last burst has fewer frames than were asked for, once they have been taken; empty if it has not."""
        return "" if self._pending else self.camera.burst_failure

    def _take_burst(self) -> Unnumbered | None:
        images = self.camera.take_burst()
        self._stage.read(self._clock.now_ns())
        self._pending.extend(self._made(image) for image in images)
        if not self.camera.bursting:
            self._go_on_after_burst()
        return self._pending.popleft() if self._pending else None

    def _go_on_after_burst(self) -> None:
        """As before it: with the next snap, or with the stream."""
        if self._settings.mode == "snap":
            self._illumination.off()
        self.camera.end_burst()
        self._imaging.change(self._in_force())
        if self.camera.streaming:
            self.camera.resume()

    def snap(self) -> Unnumbered | None:
        """One image, now; None if imaging was stopped meanwhile."""
        if not self.camera.running:
            return None
        now_ns = self._clock.now_ns()
        self._exposed.taken(1, now_ns, now_ns)
        image = self.camera.snap(self._illumination.on, self._illumination.off)
        self._stage.read(self._clock.now_ns())
        return self._made(image)

    def hand_out(self, made: Unnumbered | None) -> Frame | None:
        """The frame with its index; needs no device."""
        return None if made is None else self._frames.hand_out(made)

    def _made(self, image: CameraImage) -> Unnumbered:
        settings = self._imaging.of_image(image.ended_ns, image.previous_ended_ns)
        return self._frames.make(image, settings, self._stage.at(image.ended_ns))

    def _in_force(self) -> InForce:
        return InForce(
            since_ns=self._clock.now_ns(),
            exposure_ms=self.camera.exposure_ms(),
            interval_ms=self.camera.interval_ms,
            light_mw=self._illumination.light_mw,
            channel=self._channels.current,
            roi_px=self._core.roi(),
        )

    # --- commands -----------------------------------------------------------------------------------------

    def apply(self, command: Command) -> None:
        """Carry out one command; whatever becomes of it, later frames say how they were really taken."""
        if isinstance(command, MoveStage):
            self._stage.move(command, self._clock.now_ns())
            return
        try:
            self._change_imaging(command)
        finally:
            self._imaging.change(self._in_force())

    def _change_imaging(self, command: Command) -> None:
        match command:
            case SetExposure(exposure_ms=value):
                self._change_camera(lambda: self.camera.set_exposure(value), self._settings.live_changes)
            case SetInterval(interval_ms=value):
                live = self._settings.live_changes or not self._settings.interval_property
                self._change_camera(lambda: self.camera.set_interval(value), live)
            case SetLight(light_mw=value):
                self._illumination.set_power(value)
            case SetChannel(channel=name):
                self._change_camera(lambda: self._channels.switch(name, self._illumination), live=False)
            case SetRoi():
                roi = (command.x_px, command.y_px, command.width_px, command.height_px)
                self._change_camera(lambda: self.camera.set_roi(roi), live=False)
            case _:
                raise MicroscopeError(f"Micro-Manager ({self.camera.label}) cannot {type(command).__name__}")

    def _change_camera(self, change: Callable[[], None], live: bool) -> None:
        """Make a change; not `live`: with the sequence stopped, and what it had taken until then is kept."""
        if live or not self.camera.streaming:
            change()
            self._core.learn_image_format()
            return
        self._pending.extend(self._made(image) for image in self.camera.interrupt())
        try:
            change()
        finally:
            self.camera.resume()

    def set_gate(self, opened: bool) -> None:
        """Open or shut the trigger output."""
        if self._gate is not None:
            self._gate.set(opened)
        elif opened:
            raise MicroscopeError("there is no trigger output to open: name one as `trigger` in [microscope]")

    def busy(self) -> bool:
        """True while a move is under way; MicroscopeError if it ended elsewhere than asked."""
        if self._stage.busy():
            return True
        if self._stage.moving:
            self._stage.arrived(self._clock.now_ns())
        return False

    def halt(self) -> None:
        """Every drive stopped."""
        self._stage.halt()

    def state(self) -> DeviceState:
        """The devices' answers."""
        return DeviceState(
            stage=self._stage.read(self._clock.now_ns()),
            exposure_ms=self.camera.exposure_ms(),
            interval_ms=self.camera.interval_ms,
            light_mw=self._illumination.light_mw,
            channel=self._channels.read(),
            shutter_open=self._illumination.shutter_open(),
            gate_open=self._gate is not None and self._gate.opened(),
        )

    # --- the end ------------------------------------------------------------------------------------------

    def make_safe(self) -> None:
        """Every step is taken, even if others fail."""
        self._pending.clear()
        try_all(
            "the rig is not safe",
            (
                ("shut the gate", lambda: self.set_gate(False)),
                ("close the shutter", self._illumination.dark),
                ("switch the light off", self._illumination.power_off),
                ("stop the stage", self._stage.halt),
                ("stop the camera", self.camera.stop),
            ),
        )

    def close(self) -> None:
        """Safe, and the core let go."""
        try:
            self.make_safe()
        finally:
            self._release()
