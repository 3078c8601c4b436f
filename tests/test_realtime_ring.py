"""The ring: what was written is what is read, nothing is lost that the recorder holds, an overwritten slot is noticed."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.ring import (
    OWNER_PID,
    RING_FOLDER,
    SUFFIX,
    Overwritten,
    Ring,
    RingError,
    remove_orphans,
    remove_ring,
    slots_for,
)

SHAPE, DTYPE = (32, 48), np.dtype(np.uint16)


def image(value: int) -> np.ndarray:
    return np.full(SHAPE, value, dtype=DTYPE)


def fresh(n_slots: int = 4, lossless: bool = True) -> Ring:
    return Ring.create(f"test-{uuid4().hex}", n_slots, image(0).nbytes, lossless)


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = fresh()
    yield ring
    ring.close()


def test_a_reader_sees_the_written_pixels_without_a_copy(ring: Ring) -> None:
    reader = Ring.attach(ring.name)
    place = ring.write(image(7))
    assert place is not None
    view = reader.view(*place, SHAPE, DTYPE)
    np.testing.assert_array_equal(view, image(7))
    assert not view.flags.writeable
    assert not view.flags.owndata
    reader.close()


def test_a_slot_is_not_reused_before_the_recorder_releases_it(ring: Ring) -> None:
    places = [ring.write(image(i)) for i in range(4)]
    assert ring.fill() == 1.0
    assert ring.write(image(9)) is None, "full"
    assert places[0] is not None
    ring.release(places[0][1])
    assert ring.write(image(9)) == (places[0][0], 5)
    assert ring.write(image(10)) is None


def test_a_reader_notices_an_overwritten_slot() -> None:
    ring = fresh(lossless=False)
    slot, seq = ring.write(image(1)) or (-1, -1)
    view = ring.view(slot, seq, SHAPE, DTYPE)
    for i in range(4):
        ring.write(image(i))
    assert not ring.intact(slot, seq)
    with pytest.raises(Overwritten):
        ring.view(slot, seq, SHAPE, DTYPE)
    assert view[0, 0] == 3, "the old view shows what came later: that is why `intact` is asked after reading"
    ring.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["write", "release"]), max_size=60), st.integers(4, 7))
def test_any_order_of_writing_and_releasing_loses_nothing(steps: list[str], n_slots: int) -> None:
    ring = fresh(n_slots)
    held: list[tuple[int, int, int]] = []
    written = 0
    for step in steps:
        if step == "write":
            place = ring.write(image(written % 60000))
            assert (place is None) == (len(held) == n_slots)
            if place is not None:
                held.append((*place, written % 60000))
                written += 1
        elif held:
            ring.release(held.pop(0)[1])
        for slot, seq, value in held:
            assert ring.view(slot, seq, SHAPE, DTYPE)[-1, -1] == value
        assert ring.fill() == pytest.approx(len(held) / n_slots)
    ring.close()


def test_in_a_sort_a_slot_also_waits_for_inference(ring: Ring) -> None:
    reader = Ring.attach(ring.name)
    ring.write(image(0))
    ring.wait_for_inference()
    assert ring.inference_behind() == 0, "it begins with the next frame"
    for i in range(1, 4):
        ring.write(image(i))
    ring.release(4)
    assert (ring.recorder_behind(), ring.inference_behind()) == (0, 3)
    assert ring.fill() == 0.75
    assert ring.write(image(4)) == (0, 5)
    assert ring.write(image(5)) is None, "the recorder has all, inference has looked at none"
    reader.looked(2)
    assert ring.write(image(5)) == (1, 6)
    ring.release(6)
    assert ring.fill() == 1.0
    reader.close()


def test_a_lost_inference_blocks_nobody_and_a_fresh_one_starts_at_the_newest(ring: Ring) -> None:
    ring.wait_for_inference()
    for i in range(4):
        ring.write(image(i))
        ring.release(i + 1)
    assert ring.write(image(4)) is None
    ring.forget_inference()
    assert ring.inference_behind() == 0
    assert ring.write(image(4)) is not None
    ring.wait_for_inference()
    assert ring.inference_behind() == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["write", "release", "look"]), max_size=80), st.integers(4, 7))
def test_two_readers_that_miss_nothing(steps: list[str], n_slots: int) -> None:
    ring = fresh(n_slots)
    ring.wait_for_inference()
    written = released = looked = 0
    for step in steps:
        if step == "write":
            place = ring.write(image(written + 1))
            assert (place is None) == (written - min(released, looked) == n_slots)
            written += place is not None
        elif step == "release" and released < written:
            released += 1
            ring.release(released)
        elif step == "look" and looked < written:
            looked += 1
            assert ring.view((looked - 1) % n_slots, looked, SHAPE, DTYPE)[0, 0] == looked
            ring.looked(looked)
        assert (ring.recorder_behind(), ring.inference_behind()) == (written - released, written - looked)
    ring.close()


def test_smaller_frames_share_the_slots(ring: Ring) -> None:
    small = np.arange(12, dtype=np.uint8).reshape(3, 4)
    place = ring.write(small)
    assert place is not None
    np.testing.assert_array_equal(ring.view(*place, (3, 4), np.uint8), small)


def test_what_does_not_fit_is_refused(ring: Ring) -> None:
    with pytest.raises(RingError, match="does not fit"):
        ring.write(np.zeros((500, 500), DTYPE))
    with pytest.raises(RingError, match="outside a ring"):
        ring.view(99, 1, SHAPE, DTYPE)
    with pytest.raises(RingError, match="outside a ring"):
        ring.view(0, 1, (5000, 5000), DTYPE)


def test_errors_say_what_is_missing(ring: Ring) -> None:
    with pytest.raises(RingError, match="is the acquisition process running"):
        Ring.attach("no-such-ring")
    with pytest.raises(RingError, match="lower ring.megabytes"):
        Ring.create(f"test-{uuid4().hex}", 10**6, 10**9)
    with pytest.raises(RingError, match="lower ring.megabytes"):
        Ring.create(ring.name, 4, 1000)
    stranger = RING_FOLDER / f"stranger-{uuid4().hex}{SUFFIX}"
    stranger.write_bytes(b"x" * 5000)
    with pytest.raises(RingError, match="is not a Reflexscope ring"):
        Ring.attach(stranger.name.removesuffix(SUFFIX))
    stranger.unlink()


def test_another_process_reads_and_releases(ring: Ring) -> None:
    slot, seq = ring.write(image(42)) or (-1, -1)
    code = (
        "import sys; from realtime.ring import Ring; import numpy as np\n"
        f"ring = Ring.attach({ring.name!r}); print(int(ring.view({slot}, {seq}, {SHAPE}, 'uint16').sum()))\n"
        f"ring.release({seq}); ring.close()"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(answer.stdout) == image(42).astype(np.int64).sum()
    assert ring.fill() == 0
    assert ring.path.exists(), "the reader's end does not remove the ring"


def test_the_ring_of_a_killed_process_is_removed_by_the_next() -> None:
    name = f"test-{uuid4().hex}"
    code = f"import os; from realtime.ring import Ring; Ring.create({name!r}, 4, 4096); os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    path = RING_FOLDER / f"{name}{SUFFIX}"
    assert path.exists()
    assert path.name in remove_orphans()
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_a_ring_is_for_its_user_only(ring: Ring) -> None:
    assert stat.S_IMODE(ring.path.stat().st_mode) == 0o600


def test_a_ring_that_another_process_still_maps_is_left_to_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = fresh()

    def as_on_windows(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "The process cannot access the file because it is being used by another process")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", as_on_windows)
        ring.close()
    assert ring.path.exists()
    remove_ring(ring.name)
    assert not ring.path.exists()


def test_the_last_track_id_outlives_the_reader_that_left_it(ring: Ring) -> None:
    assert ring.last_track_id == 0
    for track_id in (17, 2**40):
        reader = Ring.attach(ring.name)
        reader.last_track_id = track_id
        reader.close()
        successor = Ring.attach(ring.name)
        assert successor.last_track_id == track_id
        successor.close()
    assert ring.write(image(3)) is not None
    assert ring.last_track_id == 2**40


def test_a_living_ring_is_no_orphan(ring: Ring) -> None:
    assert int(np.fromfile(ring.path, dtype=np.uint64, count=8)[OWNER_PID]) == os.getpid()
    assert ring.path.name not in remove_orphans()


@pytest.mark.parametrize(
    ("megabytes", "frame_bytes", "slots"), [(256, 8_388_608, 30), (1, 8_388_608, 4), (10, 1000, 10000)]
)
def test_slots_for_a_size(megabytes: float, frame_bytes: int, slots: int) -> None:
    assert slots_for(megabytes, frame_bytes) == slots
