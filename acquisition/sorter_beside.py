"""A microscope and the sorter beside it as one rig: opened, made safe and closed together."""

from dataclasses import replace
from typing import cast

from acquisition.clock import Clock
from acquisition.microscope import Capabilities, Imaging, Microscope, MicroscopeError, RigGone
from acquisition.pulses import Sorter


def with_sorter(microscope: Microscope, sorter: Sorter | None) -> Microscope:
    """The microscope itself, or with the sorter of the `[sorter]` table: pulses are then the sorter's alone."""
    return microscope if sorter is None else cast(Microscope, MicroscopeWithSorter(microscope, sorter))


class MicroscopeWithSorter:
    """What is not written here is the microscope's own: also what only some can do, so that it is still found."""

    def __init__(self, microscope: Microscope, sorter: Sorter) -> None:
        self.inner, self.pulse_timer = microscope, sorter
        for name in dir(type(microscope)):
            is_method = callable(getattr(type(microscope), name))
            if is_method and not name.startswith("_") and not hasattr(type(self), name):
                setattr(self, name, getattr(microscope, name))

    @property
    def rig_id(self) -> str | None:
        """The microscope's, or the sorter's, whose port nobody else can open in any case."""
        return self.inner.rig_id or self.pulse_timer.rig_id

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        """Both, whatever becomes of the other: opening shuts gates and puts lights out."""
        try:
            capabilities = self.inner.open(clock, imaging)
        finally:
            words = self.pulse_timer.open(clock)
        return replace(
            capabilities,
            name=f"{capabilities.name}, with {words}",
            commands=capabilities.commands | {"PulseSorter"},
        )

    def make_safe(self) -> None:
        """Both, whatever becomes of the other."""
        self._both("make_safe")

    def close(self) -> None:
        """Both, whatever becomes of the other."""
        self._both("close")

    def _both(self, what: str) -> None:
        failed: list[MicroscopeError] = []
        for part in (self.pulse_timer, self.inner):
            try:
                getattr(part, what)()
            except MicroscopeError as error:
                failed.append(error)
        if failed:
            kind = next((type(error) for error in failed if isinstance(error, RigGone)), MicroscopeError)
            raise kind("; ".join(map(str, failed)))
