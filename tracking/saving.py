"""What a tracker remembers, as bytes: so that a restarted process goes on with the same identities."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

VERSION = 1
CHECK_BYTES = 4
Made = TypeVar("Made")


class _Array(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def restored(self) -> npt.NDArray[Any]:
        return np.frombuffer(self.data, np.dtype(self.dtype)).reshape(self.shape).copy()


class _Saved(msgspec.Struct, frozen=True):
    """Version and settings come with the state: another tracker's must not be taken for one's own."""

    version: int
    settings: dict[str, Any]
    numbers: dict[str, float | int | None]
    class_names: tuple[str, ...]
    arrays: dict[str, _Array]


def packed(
    settings: dict[str, Any],
    numbers: dict[str, float | int | None],
    class_names: tuple[str, ...],
    arrays: dict[str, npt.NDArray[Any]],
) -> bytes:
    """All of it; the same state always gives the same bytes."""
    kept = {
        name: _Array(array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())
        for name, array in arrays.items()
    }
    content = msgspec.msgpack.encode(_Saved(VERSION, settings, numbers, class_names, kept))
    return crc32(content).to_bytes(CHECK_BYTES, "little") + content


def unpacked(
    state: bytes, settings: dict[str, Any]
) -> tuple[dict[str, float | int | None], tuple[str, ...], dict[str, npt.NDArray[Any]]]:
    """Numbers, class names and arrays. Raises ValueError if these are not bytes of `packed`, or of other settings."""
    check, content = state[:CHECK_BYTES], state[CHECK_BYTES:]
    if crc32(content).to_bytes(CHECK_BYTES, "little") != check:
        raise ValueError(f"{len(state)} bytes are not a tracker's state, or damaged: start with a new tracker")
    try:
        saved = msgspec.msgpack.decode(content, type=_Saved)
        arrays = {name: array.restored() for name, array in saved.arrays.items()}
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        raise ValueError(f"{len(state)} bytes are not a tracker's state: {error}; start with a new tracker") from error
    if saved.version != VERSION:
        raise ValueError(f"this tracker's state has version {saved.version}, not {VERSION}; start with a new tracker")
    ours = msgspec.msgpack.decode(msgspec.msgpack.encode(settings))
    if other := [name for name in ours if saved.settings.get(name) != ours[name]]:
        name = other[0]
        raise ValueError(
            f"the state was saved by a tracker with {name} = {saved.settings.get(name)}, not {ours[name]}; "
            "start with a new tracker"
        )
    return saved.numbers, saved.class_names, arrays


def parts_of(name: str, thing: Any) -> dict[str, Any]:
    """The fields of a dataclass, by `name.field`."""
    return {f"{name}.{field.name}": getattr(thing, field.name) for field in fields(thing)}


def made_of(name: str, kind: type[Made], values: Mapping[str, Any], like: Made) -> Made:
    """A dataclass from what `parts_of` has made of it. Raises ValueError if fields or kinds of arrays are not those of `like`."""
    given = {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{name}.")}
    wanted = {field.name: getattr(like, field.name) for field in fields(like)}  # type: ignore[arg-type]
    if given.keys() != wanted.keys():
        odd = sorted(given.keys() ^ wanted.keys())
        raise ValueError(f"the state's {name} lacks, or has too much: {', '.join(odd)}; start with a new tracker")
    for key, value in wanted.items():
        if isinstance(value, np.ndarray) and (
            not isinstance(given[key], np.ndarray)
            or (given[key].dtype, given[key].shape[1:]) != (value.dtype, value.shape[1:])
        ):
            raise ValueError(f"the state's {name}.{key} is no array like a tracker's; start with a new tracker")
        if isinstance(value, float):
            number(given, key)
    return kind(**given)


def number(numbers: Mapping[str, Any], name: str) -> float:
    """A finite number. Raises ValueError if there is none of that name."""
    value = numbers.get(name)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"the state's {name} is {value}, not a finite number; start with a new tracker")
    return value
