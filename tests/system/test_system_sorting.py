"""A sort in real processes: every stack in order, through a stall and a killed inference; no pulse late, none unanswered."""

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from realtime.session.tables import read_parts
from realtime.wire import InferenceStarted, OutcomeReached, StripsSorted
from tests.flow_rig import SECTIONS, flow_config
from tests.system.runs import CommandLine, Recorded, Run, assert_nothing_of, of_kind

MODEST: dict[str, dict[str, Any]] = {
    "imaging": {"interval_ms": 1.0},
    "microscope": {"cells_per_s": 200.0, "wanted_share": 0.2, "speed_um_s": 25_000.0},
    "sort": SECTIONS["sort"] | {"flow": {"junction_um": 2500.0, "speed_um_s": 25_000.0}},
}
"""A stack every 16 ms, cells that need 100 ms to the junction: what is tested here is order, not speed."""


def fired(run: Run) -> int:
    return sum(message.outcome.status == "done" for message in of_kind(OutcomeReached, run.told))


def has_fired(folder: Path) -> bool:
    journal = folder / "journal.jsonl"
    return journal.exists() and b'"status":"done"' in journal.read_bytes()


def assert_every_pulse_answered(recorded: Recorded) -> Counter[str]:
    """One outcome for each pulse that was decided; none of those fired was late. How many of each."""
    decided = Counter(d.id for message in of_kind(StripsSorted, recorded.messages) for d in message.decisions)
    answered = Counter(o.outcome.decision_id for o in of_kind(OutcomeReached, recorded.messages) if o.decision)
    assert decided == answered
    return Counter(o.outcome.status for o in of_kind(OutcomeReached, recorded.messages) if o.decision)


def assert_all_looked_at(recorded: Recorded) -> None:
    """Every stack that the camera gave, in order, and none skipped."""
    looked = of_kind(StripsSorted, recorded.messages)
    assert recorded.indices == list(range(len(recorded.indices)))
    assert [message.frame_index for message in looked] == recorded.indices
    assert not any(message.skipped for message in looked)


def test_every_stack_is_looked_at_in_order(tmp_path: Path) -> None:
    config = flow_config(tmp_path, **MODEST)
    with Run(config, tmp_path / "session", duration_s=2.0) as run:
        result = run.to_the_end()
        assert result.ok, result.reason
    assert_nothing_of(run.supervisor.run)
    recorded = Recorded(run.folder)
    assert_all_looked_at(recorded)
    counts = assert_every_pulse_answered(recorded)
    assert counts["done"] > 0
    rows = read_parts(run.folder / "events.parquet")
    assert len(set(rows["event_id"].tolist())) == len(rows["event_id"]) > 100
    planned = [name for name in rows["decision_id"].tolist() if name]
    assert sorted(set(planned)) == sorted(d.id for m in of_kind(StripsSorted, recorded.messages) for d in m.decisions)
    summary = msgspec.json.decode((run.folder / "summary.json").read_bytes())
    assert summary["sort"]["events"] == len(rows["event_id"])
    assert sum(summary["sort"]["pulses"].values()) == sum(counts.values())
    assert summary["frames_skipped_by_inference"] == 0
    assert not (run.folder / "images.ome.zarr").exists()


def test_a_killed_inference_leaves_the_rig_safe_and_its_successor_goes_on_with_new_ids(tmp_path: Path) -> None:
    config = flow_config(tmp_path, **MODEST, inference={"deadline_ms": 1000.0})
    with Run(config, tmp_path / "session") as run:
        run.step_until(lambda: fired(run) > 0, "a pulse was fired")
        run.signal("inference")
        run.step_until(lambda: run.status is not None and run.status.state == "safe", "the rig is safe", 5.0)
        run.step_until(lambda: "inference is back" in run.notices(), "inference is back")
        before = fired(run)
        run.step_until(lambda: fired(run) > before, "another pulse was fired")
        result = run.finish()
        assert result.ok, result.reason
    recorded = Recorded(run.folder)
    assert_every_pulse_answered(recorded)
    first, second = of_kind(InferenceStarted, recorded.messages)
    assert (first.ids_used, second.ids_used > 0) == (0, True)
    rows = read_parts(run.folder / "events.parquet")
    assert len(set(rows["event_id"].tolist())) == len(rows["event_id"])
    by_second = {m.frame_index for m in of_kind(StripsSorted, recorded.messages) if m.incarnation == second.incarnation}
    ids_of_second = rows["event_id"][[index in by_second for index in rows["frame_index"]]]
    assert ids_of_second.min() > second.ids_used
    assert max(by_second) == recorded.indices[-1]
    assert min(by_second) > max(
        m.frame_index for m in of_kind(StripsSorted, recorded.messages) if m.frame_index not in by_second
    )


