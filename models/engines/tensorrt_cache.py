"""Built engines (plans) on disk: what each was built from and where, and why one is refused.

    magic · SHA-256 of all that follows · length of the header · header (JSON: the key) · plan

A file's name says what it computes on which kind of GPU, its header also by which versions. So another GPU generation has
its own file, and after an update of TensorRT or the driver the old plan is found, refused and replaced.
"""

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import TypeVar

import msgspec
from filelock import FileLock

from models.engines.engine import EngineError, Precision
from models.engines.tensorrt_library import Origin

MAGIC = b"RFXPLAN1"
DIGEST_BYTES = 32
LENGTH_BYTES = 4
TIMINGS = "timings"

_Key = TypeVar("_Key", "PlanKey", "TimingKey")


class PlanRefused(EngineError):
    """There is no plan, or none that may run here; the message says why."""


class PlanKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a plan depends on."""

    model: str
    model_sha256: str
    output: str
    shape: tuple[int, ...]
    precision: Precision
    origin: Origin

    @property
    def words(self) -> str:
        """`nuclei, deep_watershed, 1x1x512x512, fp16`"""
        return ", ".join((self.model, self.output, times(self.shape), self.precision))

    @property
    def path(self) -> Path:
        """Its file."""
        parts = (self.model, self.model_sha256[:8], self.output, times(self.shape), self.precision)
        return engine_folder() / (_slug("-".join((*parts, _architecture(self.origin)))) + ".plan")


class TimingKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the measured speeds of kernels depend on."""

    origin: Origin
    kind: str = TIMINGS

    @property
    def path(self) -> Path:
        return engine_folder() / f"{TIMINGS}-{_architecture(self.origin)}.bin"


def engine_folder() -> Path:
    """Where engines are kept: `$REFLEXSCOPE_CACHE`, or the system's place for what can be made again."""
    if given := os.environ.get("REFLEXSCOPE_CACHE"):
        return Path(given) / "tensorrt"
    if sys.platform == "win32":
        caches = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "reflexscope" / "tensorrt"


def read_plan(key: PlanKey) -> bytes:
    """The plan, ready to be loaded. Raises PlanRefused."""
    if not key.path.is_file():
        raise PlanRefused(f"no TensorRT engine has been built here for {key.words}")
    found, plan = _opened(key.path, PlanKey)
    if reason := _elsewhere(found.origin, key.origin):
        raise PlanRefused(f"the TensorRT engine for {key.words} {reason}")
    if found != key:
        raise PlanRefused(f"{key.path} holds an engine for {found.words}, not for {key.words} of this model file")
    return plan


def write_plan(key: PlanKey, plan: bytes) -> None:
    """Replace what was there; a reader sees the old file or the new one, never a part."""
    _write(key.path, key, plan)


def read_timings(key: TimingKey) -> bytes:
    """Kernel speeds measured by earlier builds, empty if there are none for this origin."""
    try:
        found, timings = _opened(key.path, TimingKey)
    except PlanRefused:
        return b""
    return timings if found == key else b""


def write_timings(key: TimingKey, timings: bytes) -> None:
    """For the next build."""
    _write(key.path, key, timings)


def build_lock(key: PlanKey) -> FileLock:
    """Held by whoever builds this plan, so that nobody builds it twice at once."""
    make_folder()
    return FileLock(key.path.with_suffix(".lock"))


def make_folder() -> None:
    """Only its owner may write there: a plan is code that the GPU runs."""
    engine_folder().mkdir(parents=True, exist_ok=True, mode=0o700)


def times(shape: tuple[int, ...]) -> str:
    """`1x1x512x512`"""
    return "x".join(map(str, shape))


def _opened(path: Path, kind: type[_Key]) -> tuple[_Key, bytes]:
    """Header and content of an undamaged file. Raises PlanRefused."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PlanRefused(f"{path} cannot be read: {error.strerror}") from error
    if not content.startswith(MAGIC):
        raise PlanRefused(f"{path} is not an engine file of this version of Reflexscope")
    digest, sealed = content[len(MAGIC) :][:DIGEST_BYTES], content[len(MAGIC) + DIGEST_BYTES :]
    if hashlib.sha256(sealed).digest() != digest:
        raise PlanRefused(f"{path} is damaged: its checksum does not fit its {len(content)} bytes")
    end = LENGTH_BYTES + int.from_bytes(sealed[:LENGTH_BYTES], "little")
    try:
        return msgspec.json.decode(sealed[LENGTH_BYTES:end], type=kind), sealed[end:]
    except msgspec.MsgspecError as error:
        raise PlanRefused(f"{path} has a header of another version of Reflexscope: {error}") from error


def _write(path: Path, key: PlanKey | TimingKey, content: bytes) -> None:
    header = msgspec.json.encode(key)
    sealed = len(header).to_bytes(LENGTH_BYTES, "little") + header + content
    make_folder()
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(MAGIC + hashlib.sha256(sealed).digest() + sealed)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _elsewhere(built: Origin, here: Origin) -> str:
    """Why a plan built there cannot run here, empty if it can."""
    if (built.gpu, built.compute_capability) != (here.gpu, here.compute_capability):
        return (
            f"was built for another GPU, {built.gpu} (compute capability {built.compute_capability}); "
            f"this is {here.gpu} ({here.compute_capability})"
        )
    if built.tensorrt != here.tensorrt:
        return f"was built by TensorRT {built.tensorrt}; installed is {here.tensorrt}"
    if built.cuda_driver != here.cuda_driver:
        return f"was built under a driver for CUDA {built.cuda_driver}; this one serves CUDA {here.cuda_driver}"
    return ""


def _architecture(origin: Origin) -> str:
    return "sm" + origin.compute_capability.replace(".", "")


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)[-150:]
