"""What a tracker remembers, as bytes: so that a restarted process goes on with the same identities."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

VERSION = 1


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
    return msgspec.msgpack.encode(_Saved(VERSION, settings, numbers, class_names, kept))


def unpacked(
    state: bytes, settings: dict[str, Any]
) -> tuple[dict[str, float | int | None], tuple[str, ...], dict[str, npt.NDArray[Any]]]:
    """Numbers, class names and arrays. Raises ValueError if these are not bytes of `packed`, or of other settings."""
    try:
        saved = msgspec.msgpack.decode(state, type=_Saved)
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
