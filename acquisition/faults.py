"""Faults by name: what can go wrong with a rig, its disk and its computer, made to happen on purpose.

    [faults]
    stalled_camera = { after_s = 5.0 }

A run with faults tells so in its journal and summary. Times are seconds after imaging began, unless they say otherwise.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from acquisition.commands import AtLeastOne, NotNegative, Positive

Share = Annotated[float, Meta(ge=0, le=1)]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that goes wrong; its settings say how badly."""


class DroppedFrames(Fault, frozen=True, kw_only=True):
    """The camera loses frames before anyone could read them, and counts them."""

    share: Share = 0.1
    """Of all frames, each by chance of its own; the same frames in every run."""


class LateFrames(Fault, frozen=True, kw_only=True):
    """Frames reach the computer late, as over a busy cable. Those behind them wait."""

    share: Share = 0.1
    """Of all frames."""
    delay_ms: Positive = 200.0
    """So much later than they would."""


class DuplicatedFrames(Fault, frozen=True, kw_only=True):
    """Frames come twice, with the same index and the same pixels."""

    share: Share = 0.1
    """Of all frames."""


class CorruptFrames(Fault, frozen=True, kw_only=True):
    """Frames with wrong pixels in a band of rows, and nothing in their headers that says so."""

    share: Share = 0.1
    """Of all frames."""
    how: Literal["torn", "zeroed", "saturated"] = "torn"
    """`torn`: the rows are those of the frame before. `zeroed`: they are 0. `saturated`: they are the largest value there is."""
    rows: Share = 0.25
    """Height of the band, as a share of the frame; where it lies differs from frame to frame."""


class StalledCamera(Fault, frozen=True, kw_only=True):
    """The camera delivers no frame any more, and does not say why."""

    after_s: NotNegative = 5.0


class StuckStage(Fault, frozen=True, kw_only=True):
    """Moves are accepted and never end; the stage stands where it is, until it is halted."""

    after_s: NotNegative = 5.0


class SlowStage(Fault, frozen=True, kw_only=True):
    """The stage sets off late."""

    delay_s: Positive = 0.5
    """Time between the command and the beginning of the move."""


class LightStaysOn(Fault, frozen=True, kw_only=True):
    """The light does not go off any more, whoever asks, and burns on between exposures: its device says so, and every
    millijoule counts."""

    after_s: NotNegative = 5.0
    """Before, it obeys."""


class ClockJump(Fault, frozen=True, kw_only=True):
    """The machine's clock jumps ahead once, for all processes of a run, as after a computer has slept."""

    after_s: NotNegative = 15.0
    """After the run was started, its preparations included."""
    jump_s: Positive = 2.0


class FullDisk(Fault, frozen=True, kw_only=True):
    """The disk is smaller than it is: it fills up."""

    after_mb: NotNegative = 20.0
    """Room for so many megabytes of pixels."""


class SlowDisk(Fault, frozen=True, kw_only=True):
    """The disk lets the recorder wait for every frame."""

    delay_ms: Positive = 100.0


class SlowInference(Fault, frozen=True, kw_only=True):
    """Image analysis takes longer than it does."""

    delay_ms: Positive = 300.0
    """For every frame that is looked at."""


class KilledInference(Fault, frozen=True, kw_only=True):
    """The inference process is killed from one moment to the next, once. Only for runs with processes."""

    at_frame: AtLeastOne = 50
    """Index of the first frame it does not live to see."""


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to go wrong in a run; what is left out does not."""

    dropped_frames: DroppedFrames | None = None
    late_frames: LateFrames | None = None
    duplicated_frames: DuplicatedFrames | None = None
    corrupt_frames: CorruptFrames | None = None
    stalled_camera: StalledCamera | None = None
    stuck_stage: StuckStage | None = None
    slow_stage: SlowStage | None = None
    light_stays_on: LightStaysOn | None = None
    clock_jump: ClockJump | None = None
    full_disk: FullDisk | None = None
    slow_disk: SlowDisk | None = None
    slow_inference: SlowInference | None = None
    killed_inference: KilledInference | None = None

    def words(self) -> list[str]:
        """Each fault with its settings, as `late_frames (share = 0.1, delay_ms = 200)`."""
        chosen = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return [f"{name} ({_settings(fault)})" for name, fault in chosen if fault is not None]


MICROSCOPE_FAULTS = (
    "dropped_frames", "late_frames", "duplicated_frames", "corrupt_frames", "stalled_camera", "stuck_stage", "slow_stage",
    "light_stays_on",
)  # fmt: skip
FAULT_NAMES = Faults.__struct_fields__


def _settings(fault: Fault) -> str:
    values = ((name, getattr(fault, name)) for name in fault.__struct_fields__)
    return ", ".join(f"{name} = {f'{value:g}' if isinstance(value, float) else value}" for name, value in values)
