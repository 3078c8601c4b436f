"""Faults on the way of a frame from the camera to the loop: dropped, late, duplicated, corrupt, or none at all any more."""

import zlib
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.faults import CorruptFrames, Faults
from acquisition.frame import Frame

Pixels = npt.NDArray[np.generic]


class FaultyFrames:
    """Frames in, in order; frames out, in order, but for what the faults make of them."""

    def __init__(self, faults: Faults) -> None:
        self.n_lost = 0
        """Frames whose indices were given out and that nobody will get."""
        self._faults = faults
        self.beside: Any = None
        """What was put in with the frame that was got last."""
        self._held: deque[tuple[int, Frame, Any]] = deque()
        """When a frame may be handed out, the frame that nobody has got, and what belongs to it."""
        self._again: Frame | None = None
        self._before: Pixels | None = None
        self._burst_since_ns = self._burst_left = self._burst_lost = 0
        self._burst_last = -1  # index of its newest frame

    def begin_burst(self, n_frames: int, since_ns: int) -> None:
        """So many frames that are exposed after that belong together."""
        self._burst_since_ns, self._burst_left, self._burst_lost = since_ns, n_frames, 0

    @property
    def holds_burst(self) -> bool:
        """Frames of the last burst are held back yet."""
        return bool(self._held) and self._held[0][1].header.index <= self._burst_last

    def burst_failure(self) -> str:
        """How many frames of the last burst were lost, after its last one; empty if none was."""
        if self._burst_left or not self._burst_lost or self.holds_burst:
            return ""
        return f"{self._burst_lost} of its frames were lost (fault dropped_frames)"

    def put(self, frame: Frame, now_ns: int, beside: Any = None) -> None:
        """A frame that the camera has delivered, and what is known of it beside."""
        index, late = frame.header.index, self._faults.late_frames
        is_lost = self._falls_on("dropped_frames", index)
        self._count_burst(frame, is_lost)
        if is_lost:
            self.n_lost += 1
            return
        delay_ms = late.delay_ms if late is not None and self._falls_on("late_frames", index) else 0.0
        self._held.append((now_ns + round(delay_ms * NS_PER_MS), frame, beside))

    def get(self, now_ns: int) -> Frame | None:
        """The next frame whose time has come."""
        if self._again is not None:
            frame, self._again = self._again, None
            return frame
        if not self._held or self._held[0][0] > now_ns:
            return None
        _, frame, self.beside = self._held.popleft()
        if self._faults.late_frames is not None:
            frame = Frame(replace(frame.header, t_read_ns=now_ns), frame.pixels)
        if self._faults.corrupt_frames is not None:
            frame = self._corrupted(frame, self._faults.corrupt_frames)
        if self._falls_on("duplicated_frames", frame.header.index):
            self._again = frame
        return frame

    def due_in_s(self, now_ns: int) -> float | None:
        """Time until `get` has a frame; None if it waits for one."""
        if self._again is not None:
            return 0.0
        return max(0, self._held[0][0] - now_ns) / NS_PER_S if self._held else None

    def drop(self) -> None:
        """The camera was stopped: nobody will get what is held."""
        self.n_lost += len(self._held)
        self._held.clear()
        self._again = None

    def _count_burst(self, frame: Frame, is_lost: bool) -> None:
        header = frame.header
        if self._burst_left and header.t_ns - round(header.exposure_ms * NS_PER_MS) > self._burst_since_ns:
            self._burst_left, self._burst_last = self._burst_left - 1, header.index
            self._burst_lost += is_lost

    def _falls_on(self, name: str, index: int) -> bool:
        """Whether a fault meets this frame: by chance, but in every run the same."""
        fault = getattr(self._faults, name)
        return fault is not None and _random(name, index).random() < fault.share

    def _corrupted(self, frame: Frame, fault: CorruptFrames) -> Frame:
        before, self._before = self._before, frame.pixels
        if not self._falls_on("corrupt_frames", frame.header.index):
            return frame
        return Frame(frame.header, _with_a_wrong_band(frame, before, fault))


def _with_a_wrong_band(frame: Frame, before: Pixels | None, fault: CorruptFrames) -> Pixels:
    pixels, n_rows = frame.pixels.copy(), len(frame.pixels)
    n_wrong = round(fault.rows * n_rows)
    first = int(_random("rows", frame.header.index).integers(n_rows - n_wrong, endpoint=True))
    band = slice(first, first + n_wrong)
    if fault.how == "saturated":
        pixels[band] = np.iinfo(frame.header.dtype).max
    elif fault.how == "torn" and before is not None and before.shape == pixels.shape:
        pixels[band] = before[band]
    elif fault.how == "zeroed":
        pixels[band] = 0
    return pixels


def _random(purpose: str, index: int) -> np.random.Generator:
    return np.random.default_rng((zlib.crc32(purpose.encode()), index))