def test_after_a_stall_every_stack_is_looked_at_and_late_pulses_are_not_fired(tmp_path: Path) -> None:
    config = flow_config(tmp_path, **MODEST, inference={"silence_ms": 10_000.0})
    with Run(config, tmp_path / "session") as run:
        run.step_until(lambda: fired(run) > 0, "a pulse was fired")
        run.signal("inference", signal.SIGSTOP)
        run.take_frames(20)
        run.step_until(lambda: run.figure("stacks_behind") > 15, "stacks pile up")
        run.signal("inference", signal.SIGCONT)
        run.step_until(lambda: run.figure("stacks_behind") < 3, "inference catches up")
        before = fired(run)
        run.step_until(lambda: fired(run) > before, "pulses are in time again")
        result = run.finish()
        assert result.ok, result.reason
    recorded = Recorded(run.folder)
    assert_all_looked_at(recorded)
    counts = assert_every_pulse_answered(recorded)
    assert counts["late"] + counts["refused"] > 0
    for message in of_kind(OutcomeReached, recorded.messages):
        if message.decision and message.outcome.status == "done":
            assert message.ends_ns[2] < message.decision.command.at_ns, "it was scheduled ahead of its moment"  # type: ignore[union-attr]


def test_an_inference_that_cannot_keep_up_ends_the_run_and_still_looks_at_all_that_was_imaged(tmp_path: Path) -> None:
    slow = {"slow_inference": {"delay_ms": 60.0}}
    config = flow_config(tmp_path, **MODEST, ring={"megabytes": 5.0}, faults=slow)
    with Run(config, tmp_path / "session") as run:
        result = run.to_the_end()
    assert not result.ok
    assert "inference is 19 stacks of strips behind and the ring is full" in result.reason
    recorded = Recorded(run.folder)
    assert_all_looked_at(recorded)
    assert_every_pulse_answered(recorded)


def test_stacks_that_the_camera_loses_are_told_of_at_once(tmp_path: Path) -> None:
    config = flow_config(tmp_path, **MODEST, faults={"dropped_frames": {"share": 0.1}})
    with Run(config, tmp_path / "session") as run:
        run.step_until(lambda: "stacks of strips were lost by the camera" in run.notices(), "it is told of")
        result = run.finish()
        assert result.ok, result.reason
    recorded = Recorded(run.folder)
    assert [message.frame_index for message in of_kind(StripsSorted, recorded.messages)] == recorded.indices
    assert recorded.indices != list(range(len(recorded.indices)))


def test_where_no_images_are_kept_the_camera_does_not_wait_for_the_recorder(tmp_path: Path) -> None:
    config = flow_config(tmp_path, **MODEST, ring={"megabytes": 5.0}, inference={"silence_ms": 10_000.0})
    with Run(config, tmp_path / "session") as run:
        run.take_frames(5)
        run.signal("recorder", signal.SIGSTOP)
        run.take_frames(40)
        assert run.figure("ring_slots") < 40
        run.signal("recorder", signal.SIGCONT)
        result = run.finish()
        assert result.ok, result.reason
    assert_all_looked_at(Recorded(run.folder))


def test_an_interrupted_sort_ends_well(tmp_path: Path) -> None:
    config = flow_config(tmp_path, **MODEST)
    out = tmp_path / "session"
    with CommandLine("sort", config, "--out", out) as command:
        command.wait_until(lambda: has_fired(out), "a pulse was fired")
        command.interrupt()
        status, said, complaints = command.end()
    assert (status, complaints) == (0, "")
    for words in ("Ctrl-C", "events per s", "fired", "pulses scheduled (ms)"):
        assert words in said
    assert_all_looked_at(Recorded(out))
