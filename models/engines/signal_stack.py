"""Signals keep the stack they had: OpenVINO leaves one of 11 KB behind, on which a Ctrl-C can crash the process.

Seen with OpenVINO 2026.4.1 on Linux: the first network that a thread compiles sets the thread's alternate signal stack
(sigaltstack(2)), and Python runs its signal handlers on it.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SignalStack(ctypes.Structure):
    """`stack_t` as Linux has it."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Whatever a library does inside, this thread's signals are handled where they were before. Linux only."""
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), SignalStack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
