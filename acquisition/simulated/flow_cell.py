"""A simulated flow cell: cells flow past a fast camera to a sorter, and what became of each is known.

The flow runs on the run's clock, whether the camera does or not. On a simulated clock everything happens in the caller's
thread, and the same seed and commands give the same bytes. On a real clock a worker thread draws stacks ahead.
"""

from dataclasses import dataclass

import msgspec

from acquisition.clock import NS_PER_MS, Clock
from acquisition.commands import Command, SetExposure, SetInterval, SetLight
from acquisition.frame import Frame, StagePosition
from acquisition.microscope import Capabilities, DeviceState, Imaging, MicroscopeError, PassedCell
from acquisition.pulses import PulseTimer
from acquisition.simulated.flow_camera import StackCamera
from acquisition.simulated.flow_rendering import StripPainter
from acquisition.simulated.flow_settings import FlowCellSettings
from acquisition.simulated.flow_sorter import SimulatedSorter
from acquisition.simulated.flow_sprites import FlowSprites
from acquisition.simulated.flow_truth import FlowTruth
from acquisition.simulated.flow_world import FlowWorld

NAME = "simulated flow cell"
CHANNEL = {"blood": "bright field", "nuclei": "fluorescence"}
APPLIES = ("SetInterval", "SetExposure", "SetLight")
SERVED_BY_THE_LOOP = ("PulseSorter",)
SETTLE_NS = 100 * NS_PER_MS
"""How often the cells that have passed are noted, even if nobody asks."""


