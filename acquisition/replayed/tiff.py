"""Movies in TIFF files: OME-TIFF, stacks (ImageJ's and plain ones) and folders with one frame a file."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from acquisition.replayed.recorded import (
    S_PER_UNIT,
    UM_PER_UNIT,
    Ints,
    Movie,
    MovieError,
    Pixels,
    damage,
    grey_type,
    natural_key,
    refuse_axes,
    regular_times_ns,
    rising_or_none,
)

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

TIFF_SUFFIXES = (".tif", ".tiff")
TIME_AXES = "TIQ"
"""tifffile's letters for time, for a plain sequence of images, and for an axis nobody named."""


def open_tiff(path: Path) -> Movie:
    """A movie in one file (an OME-TIFF may go on in further files)."""
    from tifffile import TiffFile

    with _damage(f"{path}: not a readable TIFF file"):
        tiff = TiffFile(path)
        try:
            return _movie(path, tiff)
        except BaseException:
            tiff.close()
            raise


def _damage(what: str) -> AbstractContextManager[None]:
    from tifffile import TiffFileError

    return damage(what, TiffFileError)


def _movie(path: Path, tiff: "TiffFile") -> Movie:
    if not tiff.series:
        raise MovieError(f"{path}: this TIFF file holds no images; give one with at least one frame")
    series = tiff.series[0]
    n_frames = _n_frames(path, series)
    n_written = int((tiff.imagej_metadata or {}).get("images", n_frames))
    if n_written > n_frames:
        raise MovieError(
            f"{path}: its header speaks of {n_written} images, but {n_frames} can be found; the file was not written or "
            "copied whole, so save or copy the movie again"
        )
    um_per_px, times_ns = _scale_and_times(tiff, n_frames)
    return Movie(
        path=path,
        n_frames=n_frames,
        shape=(series.shape[-2], series.shape[-1]),
        dtype=grey_type(path, series.dtype),
        read=_reader(path, tiff, series, n_frames),
        close=tiff.close,
        um_per_px=um_per_px,
        times_ns=times_ns,
    )


def open_tiff_folder(folder: Path, formats: str) -> Movie:
    """One frame a file, in natural order: t2.tif comes before t10.tif."""
    files = sorted((p for p in folder.iterdir() if p.suffix.lower() in TIFF_SUFFIXES), key=natural_key)
    if not files:
        raise MovieError(f"{folder}: this folder holds no movie that can be played; give {formats}")
    first = _single_frame(files[0])
    shape, dtype = first.shape, first.dtype

    def read(position: int) -> Pixels:
        frame = _single_frame(files[position])
        try:
            if frame.shape != shape or frame.dtype != dtype:
                raise MovieError(
                    f"{frame.path}: {frame.dtype}{list(frame.shape)}, but the first file of the folder is "
                    f"{dtype}{list(shape)}; all frames of a movie must be alike, so take the odd file out"
                )
            return frame.read(0)
        finally:
            frame.close()

    first.close()
    return Movie(path=folder, n_frames=len(files), shape=shape, dtype=dtype, read=read, um_per_px=first.um_per_px)


def _single_frame(path: Path) -> Movie:
    movie = open_tiff(path)
    if len(movie) != 1:
        movie.close()
        raise MovieError(
            f"{path}: holds {len(movie)} frames; in a folder each file is one frame, so give this file itself"
        )
    return movie


def _n_frames(path: Path, series: "TiffPageSeries") -> int:
    """Frames along time; refuses colour, several channels, z-stacks and other things."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    refuse_axes(path, {axis.lower(): size for axis, size in sizes.items()})
    over_time = [axis for axis in series.axes[:-2] if sizes[axis] > 1]
    if series.axes[-2:] != "YX" or any(axis not in TIME_AXES for axis in over_time) or len(over_time) > 1:
        raise MovieError(
            f"{path}: axes are {series.axes} with sizes {list(series.shape)}; one time axis, then Y and X, "
            "is played. Save the movie as a time series of single planes"
        )
    return sizes[over_time[0]] if over_time else 1


def _reader(path: Path, tiff: "TiffFile", series: "TiffPageSeries", n_frames: int) -> Callable[[int], Pixels]:
    """How a frame is read: by its place in the file if the stack is one plain block, else by page."""
    if series.dataoffset is not None:
        return _block_reader(path, tiff, series)
    if len(series.pages) != n_frames:
        raise MovieError(f"{path}: {len(series.pages)} pages for {n_frames} frames; save the movie again")

    def read(position: int) -> Pixels:
        with _damage(f"{path}: frame {position} cannot be read"):
            pixels: Pixels = series.pages[position].asarray()  # type: ignore[union-attr]
            return pixels

    return read


def _block_reader(path: Path, tiff: "TiffFile", series: "TiffPageSeries") -> Callable[[int], Pixels]:
    """ImageJ writes large stacks as one block behind a single page."""
    height, width = series.shape[-2:]
    dtype = np.dtype(tiff.byteorder + series.dtype.char)
    start = series.dataoffset or 0

    def read(position: int) -> Pixels:
        with _damage(f"{path}: frame {position} cannot be read"):
            tiff.filehandle.seek(start + position * height * width * dtype.itemsize)
            pixels: Pixels = tiff.filehandle.read_array(dtype, height * width)
            return pixels.reshape(height, width)

    return read


# --- pixel size and times -----------------------------------------------------------------------------------


def _scale_and_times(tiff: "TiffFile", n_frames: int) -> tuple[float | None, Ints | None]:
    if tiff.ome_metadata:
        return _from_ome(tiff.ome_metadata, n_frames)
    if tiff.imagej_metadata:
        return _from_imagej(tiff, tiff.imagej_metadata, n_frames)
    return None, None


def _from_ome(xml: str, n_frames: int) -> tuple[float | None, Ints | None]:
    """PhysicalSizeX, and every plane's DeltaT or else TimeIncrement, of the first image."""
    pixels = ElementTree.fromstring(xml).find("{*}Image/{*}Pixels")
    if pixels is None:
        return None, None
    um = _in_units(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm"), UM_PER_UNIT)
    seconds: dict[int, float] = {}
    for plane in pixels.findall("{*}Plane"):
        delta_s = _in_units(plane.get("DeltaT"), plane.get("DeltaTUnit", "s"), S_PER_UNIT)
        if delta_s is not None:
            seconds.setdefault(int(plane.get("TheT", "0")), delta_s)
    if sorted(seconds) == list(range(n_frames)):
        times_ns = np.round(np.array([seconds[t] for t in range(n_frames)]) * 1e9).astype(np.int64)
        return um, rising_or_none(times_ns)
    increment_s = _in_units(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"), S_PER_UNIT)
    return um, regular_times_ns(n_frames, increment_s or 0.0)


def _from_imagej(tiff: "TiffFile", metadata: dict[str, Any], n_frames: int) -> tuple[float | None, Ints | None]:
    """ImageJ keeps pixels per unit in the resolution tag and seconds per frame in `finterval`."""
    resolution = tiff.pages[0].tags.get("XResolution")  # type: ignore[union-attr]
    um_per_unit = UM_PER_UNIT.get(str(metadata.get("unit", "")))
    um_per_px = None
    if resolution is not None and um_per_unit is not None and resolution.value[0]:
        um_per_px = um_per_unit * resolution.value[1] / resolution.value[0]
    return um_per_px, regular_times_ns(n_frames, float(metadata.get("finterval", 0.0)))


def _in_units(value: str | None, unit: str, factors: dict[str, float]) -> float | None:
    return float(value) * factors[unit] if value is not None and unit in factors else None
