"""A tracker outlives its process: its state is saved, trusted only while it deserves it, and no id is given twice."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from acquisition.clock import NS_PER_S
from acquisition.dose_map import DoseSettings
from acquisition.frame import FrameHeader
from acquisition.limits import Limits
from realtime.config import InferenceSettings
from realtime.dose import DoseLedger
from realtime.tracker_memory import (
    FILE,
    MOST_STARTS,
    SavedTracker,
    SavingTracker,
    Start,
    TrackerMemory,
    read_state,
)
from tests.scenes import cells_at, header
from tracking.tracker import CausalTracker, Tracker
from tracking.tracks import Tracks

RUN = "run-a"
LIMITS = Limits(x_um=(0.0, 0.0), y_um=(0.0, 0.0))
PLACES_UM = np.array([[0.0, 0.0], [60.0, 0.0], [0.0, 60.0]])
NEW_UM = np.array([[200.0, 200.0]])


@dataclass
class Word:
    """The word of the ring that outlives a process."""

    last_track_id: int = 0


def frame(index: int, interval_ms: float = 50.0) -> FrameHeader:
    return header(index, interval_ms=interval_ms)


class Process:
    """One inference process as far as its tracker goes."""

    def __init__(
        self, folder: Path, word: Word, tracker: Tracker | None = None, now_ns: int = 0, **settings: float
    ) -> None:
        self.tracker = tracker or CausalTracker()
        inference = InferenceSettings(**settings)  # type: ignore[arg-type]
        self.ledger = DoseLedger(DoseSettings(), LIMITS)
        self.memory = TrackerMemory(self.tracker, inference, folder, RUN, word, self.ledger)
        self.begun = self.memory.begin(now_ns)

    def look(self, at: FrameHeader, *more_um: np.ndarray) -> Tracks:
        """A frame with the usual cells and some more; its tracks are told."""
        tracks = self.tracker.update(cells_at(at, np.concatenate([PLACES_UM, *more_um])))
        self.dose = self.ledger.add(at, 0.01 * (at.index + 1), tracks)
        self.memory.note_ids(tracks)
        return tracks

    def save(self, at: FrameHeader) -> str:
        return self.memory.save_if_due(at, at.t_ns)

    def killed(self) -> None:
        """What was being written is whole or not there."""
        self.memory.close(run_has_ended=False)


def test_a_process_goes_on_where_the_last_one_was_saved(tmp_path: Path) -> None:
    word = Word()
    first = Process(tmp_path, word)
    assert first.begun == Start()
    before = first.look(frame(0))
    first.save(frame(0))
    first.killed()
    second = Process(tmp_path, word, now_ns=NS_PER_S)
    assert second.begun == Start(from_frame=0, ids_used=3)
    assert second.look(frame(20)).id.tolist() == before.id.tolist()


def test_ids_that_were_given_after_the_save_are_not_given_again(tmp_path: Path) -> None:
    word = Word()
    first = Process(tmp_path, word)
    first.look(frame(0))
    first.save(frame(0))
    assert first.look(frame(1), NEW_UM).id.tolist() == [1, 2, 3, 4]
    first.killed()
    second = Process(tmp_path, word)
    assert second.look(frame(20), NEW_UM - 400.0).id.tolist() == [1, 2, 3, 5]


def saved(**changes: object) -> bytes:
    """The file of a tracker that has seen frame 0, with other fields."""
    tracker = CausalTracker()
    tracker.update(cells_at(frame(0), PLACES_UM))
    ledger = DoseLedger(DoseSettings(), LIMITS).saved()
    kept = SavedTracker(
        run=RUN, frame_index=0, t_ns=0, interval_ms=50.0, starts=0, state=tracker.saved(), ledger=ledger
    )
    return msgspec.msgpack.encode(msgspec.structs.replace(kept, **changes))


def file_of(folder: Path, data: bytes) -> Path:
    """With its proper checksum."""
    path = folder / FILE
    path.write_bytes(zlib.crc32(data).to_bytes(4, "little") + data)
    return path


Damage = Callable[[bytes], bytes]
DAMAGED: dict[str, Damage] = {
    "nothing": lambda whole: b"",
    "less than a checksum": lambda whole: whole[:3],
    "cut off": lambda whole: whole[:-1],
    "one bit": lambda whole: whole[:20] + bytes([whole[20] ^ 1]) + whole[21:],
    "something else": lambda whole: b"{}" * 100,
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_no_start_and_no_reason_to_fail(tmp_path: Path, damage: Damage) -> None:
    path = file_of(tmp_path, saved())
    path.write_bytes(damage(path.read_bytes()))
    process = Process(tmp_path, Word(7))
    assert process.begun.from_frame is None
    assert "the tracker begins empty: tracker.state is damaged" in process.begun.warning
    assert process.look(frame(1)).id.tolist() == [8, 9, 10], "yet no id comes back"


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "another run": ({"run": "run-b"}, "is of run run-b, not of this one"),
    "another tracker": ({"state": b"btrack"}, "of frame 0: 6 bytes are not a tracker's state"),
    "too old": ({"t_ns": -70 * NS_PER_S}, "is 70 s old, and is good for 60 s"),
    "too old for slow frames, too": (
        {"t_ns": -400 * NS_PER_S, "interval_ms": 100_000.0},
        "400 s old, and is good for 300 s",
    ),
    "twice in vain": ({"starts": MOST_STARTS}, "2 processes that went on from frame 0 died"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_state_that_does_not_belong_here_is_refused_by_name(tmp_path: Path, name: str) -> None:
    changes, words = REFUSED[name]
    file_of(tmp_path, saved(**changes))
    process = Process(tmp_path, Word(3))
    assert process.begun.from_frame is None
    assert words in process.begun.warning
    assert process.look(frame(1)).id.tolist() == [4, 5, 6]


def test_a_file_that_holds_no_tracker_is_refused(tmp_path: Path) -> None:
    file_of(tmp_path, msgspec.msgpack.encode({"a": 1}))
    assert "tracker.state holds no saved tracker" in Process(tmp_path, Word()).begun.warning


def test_slow_frames_make_old_states_good(tmp_path: Path) -> None:
    file_of(tmp_path, saved(t_ns=-250 * NS_PER_S, interval_ms=100_000.0))
    assert Process(tmp_path, Word(3)).begun.from_frame == 0


def test_each_start_is_counted_until_another_state_is_saved(tmp_path: Path) -> None:
    word = Word(3)
    file_of(tmp_path, saved())
    for n in range(1, MOST_STARTS + 1):
        Process(tmp_path, word).killed()
        assert read_state(tmp_path / FILE).starts == n
    last = Process(tmp_path, word)
    assert last.begun.from_frame is None
    last.look(frame(1))
    last.save(frame(1))
    last.killed()
    assert Process(tmp_path, word).begun == Start(from_frame=1, ids_used=6)


def test_saves_are_as_far_apart_as_was_asked(tmp_path: Path) -> None:
    process = Process(tmp_path, Word(), save_tracker_s=0.5)
    kept = []
    for index in range(25):
        process.look(frame(index))
        process.save(frame(index))
        process.memory.settle()
        kept.append(read_state(tmp_path / FILE).frame_index)
    process.killed()
    assert sorted(set(kept)) == [0, 10, 20]


class PlainTracker:
    """A user's own, which cannot be saved."""

    def __init__(self) -> None:
        self.update = CausalTracker().update


