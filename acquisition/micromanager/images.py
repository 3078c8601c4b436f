"""What the camera hands over, and who is told of the light that it took."""

from dataclasses import dataclass
from typing import Protocol

from acquisition.micromanager.core_calls import Pixels


@dataclass(frozen=True)
class CameraImage:
    """A wanted image, fresh from the camera."""

    pixels: Pixels
    ended_ns: int
    """End of exposure."""
    previous_ended_ns: int
    """The exposure began after this: the end of the image before it, or the start of the sequence."""
    read_ns: int
    lost_before: int
    """Images lost right before this one, as far as they were wanted."""


class Exposures(Protocol):
    """Keeps the account of the light that images took."""

    def taken(self, n: int, ended_ns: int, previous_ended_ns: int) -> None:
        """`n` images, the last of them exposed until `ended_ns` and begun after `previous_ended_ns`."""

    def dropped(self, n: int) -> None:
        """`n` images after the last one taken, that nobody will look at."""
