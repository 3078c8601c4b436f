"""Open a recorded movie: OME-TIFF, TIFF stack, folder of TIFFs, OME-Zarr or one of our own sessions."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from acquisition.replayed.recorded import FrameFacts, Movie, MovieError, Pixels, series_name
from acquisition.replayed.tiff import TIFF_SUFFIXES, open_tiff, open_tiff_folder
from acquisition.replayed.zarr import is_zarr, open_zarr

FORMATS = "a .tif or .tiff file, a folder of such files, an OME-Zarr folder, or a session folder"


def open_movie(path: Path | str) -> Movie:
    """Open whatever kind of movie lies at `path`; raises MovieError."""
    movie = _opened(Path(path))
    try:
        movie.pixels(0)  # a codec that is not installed or a damaged file shows here, not in mid-run
        if movie.facts:
            movie.facts(0)
    except BaseException:
        movie.close()
        raise
    return movie


def _opened(path: Path) -> Movie:
    if not path.exists():
        raise MovieError(f"{path}: there is no such file or folder; give {FORMATS}")
    if path.is_file():
        if path.suffix.lower() not in TIFF_SUFFIXES:
            raise MovieError(f"{path}: files that end in {path.suffix!r} are not played; give {FORMATS}")
        return open_tiff(path)
    if is_zarr(path):
        return open_zarr(path)
    if (path / series_name(1)).is_dir() or (path / "session.toml").is_file():
        return open_session(path)
    return open_tiff_folder(path, FORMATS)


def open_session(folder: Path) -> Movie:
    """All series of a session, in order; a new one begins where the frames changed shape or data type."""
    parts = [open_zarr(part, may_be_empty=True) for part in _series(folder)]
    parts = [part for part in parts if len(part)]
    if not parts:
        raise MovieError(f"{folder}: this session holds no frames; give one that recorded some")
    return _joined(folder, parts)


def _series(folder: Path) -> list[Path]:
    """The series of a session in the order in which they were recorded."""
    found: list[Path] = []
    while (part := folder / series_name(len(found) + 1)).is_dir() and is_zarr(part):
        found.append(part)
    return found


def _joined(folder: Path, parts: Sequence[Movie]) -> Movie:
    starts = [0, *accumulate(len(part) for part in parts)]

    def locate(position: int) -> tuple[Movie, int]:
        n = bisect_right(starts, position) - 1
        return parts[n], position - starts[n]

    def read(position: int) -> Pixels:
        part, at = locate(position)
        return part.read(at)

    def facts(position: int) -> FrameFacts:
        part, at = locate(position)
        if part.facts is None:
            raise MovieError(f"{part.path}: facts of its frames are missing, so this session is not whole")
        return part.facts(at)

    times_ns = [part.times_ns for part in parts if part.times_ns is not None]
    indices = [part.indices for part in parts if part.indices is not None]
    return Movie(
        path=folder,
        n_frames=starts[-1],
        shape=parts[0].shape,
        largest_shape=max((part.shape for part in parts), key=math.prod),
        dtype=parts[0].dtype,
        read=read,
        um_per_px=parts[0].um_per_px,
        times_ns=np.concatenate(times_ns) if len(times_ns) == len(parts) else None,
        indices=np.concatenate(indices) if len(indices) == len(parts) else None,
        facts=facts,
    )
