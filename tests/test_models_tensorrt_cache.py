"""Engine files: what is read back, and what is refused for which reason. No GPU and no TensorRT needed."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import Timeout
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from models.engines import tensorrt_cache as cache
from models.engines.tensorrt_cache import PlanKey, PlanRefused, TimingKey
from models.engines.tensorrt_library import Origin

HERE = Origin("NVIDIA RTX A4000", "8.6", "11.4.0.106", "13.0")
KEY = PlanKey("nuclei", "ab" * 32, "deep_watershed", (1, 1, 512, 512), "fp16", HERE)
PLAN = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLEXSCOPE_CACHE", str(tmp_path))


def elsewhere(**changes: str) -> PlanKey:
    return replace(KEY, origin=replace(HERE, **changes))


def test_a_plan_comes_back_as_it_was_written() -> None:
    cache.write_plan(KEY, PLAN)
    assert cache.read_plan(KEY) == PLAN
    assert [path.suffix for path in cache.engine_folder().iterdir()] == [".plan"]


def test_a_plan_that_was_never_built() -> None:
    with pytest.raises(
        PlanRefused, match="no TensorRT engine has been built here for nuclei, deep_watershed, 1x1x512x512, fp16"
    ):
        cache.read_plan(KEY)


@pytest.mark.parametrize(
    ("built", "reason"),
    [
        (
            elsewhere(gpu="NVIDIA RTX 3090"),
            "another GPU, NVIDIA RTX 3090 (compute capability 8.6); this is NVIDIA RTX A4000",
        ),
        (elsewhere(tensorrt="10.3.0"), "was built by TensorRT 10.3.0; installed is 11.4.0.106"),
        (elsewhere(cuda_driver="12.8"), "under a driver for CUDA 12.8; this one serves CUDA 13.0"),
        (elsewhere(gpu="x", tensorrt="10.0", cuda_driver="12.0"), "another GPU"),
    ],
)
def test_a_plan_from_elsewhere_is_refused_with_the_reason_and_replaced(built: PlanKey, reason: str) -> None:
    assert built.path == KEY.path, "the new plan takes the old one's place"
    cache.write_plan(built, PLAN)
    with pytest.raises(PlanRefused) as refused:
        cache.read_plan(KEY)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    cache.write_plan(KEY, PLAN[::-1])
    assert cache.read_plan(KEY) == PLAN[::-1]


@pytest.mark.parametrize(
    "other",
    [
        elsewhere(compute_capability="9.0"),
        replace(KEY, model="mitosis"),
        replace(KEY, model_sha256="cd" * 32),
        replace(KEY, output="pixel_classes"),
        replace(KEY, shape=(1, 1, 512, 513)),
        replace(KEY, precision="fp32"),
    ],
)
def test_what_computes_something_else_or_on_another_kind_of_gpu_has_its_own_file(other: PlanKey) -> None:
    cache.write_plan(KEY, PLAN)
    cache.write_plan(other, b"other")
    assert cache.read_plan(KEY) == PLAN
    cache.write_plan(KEY, PLAN)
    KEY.path.replace(other.path)
    with pytest.raises(PlanRefused):
        cache.read_plan(other)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content[:-1], "is damaged: its checksum does not fit"),
        (lambda content: content + b"\0", "is damaged"),
        (lambda content: content[:20], "is damaged"),
        (lambda content: b"", "is not an engine file"),
        (lambda content: PLAN, "is not an engine file"),
        (lambda content: b"RFXPLAN0" + content[8:], "is not an engine file of this version"),
    ],
)
def test_damaged_and_foreign_files(damage: Callable[[bytes], bytes], reason: str) -> None:
    cache.write_plan(KEY, PLAN)
    KEY.path.write_bytes(damage(KEY.path.read_bytes()))
    with pytest.raises(PlanRefused, match=reason):
        cache.read_plan(KEY)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10_000), bits=st.integers(1, 255))
def test_no_single_wrong_byte_is_ever_loaded(at: int, bits: int) -> None:
    cache.write_plan(KEY, PLAN)
    content = bytearray(KEY.path.read_bytes())
    content[at % len(content)] ^= bits
    KEY.path.write_bytes(content)
    with pytest.raises(PlanRefused):
        cache.read_plan(KEY)


def test_a_header_of_a_later_version() -> None:
    """Undamaged, the same magic, but fields that we do not know: refused, not guessed."""

    class Later(PlanKey, frozen=True):
        plugin: str = "x"

    cache._write(
        KEY.path, Later(*KEY.__struct_fields__[:0], **{f: getattr(KEY, f) for f in KEY.__struct_fields__}), PLAN
    )
    with pytest.raises(PlanRefused, match="header of another version"):
        cache.read_plan(KEY)


def test_a_failed_write_leaves_the_old_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_plan(KEY, PLAN)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        cache.write_plan(KEY, b"new")
    assert cache.read_plan(KEY) == PLAN
    assert len(list(cache.engine_folder().iterdir())) == 1


def test_timings_are_only_for_the_machine_that_measured_them() -> None:
    assert cache.read_timings(TimingKey(HERE)) == b""
    cache.write_timings(TimingKey(HERE), b"fast")
    assert cache.read_timings(TimingKey(HERE)) == b"fast"
    assert cache.read_timings(TimingKey(replace(HERE, tensorrt="12.0"))) == b""
    TimingKey(HERE).path.write_bytes(b"rubbish")
    assert cache.read_timings(TimingKey(HERE)) == b""


def test_only_one_builds_at_a_time() -> None:
    with cache.build_lock(KEY), pytest.raises(Timeout):
        cache.build_lock(KEY).acquire(timeout=0)
    cache.build_lock(KEY).acquire(timeout=0).lock.release()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_others_cannot_plant_a_plan() -> None:
    cache.write_plan(KEY, PLAN)
    assert stat.S_IMODE(cache.engine_folder().stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["../../etc/x", "a/b", "n" * 400, "µ cells"])
def test_a_model_of_any_name_stays_in_the_folder(name: str) -> None:
    key = replace(KEY, model=name)
    cache.write_plan(key, PLAN)
    assert cache.read_plan(key) == PLAN
    assert key.path.parent == cache.engine_folder()


def test_without_a_setting_the_systems_own_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFLEXSCOPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache.engine_folder() == Path("/somewhere/reflexscope/tensorrt")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "local")
    assert cache.engine_folder() == Path("local/reflexscope/tensorrt")
