"""What may be asked of a rig, and what became of it.

Commands are imperative (MoveStage), outcomes are past (done, late, refused, failed): a reader of the journal always
knows whether a thing was asked for or happened.
"""

import math
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]


class _Command(msgspec.Struct, frozen=True, tag=True, tag_field="command", forbid_unknown_fields=True):
    """Base of all commands: its numbers are finite, whoever sent them."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{type(self).__name__}.{name} must be a finite number, not {value}")


class MoveStage(_Command, frozen=True):
    """Go to a position in stage micrometres; an axis left out stays where it is."""

    x_um: float | None = None
    y_um: float | None = None
    z_um: float | None = None


class SetInterval(_Command, frozen=True):
    """Time from one frame to the next."""

    interval_ms: Positive


class SetExposure(_Command, frozen=True):
    """Time during which one frame collects light."""

    exposure_ms: Positive


class SetLight(_Command, frozen=True):
    """Power of the light at the sample."""

    light_mw: NotNegative


class SetChannel(_Command, frozen=True):
    """Switch to a channel declared by the microscope."""

    channel: str


class SetRoi(_Command, frozen=True):
    """Read only this part of the sensor; all zero means the whole sensor."""

    x_px: Annotated[int, Meta(ge=0)]
    y_px: Annotated[int, Meta(ge=0)]
    width_px: Annotated[int, Meta(ge=0)]
    height_px: Annotated[int, Meta(ge=0)]


class AcquireBurst(_Command, frozen=True):
    """Take `n_frames` at `interval_ms`, then return to the interval that was in force."""

    n_frames: AtLeastOne
    interval_ms: Positive


class PulseSorter(_Command, frozen=True):
    """Open the trigger output at `at_ns` (acquisition clock) for `width_ms`."""

    at_ns: int
    width_ms: Positive = 1.0


class Pause(_Command, frozen=True):
    """Stop taking frames and close the shutter until Resume."""


class Resume(_Command, frozen=True):
    """Go on after Pause or SafeState."""


class Stop(_Command, frozen=True):
    """End the run in good order."""


class SafeState(_Command, frozen=True):
    """Gate shut, shutter closed, stage still; the run waits for Resume or Stop."""


Command = (
    MoveStage | SetInterval | SetExposure | SetLight | SetChannel | SetRoi | AcquireBurst | PulseSorter
    | Pause | Resume | Stop | SafeState
)  # fmt: skip

COMMAND_NAMES: frozenset[str] = frozenset(kind.__name__ for kind in get_args(Command))


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A command on its way to the rig, with what the loop needs to judge and to answer it."""

    id: str
    command: Command
    source: str
    """Who asks: a policy's name, `operator` or `supervisor`."""
    deadline_ns: int | None = None
    """Acquisition clock; after it the order is refused as late. Operators' orders do not expire."""
    arrived_ns: int = 0
    """When it reached the acquisition process, acquisition clock."""
    why: str = ""
    """In words: a person's, or a policy's with its name."""
    trusted: bool = False
    """From a person or the supervisor: it may act while the rig is paused or safe, and it may end that state."""


Status = Literal["done", "late", "refused", "failed"]


class Outcome(msgspec.Struct, frozen=True):
    """What became of a decision: exactly one for each."""

    decision_id: str
    status: Status
    detail: str
    t_ns: int
