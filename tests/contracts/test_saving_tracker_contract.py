"""What every tracker promises whose identities outlive its process (realtime/tracker_memory.py), as code."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.tracker_memory import SavingTracker
from tests.contracts.test_tracker_contract import COLUMNS, FOUR, follow, frame, random_frames
from tracking.tracker import CausalTracker

New = Callable[[], SavingTracker]
TRACKERS: dict[str, New] = {"causal": CausalTracker}
every_tracker = pytest.mark.parametrize("new", TRACKERS.values(), ids=TRACKERS)


@every_tracker
@settings(deadline=None)  # the first example may have to compile something
@given(seed=st.integers(0, 2**16), n_cells=st.integers(0, 40), n_before=st.integers(0, 12))
def test_a_restored_tracker_answers_as_the_saved_one_would_have(
    new: New, seed: int, n_cells: int, n_before: int
) -> None:
    frames = random_frames(seed, 15, n_cells)
    tracker, successor = new(), new()
    follow(tracker, frames[:n_before])  # cells without label images, the one thing that need not be saved
    successor.restore(tracker.saved())
    for one, other in zip(follow(tracker, frames[n_before:]), follow(successor, frames[n_before:]), strict=True):
        assert one.events == other.events
        for name in COLUMNS:
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


@every_tracker
def test_the_same_memory_is_the_same_bytes(new: New) -> None:
    one, other, third = new(), new(), new()
    for tracker in (one, other):
        follow(tracker, random_frames(1, 20, 30))
    assert one.saved() == other.saved() == one.saved()
    third.restore(one.saved())
    assert third.saved() == one.saved()


@every_tracker
def test_a_saved_state_is_not_touched_by_what_comes_after(new: New) -> None:
    tracker, successor, frames = new(), new(), random_frames(2, 12, 30)
    follow(tracker, frames[:6])
    state = tracker.saved()
    expected = follow(tracker, frames[6:])[-1].id
    successor.restore(state)
    assert np.array_equal(follow(successor, frames[6:])[-1].id, expected)


@every_tracker
@pytest.mark.parametrize("state", [b"", b"\x00" * 64, b"not a tracker at all"], ids=["empty", "zeros", "words"])
def test_other_bytes_are_refused_and_change_nothing(new: New, state: bytes) -> None:
    tracker = new()
    follow(tracker, [frame(0, FOUR), frame(1, FOUR)])
    before = tracker.saved()
    with pytest.raises(ValueError, match=r"\w+"):
        tracker.restore(state)
    assert tracker.saved() == before


@every_tracker
@pytest.mark.parametrize("used", [0, 2, 57])
def test_skipped_ids_are_never_given(new: New, used: int) -> None:
    """Neither to cells that come later nor twice to those that are there."""
    tracker = new()
    before = tracker.update(frame(0, FOUR))
    tracker.skip_ids(used)
    after = tracker.update(frame(1, np.concatenate([FOUR, [[-60.0, -60.0]]])))
    (fresh,) = set(after.id.tolist()) - set(before.id.tolist())
    assert fresh > max(used, int(before.id.max()))
