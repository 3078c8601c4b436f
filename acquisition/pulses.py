"""Pulses that a device times by itself: what the trigger output asks of a sorter with a clock of its own.

A computer's clock is good to some ten or hundred microseconds, and now and then to milliseconds. A microcontroller that
is told "open at tick n" well ahead is good to one: the order may be late, the pulse never is.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from acquisition.clock import Clock


@dataclass(frozen=True)
class PulseReport:
    """What became of a pulse that was handed over: exactly one for each."""

    name: str
    """As `fire_at` was given."""
    status: Literal["done", "late", "refused", "failed"]
    detail: str
    opened_ns: int = 0
    """Acquisition clock, as well as it is known; 0 if it never opened."""


@runtime_checkable
class PulseTimer(Protocol):
    """A sorter, or a microscope with one, that opens its gate by a clock of its own. Driven by the loop's thread."""

    @property
    def lead_ms(self) -> float:
        """A pulse must be handed over so long before its moment, or the device would refuse it."""

    def fire_at(self, at_ns: int, width_ms: float, name: str) -> None:
        """Hand a pulse over: the gate opens at `at_ns` (acquisition clock). Never blocks. Raises MicroscopeError."""

    def reports(self) -> list[PulseReport]:
        """What has become of pulses since the last call. Never blocks. Raises RigGone if the device is silent.

        What was heard before that is told first.
        """

    def cancel_pulses(self) -> None:
        """Forget all pulses that have not begun and shut the gate, now; each is still reported, as refused.

        Never blocks: a real device's reports of it come a little later. `make_safe` of the rig does the same and waits.
        """


@runtime_checkable
class HasPulseTimer(Protocol):
    """What a microscope may have besides: a sorter of its own that times pulses. Asked once the microscope is open."""

    @property
    def pulse_timer(self) -> PulseTimer | None:
        """None if its settings leave the timing to the loop, which then uses `set_gate`."""


class Sorter(PulseTimer, Protocol):
    """A sorter beside the microscope: the `[sorter]` table. The class is a dataclass of its settings."""

    @property
    def rig_id(self) -> str | None:
        """What a second run must not open at the same time; None if there is nothing to protect."""

    def open(self, clock: Clock) -> str:
        """Connect, shut the gate, learn the device's clock; a description in words. Raises MicroscopeError."""

    def make_safe(self) -> None:
        """Gate shut and known to be; raises MicroscopeError if the device does not say so."""

    def close(self) -> None:
        """Make safe and let go. Closing twice is harmless."""
