"""The truth beside the images: whole, true to what the microscope shows, never in the loop's way; and tracks judged by it."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from test_realtime_cli import Command
from tiny_config import write_tiny

from acquisition.clock import SimulatedClock, SystemClock
from acquisition.microscope import Imaging
from acquisition.simulated.biology import PHASES
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.rendering import View, draw_labels
from acquisition.simulated.truth import nuclei_of, table_of
from realtime.config import load_config
from realtime.inline import inline_run
from realtime.offline.ctc_files import read_ctc
from realtime.offline.truth_files import SessionTruth
from realtime.plugins import ConfigError
from realtime.session.header import session_toml
from realtime.session.reader import SessionReader
from realtime.session.tables import PartTable, read_parts
from realtime.session.truth import MOST_WAITING, TruthWriter, truth_writer
from tests.polling import next_frame

SETTLED = ("microscope.time_factor=1", "microscope.cycle_min=1e5")
"""Cells that wander and do nothing else in a run of seconds."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny inline run in which cells divide and the stage moves."""
    folder = tmp_path_factory.mktemp("truth")
    return recorded(folder)


def recorded(folder: Path, *sets: str, duration_s: float = 6.0) -> Path:
    config = load_config(write_tiny(folder), sets)
    with inline_run(config, "run", folder / "session", session_toml("run", config), duration_s) as inline:
        inline.image()
    return folder / "session"


@pytest.fixture
def microscope() -> Iterator[SimulatedMicroscope]:
    made = SimulatedMicroscope(height_px=64, width_px=64, n_cells=5, specimen_um=(300.0, 300.0))
    yield made
    made.close()


# --- what is written ------------------------------------------------------------------------------------------------


