"""Frames → OME-Zarr 0.5 that can be read while it grows: one chunk a frame, and a row of facts beside it.

A reader meets whole frames only: a frame's chunk comes first, then its facts, then the arrays' length.
"""

from collections import deque
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec
import numpy as np

from acquisition.clock import NS_PER_MS, Clock
from acquisition.frame import FrameHeader
from acquisition.replayed.recorded import FACTS, FACTS_GROUP, Pixels, series_name, text_row
from realtime.session.chunks import ChunkFiles
from realtime.session.disk import RecordingError, as_os_error

if TYPE_CHECKING:
    from tensorstore import Context, Future, KvStore

Compression = Literal["none", "zstd"]
Result = TypeVar("Result")
PUBLISH_NS = 250 * NS_PER_MS
"""How often new frames are shown to readers: each time writes two small files a fact, about 5 ms in all."""
FACTS_ROWS = 128
"""Rows of facts in a chunk; the last chunk is written anew while it fills."""
SEPARATOR = "."
"""Chunks lie side by side, c.0.0.0, c.1.0.0 …: two folders for each frame would cost more than its pixels."""
NO_END = 2**40
"""Length of the pixel array as the writer sees it; readers see the one in zarr.json."""
PLAIN = {"name": "bytes", "configuration": {"endian": "little"}}
CODECS: dict[str, list[dict[str, Any]]] = {
    "none": [PLAIN],
    "zstd": [PLAIN, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}],
}


class Write(Protocol):
    """A frame on its way to the disk: a future of the standard library's or of tensorstore's."""

    def done(self) -> bool: ...
    def exception(self) -> BaseException | None: ...


class ImageWriter:
    """All series of a session; a frame of another shape or data type opens the next one."""

    def __init__(self, folder: Path, clock: Clock, most_in_flight: int, compression: Compression) -> None:
        import tensorstore

        # What was handed to the system survives a kill of this process, so nothing waits for the platters.
        self._context = tensorstore.Context({"file_io_sync": False, "cache_pool": {"total_bytes_limit": 0}})
        self._folder, self._clock = folder, clock
        self._most_in_flight, self._compression = most_in_flight, compression
        self._series: _Series | None = None
        self._n_series = 0
        self._writes: deque[Write] = deque()
        self._broken = False
        self._published_ns = clock.now_ns()
        self.n_settled = 0
        """Frames that are on the disk, counted in the order of `add` up to the first that failed."""
        self.n_bytes = 0

    @property
    def in_flight(self) -> int:
        """Frames that are being written."""
        return len(self._writes)

    def add(self, header: FrameHeader, dose_mj: float, pixels: Pixels) -> None:
        """Begin to write a frame, whose pixels must stay as they are until it has settled.

        Waits only if as many frames are in flight as may be.
        """
        if pixels.shape != header.shape or pixels.dtype != header.dtype:
            raise RecordingError(
                f"frame {header.index}: pixels are {pixels.dtype}{list(pixels.shape)}, but its header says "
                f"{header.dtype}{list(header.shape)}; the frame is damaged"
            )
        series = self._series_for(header)
        while len(self._writes) >= self._most_in_flight:
            self._settle_oldest()
        self._writes.append(series.write(header, dose_mj, pixels))
        self.n_bytes += header.n_bytes

    def settle(self) -> None:
        """Count the writes that have ended, show frames to readers now and then; waits for no frame."""
        while self._writes and self._writes[0].done():
            self._settle_oldest()
        now_ns = self._clock.now_ns()
        if now_ns - self._published_ns >= PUBLISH_NS:
            self._published_ns = now_ns
            self._publish()

    def close(self) -> None:
        """Wait for all writes, show the last frames; even if this raises, no pixels are read afterwards."""
        try:
            while self._writes:
                self._settle_oldest()
        finally:
            while self._writes:
                self._writes.popleft().exception()
            if self._series is not None:
                self._series.close()
            self._publish()

    def _settle_oldest(self) -> None:
        """Frames behind one that failed are not counted: what readers see has no holes."""
        failure = self._writes.popleft().exception()
        if self._broken:
            return
        if failure is not None:
            self._broken = True
            raise as_os_error(failure) if isinstance(failure, ValueError) else failure
        self.n_settled += 1
        if self._series is not None:
            self._series.n_written += 1

    def _publish(self) -> None:
        if self._series is not None:
            self._series.publish()

    def _series_for(self, header: FrameHeader) -> "_Series":
        if self._series is not None and self._series.takes(header):
            return self._series
        self.close()
        self._n_series += 1
        path = self._folder / series_name(self._n_series)
        self._series = _Series(path, header, self._compression, self._most_in_flight, self._context)
        return self._series


