"""Machine code for the loops over pixels and cells of the simulated laboratory."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compiled by numba, without Python's lock, and kept on disk where there is a folder that may be written to."""
    try:
        return cast(_Function, njit(cache=True, nogil=True)(function))
    except RuntimeError:  # neither beside the code nor in the user's home: compiled again by each process
        return cast(_Function, njit(nogil=True)(function))
