"""Movies in OME-Zarr folders (0.4 and 0.5), our own series with their facts among them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acquisition.frame import Affine, StagePosition
from acquisition.replayed.recorded import (
    FACTS,
    FACTS_GROUP,
    S_PER_UNIT,
    UM_PER_UNIT,
    FrameFacts,
    Ints,
    Movie,
    MovieError,
    Pixels,
    damage,
    grey_type,
    refuse_axes,
    regular_times_ns,
    text_of,
)

if TYPE_CHECKING:
    from tensorstore import TensorStore

FACTS_BLOCK = 128
"""Rows of facts that are read at once."""


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group or array of any version."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs", ".zarray"))


def open_zarr(path: Path, *, may_be_empty: bool = False) -> Movie:
    """The finest level of an OME-Zarr image whose axes are t, y, x and perhaps a single c or z."""
    image = _image_metadata(path)
    is_ours = (path / FACTS_GROUP / "t_ns").is_dir()
    array = _open_array(path / image.level, complete=is_ours)
    _check_axes(path, image.axes, array.shape)
    n_frames = int(array.shape[image.axes.index("t")])
    if n_frames == 0 and not may_be_empty:
        raise MovieError(f"{path}: this movie holds no frames; give one with at least one")
    facts = _FactsReader(path / FACTS_GROUP) if is_ours else None
    return Movie(
        path=path,
        n_frames=n_frames,
        shape=(int(array.shape[-2]), int(array.shape[-1])),
        dtype=grey_type(path, array.dtype.numpy_dtype),
        read=_reader(path, array, image.axes),
        um_per_px=image.um_per_px,
        times_ns=facts.column("t_ns", n_frames) if facts else regular_times_ns(n_frames, image.interval_s),
        indices=facts.column("index", n_frames) if facts else None,
        facts=facts,
    )


def _reader(path: Path, array: "TensorStore", axes: list[str]) -> Callable[[int], Pixels]:
    def read(position: int) -> Pixels:
        where = tuple(position if axis == "t" else 0 for axis in axes[:-2])
        with damage(f"{path}: frame {position} cannot be read"):
            pixels: Pixels = array[where].read().result()
            return pixels

    return read


def _check_axes(path: Path, axes: list[str], shape: tuple[int, ...]) -> None:
    refuse_axes(path, dict(zip(axes, shape, strict=False)))
    if len(axes) != len(shape) or axes[-2:] != ["y", "x"] or "t" not in axes or len(set(axes)) != len(axes):
        raise MovieError(
            f"{path}: axes are {', '.join(axes)} with sizes {list(shape)}; t, y, x, perhaps with c or z "
            "of size 1, y and x last, are played. Save the movie as a time series of single planes"
        )


# --- metadata -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Image:
    """What OME metadata say of an image's finest level."""

    level: str
    axes: list[str]
    um_per_px: float | None
    interval_s: float


def _image_metadata(path: Path) -> _Image:
    multiscales = _attributes(path).get("multiscales")
    if not multiscales:
        raise MovieError(
            f"{path}: this Zarr folder has no OME multiscales metadata at its top; "
            "give the folder of one OME-Zarr image (version 0.4 or 0.5), which may lie deeper"
        )
    with damage(f"{path}: its OME metadata are damaged or older than version 0.4"):
        image = multiscales[0]
        axes, level = image["axes"], image["datasets"][0]
        names = [str(axis["name"]).lower() for axis in axes]
        units = [str(axis.get("unit", "")) for axis in axes]
        scale = _scale(len(axes), level.get("coordinateTransformations"), image.get("coordinateTransformations"))
        um_per_unit = UM_PER_UNIT.get(dict(zip(names, units, strict=True)).get("x", ""))
        s_per_unit = S_PER_UNIT.get(dict(zip(names, units, strict=True)).get("t", ""), 0.0)
        by_name = dict(zip(names, scale, strict=True))
        um_per_px = by_name["x"] * um_per_unit if um_per_unit and "x" in by_name else None
        return _Image(str(level["path"]), names, um_per_px, by_name.get("t", 0.0) * s_per_unit)


def _attributes(path: Path) -> dict[str, Any]:
    """The OME attributes, wherever this version of the format keeps them."""
    with damage(f"{path}: its metadata are not readable JSON"):
        if (path / "zarr.json").is_file():
            attributes = json.loads((path / "zarr.json").read_text("utf-8")).get("attributes", {})
            return dict(attributes.get("ome", {}))
        return dict(json.loads((path / ".zattrs").read_text("utf-8"))) if (path / ".zattrs").is_file() else {}


def _scale(n_axes: int, *levels: list[dict[str, Any]] | None) -> list[float]:
    """The product of all scale transformations."""
    product = np.ones(n_axes)
    for transformations in levels:
        for transformation in transformations or []:
            if transformation.get("type") == "scale" and "scale" in transformation:
                product *= np.asarray(transformation["scale"], dtype=np.float64)
    return [float(factor) for factor in product]


def _open_array(path: Path, *, complete: bool = True) -> "TensorStore":
    """Open for reading; if it is complete, as our own are, a missing chunk is damage, not a black frame."""
    import tensorstore

    driver = "zarr3" if (path / "zarr.json").is_file() else "zarr"
    kvstore = {"driver": "file", "path": f"{path.resolve().as_posix()}/"}
    spec = {"driver": driver, "kvstore": kvstore, "fill_missing_data_reads": not complete}
    with damage(f"{path}: this array of an OME-Zarr cannot be opened"):
        return tensorstore.open(spec, open=True, read=True).result()


# --- facts of our own sessions ------------------------------------------------------------------------------


class _FactsReader:
    """Facts of a frame, read a block of rows at a time so that a long session stays on the disk."""

    def __init__(self, group: Path) -> None:
        self._group = group
        self._arrays = {name: _open_array(group / name) for name in FACTS}
        self._block = -1
        self._columns: dict[str, Any] = {}

    def column(self, name: str, n_frames: int) -> Ints:
        """A whole column; frames whose pixels are not visible yet are left out."""
        with damage(f"{self._group / name}: what was recorded with the frames cannot be read"):
            values: Ints = self._arrays[name][:n_frames].read().result()
            return values

    def __call__(self, position: int) -> FrameFacts:
        with damage(f"{self._group}: what was recorded with frame {position} cannot be read"):
            return self._read(position)

    def _read(self, position: int) -> FrameFacts:
        block, row = divmod(position, FACTS_BLOCK)
        if block != self._block:
            first = block * FACTS_BLOCK
            self._columns = {
                name: array[first : min(first + FACTS_BLOCK, array.shape[0])].read().result()
                for name, array in self._arrays.items()
            }
            self._block = block
        return self._facts_at(row)

    def _facts_at(self, row: int) -> FrameFacts:
        number = {name: float(self._columns[name][row]) for name, kind in FACTS.items() if kind == ("float64", 1)}
        a, b, c, d, e, f = (float(value) for value in self._columns["stage_from_pixel"][row])
        affine: Affine = (a, b, c, d, e, f)
        return FrameFacts(
            stage=StagePosition(number["x_um"], number["y_um"], number["z_um"]),
            stage_from_pixel=affine,
            exposure_ms=number["exposure_ms"],
            interval_ms=number["interval_ms"],
            light_mw=number["light_mw"],
            dose_mj=number["dose_mj"],
            channel=text_of(self._columns["channel"][row]),
            reason=text_of(self._columns["reason"][row]),
        )