def test_every_frame_has_its_cells(session: Path) -> None:
    columns = read_parts(session / "truth" / "cells.parquet")
    headers = list(SessionReader(session).headers())
    assert np.unique(columns["frame_index"]).tolist() == [header.index for header in headers]
    for header in headers[:: len(headers) // 5]:
        assert set(columns["t_ns"][columns["frame_index"] == header.index]) == {header.t_ns}
    assert (columns["cell_id"] > 0).all()
    assert {"G1", "S", "metaphase"} <= set(columns["phase"]) <= set(PHASES)
    assert len({len(column) for column in columns.values()}) == 1


def test_what_is_written_is_what_was_shown(microscope: SimulatedMicroscope) -> None:
    """Drawn from the table, the cells are those that the microscope itself says are in the frame, pixel by pixel."""
    clock = SimulatedClock()
    microscope.open(clock, Imaging())
    microscope.start()
    header, truth = next_frame(microscope, clock).header, microscope.truth()
    table = table_of(microscope.nuclei(), header)
    drawn = draw_labels(nuclei_of(table), View.of(header), microscope._world.atlas)
    np.testing.assert_array_equal(drawn, truth.labels)
    assert set(truth.nuclei.id) <= set(table["cell_id"])
    assert len(table["cell_id"]) < len(microscope.nuclei().id), "cells out of view have no row"


def test_events_are_those_of_the_whole_dish(session: Path) -> None:
    events = json.loads((session / "truth" / "events.json").read_text("utf-8"))
    assert events
    assert set(events[0]) == {"kind", "cell_id", "start_ns", "end_ns", "start_um"}
    mitoses = [event for event in events if event["kind"] == "mitosis" and event["end_ns"] is not None]
    columns = read_parts(session / "truth" / "cells.parquet")
    for mitosis in mitoses:
        after = columns["t_ns"] > mitosis["end_ns"]
        assert mitosis["cell_id"] not in columns["cell_id"][after], "a mother is gone when her mitosis has ended"
    daughters = set(columns["parent_id"]) - {0}
    assert daughters & {mitosis["cell_id"] for mitosis in mitoses}


def test_it_can_be_left_out(tmp_path: Path) -> None:
    folder = recorded(tmp_path, "recorder.truth=false", duration_s=0.5)
    assert not (folder / "truth").exists()
    with pytest.raises(ConfigError, match=r"recorder\.truth = true"):
        SessionTruth(folder)


def test_a_microscope_that_does_not_know_it_writes_none(tmp_path: Path) -> None:
    class Blind:
        """Some other microscope."""

    assert truth_writer(tmp_path, Blind(), SimulatedClock(), threaded=False) is None  # type: ignore[arg-type]
    assert not (tmp_path / "truth").exists()


def test_a_run_that_is_killed_leaves_the_truth_of_most_of_its_time(
    tmp_path: Path, microscope: SimulatedMicroscope
) -> None:
    """Nobody closes the writer."""
    microscope.cycle_min, microscope.time_factor = 90.0, 60.0
    clock = SimulatedClock()
    microscope.open(clock, Imaging(interval_ms=1000.0))
    microscope.start()
    writer, file, n_events = TruthWriter(tmp_path, microscope, clock, threaded=False), "truth/events.json", []
    for _ in range(90):
        header = next_frame(microscope, clock).header
        writer.see(header)
        n_events.append(len(json.loads((tmp_path / file).read_text("utf-8"))) if (tmp_path / file).exists() else None)
    assert n_events[:19] == [None] * 19
    assert n_events[25] is not None
    assert len(set(n_events[25:])) >= 2, "rewritten with what has come since"
    told = read_parts(tmp_path / "truth" / "cells.parquet")["frame_index"]
    assert header.index - 21 <= told.max() <= header.index


# --- out of the loop's way --------------------------------------------------------------------------------------------


class SlowTable(PartTable):
    """A disk that takes nothing until it is let."""

    let = Event()

    def add_rows(self, columns: dict) -> None:
        assert self.let.wait(10)
        super().add_rows(columns)


def test_a_disk_that_hangs_holds_nobody_up_and_what_is_lost_is_counted(
    tmp_path: Path, microscope: SimulatedMicroscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.session.truth.PartTable", SlowTable)
    clock = SimulatedClock()
    microscope.open(clock, Imaging())
    microscope.start()
    writer = TruthWriter(tmp_path, microscope, SystemClock(), threaded=True)
    for _ in range(MOST_WAITING + 20):
        writer.see(next_frame(microscope, clock).header)
    SlowTable.let.set()
    words = writer.close()
    assert 15 <= writer.n_lost <= 20
    assert f"the truth of {writer.n_lost} frames is not in" in words
    assert (
        len(np.unique(read_parts(tmp_path / "truth" / "cells.parquet")["frame_index"]))
        == MOST_WAITING + 20 - writer.n_lost
    )


def test_a_disk_that_fails_ends_no_run(
    tmp_path: Path, microscope: SimulatedMicroscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: PartTable, columns: dict) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(PartTable, "add_rows", fail)
    clock = SimulatedClock()
    microscope.open(clock, Imaging())
    microscope.start()
    writer = TruthWriter(tmp_path, microscope, clock, threaded=False)
    for _ in range(3):
        writer.see(next_frame(microscope, clock).header)
    assert "the truth of 3 frames is not in" in (words := writer.close())
    assert "input/output error" in words


def test_with_a_thread_it_writes_the_same(tmp_path: Path) -> None:
    tables = []
    for threaded in (False, True):
        microscope, clock = SimulatedMicroscope(height_px=64, width_px=64, specimen_um=(300.0, 300.0)), SimulatedClock()
        microscope.open(clock, Imaging())
        microscope.start()
        writer = TruthWriter(tmp_path / str(threaded), microscope, SystemClock(), threaded)
        for _ in range(20):
            writer.see(next_frame(microscope, clock).header)
        assert not writer.close()
        microscope.close()
        tables.append(read_parts(tmp_path / str(threaded) / "truth" / "cells.parquet"))
    assert tables[0].keys() == tables[1].keys()
    for name, column in tables[0].items():
        np.testing.assert_array_equal(column, tables[1][name], err_msg=name)


# --- judging a session ------------------------------------------------------------------------------------------------


@pytest.fixture
def reflexscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_a_session_s_tracks_are_judged_by_its_truth(reflexscope: Command, tmp_path: Path) -> None:
    folder = recorded(tmp_path, *SETTLED, duration_s=4.0)
    answer = reflexscope("truth", folder, "--out", tmp_path / "ctc")
    assert "judge it: reflexscope evaluate tracking" in answer.out
    answer = reflexscope("evaluate", "tracking", tmp_path / "ctc" / "01_GT", tmp_path / "ctc" / "01_RES", "--json")
    figures = json.loads(answer.out)
    assert figures["TRA"] > 0.95
    assert figures["identity_switches"] == 0
    true = read_ctc(tmp_path / "ctc" / "01_GT")
    assert true.n_frames == len(list(SessionReader(folder).headers()))


def test_frames_that_inference_skipped_are_not_held_against_the_tracker(reflexscope: Command, tmp_path: Path) -> None:
    folder = recorded(tmp_path, *SETTLED, duration_s=2.0)
    journal = folder / "journal.jsonl"
    lines = journal.read_text("utf-8").splitlines(keepends=True)
    analyses = [line for line in lines if '"kind":"analysed"' in line]
    skipped = set(analyses[2::3])
    journal.write_text("".join(line for line in lines if line not in skipped), "utf-8")
    answer = reflexscope("truth", folder, "--out", tmp_path / "ctc")
    assert f"{len(skipped)} frames that inference skipped are in neither folder" in answer.out
    answer = reflexscope("evaluate", "tracking", tmp_path / "ctc" / "01_GT", tmp_path / "ctc" / "01_RES", "--json")
    assert json.loads(answer.out)["TRA"] > 0.95
    assert read_ctc(tmp_path / "ctc" / "01_GT").n_frames == len(analyses) - len(skipped) > 0

    journal.write_text("".join(line for line in lines if line not in analyses), "utf-8")
    assert "inference has looked at no frame" in reflexscope.mistake("truth", folder, "--out", tmp_path / "none")


def test_lineages_come_through(session: Path, tmp_path: Path) -> None:
    told = SessionTruth(session)
    true, found = told.write(tmp_path)
    again = read_ctc(tmp_path / "01_GT")
    np.testing.assert_array_equal(again.id, true.id)
    np.testing.assert_array_equal(again.parent, true.parent)
    assert len(true.divisions()) >= 1
    assert len(found) > 0.5 * len(true)


def test_truth_is_not_written_over_anything(reflexscope: Command, session: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious", "utf-8")
    assert "holds files already" in reflexscope.mistake("truth", session, "--out", tmp_path)
    assert "holds no truth/cells.parquet" in reflexscope.mistake("truth", tmp_path, "--out", tmp_path / "new")
