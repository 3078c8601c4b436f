"""The one way in which the driver speaks to a Micro-Manager core, whichever core it is.

Calls are named as in MMCore's manual (camelCase). What the Java bridge does differently (snake_case names,
whole numbers as int, vectors, rectangles, images as one line of pixels) is levelled here and nowhere else.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.microscope import MicroscopeError

Pixels = npt.NDArray[np.generic]
Foreign = Any
"""A core, or what it answers: pymmcore and the bridge declare no types."""
PIXEL_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype(np.uint8), 2: np.dtype(np.uint16)}
"""By bytes a pixel."""


@dataclass(frozen=True)
class Image:
    """An image taken out of the core's buffer: pixels that we own, and its tags, if they were read."""

    pixels: Pixels
    number: int | None
    """Counts the images of a sequence from 0; a gap means that images were lost in between."""
    elapsed_ms: float | None
    """Camera adapter's time since the start of the sequence, taken when it had the image."""


class CoreCalls:
    """A core behind one spelling, for one thread. Every failure is a MicroscopeError that names the call."""

    def __init__(
        self,
        core: Foreign,
        note: Callable[[str], None],
        new_metadata: Callable[[], Foreign] | None,
        tagged: bool = True,
    ) -> None:
        """`new_metadata` makes pymmcore's Metadata, None means a core on the Java bridge, where `tagged` says
        whether images are to come with their tags: it takes three more transfers."""
        self._core, self._note, self._new_metadata, self._tagged = core, note, new_metadata, tagged
        self._remote = new_metadata is None
        self.shape = (0, 0)
        self.dtype: np.dtype[Any] = PIXEL_TYPES[1]

    def do(self, name: str, *args: object) -> Foreign:
        """Call an MMCore function; arguments are positional and of plain Python types."""
        self._note(name)
        try:
            return getattr(self._core, snake_case(name) if self._remote else name)(*args)
        except Exception as error:  # pymmcore raises several kinds, the bridge nothing but Exception
            raise MicroscopeError(f"Micro-Manager refused {name}{args}: {first_line(error)}") from error

    def number(self, name: str, *args: object) -> float:
        return float(self.do(name, *args))

    def count(self, name: str, *args: object) -> int:
        return int(self.do(name, *args))

    def flag(self, name: str, *args: object) -> bool:
        return bool(self.do(name, *args))

    def text(self, name: str, *args: object) -> str:
        return str(self.do(name, *args))

    def names(self, name: str, *args: object) -> tuple[str, ...]:
        """A list of strings; the bridge answers with a Java vector."""
        answer = self.do(name, *args)
        if not self._remote:
            return tuple(answer)
        return tuple(str(answer.get(i)) for i in range(int(answer.size())))

    def roi(self) -> tuple[int, int, int, int]:
        """x, y, width, height of what the camera reads, in pixels."""
        answer = self.do("getROI")
        x, y, w, h = (answer.x, answer.y, answer.width, answer.height) if self._remote else answer
        return int(x), int(y), int(w), int(h)

    def affine(self) -> tuple[float, ...]:
        """Six numbers of the configuration's pixel calibration; all zero if it has none."""
        if self._remote:
            return tuple(float(part) for part in self.text("getPixelSizeAffineAsString").split(";"))
        return tuple(float(value) for value in self.do("getPixelSizeAffine"))

    def set_property(self, device: str, name: str, value: str | float) -> None:
        """Always as text: a number's overload is picked anew by every Java server."""
        text = value if isinstance(value, str) else f"{value:.10g}"
        try:
            self.do("setProperty", device, name, text)
        except MicroscopeError as error:
            raise MicroscopeError(f"{device}.{name} = {text!r}: {error}{self._allowed(device, name)}") from error

    def _allowed(self, device: str, name: str) -> str:
        if not self.flag("hasProperty", device, name):
            return ""
        if values := self.names("getAllowedPropertyValues", device, name):
            return f"; allowed are {', '.join(values)}"
        limits = self.limits(device, name)
        return f"; allowed is {limits[0]:g} to {limits[1]:g}" if limits else ""

    def limits(self, device: str, name: str) -> tuple[float, float] | None:
        """Lowest and highest value of a property, if its device declares them."""
        if not self.flag("hasPropertyLimits", device, name):
            return None
        low = self.number("getPropertyLowerLimit", device, name)
        return low, self.number("getPropertyUpperLimit", device, name)

    # --- images -------------------------------------------------------------------------------------------

    def learn_image_format(self) -> None:
        """Ask once what images will look like; MicroscopeError if they are not 8 or 16 bit grey values."""
        n_bytes, n_parts = self.count("getBytesPerPixel"), self.count("getNumberOfComponents")
        if n_parts != 1 or n_bytes not in PIXEL_TYPES:
            raise MicroscopeError(
                f"the camera gives {n_bytes} bytes a pixel in {n_parts} component(s), but frames are grey "
                "values of 8 or 16 bit: set the camera's PixelType or BitDepth under [microscope.properties]"
            )
        self.shape = self.count("getImageHeight"), self.count("getImageWidth")
        self.dtype = PIXEL_TYPES[n_bytes]

    def pop(self) -> Image:
        """The oldest image in the core's buffer, taken out of it."""
        if self._new_metadata is not None:
            metadata = self._new_metadata()
            pixels = self.do("popNextImageMD", metadata)
            tags = {key: metadata.GetSingleTag(key).GetValue() for key in TAGS if metadata.HasTag(key)}
        elif self._tagged:
            tagged_image = self.do("popNextTaggedImage")
            pixels, tags = tagged_image.pix, tagged_image.tags  # each access is a transfer: once only
        else:
            pixels, tags = self.do("popNextImage"), {}
        number, elapsed_ms = (tags.get(key) for key in TAGS)
        return Image(
            self._owned(pixels),
            None if number is None else int(number),
            None if elapsed_ms is None else float(elapsed_ms),
        )

    def snapped(self) -> Pixels:
        """The image of the last snapImage."""
        return self._owned(self.do("getImage"))

    def _owned(self, raw: Foreign) -> Pixels:
        """The pixels as `[H, W]`, in memory that no driver will write to again."""
        pixels: Pixels = np.asarray(raw)
        if pixels.dtype != self.dtype or pixels.size != self.shape[0] * self.shape[1]:
            raise MicroscopeError(
                f"the camera gave {pixels.dtype}{list(pixels.shape)} where {self.dtype}{list(self.shape)} "
                "was announced: something else has changed its region or pixel type; let this program do it"
            )
        pixels = pixels if pixels.flags.owndata else pixels.copy()
        return np.ascontiguousarray(pixels.reshape(self.shape))


TAGS = ("ImageNumber", "ElapsedTime-ms")


def snake_case(name: str) -> str:
    """getROI → get_roi, as pyjavaz spells Java's names."""
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z0-9])([A-Z])", r"\1_\2", words).lower()


def first_line(error: Exception) -> str:
    """A core's own words; the bridge sends the Java stack trace along."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("java.lang.Exception: ")
