"""Every test fails on what it leaves behind: threads, child processes, shared memory. An option for plugins."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from realtime.ring import OWNER_PID, RING_FOLDER, SUFFIX

cv2.setNumThreads(1)
GRACE_S = 5.0
# Threads that a library starts once and keeps for the life of the process.
LIBRARY_THREADS = ("ThreadPoolExecutor-tifffile", "asyncio_", "pydevd", "zarr_io")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--policy", default="", help="module:Class of a policy of yours for the policy contract")


ONE_AT_A_TIME = ("system", "test_realtime_inline.py", "test_realtime_rig_lock.py", "test_acquisition_faults.py")
"""Tests that start processes, lock a rig or watch the clock of a run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers a file stays with one of them, and whatever could be in another's way stays with the same."""
    for item in items:
        alone = any(part in item.path.parts for part in ONE_AT_A_TIME)
        item.add_marker(pytest.mark.xdist_group("one at a time" if alone else item.path.name))


@pytest.fixture
def shared_data() -> Path:
    """The real images beside the checkout; a test that needs them skips where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real images (../shared/data beside the checkout) are not on this machine")
    return folder


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Name what a test left running or lying about."""
    before = _left()
    yield
    until = time.monotonic() + GRACE_S
    while (left := _left() - before) and time.monotonic() < until:
        time.sleep(0.02)  # a thread that is just ending; the test itself is over
    assert not left, f"left behind: {', '.join(sorted(left))}"


def _left() -> set[str]:
    threads = {
        f"thread {thread.name}" for thread in threading.enumerate() if not thread.name.startswith(LIBRARY_THREADS)
    }
    children = {f"process {child.pid} {_name(child)}" for child in psutil.Process().children(recursive=True)}
    rings = {f"ring {path.name}" for path in RING_FOLDER.glob(f"*{SUFFIX}") if _is_ours(path)}
    return threads | children | rings


def _is_ours(ring: Path) -> bool:
    """Made by this process or by one that is gone; another run on this machine may have rings, too."""
    try:
        pid = int(np.fromfile(ring, dtype=np.uint64, count=OWNER_PID + 1)[OWNER_PID])
    except (OSError, IndexError):
        return False
    return pid == os.getpid() or not psutil.pid_exists(pid)


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "?"
