"""The journal: what is written comes back, a cut is forgiven, damage is named; and the summary of it."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.clock import NS_PER_S, SimulatedClock
from acquisition.commands import MoveStage, Outcome
from acquisition.commands import Status as OutcomeStatus
from realtime.decisions import Decision
from realtime.latency import STAGES
from realtime.session.disk import RecordingError
from realtime.session.journal import JournalWriter, line, read_journal
from realtime.session.summary import Summary
from realtime.wire import (
    VERSION,
    AnyMessage,
    Column,
    DecisionMade,
    FrameAnalysed,
    FrameReady,
    Heartbeat,
    InferenceEnded,
    InferenceStarted,
    Notice,
    OperatorCommand,
    OutcomeReached,
    ProcessLost,
    RecorderReady,
    RunEnded,
    Status,
)
from tests.scenes import header

RUN = "2026-01-01_a"
texts = st.text(max_size=40)
counts = st.integers(0, 2**40)
times = st.integers(-(2**62), 2**62)
figures = st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False), max_size=3)
commands = st.builds(MoveStage, st.floats(-1e6, 1e6), st.none() | st.floats(-1e6, 1e6))
decisions = st.builds(
    Decision, command=commands, reason=texts, track_id=st.none() | counts, deadline_ns=st.none() | times,
    id=texts, frame_index=counts, policy=texts,
)  # fmt: skip
run = st.just(RUN)
messages: st.SearchStrategy[AnyMessage] = st.one_of(
    st.builds(
        FrameReady, run=run, header=st.builds(header, index=counts, channel=texts), slot=counts, seq=counts,
        dose_mj=st.floats(0, 1e6),
    ),
    st.builds(
        OutcomeReached, run=run, outcome=st.builds(Outcome, texts, st.just("late"), texts, times),
        decision=st.none() | decisions, exposed_ns=times, ends_ns=st.lists(times, max_size=4).map(tuple),
    ),
    st.builds(RunEnded, run=run, reason=texts, ok=st.booleans(), figures=figures),
    st.builds(DecisionMade, run=run, decision=decisions, exposed_ns=times, decided_ns=times, sent_ns=times),
    st.builds(
        FrameAnalysed, run=run, frame_index=counts, t_ns=times, skipped=counts, exposed_ns=times,
        ends_ns=st.lists(times, max_size=16).map(tuple), n_cells=counts, n_tracks=counts,
        events=st.lists(texts, max_size=3).map(tuple), dropped=st.lists(texts, max_size=3).map(tuple),
    ),
    st.builds(InferenceStarted, run=run, pid=counts, perception=texts),
    st.builds(InferenceEnded, run=run, n_analysed=counts),
    st.builds(RecorderReady, run=run, endpoint=texts, server_key=texts),
    st.builds(ProcessLost, run=run, role=texts, why=texts),
    st.builds(Heartbeat, run=run, role=texts, pid=counts, progress=counts, figures=figures),
    st.builds(OperatorCommand, run=run, id=texts, command=commands, who=texts, why=texts),
    st.builds(Notice, run=run, t_ns=times, source=texts, level=st.just("info"), text=texts),
    st.builds(Status, run=run, t_ns=times, state=texts, frames=counts, lost=counts, figures=figures),
)  # fmt: skip


def notice(text: str) -> Notice:
    return Notice(run=RUN, t_ns=1, source="test", level="info", text=text)


def beat(progress: int) -> Heartbeat:
    return Heartbeat(run=RUN, role="inference", pid=1, progress=progress)


@settings(max_examples=200, deadline=None)
@given(message=messages)
def test_a_line_is_the_message_and_one_line(message: AnyMessage) -> None:
    data = line(message)
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert msgspec.json.decode(data, type=AnyMessage) == message
    assert msgspec.json.decode(data)["kind"] == type(message).__struct_config__.tag


def test_every_kind_can_be_told_from_a_line() -> None:
    tags = [kind.__struct_config__.tag for kind in get_args(AnyMessage)]
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_no_number_does_not_make_a_journal_unreadable(number: float) -> None:
    figures = {"dose_mj": 1.5, "age_ms": number}
    ended = RunEnded(run=RUN, reason="as asked", ok=True, figures=figures)
    status = Status(run=RUN, t_ns=1, state="running", frames=1, lost=0, figures=figures)
    for message in (ended, status, msgspec.structs.replace(beat(1), figures=figures)):
        again = msgspec.json.decode(line(message), type=AnyMessage)
        assert again == msgspec.structs.replace(message, figures={"dose_mj": 1.5})
    summary = Summary()
    summary.add(ended)
    assert summary.as_dict()["figures"] == {"dose_mj": 1.5}


def test_columns_of_the_tables_stay_out_of_the_journal() -> None:
    message = FrameAnalysed(
        run=RUN, frame_index=1, t_ns=2, skipped=0, exposed_ns=2, ends_ns=(), n_cells=1, n_tracks=1,
        tracks={"x_um": Column.of(np.array([1.5]))},
    )  # fmt: skip
    assert msgspec.json.decode(line(message), type=AnyMessage) == msgspec.structs.replace(message, tracks={})


def test_what_was_written_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = JournalWriter(path, SimulatedClock())
    for n in range(1000):
        journal.add(beat(n))
    journal.close()
    journal.close()
    assert [message.progress for message in read_journal(path)] == list(range(1000))


def test_an_existing_journal_is_never_written_over(tmp_path: Path) -> None:
    JournalWriter(tmp_path / "j", SimulatedClock()).close()
    with pytest.raises(FileExistsError):
        JournalWriter(tmp_path / "j", SimulatedClock())


def test_what_matters_is_handed_over_at_once_and_the_rest_within_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "j", SimulatedClock()
    journal = JournalWriter(path, clock)

    def n_readable() -> int:
        return sum(1 for _ in read_journal(path))

    journal.add(beat(0))
    assert n_readable() == 0, "kept in memory for a moment"
    journal.add(notice("something happened"))
    assert n_readable() == 2
    journal.add(beat(1))
    clock.sleep_s(0.99)
    journal.flush_if_due()
    assert n_readable() == 2
    clock.sleep_s(0.01)
    journal.flush_if_due()
    assert n_readable() == 3
    journal.close()


@settings(max_examples=60, deadline=None)
@given(n_bytes=st.integers(0, 400))
def test_wherever_a_kill_cuts_it_the_whole_lines_are_read(
    tmp_path_factory: pytest.TempPathFactory, n_bytes: int
) -> None:
    lines = [line(notice(text)) for text in ("first", "second µ", "third")]
    path = tmp_path_factory.mktemp("cut") / "j"
    path.write_bytes(b"".join(lines)[:n_bytes])
    whole = [n for n in range(1, 4) if sum(map(len, lines[:n])) <= n_bytes]
    assert len(list(read_journal(path))) == len(whole)


BAD_LINES = {
    "torn in the middle": b'{"kind":"noti\n',
    "empty": b"\n",
    "no JSON": b"\xff\xfe\n",
    "unknown kind": b'{"kind":"telepathy","run":"r","v":1}\n',
    "wrong type": line(notice("x")).replace(b'"t_ns":1', b'"t_ns":"one"'),
    "number that is none": line(beat(1)).replace(b"{}", b'{"a":null}'),
    "version of another day": line(notice("x")).replace(f'"v":{VERSION}'.encode(), b'"v":99'),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_damaged_line_is_named_by_its_number(name: str, tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(line(beat(0)) + BAD_LINES[name] + line(beat(2)))
    reader = read_journal(path)
    assert next(reader) == beat(0)
    with pytest.raises(RecordingError, match=r"j, line 2: (not a message|version 99)"):
        next(reader)


# --- summary ------------------------------------------------------------------------------------------------


def made(policy: str, n: int) -> Decision:
    return Decision(command=MoveStage(1.0), reason="r", policy=policy, id=f"{n}.{policy}.0", frame_index=n)


def reached(decision: Decision, status: OutcomeStatus) -> OutcomeReached:
    outcome = Outcome(decision.id, status, "", 5)
    return OutcomeReached(run=RUN, outcome=outcome, decision=decision, exposed_ns=0, ends_ns=(90, 95, 99, 120))


def seen(n: int, *decisions: Decision, events: tuple[str, ...] = (), dropped: tuple[str, ...] = ()) -> FrameAnalysed:
    ends = tuple(n * 100 + 10 * k for k in range(1, 10))
    return FrameAnalysed(
        run=RUN, frame_index=n, t_ns=n, skipped=0, exposed_ns=n * 100, ends_ns=ends, n_cells=2, n_tracks=2,
        events=events, dropped=dropped, decisions=decisions,
    )  # fmt: skip


def account_of(messages: Iterable[AnyMessage]) -> dict[str, Any]:
    summary = Summary()
    for message in messages:
        summary.add(message)
    return summary.as_dict()


def story() -> list[AnyMessage]:
    """Frames 0 to 9 without 4 and 5, a restart, two policies, one decision without an outcome."""
    told: list[AnyMessage] = [InferenceStarted(run=RUN, pid=1, perception="p")]
    for n in (0, 1, 2, 3, 6, 7, 8, 9):
        told.append(FrameReady(run=RUN, header=header(n), slot=0, seq=n, dose_mj=(n + 1) * 0.5))
    told += [
        reached(made("follow", 0), "done"),  # sooner than what was seen in its frame
        seen(0, made("follow", 0), events=("born 1", "born 2")),
        seen(3, made("follow", 1), made("pace", 2), events=("divided 1 into 3, 4",), dropped=("pace lost",)),
        seen(9, made("follow", 3)),
        reached(made("follow", 1), "late"),
        reached(made("pace", 2), "done"),
        OutcomeReached(run=RUN, outcome=Outcome("op.1", "refused", "", 6)),
        InferenceStarted(run=RUN, pid=2, perception="p"),
        notice("n"),
        beat(3),
        RunEnded(run=RUN, reason="as asked", ok=True, figures={"a": 1.0}),
    ]
    return told


def test_the_summary_counts_what_happened() -> None:
    account = account_of(story())
    latency = account.pop("latency")
    assert account == {
        "run": RUN,
        "ok": True,
        "end": "as asked",
        "duration_s": 0.45,
        "frames_recorded": 8,
        "frames_lost_by_camera": 2,
        "frames_dropped_as_ring_was_full": 0,
        "frames_analysed": 3,
        "frames_skipped_by_inference": 5,
        "inference_restarts": 1,
        "dose_mj": 5.0,
        "light": {
            "total_mj": 5.0,
            "most_j_cm2": 5.0 / 1000 / (512 * 0.5 / 1e4) ** 2,
            "cells": 0,
            "cells_j_cm2": {},
            "unbleached": {"phase": 1.0},
        },
        "decisions": {
            "follow": {"done": 1, "late": 1, "unanswered": 1},
            "operator": {"refused": 1},
            "pace": {"done": 1},
        },
        "decisions_dropped_by_arbiter": 1,
        "decisions_of_shadow_policies": {},
        "events": {"born": 2, "divided": 1},
        "notices": {"info": 1},
        "figures": {"a": 1.0},
    }
    assert set(latency) == {*STAGES, "exposed_to_decided", "exposed_to_done"}
    assert latency["exposed_to_done"]["n"] == 3
    assert latency["exposed_to_done"]["max_ms"] == round(120 / 1e6, 4)


def test_frames_that_found_the_ring_full_were_not_lost_by_the_camera() -> None:
    figures = {"frames_lost_by_camera": 1.0, "frames_dropped": 1.0}
    account = account_of([*story()[:-1], RunEnded(run=RUN, reason="as asked", ok=True, figures=figures)])
    assert account["frames_lost_by_camera"] == 1
    assert account["frames_dropped_as_ring_was_full"] == 1


def test_recorded_frames_were_analysed_or_skipped_over_restarts_too() -> None:
    """What a dying inference had skipped nobody counts; the rest is known."""
    account = account_of(story())
    assert account["frames_recorded"] == account["frames_analysed"] + account["frames_skipped_by_inference"]


def test_a_decision_whose_outcome_never_came_is_counted_by_its_policy() -> None:
    told = [seen(0, made("follow", 0), made("pace", 0)), reached(made("follow", 7), "done")]
    assert account_of(told)["decisions"] == {"follow": {"done": 1, "unanswered": 1}, "pace": {"unanswered": 1}}


def test_a_run_that_was_cut_off_says_so() -> None:
    account = account_of(story()[:-1])
    assert account["ok"] is False
    assert "cut off" in account["end"]


def test_the_journal_tells_the_summary_all_it_needs(tmp_path: Path) -> None:
    clock = SimulatedClock(5 * NS_PER_S)
    journal = JournalWriter(tmp_path / "j", clock)
    for message in story():
        journal.add(message)
    journal.close()
    assert account_of(read_journal(tmp_path / "j")) == account_of(story())
