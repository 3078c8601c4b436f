"""Image files to arrays: grey planes of PNG and TIFF files, and everything else refused in words.

Counts are whole numbers of 8 or 16 bits. Floating-point images are refused, finite ones too: for a camera a span of few
counts is rounding, so that an image scaled to 0 … 1 would be taken for an empty one without anybody noticing.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.replayed.recorded import DAMAGE, MovieError, natural_key
from models.cells import Labels

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

Stored = npt.NDArray[Any]
Counts = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

SUFFIXES = (".png", ".tif", ".tiff")
PNG = b"\x89PNG\r\n\x1a\n"
PNG_GREY = 0
PNG_COLOURS = {2: "RGB colour", 3: "palette colour", 4: "grey with transparency", 6: "RGB colour with transparency"}
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
TIFF_PALETTE = 3
TIFF_DECODED = (1, 8, 32773, 32946)
"""Compressions that tifffile decodes by itself: none, deflate under two numbers, PackBits. The others are OpenCV's."""
MOST_COUNTS = 65_535
MOST_LABELS = int(np.iinfo(np.int32).max)


class ImageError(ValueError):
    """An image that cannot be used: which, the value seen, what is allowed and what to do."""


@dataclass(frozen=True)
class ImageFile:
    """An image file whose header says that it is grey; its pixels are read when they are asked for."""

    path: Path
    shape: tuple[int, int]
    """Height and width in pixels."""
    n_planes: int
    planes: Callable[[], Iterator[Stored]] = field(repr=False)
    """Every plane as stored, `[H, W]`."""

    def single(self) -> "ImageFile":
        """The same file, or ImageError if it holds more than one plane."""
        if self.n_planes != 1:
            raise ImageError(
                f"{self.path}: {self.n_planes} planes of {self.shape[1]} × {self.shape[0]} px; one 2-D image is needed. "
                "Save the plane you mean or, if each is an image of its own as in a time-lapse, say so with --stack"
            )
        return self

    def counts(self) -> Iterator[Counts]:
        """Every plane `[H, W]` as uint8 or uint16."""
        for number, plane in enumerate(self.planes()):
            yield as_counts(plane, self._where(number))

    def labels(self) -> Iterator[Labels]:
        """Every plane `[H, W]` as int32, 0 = background."""
        for number, plane in enumerate(self.planes()):
            yield as_labels(plane, self._where(number))

    def _where(self, number: int) -> str:
        return str(self.path) if self.n_planes == 1 else f"{self.path}, plane {number}"


def open_image(path: Path) -> ImageFile:
    """Look at the header of a PNG or TIFF file. Raises ImageError."""
    try:
        with path.open("rb") as file:
            start = file.read(33)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    if start.startswith(PNG) and len(start) == 33:
        return _png(path, start)
    if start.startswith(TIFF):
        return _tiff(path)
    what = f"begins with {start[:8]!r}" if start else "is empty (0 bytes)"
    raise ImageError(f"{path} {what}: it is neither a PNG nor a TIFF file. Save the image as 8- or 16-bit PNG or TIFF")


def read_counts(path: Path) -> Counts:
    """The only plane of an image file, `[H, W]` uint8 or uint16. Raises ImageError."""
    return next(open_image(path).single().counts())


def read_labels(path: Path) -> Labels:
    """The only plane of a label image, `[H, W]` int32, 0 = background. Raises ImageError."""
    return next(open_image(path).single().labels())


def image_files(folder: Path) -> list[Path]:
    """PNG and TIFF files right in a folder, t2.tif before t10.tif. Raises ImageError if there are none."""
    files = sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()), key=natural_key)
    if not files:
        raise ImageError(f"{folder} holds no image; its files must end in {', '.join(SUFFIXES)}")
    return files


def as_counts(pixels: Stored, where: str) -> Counts:
    """Pixels of any whole-number type as uint8 or uint16. Raises ImageError if they are anything else."""
    if pixels.size == 0:
        raise ImageError(f"{where}: {' × '.join(map(str, pixels.shape))} px hold nothing; an image needs pixels")
    if pixels.dtype.kind not in "iu":
        raise ImageError(
            f"{where}: {_values(pixels)}; counts are needed, whole numbers from 0 to {MOST_COUNTS}. Turn the values into "
            "counts (0 … 1 must be multiplied, say by 65535) and save them as 16 bits"
        )
    if pixels.dtype.itemsize <= 2 and pixels.dtype.kind == "u":
        return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    if pixels.min() < 0 or pixels.max() > MOST_COUNTS:
        raise ImageError(
            f"{where}: {_values(pixels)}; counts from 0 to {MOST_COUNTS} are allowed. Shift or scale them into that "
            "range, then save as 16 bits"
        )
    return pixels.astype(np.uint16)