class _Series:
    """One OME-Zarr image: equal frames, `[t, y, x]`."""

    def __init__(
        self, path: Path, header: FrameHeader, compression: Compression, most_in_flight: int, context: "Context"
    ) -> None:
        import tensorstore

        store = {"driver": "file", "path": f"{path.resolve().as_posix()}/"}
        self._files = _done(tensorstore.KvStore.open(store, context=context))
        self._shape, self._dtype = header.shape, header.dtype
        self._metadata = _array_metadata(
            header.dtype, (0, *header.shape), (1, *header.shape), ("t", "y", "x"), CODECS[compression], SEPARATOR
        )
        self._plain = ChunkFiles(path / "0", most_in_flight) if compression == "none" else None
        array = {
            "driver": "zarr3",
            "kvstore": store | {"path": f"{store['path']}0/"},
            "metadata": self._metadata | {"shape": [NO_END, *header.shape]},
            "store_data_equal_to_fill_value": True,
        }
        self._array = _done(tensorstore.open(array, open=True, assume_metadata=True, context=context))
        self._facts = _Facts(self._files)
        self._pending: deque[tuple[FrameHeader, float]] = deque()
        self._n_begun = self._n_shown = self.n_written = 0
        self._show_length(0)
        _done(self._files.write("zarr.json", _group({"ome": _ome(path.name, header)})))

    def takes(self, header: FrameHeader) -> bool:
        """Whether this frame is like the others."""
        return header.shape == self._shape and header.dtype == self._dtype

    def write(self, header: FrameHeader, dose_mj: float, pixels: Pixels) -> Write:
        """A future that is done once the chunk is a file under its final name; the pixels are not copied."""
        self._pending.append((header, dose_mj))
        n = self._n_begun
        self._n_begun += 1
        if self._plain is not None:
            return self._plain.write(n, pixels)
        commit: Write = self._array[n].write(pixels, can_reference_source_data_indefinitely=True).commit
        return commit

    def close(self) -> None:
        """No frame follows."""
        if self._plain is not None:
            self._plain.close()

    def publish(self) -> None:
        """Show the frames written since the last time; after a failure it may be tried again."""
        if self._n_shown < self.n_written:
            rows = list(islice(self._pending, self.n_written - self._n_shown))
            self._facts.write(self._n_shown, rows)
            self._show_length(self.n_written)
            for _ in rows:
                self._pending.popleft()
            self._n_shown = self.n_written

    def _show_length(self, n_frames: int) -> None:
        metadata = self._metadata | {"shape": [n_frames, *self._shape]}
        _done(self._files.write("0/zarr.json", _json(metadata)))


class _Facts:
    """An array for each of recorded.FACTS, a row for each frame; the last chunk is kept in memory."""

    def __init__(self, files: "KvStore") -> None:
        self._files = files
        self._chunk = {name: np.zeros((FACTS_ROWS, n), dtype) for name, (dtype, n) in FACTS.items()}
        _done(self._files.write(f"{FACTS_GROUP}/zarr.json", _group({})))
        self._show_length(0)

    def write(self, at: int, rows: list[tuple[FrameHeader, float]]) -> None:
        """Write rows from row `at` on, chunk by chunk, then the new length."""
        n_rows = at + len(rows)
        while rows:
            block, start = divmod(at, FACTS_ROWS)
            now, rows = rows[: FACTS_ROWS - start], rows[FACTS_ROWS - start :]
            for row, (header, dose_mj) in enumerate(now, start):
                for name, value in _facts(header, dose_mj).items():
                    self._chunk[name][row] = value
            self._write_all({_chunk_key(name, block): chunk.tobytes() for name, chunk in self._chunk.items()})
            at += len(now)
        self._show_length(n_rows)

    def _show_length(self, n_rows: int) -> None:
        self._write_all({f"{name}/zarr.json": _json(_facts_metadata(name, n_rows)) for name in FACTS})

    def _write_all(self, files: dict[str, bytes]) -> None:
        for write in [self._files.write(f"{FACTS_GROUP}/{key}", data) for key, data in files.items()]:
            _done(write)


def _done(work: "Future[Result]") -> Result:
    """Its result, once it is there; tensorstore raises a ValueError where a file system would raise an OSError."""
    try:
        return work.result()
    except ValueError as failure:
        raise as_os_error(failure) from failure


def _facts(header: FrameHeader, dose_mj: float) -> dict[str, Any]:
    stage = header.stage
    values = {"x_um": stage.x_um, "y_um": stage.y_um, "z_um": stage.z_um, "dose_mj": dose_mj}
    return {name: _row(values.get(name, getattr(header, name, None)), *FACTS[name]) for name in FACTS}


def _row(value: object, dtype: str, n: int) -> object:
    if isinstance(value, str):
        return np.frombuffer(text_row(value, n), dtype)
    return value


# --- Zarr 3 and OME metadata --------------------------------------------------------------------------------


def _chunk_key(name: str, block: int) -> str:
    return f"{name}/c/{block}" + ("/0" if FACTS[name][1] > 1 else "")


def _array_metadata(
    dtype: str,
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    names: tuple[str, ...],
    codecs: list[dict[str, Any]],
    separator: str = "/",
) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": separator}},
        "fill_value": 0,
        "codecs": codecs,
        "dimension_names": list(names),
        "attributes": {},
    }


def _facts_metadata(name: str, n_rows: int) -> dict[str, Any]:
    dtype, n = FACTS[name]
    columns, names = ((n,), ("t", "column")) if n > 1 else ((), ("t",))
    return _array_metadata(dtype, (n_rows, *columns), (FACTS_ROWS, *columns), names, [PLAIN])


def _group(attributes: dict[str, Any]) -> bytes:
    return _json({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def _ome(name: str, header: FrameHeader) -> dict[str, Any]:
    """Time's scale is the interval at the start; every frame's own time is in the facts."""
    scale = [header.interval_ms, header.um_per_px, header.um_per_px]
    axes = [
        {"name": "t", "type": "time", "unit": "millisecond"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    return {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": [level]}]}


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
