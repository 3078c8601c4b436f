"""A tracker that was saved goes on in another process: the same answers, and nothing else is taken for its own."""

from functools import partial
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tests.contracts.test_tracker_contract import COLUMNS
from tests.named_cells import Spot, Watch, bystanders, same_identities, with_labels
from tracking.saving import packed, unpacked
from tracking.scenario_recipes import SCENARIOS
from tracking.scenarios import Recipe, make
from tracking.tracker import CausalTracker
from tracking.tracks import Tracks

SETTINGS: dict[str, Any] = {"confirm_after": 2, "mitotic_classes": ("mitotic",), "speed_um_s": None}
ARRAYS = st.one_of(
    arrays(np.float64, array_shapes(max_dims=3, min_side=0)),
    arrays(np.int64, array_shapes(max_dims=2, min_side=0)),
    arrays(np.bool_, array_shapes(max_dims=1, min_side=0)),
)
NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(), st.none())
EVENTFUL: Recipe = msgspec.structs.replace(
    SCENARIOS["everything"], n_cells=40, field_um=180, n_frames=30, merge_rate=0.1, division_rate_per_hour=0.4
)


@given(
    numbers=st.dictionaries(st.text(max_size=5), NUMBERS),
    classes=st.lists(st.text(max_size=5)).map(tuple),
    columns=st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4),
)
def test_what_is_packed_is_unpacked(
    numbers: dict[str, float | int | None], classes: tuple[str, ...], columns: dict[str, npt.NDArray[Any]]
) -> None:
    state = packed(SETTINGS, numbers, classes, columns)
    assert packed(SETTINGS, numbers, classes, columns) == state
    kept_numbers, kept_classes, kept = unpacked(state, SETTINGS)
    assert repr(kept_numbers) == repr(numbers), "NaN is itself"
    assert kept_classes == classes
    assert kept.keys() == columns.keys()
    for name, column in columns.items():
        assert (kept[name].dtype, kept[name].shape) == (column.dtype, column.shape)
        assert np.array_equal(kept[name], column, equal_nan=column.dtype.kind == "f")
        assert kept[name].flags.writeable


def same_answers(one: Tracks, other: Tracks) -> None:
    assert one.events == other.events
    for name in COLUMNS:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 3), at=st.integers(0, 29), again_after=st.integers(0, 5))
def test_a_restart_at_any_frame_changes_no_answer_ever_after(seed: int, at: int, again_after: int) -> None:
    """Twice: before frame `at`, and once more a little later."""
    scenario = make(EVENTFUL, seed)
    straight, other = CausalTracker(), CausalTracker()
    for index, cells in enumerate(scenario.frames):
        if index in (at, at + again_after):
            state = other.saved()
            other = CausalTracker()
            other.restore(state)
            assert other.saved() == state
        same_answers(straight.update(cells), other.update(cells))


def test_there_is_much_to_remember_in_these_scenes() -> None:
    """Otherwise the test of restarts would be too easy."""
    kinds = set[str]()
    for seed in range(2):
        tracker = CausalTracker()
        kinds |= {event.kind for cells in make(EVENTFUL, seed).frames for event in tracker.update(cells).events}
    assert kinds == {"born", "entered", "confirmed", "divided", "merged", "split", "left", "lost"}


def followed() -> Watch:
    watch = Watch(classes=True)
    watch.wait({"cell": Spot(0, 0)}, frames=5)
    return watch


STATE = followed().tracker.saved()
NUMBERS_KEPT, CLASSES_KEPT, ARRAYS_KEPT = unpacked(STATE, CausalTracker()._settings())


def refused(state: bytes, tracker: CausalTracker | None = None, complaint: str = r"\w+") -> None:
    """With an error in words, and without a trace."""
    tracker = tracker or CausalTracker()
    before = tracker.saved()
    with pytest.raises(ValueError, match=complaint):
        tracker.restore(state)
    assert tracker.saved() == before


@given(
    place=st.integers(0, len(STATE)),
    cut=st.integers(0, 20),
    stranger=st.binary(max_size=20),
    rest=st.booleans(),
)
def test_damaged_bytes_are_refused(place: int, cut: int, stranger: bytes, rest: bool) -> None:
    damaged = STATE[:place] + stranger + (STATE[place + cut :] if rest else b"")
    if damaged != STATE:
        refused(damaged)


FOREIGN = {
    "nothing": b"",
    "words": b"these are not the bytes of a tracker",
    "other msgpack": msgspec.msgpack.encode({"version": 1}),
    "a number too few": packed(
        CausalTracker()._settings(), {k: v for k, v in NUMBERS_KEPT.items() if k != "next_id"}, CLASSES_KEPT, ARRAYS_KEPT
    ),
    "a column too few": packed(
        CausalTracker()._settings(), NUMBERS_KEPT, CLASSES_KEPT,
        {k: v for k, v in ARRAYS_KEPT.items() if k != "state.age"},
    ),
    "a column too many": packed(
        CausalTracker()._settings(), NUMBERS_KEPT, CLASSES_KEPT, ARRAYS_KEPT | {"state.mood": ARRAYS_KEPT["state.age"]}
    ),
    "a column too short": packed(
        CausalTracker()._settings(), NUMBERS_KEPT, CLASSES_KEPT, ARRAYS_KEPT | {"state.age": ARRAYS_KEPT["state.age"][1:]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("state", FOREIGN.values(), ids=FOREIGN)
def test_what_is_not_a_state_of_this_tracker_is_refused(state: bytes) -> None:
    refused(state)
    refused(state, followed().tracker)


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (CausalTracker(max_missed=7), "max_missed = 5, not 7"),
        (CausalTracker(speed_um_s=0.1), "speed_um_s = None, not 0.1"),
        (CausalTracker(mitotic_classes=("m", "n")), "mitotic_classes"),
    ],
)
def test_a_state_of_other_settings_is_refused(other: CausalTracker, complaint: str) -> None:
    refused(STATE, other, complaint)


def test_a_tracker_that_has_seen_nothing_can_be_saved() -> None:
    tracker = followed().tracker
    tracker.restore(CausalTracker().saved())
    assert tracker.saved() == CausalTracker().saved()
    assert tracker.update(make("easy").frames[0]).id[0] == 1


def test_ids_that_were_skipped_stay_skipped() -> None:
    watch, heir = followed(), Watch(classes=True)
    watch.tracker.skip_ids(500)
    heir.tracker.restore(watch.tracker.saved())
    heir.tracker.skip_ids(100)
    heir.t_s = watch.t_s
    heir.see(bystanders(5) | {"cell": Spot(0, 0), "newcomer": Spot(-20, 0)})
    assert heir.id_of("newcomer") == 501
    assert heir.id_of("cell") == watch.id_of("cell")


def test_the_heir_goes_on_without_the_last_image() -> None:
    """Overlap cannot be known in its first frame; places are."""
    watch = Watch()
    for frame in range(12):
        if frame == 6:
            state, watch.tracker = watch.tracker.saved(), CausalTracker()
            watch.tracker.restore(state)
        spots = bystanders(frame) | {"cell": Spot(1.5 * frame, 0)}
        watch.see(spots, looked=partial(with_labels, spots=spots))
    assert same_identities(watch, list(watch.ids[0]))
