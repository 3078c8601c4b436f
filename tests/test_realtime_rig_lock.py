"""The rig's lock, and making a rig safe: neither fails for a trifle, neither claims what is not so."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from acquisition.microscope import DeviceState, MicroscopeError
from acquisition.simulated.microscope import SimulatedMicroscope
from realtime.config import load_config
from realtime.processes import rig_lock
from realtime.processes.rig_lock import Holder, RigBusy, RigLock
from realtime.processes.safe import make_rig_safe
from tests.tiny_config import write_tiny

RIG = "camera 1 at /dev/ttyUSB0"
NOBODY = 65534


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of locks that does not exist yet, where every user may go."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o777)
        monkeypatch.setattr(rig_lock, "LOCK_FOLDER", Path(root) / "rigs")
        yield Path(root) / "rigs"


def note(folder: Path) -> Path:
    return folder / "camera_1_at_dev_ttyUSB0.json"


def test_a_second_run_is_told_who_has_the_rig(folder: Path) -> None:
    with RigLock(RIG, "run-a"):
        with pytest.raises(RigBusy, match=rf"rig {RIG} is in use by run run-a \(process {os.getpid()}, since "):
            RigLock(RIG, "run-b").__enter__()
        with RigLock("camera 2", "run-b"), RigLock(None, "run-c"):
            pass
    assert not note(folder).exists()
    with RigLock(RIG, "run-b"):
        pass


def test_a_full_disk_keeps_nobody_from_the_rig(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with RigLock(RIG, "run-a"), pytest.raises(RigBusy, match="is in use by another process"):
        RigLock(RIG, "run-b").__enter__()


def test_the_note_of_a_run_that_was_killed_accuses_nobody(folder: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    with RigLock(RIG, "run-a"):
        note(folder).write_bytes(msgspec.json.encode(Holder("run-old", int(gone.stdout), "yesterday")))
        with pytest.raises(RigBusy, match="is in use by another process"):
            RigLock(RIG, "run-b").__enter__()


def test_a_folder_that_cannot_be_used_is_named(folder: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(RigBusy, match=f"rig {RIG} cannot be locked, so another run may have it: .*{folder}"):
        RigLock(RIG, "run-a").__enter__()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_folder_is_for_all_users(folder: Path) -> None:
    before = os.umask(0o077)
    try:
        with RigLock(RIG, "run-a"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
            assert stat.S_IMODE(note(folder).with_suffix(".lock").stat().st_mode) == 0o666
    finally:
        os.umask(before)


@contextmanager
def another_user() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can be two users")
def test_two_users_share_a_rig_in_turns(folder: Path) -> None:
    with RigLock(RIG, "run-of-root"), another_user(), pytest.raises(RigBusy, match="run-of-root"):
        RigLock(RIG, "run-b").__enter__()
    with another_user(), RigLock(RIG, "run-of-nobody"):
        pass
    folder.chmod(0o700)
    with another_user(), pytest.raises(RigBusy, match="cannot be locked, so another run may have it: .*denied"):
        RigLock(RIG, "run-b").__enter__()


# --- making it safe ------------------------------------------------------------------------------------------------


def test_a_rig_made_safe_says_what_was_read_back(tmp_path: Path) -> None:
    said = make_rig_safe(load_config(write_tiny(tmp_path)), "run-a")
    assert said == "shutter closed, gate closed, stage still"


@pytest.mark.parametrize(
    ("open_device", "words"),
    [("shutter_open", "shutter open, gate closed"), ("gate_open", "shutter closed, gate open")],
)
def test_a_device_that_stays_open_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_device: str, words: str
) -> None:
    honest = SimulatedMicroscope.state

    def stuck(microscope: SimulatedMicroscope) -> DeviceState:
        return replace(honest(microscope), **{open_device: True})

    monkeypatch.setattr(SimulatedMicroscope, "state", stuck)
    with pytest.raises(MicroscopeError, match=f"told to be safe, but reads back: {words}, stage still"):
        make_rig_safe(load_config(write_tiny(tmp_path)), "run-a")
