"""Frames that wait in the ring for a reader that misses none: whom a full ring waits for, how long an end may wait."""

from acquisition.clock import NS_PER_S, Clock
from acquisition.microscope import Capabilities
from realtime.bus import DOOR_HWM
from realtime.config import RunConfig
from realtime.ring import Ring, slots_for

FAREWELL_S, LONGEST_FAREWELL_S = 3.0, 15.0
"""How long inference gets for its last word: the second if it goes on looking at stacks that came before the end."""


def ring_for(name: str, config: RunConfig, capabilities: Capabilities) -> Ring:
    """Slots for the largest frame; in a sort no more than inference can be told of: a full ring is an error that is seen.

    Where no images are kept the recorder needs no pixels, and no slot waits for it.
    """
    frame_bytes = capabilities.height_px * capabilities.width_px * (2 if capabilities.dtype == "uint16" else 1)
    n_slots = slots_for(config.ring.megabytes, frame_bytes)
    n_slots = n_slots if config.sort is None else min(n_slots, DOOR_HWM)
    return Ring.create(name, n_slots, frame_bytes, lossless=config.recorder.images == "all")


def why_full(ring: Ring, frame_index: int) -> str:
    """Who is behind, and what helps."""
    if (behind := ring.inference_behind()) > ring.recorder_behind():
        return (
            f"inference is {behind} stacks of strips behind and the ring is full, so stack {frame_index} has no place and "
            "its cells would not be looked at; `reflexscope check` measures what is too slow: lower the rate of cells or "
            "strips, or give it more ring.megabytes if it only pauses"
        )
    return (
        f"the recorder is {ring.n_slots} frames behind and the ring is full, so frame {frame_index} "
        'has no place; use a faster disk, a slower frame rate, more ring.megabytes, or ring.when_full = "drop"'
    )


class Patience:
    """Lasts some seconds from now, and some more as long as inference catches up."""

    def __init__(self, clock: Clock, ring: Ring) -> None:
        self._clock, self._ring = clock, ring
        self._latest_ns = clock.now_ns() + round(LONGEST_FAREWELL_S * NS_PER_S)
        self._behind = ring.inference_behind()
        self._renew()

    def lasts(self) -> bool:
        """False once it is spent."""
        if (behind := self._ring.inference_behind()) < self._behind:
            self._behind = behind
            self._renew()
        return self._clock.now_ns() < self._until_ns

    def _renew(self) -> None:
        self._until_ns = min(self._latest_ns, self._clock.now_ns() + round(FAREWELL_S * NS_PER_S))
