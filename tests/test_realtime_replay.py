"""Replay: the same decisions from the same frames, whatever order a journal tells them in and however it ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from acquisition.clock import SimulatedClock
from acquisition.frame import Frame
from realtime.config import load_config
from realtime.decisions import Decision
from realtime.inference import Inference
from realtime.inline import inline_run
from realtime.replay import Replay, replay, replay_with
from realtime.session.header import session_toml
from realtime.session.journal import line
from realtime.session.reader import SessionReader
from realtime.wire import AnyMessage, FrameAnalysed, FrameReady, InferenceStarted
from realtime.words import analysed
from tests.tiny_config import write_tiny

RUN = "run-a"


def recorded(path: Path) -> Path:
    """The session of a short inline run of this config, beside it."""
    config = load_config(path)
    folder = path.parent / "session"
    folder.mkdir()
    with inline_run(config, RUN, folder, session_toml(RUN, config), 3.0) as run:
        run.image()
    return folder


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return recorded(write_tiny(tmp_path))


def frames_of(folder: Path) -> list[FrameReady]:
    return [record for record in SessionReader(folder).records() if isinstance(record, FrameReady)]


def seen(folder: Path, incarnation: int, frames: Sequence[FrameReady]) -> list[AnyMessage]:
    """What an inference process that starts before these frames says of them."""
    reader = SessionReader(folder)
    inference = Inference.from_config(load_config(folder.parent / "tiny.toml"), SimulatedClock())
    told: list[AnyMessage] = [InferenceStarted(run=RUN, pid=1, perception="p", incarnation=incarnation)]
    for ready in frames:
        analysis = inference.look(Frame(ready.header, reader.pixels(ready.header.index)), ready.dose_mj)
        assert analysis is not None
        told.append(analysed(RUN, analysis, 0, incarnation))
    return told


def decisions(messages: Sequence[AnyMessage]) -> list[Decision]:
    return [decision for message in messages if isinstance(message, FrameAnalysed) for decision in message.decisions]


def rewrite(folder: Path, messages: Sequence[AnyMessage]) -> None:
    (folder / "journal.jsonl").write_bytes(b"".join(map(line, messages)))


def test_a_session_decides_the_same_again(session: Path) -> None:
    result = replay(session)
    assert (result.n_frames, result.first_difference) == (len(frames_of(session)), None)
    assert result.n_decisions > 3
    assert result.verdict == f"identical: {result.n_decisions} decisions on {result.n_frames} frames"


Told = Callable[[list[AnyMessage], list[AnyMessage]], list[AnyMessage]]
ORDERS: dict[str, Told] = {
    "all that was seen before the frames": lambda frames, told: told + frames,
    "all frames before what was seen": lambda frames, told: frames + told,
    "each just before its frame": lambda frames, told: [m for both in zip(told, frames, strict=True) for m in both],
}


@pytest.mark.parametrize("name", ORDERS)
def test_frames_and_what_was_seen_may_come_in_any_order(session: Path, name: str) -> None:
    """They reach the recorder by two connections."""
    records = list(SessionReader(session).records())
    frames: list[AnyMessage] = [record for record in records if isinstance(record, FrameReady)]
    told: list[AnyMessage] = [record for record in records if isinstance(record, FrameAnalysed)]
    rewrite(session, ORDERS[name](frames, told))
    result = replay(session)
    assert (result.n_frames, result.first_difference, result.n_unreadable) == (len(frames), None, 0)


def test_what_a_dead_inference_said_belongs_to_it_even_if_it_comes_late(session: Path) -> None:
    frames = frames_of(session)
    half = len(frames) // 2
    first, second = seen(session, 1, frames[: half + 3]), seen(session, 2, frames[half + 3 :])
    late = [*first[:-4], *second[:2], *first[-4:-2], *second[2:5], *first[-2:], *second[5:]]
    rewrite(session, [*frames, *late])
    result = replay(session)
    assert (result.n_frames, result.first_difference) == (len(frames), None)
    without_restart = seen(session, 1, frames)
    assert decisions(second) != decisions(without_restart[half + 4 :]), "who begins anew decides otherwise"


# --- a process that went on from a saved tracker ---------------------------------------------------------------


@dataclass
class Restart:
    """Two inference processes: the second goes on from the tracker as it was after a frame that the first saw."""

    folder: Path
    dies_after: int = 12
    saved_after: int = 9

    def told(self) -> tuple[list[FrameReady], list[AnyMessage], list[AnyMessage]]:
        """All frames, what the first process said and what the second said."""
        frames = frames_of(self.folder)
        first, second = self._inference(), self._inference()
        words: list[AnyMessage] = [InferenceStarted(run=RUN, pid=1, perception="p", incarnation=1)]
        for ready in frames[: self.dies_after]:
            words.append(self._look(first, ready, 1))
            if ready.header.index == self.saved_after:
                second.tracker.restore(first.tracker.saved())  # type: ignore[attr-defined]
                second.ledger.restore(first.ledger.saved())
        used = int(first.tracker.next_id) - 1  # type: ignore[attr-defined]
        second.tracker.skip_ids(used)  # type: ignore[attr-defined]
        start = InferenceStarted(
            run=RUN, pid=2, perception="p", incarnation=2, from_frame=self.saved_after, ids_used=used
        )
        return frames, words, [start, *(self._look(second, ready, 2) for ready in frames[self.dies_after + 3 :])]

    def _inference(self) -> Inference:
        return Inference.from_config(load_config(self.folder.parent / "tiny.toml"), SimulatedClock())

    def _look(self, inference: Inference, ready: FrameReady, incarnation: int) -> FrameAnalysed:
        pixels = SessionReader(self.folder).pixels(ready.header.index)
        analysis = inference.look(Frame(ready.header, pixels), ready.dose_mj)
        assert analysis is not None
        return analysed(RUN, analysis, 0, incarnation)


@pytest.fixture
def restarted(tmp_path: Path) -> Restart:
    return Restart(recorded(write_tiny(tmp_path)))


def test_a_process_that_went_on_from_a_saved_tracker_replays(restarted: Restart) -> None:
    frames, first, second = restarted.told()
    rewrite(restarted.folder, [*frames, *first, *second])
    result = replay(restarted.folder)
    assert (result.n_frames, result.n_unreadable, result.first_difference) == (len(first + second) - 2, 0, None)
    forgotten = [msgspec.structs.replace(second[0], from_frame=None), *second[1:]]  # type: ignore[type-var]
    rewrite(restarted.folder, [*frames, *first, *forgotten])
    assert replay(restarted.folder).first_difference, "without its tracker it would have decided otherwise"


def test_a_saved_tracker_whose_frame_the_journal_lacks_is_no_difference(restarted: Restart) -> None:
    """The first process took its last words with it when it was killed."""
    frames, first, second = restarted.told()
    rewrite(restarted.folder, [*frames, *first[: restarted.saved_after], *second])
    result = replay(restarted.folder)
    assert (result.n_frames, result.n_unreadable) == (restarted.saved_after - 1, len(second) - 1)
    assert result.verdict.endswith("analysed frames go on from frame 9, which is not in the journal as it was seen")


# --- pixels that are gone -------------------------------------------------------------------------------------


def cut_pixels(folder: Path, n_left: int) -> None:
    """As after a kill of the recorder: chunks of the last frames are not there."""
    for ready in frames_of(folder)[n_left:]:
        (folder / "images.ome.zarr" / "0" / f"c.{ready.header.index}.0.0").unlink()


def test_a_replay_ends_at_the_first_frame_that_cannot_be_read(session: Path) -> None:
    n_all = len(frames_of(session))
    cut_pixels(session, 10)
    result = replay(session)
    assert (result.n_frames, result.n_unreadable, result.first_difference) == (10, n_all - 10, None)
    assert result.verdict == (
        f"identical on the 10 readable frames ({result.n_decisions} decisions); "
        f"{n_all - 10} analysed frames have no readable pixels"
    )
    assert replay_with(session, ["follow"]).n_frames == 10


def test_frames_that_the_journal_lacks_are_not_readable_either(session: Path) -> None:
    n_all = len(frames_of(session))
    records = list(SessionReader(session).records())
    rewrite(session, [r for r in records if not isinstance(r, FrameReady) or r.header.index < 10])
    result = replay(session)
    assert (result.n_frames, result.n_unreadable) == (10, n_all - 10)


def test_a_session_whose_pixels_are_all_gone_says_so(session: Path) -> None:
    n_all = len(frames_of(session))
    cut_pixels(session, 0)
    assert replay(session).verdict == f"nothing to compare: {n_all} analysed frames have no readable pixels"
    assert Replay().verdict == "nothing to compare: no frame of this session was analysed"


def test_a_difference_names_the_perception_if_it_is_another(session: Path) -> None:
    reader = SessionReader(session)
    messages = [
        msgspec.structs.replace(record, perception="another network", frame_px=(128, 128))
        if isinstance(record, InferenceStarted)
        else msgspec.structs.replace(record, decisions=())
        if isinstance(record, FrameAnalysed)
        else record
        for record in reader.records()
    ]
    rewrite(session, messages)
    verdict = replay(session).verdict
    assert "first difference" in verdict
    assert "(frames were seen by another network; here by ThresholdSegmenter; RangeClassifier)" in verdict
