"""Microscopes whose drivers hang, break or cannot be stilled, for tests of what the processes make of it."""

import threading
from dataclasses import dataclass, field

from acquisition.frame import Frame
from acquisition.microscope import MicroscopeError
from tests.system.witness import WitnessedMicroscope


@dataclass
class Rogue(WitnessedMicroscope):
    """Behaves until frame `after`, then `how`: `hang` in the driver, a `bug` in it, or `unsafe`: no way to make it safe."""

    how: str = ""
    after: int = 10
    _has_imaged: bool = field(default=False, init=False)

    def start(self) -> None:
        super().start()
        self._has_imaged = True

    def poll_frame(self) -> Frame | None:
        frame = super().poll_frame()
        if frame is not None and frame.header.index >= self.after:
            if self.how == "hang":
                threading.Event().wait()
            if self.how == "bug":
                raise TypeError("the driver forgot an argument")
        return frame

    def make_safe(self) -> None:
        if self.how == "unsafe" and self._has_imaged:  # a fresh process reaches the devices again
            raise MicroscopeError("the shutter does not answer")
        super().make_safe()
