"""What the loop asks of a microscope. Any class with these methods is one; nothing has to be inherited.

tests/contracts/test_microscope_contract.py is the same promise as code: every microscope must pass it.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

import msgspec
from msgspec import Meta

from acquisition.clock import Clock
from acquisition.commands import Command, NotNegative, Positive
from acquisition.frame import Frame, PixelType, StagePosition

FilePath = Annotated[str, Meta(extra={"path": True})]
"""A setting that names a file or folder; the config loader makes it relative to the config file's folder."""


class MicroscopeError(RuntimeError):
    """Something the rig could not do; the message says what, where, the value seen and what to do."""


class CameraStalled(MicroscopeError):
    """No frame came within the configured time-out."""


class RigGone(MicroscopeError):
    """The rig does not answer any more (a hung driver, a dead server): this process can only end."""


class Imaging(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run starts imaging; commands change these values later."""

    interval_ms: Positive = 50.0
    exposure_ms: Positive = 10.0
    light_mw: NotNegative = 1.0
    channel: str = ""
    """Empty: leave the channel as the microscope has it."""
    stall_s: Annotated[float, Meta(gt=0)] = 5.0
    """How long past the time it was due a frame may stay out before the camera counts as stalled."""


@dataclass(frozen=True)
class Capabilities:
    """What a microscope can do, known once it is open."""

    name: str
    height_px: int
    """Rows of the largest frame: room for frames is made once, so SetRoi refuses more than height_px × width_px."""
    width_px: int
    dtype: PixelType
    um_per_px: float
    commands: frozenset[str]
    """Names of the commands it obeys; the loop refuses the others."""
    channels: tuple[str, ...] = ()
    lit_share: float | None = None
    """Share of the time for which the sample is lit, whatever the exposure; None if only exposures light it."""
    off_delay_ms: float = 0.0
    """How long the light stays on after an exposure, where only exposures light the sample."""
    sequences: tuple[str, ...] = ()
    """What the devices do in step with the camera without the computer, in words for people."""


@dataclass(frozen=True)
class DeviceState:
    """The devices' own answers, read back: not what was asked for."""

    stage: StagePosition
    exposure_ms: float
    interval_ms: float
    light_mw: float
    channel: str
    shutter_open: bool
    gate_open: bool


class Microscope(Protocol):
    """A camera, a stage, a light and a trigger output, driven by one thread: the loop's.

    The class is a dataclass of its settings, which come from the `[microscope]` table of the config.
    """

    @property
    def rig_id(self) -> str | None:
        """What a second run must not open at the same time; None if there is nothing to protect."""

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        """Connect and set up; the light stays off. Raises MicroscopeError."""

    def start(self) -> None:
        """Camera running, shutter open (at the latest while a frame is exposed). Harmless if it runs already."""

    def stop(self) -> None:
        """Camera stopped, shutter closed. Harmless if it is stopped already.

        Frames exposed before that nobody has polled are dropped and leave no gap: an index is given out with the
        frame, so the first frame after start() follows the last one handed out but for lost frames, which are counted.
        """

    def ready_in_s(self) -> float:
        """The soonest a frame can be ready or a device needs attention; 0 means now. Never blocks."""

    def poll_frame(self) -> Frame | None:
        """The next frame in order, or None if there is none yet. Raises MicroscopeError."""

    def lost_frames(self) -> int:
        """Frames the camera lost before anyone could read them, since open()."""

    def dose_mj(self) -> float:
        """Light energy put on the field since open(), up to now.

        Power × exposure of every image at the settings it was taken with, thrown away and lost ones included; where the
        light is on for longer than that, power × all of its time. No device is asked: it can be read every turn.
        """

    def exhausted(self) -> bool:
        """True once no further frame can come, for example at the end of a recorded movie."""

    def apply(self, command: Command) -> None:
        """Start to carry out a command that is in `Capabilities.commands`; `busy` tells when a move has ended.

        Raises MicroscopeError if the devices refuse; the state is then as before or as `state` reads it back.
        """

    def busy(self) -> bool:
        """True while a move is under way or settling. Raises MicroscopeError if it ended elsewhere than asked."""

    def halt(self) -> None:
        """Stop the stage where it is: every drive is tried, then what failed is raised as MicroscopeError.

        busy() is False afterwards, and the next move is reckoned from wherever the stage stands.
        """

    def set_gate(self, opened: bool) -> None:
        """Open or shut the trigger output, now."""

    def state(self) -> DeviceState:
        """Read the devices back."""

    def make_safe(self) -> None:
        """Gate shut, shutter closed, light off, stage still, camera stopped. Tries all, then raises what failed."""

    def close(self) -> None:
        """Make safe and let go of the hardware. Closing twice is harmless."""


@runtime_checkable
class BurstSequencer(Protocol):
    """What a microscope may have besides: a camera that takes bursts by itself. For others the loop counts frames."""

    def burst(self, n_frames: int, interval_ms: float) -> int | None:
        """Start exactly so many exposures at this interval, then go on imaging as before.

        The moment, ns, after which only frames of the burst are exposed until it is over; all of them become frames.
        None if the devices cannot keep this interval by themselves; nothing has changed then. Raises MicroscopeError.
        """

    def burst_failure(self) -> str:
        """Why the last burst has fewer frames than were asked for, told after its last one; empty if it has not."""


@runtime_checkable
class TellsTruth(Protocol):
    """What a microscope may have besides: it knows what it shows."""

    def nuclei(self) -> Any:
        """All cells of the specimen as they were in the frame that was read last; see acquisition/simulated/nuclei.py."""

    def history(self) -> list[Any]:
        """What has happened in the specimen until then, asked in any thread; see acquisition/simulated/history.py."""


@dataclass(frozen=True)
class PassedCell:
    """A cell that has passed the sort junction, as it really was. Times are the acquisition clock's."""

    id: int
    kind: str
    """Its class."""
    arrival_ns: int
    """Its centre was at the junction."""
    y_um: float
    """From the channel's axis, downwards in the image."""
    speed_um_s: float
    """Its mean speed along the flow."""
    entered_ns: int
    """Its centre entered the view."""
    strips: int
    """So many strips that were handed out show it with its centre in view."""
    deflected: bool


@runtime_checkable
class TellsSorted(Protocol):
    """What a microscope may have besides: it knows which cells have passed its sorter, and which were deflected."""

    def passed(self) -> list[PassedCell]:
        """Those that have passed since the last call, each once. Driven by the loop's thread."""