def as_labels(pixels: Stored, where: str) -> Labels:
    """Labels of any type as int32, 0 = background. Raises ImageError if they are not whole numbers ≥ 0."""
    finite = pixels.dtype.kind in "biu" or (pixels.dtype.kind == "f" and bool(np.isfinite(pixels).all()))
    if not finite or (pixels.size and not 0 <= pixels.min() <= pixels.max() <= MOST_LABELS):
        raise ImageError(f"{where}: {_values(pixels)}; labels are whole numbers from 0 (background) to {MOST_LABELS}")
    labels = pixels.astype(np.int32)
    if pixels.dtype.kind == "f" and not np.array_equal(labels, pixels):
        raise ImageError(
            f"{where}: {_values(pixels)} with fractions; labels are whole numbers, one for each object. Is this an image "
            "or a probability map?"
        )
    return labels


def um_per_px(path: Path) -> float | None:
    """The pixel size that a TIFF file (OME or ImageJ) names; None if it does not say."""
    from acquisition.replayed.tiff import TIFF_SUFFIXES, open_tiff

    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    try:
        movie = open_tiff(path)
    except MovieError:
        return None
    movie.close()
    return movie.um_per_px


# --- the two formats ------------------------------------------------------------------------------------------


def _png(path: Path, header: bytes) -> ImageFile:
    width_px, height_px = struct.unpack(">II", header[16:24])
    colour = header[25]
    if colour != PNG_GREY:
        raise _colour(path, PNG_COLOURS.get(colour, f"PNG colour type {colour}"))

    def planes() -> Iterator[Stored]:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.shape != (height_px, width_px):
            raise ImageError(f"{path}: a damaged PNG file; save or copy the image again")
        yield pixels

    return ImageFile(path, (height_px, width_px), 1, planes)


def _tiff(path: Path) -> ImageFile:
    from tifffile import TiffFile

    with _damage(path), TiffFile(path) as tiff:
        series = _only_series(path, tiff)
        sizes = dict(zip(series.axes, series.shape, strict=True))
        if sizes.get("S", 1) > 1:
            raise _colour(path, f"colour of {sizes['S']} samples a pixel")
        if series.keyframe.photometric == TIFF_PALETTE:
            raise _colour(path, "palette colour")
        if sizes.get("C", 1) > 1:
            raise ImageError(
                f"{path}: {sizes['C']} channels; one is looked at. Save the channel with the cells by itself"
            )
        shape = (int(sizes["Y"]), int(sizes["X"]))
        return ImageFile(
            path, shape, int(np.prod(series.shape)) // (shape[0] * shape[1]), lambda: _tiff_planes(path, shape)
        )


def _only_series(path: Path, tiff: "TiffFile") -> "TiffPageSeries":
    if len(tiff.series) != 1:
        raise ImageError(
            f"{path}: {len(tiff.series)} images of different size or type in one file; save the one you mean by itself"
        )
    series = tiff.series[0]
    if not {"Y", "X"} <= set(series.axes) or 0 in series.shape:
        raise ImageError(
            f"{path}: axes {series.axes} of sizes {list(series.shape)}; an image needs pixels along Y and X"
        )
    return series


def _tiff_planes(path: Path, shape: tuple[int, int]) -> Iterator[Stored]:
    from tifffile import TiffFile

    with _damage(path), TiffFile(path) as tiff:
        series = tiff.series[0]
        n_planes = int(np.prod(series.shape)) // (shape[0] * shape[1])
        if series.keyframe.compression not in TIFF_DECODED:
            yield from _planes_by_opencv(path, series.keyframe.compression, (n_planes, *shape))
        elif len(series.pages) == n_planes:
            yield from (page.asarray().reshape(shape) for page in series.pages if page is not None)
        else:  # ImageJ writes large stacks as one block behind a single page
            yield from series.asarray().reshape(n_planes, *shape)


def _planes_by_opencv(path: Path, compression: int, shape: tuple[int, int, int]) -> Iterator[Stored]:
    from tifffile import COMPRESSION

    ok, planes = cv2.imdecodemulti(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if not ok or [plane.shape for plane in planes] != [shape[1:]] * shape[0]:
        raise ImageError(
            f"{path}: compressed by {COMPRESSION(compression).name}, which cannot be read here; save it without compression"
        )
    yield from planes


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Whatever bytes can break while a TIFF file is read is said in one way."""
    from tifffile import TiffFileError

    kinds: tuple[type[Exception], ...] = (*DAMAGE, TiffFileError)
    try:
        yield
    except ImageError:
        raise
    except kinds as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path}: a damaged TIFF file ({why}); save or copy the image again") from error


def _colour(path: Path, what: str) -> ImageError:
    return ImageError(
        f"{path}: {what}; one grey value a pixel is needed. Save one channel, or the grey value, by itself"
    )


def _values(pixels: Stored) -> str:
    """`float32 from 0 to 1, 3 pixels are not a number`."""
    if pixels.dtype.kind not in "fiu":
        return f"{pixels.dtype.name} pixels"
    finite = pixels[np.isfinite(pixels)]
    spans = f" from {finite.min():g} to {finite.max():g}" if finite.size else ""
    strange = [(np.isnan, "not a number (NaN)"), (np.isinf, "infinite")] if pixels.dtype.kind == "f" else []
    found = [
        f", {int(is_so(pixels).sum())} of {pixels.size} are {words}" for is_so, words in strange if is_so(pixels).any()
    ]
    return f"{pixels.dtype.name} pixels{spans}{''.join(found)}"
