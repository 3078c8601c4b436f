"""Pixels between processes: a ring of slots in shared memory. One writer, any number of readers.

The recorder's contract is lossless: a slot is not written again until the recorder has released it. Inference's is
newest wins: it looks at a slot without asking and learns from the slot's sequence number whether it was overwritten.
In a sort inference is lossless, too: it looks at every frame in order, and the writer waits for the slower of both.
"""

import contextlib
import mmap
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

MAGIC = 0x5245464C_52494E47  # "REFLRING"
PAGE = 4096
HEADER_WORDS = 10
# Words of the header, after the magic:
N_SLOTS, SLOT_BYTES, WRITTEN, RELEASED, LOSSLESS, OWNER_PID, LAST_TRACK_ID, LOOKED, IN_ORDER = range(1, HEADER_WORDS)
BEING_WRITTEN = 0
# A file in a memory file system where there is one. multiprocessing.shared_memory would do, but before Python 3.13 its
# resource tracker removes a segment as soon as any process that attached to it ends (python/cpython#82300).
RING_FOLDER = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
SUFFIX = ".reflexscope-ring"


class RingError(RuntimeError):
    """The ring cannot be made, found or trusted."""


class Overwritten(RuntimeError):
    """The slot holds another frame by now."""


class Ring:
    """Use `Ring.create` in the process that owns the camera and `Ring.attach` in all others."""

    def __init__(self, path: Path, owner: bool) -> None:
        self.path, self._owner = path, owner
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._words = np.frombuffer(self._memory, dtype=np.uint64, count=HEADER_WORDS)
        self.n_slots, self.slot_bytes = int(self._words[N_SLOTS]), int(self._words[SLOT_BYTES])
        self._seqs = np.frombuffer(self._memory, dtype=np.uint64, count=self.n_slots, offset=PAGE)
        self._data = np.frombuffer(self._memory, dtype=np.uint8, offset=_data_offset(self.n_slots))

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(SUFFIX)

    @classmethod
    def create(cls, name: str, n_slots: int, slot_bytes: int, lossless: bool = True) -> "Ring":
        """A new ring; `lossless` means that a recorder must release every frame."""
        remove_orphans()
        slot_bytes = -(-slot_bytes // PAGE) * PAGE
        path = RING_FOLDER / f"{name}{SUFFIX}"
        try:
            with open(path, "xb", opener=_private) as file:
                known = {0: MAGIC, N_SLOTS: n_slots, SLOT_BYTES: slot_bytes, LOSSLESS: lossless, OWNER_PID: os.getpid()}
                header = np.array([known.get(word, 0) for word in range(HEADER_WORDS)], dtype=np.uint64)
                file.write(header.tobytes())
                _allocate(file.fileno(), _data_offset(n_slots) + n_slots * slot_bytes)
        except OSError as error:
            if not isinstance(error, FileExistsError):
                path.unlink(missing_ok=True)
            raise RingError(
                f"cannot make a ring of {n_slots} frames of {slot_bytes / 1e6:.1f} MB in {RING_FOLDER}: {error}; "
                "lower ring.megabytes"
            ) from error
        ring = cls(path, owner=True)
        ring._data[::PAGE] = 0  # touch every page now: the first frames must not pay for the kernel's zeroing
        return ring

    @classmethod
    def attach(cls, name: str) -> "Ring":
        """A ring that another process made; it stays when this process goes."""
        path = RING_FOLDER / f"{name}{SUFFIX}"
        if not path.exists():
            raise RingError(f"there is no ring {name!r} in {RING_FOLDER}; is the acquisition process running?")
        if not _is_ring(path):
            raise RingError(f"{path} is not a Reflexscope ring")
        return cls(path, owner=False)

    # --- the writer ------------------------------------------------------------------------------------------------

    def write(self, pixels: npt.NDArray[np.generic]) -> tuple[int, int] | None:
        """Copy a frame in; its (slot, seq), or None if a reader that misses no frame has not released the slot yet."""
        if pixels.nbytes > self.slot_bytes:
            raise RingError(f"a frame of {pixels.nbytes} bytes does not fit a slot of {self.slot_bytes}")
        seq = int(self._words[WRITTEN]) + 1
        if max(self.recorder_behind(), self.inference_behind()) >= self.n_slots:
            return None
        slot = (seq - 1) % self.n_slots
        self._seqs[slot] = BEING_WRITTEN
        np.copyto(self._view(slot, pixels.shape, pixels.dtype), pixels)
        self._seqs[slot] = seq
        self._words[WRITTEN] = seq
        return slot, seq

    def fill(self) -> float:
        """Share of the slots that wait for the slower reader of those that miss no frame, 0…1."""
        return max(self.recorder_behind(), self.inference_behind()) / self.n_slots

    def recorder_behind(self) -> int:
        """Frames that the recorder has not released yet."""
        return int(self._words[WRITTEN]) - int(self._words[RELEASED]) if self._words[LOSSLESS] else 0

    def inference_behind(self) -> int:
        """Frames that an inference which looks at all of them has not looked at yet; 0 without such a one."""
        return int(self._words[WRITTEN]) - int(self._words[LOOKED]) if self._words[IN_ORDER] else 0

    def wait_for_inference(self) -> None:
        """From now on inference must have looked at a frame before its slot is written again."""
        self._words[LOOKED] = self._words[WRITTEN]
        self._words[IN_ORDER] = 1

    def forget_inference(self) -> None:
        """It is lost: nothing waits for it any more."""
        self._words[IN_ORDER] = 0

    # --- readers -----------------------------------------------------------------------------------------------------

    def view(self, slot: int, seq: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """The pixels where they lie, read-only, without a copy. Raises Overwritten."""
        n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if not 0 <= slot < self.n_slots or n_bytes > self.slot_bytes:
            raise RingError(f"slot {slot} with {n_bytes} bytes is outside a ring of {self.n_slots} × {self.slot_bytes}")
        if not self.intact(slot, seq):
            raise Overwritten(f"slot {slot} no longer holds frame {seq} of the ring")
        pixels = self._view(slot, shape, dtype)
        pixels.flags.writeable = False
        return pixels

    def intact(self, slot: int, seq: int) -> bool:
        """True if the slot still holds what was written under `seq`: ask again after reading."""
        return int(self._seqs[slot]) == seq

    def release(self, seq: int) -> None:
        """The recorder needs no frame up to and with `seq` any more."""
        self._words[RELEASED] = seq

    def looked(self, seq: int) -> None:
        """Inference, which looks at all frames, needs none up to and with `seq` any more."""
        self._words[LOOKED] = seq

    @property
    def last_track_id(self) -> int:
        """The highest id that inference has given to a track; here, because it outlives a process that is killed."""
        return int(self._words[LAST_TRACK_ID])

    @last_track_id.setter
    def last_track_id(self, track_id: int) -> None:
        self._words[LAST_TRACK_ID] = track_id

    def close(self) -> None:
        """Let go of the memory; its owner also removes it. Views handed out stay valid until they are dropped.

        Windows removes no file that another process has mapped: there the supervisor does it once all have ended.
        """
        del self._words, self._seqs, self._data, self._memory
        if self._owner:
            with contextlib.suppress(PermissionError):
                self.path.unlink(missing_ok=True)

    def _view(self, slot: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        start = slot * self.slot_bytes
        n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._data[start : start + n_bytes].view(dtype).reshape(shape)


def slots_for(megabytes: float, frame_bytes: int, at_least: int = 4) -> int:
    """How many frames fit in so much memory."""
    return max(at_least, int(megabytes * 1e6 // max(1, frame_bytes)))


def _data_offset(n_slots: int) -> int:
    return PAGE + -(-n_slots * 8 // PAGE) * PAGE


def remove_ring(name: str) -> None:
    """Remove the ring of a process that was killed; harmless if there is none."""
    (RING_FOLDER / f"{name}{SUFFIX}").unlink(missing_ok=True)


def remove_orphans() -> list[str]:
    """Remove rings whose owner is dead (killed together with its supervisor); their names."""
    orphans = []
    for path in RING_FOLDER.glob(f"*{SUFFIX}"):
        try:
            header = np.fromfile(path, dtype=np.uint64, count=HEADER_WORDS)
            if len(header) == HEADER_WORDS and header[0] == MAGIC and not psutil.pid_exists(int(header[OWNER_PID])):
                path.unlink()
                orphans.append(path.name)
        except OSError:
            continue  # another user's ring, or one that went away just now
    return orphans


def _private(path: str, flags: int) -> int:
    """What a camera sees is for the user who runs it."""
    return os.open(path, flags, 0o600)


def _is_ring(path: Path) -> bool:
    header = np.fromfile(path, dtype=np.uint64, count=HEADER_WORDS)
    return len(header) == HEADER_WORDS and int(header[0]) == MAGIC


def _allocate(descriptor: int, size: int) -> None:
    """Reserve the whole file, so that a full memory file system is an error now and not a crash in mid-run."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)
