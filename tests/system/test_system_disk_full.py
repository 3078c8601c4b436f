"""The disk fills up: the run stops with a clear error, and what was counted can be read."""

import gc
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from acquisition.clock import SystemClock
from tests.polling import wait_until
from tests.system.runs import Recorded, Run, Table, simulated_config

LARGE: dict[str, Table] = {"microscope": {"height_px": 256, "width_px": 256}, "imaging": {"interval_ms": 25.0}}
"""5 MB/s."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("needs Linux: a tmpfs stands for the small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs stands for the small disk, and it cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    wait_until(lambda: _unmounted(folder), SystemClock(), "nobody holds a file on the small disk any more")


def _unmounted(folder: Path) -> bool:
    gc.collect()  # a reader of the test's may still hold a file
    return subprocess.run(["umount", folder], capture_output=True, check=False).returncode == 0


def test_a_reserve_keeps_every_frame(tmp_path: Path, small_disk: Path) -> None:
    config = simulated_config(tmp_path, recorder={"min_free_gb": 0.005}, **LARGE)
    with Run(config, small_disk / "session") as run:
        result = run.to_the_end()
        (*_, last) = run.diary()
        assert run.status is not None
        n_counted = run.status.frames
    assert not result.ok
    assert "0.005 GB (recorder.min_free_gb) must stay free" in result.reason
    assert "make room, choose another folder with --out" in result.reason
    assert last.is_safe
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    assert len(recorded.indices) >= n_counted >= 20
    assert (run.folder / "summary.json").exists()
    assert not recorded.end.ok


def test_without_a_reserve_what_fitted_is_readable(tmp_path: Path, small_disk: Path) -> None:
    config = simulated_config(tmp_path, recorder={"min_free_gb": 0.0}, **LARGE)
    with Run(config, small_disk / "session") as run:
        result = run.to_the_end()
        (*_, last) = run.diary()
        assert run.status is not None
        n_counted = run.status.frames
    assert not result.ok
    assert "the disk is full; make room" in result.reason
    assert last.is_safe
    recorded = Recorded(run.folder)
    assert recorded.n_with_pixels() >= n_counted - 40, "all but the last second must be readable"
    assert recorded.indices == list(range(len(recorded.indices)))