@dataclass
class FlowCell(FlowCellSettings):
    """Blood cells or nuclei in a channel, seen in stacks of strips by an 8-bit camera with a strobe."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._is_open = False

    @property
    def rig_id(self) -> str | None:
        """None: any number of simulated flow cells may run side by side."""
        return None

    @property
    def pulse_timer(self) -> PulseTimer | None:
        """The sorter, if its timing is its own."""
        return self._sorter if self._is_open and self.sorter.timing == "own" else None

    @property
    def pulses(self) -> list[tuple[int, int]]:
        """When the gate was open, (opened_ns, shut_ns): at least the latest 10,000 times."""
        self._require_open()
        self._sorter.catch_up()
        return list(self._sorter.pulses)

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        """Let the sample flow and switch everything on; the light stays off."""
        if self._is_open:
            raise MicroscopeError(f"the {NAME} is open already; close it first")
        self._clock = clock
        self._imaging = self._checked(imaging)
        sprites = FlowSprites.of(self)
        self._world = FlowWorld(self, sprites, clock.now_ns())
        painter = StripPainter(self, sprites, self._world)
        painter.draw([clock.now_ns()], self._imaging)  # compiles, or loads what was compiled, before the first exposure
        self._sorter = SimulatedSorter(self.sorter, clock)
        self._truth, self._settled_ns = FlowTruth(self._world, self._sorter), clock.now_ns()
        self._camera = StackCamera(clock, self, CHANNEL[self.specimen], painter.draw)
        self._camera.set(self._imaging)
        self._is_open = True
        return Capabilities(
            name=NAME, height_px=self.height_px * self.strips, width_px=self.width_px, dtype="uint8",
            um_per_px=self.um_per_px, channels=(CHANNEL[self.specimen],),
            commands=frozenset(APPLIES + SERVED_BY_THE_LOOP),
        )  # fmt: skip

    def start(self) -> None:
        """Begin the first strip now."""
        self._require_open()
        self._camera.start()

    def stop(self) -> None:
        """Camera and strobe stop; stacks that nobody has read are dropped. The sample flows on."""
        self._require_open()
        self._camera.stop()

    def ready_in_s(self) -> float:
        """Time until the next stack is there."""
        self._require_open()
        return self._camera.ready_in_s()

    def poll_frame(self) -> Frame | None:
        """The next stack in order, or None."""
        self._require_open()
        exposed = self._camera.poll()
        if exposed is None:
            return None
        header, stack = exposed
        self._truth.see(stack)
        if header.t_ns - self._settled_ns > SETTLE_NS:
            self._settled_ns = header.t_ns
            self._truth.settle()
        return Frame(header, stack.pixels)

    def lost_frames(self) -> int:
        """Stacks that found the camera's buffer full."""
        self._require_open()
        self._camera.catch_up()
        return self._camera.n_lost

    def dose_mj(self) -> float:
        """Power × exposure of all strips so far, the part of the one under way included."""
        self._require_open()
        return self._camera.dose_mj()

    def exhausted(self) -> bool:
        """Never: the sample flows on."""
        return False

    def apply(self, command: Command) -> None:
        """Obey from the next stack on."""
        self._require_open()
        match command:
            case SetInterval(interval_ms=interval_ms):
                self._image_with(msgspec.structs.replace(self._imaging, interval_ms=interval_ms))
            case SetExposure(exposure_ms=exposure_ms):
                self._image_with(msgspec.structs.replace(self._imaging, exposure_ms=exposure_ms))
            case SetLight(light_mw=light_mw):
                self._image_with(msgspec.structs.replace(self._imaging, light_mw=light_mw))
            case _:
                name = type(command).__name__
                raise MicroscopeError(f"the {NAME} itself cannot {name}; it can {', '.join(APPLIES)}")

    def busy(self) -> bool:
        """Never: there is no stage."""
        self._require_open()
        return False

    def halt(self) -> None:
        """Nothing to do: there is no stage."""
        self._require_open()

    def set_gate(self, opened: bool) -> None:
        """Open or shut the sorter by hand, whatever its timing."""
        self._require_open()
        self._sorter.set_gate(opened)

    def state(self) -> DeviceState:
        """The devices as they are now; the light's power is that of the strobe's flashes."""
        self._require_open()
        imaging, now_ns = self._imaging, self._sorter.catch_up()
        return DeviceState(
            stage=StagePosition(), exposure_ms=imaging.exposure_ms, interval_ms=imaging.interval_ms,
            light_mw=imaging.light_mw, channel=CHANNEL[self.specimen], shutter_open=self._camera.running,
            gate_open=self._sorter.is_open(now_ns),
        )  # fmt: skip

    def make_safe(self) -> None:
        """Gate shut, pulses forgotten, camera and strobe stopped; nothing to do on a closed flow cell."""
        if self._is_open:
            self._sorter.cancel_pulses()
            self._camera.stop()

    def close(self) -> None:
        """Make safe and end the drawing thread."""
        if self._is_open:
            self.make_safe()
            self._camera.close()
            self._is_open = False

    def passed(self) -> list[PassedCell]:
        """Cells that have passed the junction since the last call, each once."""
        self._require_open()
        return self._truth.passed()

    def _require_open(self) -> None:
        if not self._is_open:
            raise MicroscopeError(f"the {NAME} is not open; call open() first")

    def _image_with(self, imaging: Imaging) -> None:
        self._imaging = self._checked(imaging)
        self._camera.set(self._imaging)

    def _checked(self, imaging: Imaging) -> Imaging:
        """The same, if camera and strobe can do it."""
        channel, shortest_ms = CHANNEL[self.specimen], self.camera.shortest_interval_ms
        if imaging.channel not in ("", channel):
            raise MicroscopeError(f"{NAME}: no channel {imaging.channel!r}; it has {channel}")
        if imaging.interval_ms < shortest_ms * (1 - 1e-9):
            raise MicroscopeError(
                f"{NAME}: an interval of {imaging.interval_ms:g} ms is shorter than its camera's {shortest_ms:g} ms"
            )
        if imaging.exposure_ms >= imaging.interval_ms:
            raise MicroscopeError(
                f"{NAME}: exposure {imaging.exposure_ms:g} ms must be shorter than the interval from strip to strip, "
                f"{imaging.interval_ms:g} ms; shorten it or lengthen the interval"
            )
        return imaging
