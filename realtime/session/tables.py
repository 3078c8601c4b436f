"""Tracks → parquet, part by part: pandas, pyarrow and polars read the folder `tracks.parquet` as a table.

A part is written whole every few seconds, so a kill loses little and nothing is rewritten at the end.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from acquisition.clock import NS_PER_S, Clock
from realtime.session.disk import RecordingError
from realtime.wire import FrameAnalysed

PART_NS = 5 * NS_PER_S
PART_ROWS = 100_000

Columns = dict[str, npt.NDArray[Any]]


class PartTable:
    """A table that grows by a few rows a frame."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        names: Mapping[str, Sequence[str]] = MappingProxyType({}),
        part_ns: int = PART_NS,
        kinds: Mapping[str, Literal["string", "binary"]] = MappingProxyType({}),
    ) -> None:
        """`names`: of columns that hold places in a list of names, the lists; readers see the names.

        `kinds`: of columns of Python objects, what they hold where they do not hold None.
        """
        folder.mkdir()
        self.metadata: dict[str, str] = {}
        """Facts about the columns, written into every part."""
        self._names, self._kinds, self._part_ns = names, kinds, part_ns
        self._folder, self._clock = folder, clock
        self._frames: list[Columns] = []
        self._n_rows = self._n_parts = 0
        self._opened_ns = clock.now_ns()

    def add_rows(self, columns: Columns) -> None:
        """Keep a frame's rows for the part that is open; other columns than before begin a new part."""
        if columns and self._frames and _layout(columns) != _layout(self._frames[0]):
            self.close_part()
        if columns:
            self._frames.append(columns)
            self._n_rows += len(columns["t_ns"])
        self.close_part_if_due()

    def close_part_if_due(self) -> None:
        """Write the open part if it is old or long enough."""
        if self._n_rows >= PART_ROWS or self._clock.now_ns() - self._opened_ns >= self._part_ns:
            self.close_part()

    def close_part(self) -> None:
        """Write what there is, under a name that readers do not see until it is whole."""
        self._opened_ns = self._clock.now_ns()
        if not self._frames:
            return
        import pyarrow
        from pyarrow import parquet

        columns = {name: np.concatenate([frame[name] for frame in self._frames]) for name in self._frames[0]}
        named = {
            name: pyarrow.DictionaryArray.from_arrays(columns[name], list(names)) for name, names in self._names.items()
        }
        kinds = {name: getattr(pyarrow, kind)() for name, kind in self._kinds.items()}
        optional = {name: pyarrow.array(columns[name], kind) for name, kind in kinds.items()}
        table = pyarrow.table(columns | named | optional).replace_schema_metadata(self.metadata)
        name = f"part-{self._n_parts:06d}.parquet"
        # A dictionary of numbers, which parquet makes by default, costs three times the time and saves nothing.
        parquet.write_table(table, self._folder / f".{name}", use_dictionary=list(named))
        os.replace(self._folder / f".{name}", self._folder / name)
        self._n_parts += 1
        self._n_rows = 0
        self._frames.clear()


class TrackTable(PartTable):
    """One row a track and frame: `frame_index`, `t_ns`, then whatever columns the frames bring."""

    def add(self, message: FrameAnalysed) -> None:
        """What inference saw in a frame."""
        self.add_rows(_columns(message))


def warm_up() -> None:
    """Load what writes tables, so that the first part is not written late: that takes a fifth of a second."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"frame_index": [0]}), pyarrow.BufferOutputStream())


def read_parts(folder: Path) -> Columns:
    """All rows of a table, in the order of writing. Raises RecordingError."""
    import pyarrow
    from pyarrow import parquet

    parts = sorted(folder.glob("part-*.parquet"))
    if not parts:
        raise RecordingError(f"{folder} holds no rows; the run was too short, or it was not recorded")
    try:
        tables = [parquet.read_table(part) for part in parts]
    except (OSError, pyarrow.ArrowException) as error:
        raise RecordingError(f"{folder} cannot be read as parquet: {error}") from error
    return {name: np.concatenate([table[name].to_numpy() for table in tables]) for name in tables[0].column_names}


def _columns(message: FrameAnalysed) -> Columns:
    arrays = {name: column.array() for name, column in message.tracks.items()}
    shapes = {array.shape for array in arrays.values()}
    if not arrays or shapes == {(0,)}:
        return {}
    if shapes != {(message.n_tracks,)}:
        seen = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise RecordingError(
            f"tracks of frame {message.frame_index}: every column must be [{message.n_tracks}], not {seen}"
        )
    n = message.n_tracks
    return {"frame_index": np.full(n, message.frame_index), "t_ns": np.full(n, message.t_ns)} | arrays


def _layout(columns: Columns) -> list[tuple[str, str]]:
    return [(name, array.dtype.str) for name, array in columns.items()]