@pytest.mark.parametrize("tracker", [CausalTracker(), PlainTracker()], ids=["asked not to", "cannot"])
def test_what_is_not_to_be_saved_leaves_no_file(tmp_path: Path, tracker: Tracker) -> None:
    process = Process(tmp_path, Word(), tracker, save_tracker_s=0.0 if isinstance(tracker, SavingTracker) else 1.0)
    process.look(frame(0))
    assert process.save(frame(0)) == ""
    process.memory.close(run_has_ended=True)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_is_reported_once_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    process = Process(folder, Word())  # there is no such folder
    said = []
    for index in range(0, 100, 20):
        process.look(frame(index))
        said.append(process.save(frame(index)))
        process.memory.settle()
    process.killed()
    assert [bool(words) for words in said] == [False, True, False, False, False]
    assert "the tracker is not saved any more: " in said[1]


def test_a_state_beyond_all_reason_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.tracker_memory.MOST_BYTES", 100)
    process = Process(tmp_path, Word())
    process.look(frame(0))
    assert "and at most 100 are kept" in process.save(frame(0))
    process.killed()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_ended_leaves_no_state_behind(tmp_path: Path) -> None:
    process = Process(tmp_path, Word())
    process.look(frame(0))
    process.save(frame(0))
    process.memory.close(run_has_ended=True)
    assert list(tmp_path.iterdir()) == []
