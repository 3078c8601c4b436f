"""What a sort leaves behind: events.parquet, the journal without its columns, sums in the summary, and no images if so wished."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from acquisition.clock import NS_PER_S, SimulatedClock
from realtime.session.disk import RecordingError
from realtime.session.event_table import EventTable
from realtime.session.journal import read_journal
from realtime.session.reader import SessionReader
from realtime.session.sort_account import MOST_REASONS, OTHER, SortAccount, without_numbers
from realtime.session.summary import summarise
from realtime.session.tables import read_parts
from realtime.session.writer import RecorderSettings, SessionWriter
from realtime.sort.verdicts import Verdict
from realtime.wire import FrameReady, InferenceEnded, RunEnded, StripsSorted
from tests.sorted_stacks import RUN, SIDE_PX, outcome, stack, strips_frame

MIXED = [Verdict.UNWANTED, Verdict.SORTED, Verdict.COINCIDENCE, Verdict.SORTED]


def table(folder: Path, *messages: StripsSorted) -> None:
    events = EventTable(folder, SimulatedClock())
    for message in messages:
        events.add(message)
    events.close_part()


def test_one_row_a_cell_with_words_for_verdict_and_decision(tmp_path: Path) -> None:
    table(tmp_path / "e", stack(3, MIXED, first_id=10), stack(4, []), stack(5, [Verdict.UNDECIDED], first_id=14))
    rows = read_parts(tmp_path / "e")
    assert rows["event_id"].tolist() == [10, 11, 12, 13, 14]
    assert rows["frame_index"].tolist() == [3, 3, 3, 3, 5]
    assert rows["verdict"].tolist() == ["unwanted", "sorted", "coincidence", "sorted", "undecided"]
    assert rows["decision_id"].tolist() == [None, "3.sort.0", None, "3.sort.1", None]
    assert "decision_n" not in rows


def test_pictures_are_kept_where_there_are_some(tmp_path: Path) -> None:
    table(tmp_path / "e", stack(3, MIXED, kept=(1, 3)), stack(5, [Verdict.UNWANTED], first_id=5))
    crops = read_parts(tmp_path / "e")["crop"]
    assert [crop is not None for crop in crops] == [False, True, False, True, False]
    np.testing.assert_array_equal(np.frombuffer(crops[3], np.uint8), np.full(SIDE_PX**2, 3))
    facts = parquet.read_schema(tmp_path / "e" / "part-000000.parquet").metadata
    assert (facts[b"crop_side_px"], facts[b"crop_dtype"]) == (str(SIDE_PX).encode(), b"|u1")


def test_parts_without_a_picture_or_a_pulse_have_the_same_columns(tmp_path: Path) -> None:
    events = EventTable(tmp_path / "e", SimulatedClock())
    for message in (stack(1, [Verdict.UNWANTED]), stack(2, MIXED, first_id=2, kept=(0,))):
        events.add(message)
        events.close_part()
    assert len(list((tmp_path / "e").glob("part-*"))) == 2
    frame = pd.read_parquet(tmp_path / "e")
    assert len(frame) == 5
    assert frame["verdict"].value_counts()["sorted"] == 2
    assert frame["crop"].notna().sum() == 1


def test_columns_of_another_length_than_the_verdicts_are_refused(tmp_path: Path) -> None:
    broken = StripsSorted(**{**_fields(stack(3, MIXED)), "verdicts": {"sorted": 2}})
    with pytest.raises(RecordingError, match=r"events of stack 3: every column must be \[2\], not .*event_id"):
        table(tmp_path / "e", broken)


def _fields(message: StripsSorted) -> dict[str, object]:
    return {name: getattr(message, name) for name in message.__struct_fields__}


def session(folder: Path, images: str, n: int = 5) -> None:
    """Five stacks, cells in two of them, three pulses: fired, late, refused."""
    clock = SimulatedClock()
    settings = RecorderSettings(images=images, min_free_gb=0.0)  # type: ignore[arg-type]
    with SessionWriter(folder, "", clock, settings) as writer:
        for index in range(n):
            message, pixels = strips_frame(index)
            writer.add_frame(message, pixels)
            if images == "none":
                assert writer.settled() == index + 1, "its slot of the ring is free at once"
            gone = stack(index, MIXED if index in (1, 3) else [], first_id=1 + 4 * index)
            writer.add(gone)
            for status, made in zip(("done", "late"), gone.decisions, strict=False):
                writer.add(outcome(made, status, "its moment passed 0.31 ms ago", after_ms=4.0 + index))  # type: ignore[arg-type]
            clock.sleep_s(0.004)
        writer.add(InferenceEnded(run=RUN, n_analysed=n))
        writer.add(RunEnded(run=RUN, reason="over", ok=True))


@pytest.mark.parametrize("images", ["all", "none"])
def test_the_summary_of_a_sort(images: str, tmp_path: Path) -> None:
    session(tmp_path / "s", images)
    summary = summarise(tmp_path / "s")
    assert summary["frames_recorded"] == summary["frames_analysed"] == 5
    assert summary["frames_readable"] == (5 if images == "all" else 0)
    sort = summary["sort"]
    assert (sort["stacks"], sort["stacks_skipped"], sort["strips"], sort["events"]) == (5, 0, 80, 8)
    assert sort["strips_unseen"] == 10
    assert sort["events_per_s"] == pytest.approx(8 / 0.016)
    assert sort["verdicts"] == {"sorted": 4, "unwanted": 2, "coincidence": 2}
    assert sort["expected_purity_by_class_alone"] == pytest.approx(0.99)
    assert sort["expected_yield_by_class_alone"] == pytest.approx(4 * 0.99 / (4 * 0.99 + 4 * 0.01))
    assert sort["pulses"] == {"done": 2, "late": 2}
    assert sort["pulses_not_fired"] == {"late: its moment passed … ms ago": 2}
    assert sort["scheduled"]["n"] == 4
    assert sort["scheduled"]["max_ms"] == pytest.approx(7.0)
    assert list(summary["latency"])[:6] == ["read", "queued", "found", "followed", "classified", "decided"]
    assert summary["latency"]["done"]["max_ms"] < 0.01, "that a pulse waits for its cell is no latency"


def test_without_images_the_journal_is_brief_and_whole(tmp_path: Path) -> None:
    session(tmp_path / "all", "all")
    session(tmp_path / "none", "none")
    assert not (tmp_path / "none" / "images.ome.zarr").exists()
    full, brief = (list(read_journal(tmp_path / name / "journal.jsonl")) for name in ("all", "none"))
    assert list(map(type, full)) == list(map(type, brief))
    frames = [message for message in brief if isinstance(message, FrameReady)]
    assert [frame.header.index for frame in frames] == list(range(5))
    assert not any(frame.header.strip_t_ns for frame in frames)
    assert all(message.header.strip_t_ns for message in full if isinstance(message, FrameReady))
    assert len(read_parts(tmp_path / "none" / "events.parquet")["event_id"]) == 8
    assert not any(message.events for message in brief if isinstance(message, StripsSorted))
    assert SessionReader(tmp_path / "none").run == RUN


def test_a_run_that_sorts_nothing_has_no_events(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "s", "", SimulatedClock(), RecorderSettings(min_free_gb=0.0)) as writer:
        writer.add(RunEnded(run=RUN, reason="over", ok=True))
    assert not (tmp_path / "s" / "events.parquet").exists()
    assert "sort" not in summarise(tmp_path / "s")


def test_reasons_are_counted_without_their_numbers_and_are_not_endless() -> None:
    assert without_numbers("another pulse begins -0.250 ms before it (0.3 ms wide)") == (
        "another pulse begins … ms before it (… ms wide)"
    )
    account = SortAccount()
    (made, _) = stack(1, MIXED).decisions
    for i in range(2 * MOST_REASONS):
        letters = "".join(chr(ord("a") + int(digit)) for digit in str(i))
        account.add_outcome(outcome(made, "refused", f"no {letters}", 4.0), NS_PER_S)
    assert len(account.reasons) == MOST_REASONS + 1
    assert account.reasons[OTHER] == MOST_REASONS
