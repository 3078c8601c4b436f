"""A recorded movie: frames read one at a time, what is known about them, and the names our sessions use.

The recorder (realtime/session/images.py) writes under these names and the readers of this package read them.
"""

import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from acquisition.frame import Affine, PixelType, StagePosition

Pixels = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

FACTS_GROUP = "frames"
FACTS: dict[str, tuple[str, int]] = {
    "index": ("int64", 1),
    "t_ns": ("int64", 1),
    "x_um": ("float64", 1),
    "y_um": ("float64", 1),
    "z_um": ("float64", 1),
    "exposure_ms": ("float64", 1),
    "interval_ms": ("float64", 1),
    "light_mw": ("float64", 1),
    "stage_from_pixel": ("float64", 6),
    "dose_mj": ("float64", 1),
    "channel": ("uint8", 128),
    "reason": ("uint8", 128),
}
"""Arrays beside a session's pixels, one row a frame: data type, columns. uint8: UTF-8 text, then zeros."""

UM_PER_UNIT = {
    "nanometer": 1e-3, "nm": 1e-3, "micrometer": 1.0, "micron": 1.0, "microns": 1.0, "um": 1.0, "µm": 1.0,
    "μm": 1.0, "\\u00B5m": 1.0, "millimeter": 1e3, "mm": 1e3,
}  # fmt: skip
S_PER_UNIT = {
    "nanosecond": 1e-9, "ns": 1e-9, "microsecond": 1e-6, "µs": 1e-6, "millisecond": 1e-3, "ms": 1e-3,
    "second": 1.0, "sec": 1.0, "s": 1.0, "minute": 60.0, "min": 60.0, "hour": 3600.0, "h": 3600.0,
}  # fmt: skip
LAST_NS = 2.0**63


class MovieError(ValueError):
    """A movie that cannot be played: what, where, the value seen, what is allowed and what to do."""


DAMAGE: tuple[type[Exception], ...] = (
    ValueError, TypeError, LookupError, AttributeError, OSError, RuntimeError, EOFError,
    struct.error, zlib.error, lzma.LZMAError, ElementTree.ParseError,
)  # fmt: skip
"""What file libraries and codecs raise for an unknown codec, a missing part or bytes that make no sense."""


@contextmanager
def damage(what: str, *further_kinds: type[Exception]) -> Iterator[None]:
    """Whatever bytes can break while a movie is read is said in one way: a MovieError that begins with `what`."""
    try:
        yield
    except MovieError:
        raise
    except DAMAGE + further_kinds as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise MovieError(f"{what} ({why}); save or copy the movie again") from error


@dataclass(frozen=True)
class FrameFacts:
    """What one of our own sessions recorded about one frame besides its pixels."""

    stage: StagePosition
    stage_from_pixel: Affine
    exposure_ms: float
    interval_ms: float
    light_mw: float
    dose_mj: float
    channel: str
    reason: str


@dataclass(frozen=True)
class Movie:
    """An open movie. Frames are read when they are asked for; a movie is for one thread at a time."""

    path: Path
    n_frames: int
    shape: tuple[int, int]
    """Height and width of the first frame; only our own sessions may change it on the way."""
    dtype: PixelType
    read: Callable[[int], Pixels] = field(repr=False)
    close: Callable[[], None] = field(repr=False, default=lambda: None)
    largest_shape: tuple[int, int] | None = None
    """Of the frames with the most pixels, if that is not the first one's."""
    um_per_px: float | None = None
    times_ns: Ints | None = field(repr=False, default=None)
    """`[n_frames]` end of exposure on the clock of the recording; only differences mean anything."""
    indices: Ints | None = field(repr=False, default=None)
    """`[n_frames]` the indices that our own sessions gave the frames; a jump is a frame the camera lost."""
    facts: Callable[[int], FrameFacts] | None = field(repr=False, default=None)

    def __len__(self) -> int:
        return self.n_frames

    def pixels(self, position: int) -> Pixels:
        """One frame, `[H, W]` uint8 or uint16, read-only, counted from 0."""
        if not 0 <= position < self.n_frames:
            raise IndexError(f"{self.path}: frame {position} is not one of 0 to {self.n_frames - 1}")
        pixels = np.ascontiguousarray(self.read(position))
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        pixels.flags.writeable = False
        return pixels


def series_name(number: int) -> str:
    """Folder of a session's first, second … series; a new shape or data type of frames opens the next."""
    return "images.ome.zarr" if number == 1 else f"images.{number:03d}.ome.zarr"


def grey_type(path: Path, dtype: np.dtype[Any]) -> PixelType:
    """The pixel type if it can be played, else an error that says what to do."""
    for allowed in get_args(PixelType):
        if dtype.newbyteorder("=") == np.dtype(allowed):
            pixel_type: PixelType = allowed
            return pixel_type
    raise MovieError(
        f"{path}: pixels are {dtype.name}; cameras deliver uint8 or uint16 counts and only these are played. "
        "Convert the movie to 8 or 16 bit first"
    )


def refuse_axes(path: Path, sizes: dict[str, int]) -> None:
    """Refuse a movie with more than time, y and x. Keys: axes in lower case, s being colour samples."""
    if sizes.get("s", 1) > 1:
        raise MovieError(
            f"{path}: a colour movie with {sizes['s']} samples a pixel; only grey movies are played. "
            "Save one colour, or the grey value, as a movie of its own"
        )
    if sizes.get("c", 1) > 1:
        raise MovieError(f"{path}: {sizes['c']} channels; one is played. Save each channel as a movie of its own")
    if sizes.get("z", 1) > 1:
        raise MovieError(
            f"{path}: {sizes['z']} planes along z; single planes are played. Save one plane or a "
            "projection or, if z stands for time here, mark that axis as time"
        )


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sorts t2.tif before t10.tif."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def regular_times_ns(n_frames: int, interval_s: float) -> Ints | None:
    """Times of frames that are `interval_s` apart, or None if that says nothing."""
    if not 0 < interval_s * 1e9 * n_frames < LAST_NS:
        return None
    return np.round(np.arange(n_frames) * (interval_s * 1e9)).astype(np.int64)


def rising_or_none(times_ns: Ints) -> Ints | None:
    """The times if each frame comes after the one before it; others are not to be believed."""
    return times_ns if bool(np.all(np.diff(times_ns) > 0)) else None


def text_row(text: str, width: int) -> bytes:
    """UTF-8 in exactly `width` bytes, cut at a whole character or filled up with zeros."""
    return text.encode()[:width].decode(errors="ignore").encode().ljust(width, b"\0")


def text_of(row: npt.NDArray[np.uint8]) -> str:
    """The text in a row made by `text_row`."""
    return row.tobytes().rstrip(b"\0").decode()
