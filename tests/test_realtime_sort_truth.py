"""`truth/passed.parquet`: every cell once, as the flow cell told it; a disk that fails costs the truth alone."""

from pathlib import Path

import pytest

from acquisition.clock import Clock
from acquisition.faults import Faults
from acquisition.faulty_microscope import FaultyMicroscope
from acquisition.serial_sorter import SerialSorter
from acquisition.simulated.flow_cell import FlowCell
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.sorter_beside import with_sorter
from realtime.session.disk import RecordingError
from realtime.session.sort_truth import SortTruthWriter, read_passed
from realtime.session.truth import TruthWriter, truth_writer
from tests.flowing import opened, stacks


def written(folder: Path, threaded: bool, cell: FlowCell, clock: Clock) -> SortTruthWriter:
    writer = truth_writer(folder, cell, clock, threaded)
    assert isinstance(writer, SortTruthWriter)
    for _ in range(10):
        clock.sleep_s(0.05)
        writer.see(stacks(cell, clock, 1)[0].header)
    return writer


@pytest.mark.parametrize("threaded", [False, True])
def test_every_cell_is_written_once_in_the_order_of_arrival(tmp_path: Path, threaded: bool) -> None:
    cell, clock = opened()
    cell.set_gate(True)
    assert written(tmp_path, threaded, cell, clock).close() == ""
    cells = read_passed(tmp_path)
    again, other_clock = opened()
    again.set_gate(True)
    other_clock.sleep_s(clock.now_ns() / 1e9)
    told = sorted(again.passed(), key=lambda c: c.arrival_ns)
    assert [(c.id, c.kind, c.arrival_ns, c.y_um, c.deflected) for c in cells] == [
        (c.id, c.kind, c.arrival_ns, c.y_um, c.deflected) for c in told
    ]
    assert len(cells) > 150
    assert all(c.deflected for c in cells)
    assert any(c.strips for c in cells)


def test_a_disk_that_fails_loses_the_truth_and_says_so(tmp_path: Path) -> None:
    cell, clock = opened()
    writer = truth_writer(tmp_path, cell, clock, threaded=False)
    assert writer is not None
    clock.sleep_s(0.2)
    writer.see(stacks(cell, clock, 1)[0].header)
    (tmp_path / "truth" / "passed.parquet").rmdir()
    (tmp_path / "truth" / "passed.parquet").write_text("in the way")
    assert "passed.parquet" in writer.close()
    with pytest.raises(RecordingError):
        read_passed(tmp_path)


def test_who_tells_what_is_found_through_faults(tmp_path: Path) -> None:
    cell, clock = opened()
    assert isinstance(
        truth_writer(tmp_path / "sort", FaultyMicroscope(cell, Faults()), clock, threaded=False), SortTruthWriter
    )
    dish = SimulatedMicroscope(height_px=64, width_px=64, n_cells=2)
    assert isinstance(truth_writer(tmp_path / "dish", dish, clock, threaded=False), TruthWriter)


@pytest.mark.parametrize("faulty", [False, True])
def test_what_another_sorter_deflects_the_flow_cell_does_not_know(tmp_path: Path, faulty: bool) -> None:
    """Its own sorter stays shut: to tell of that would make a good sort look as if it had caught nothing."""
    cell, clock = opened()
    rig = with_sorter(FaultyMicroscope(cell, Faults()) if faulty else cell, SerialSorter(port="COM3"))
    assert truth_writer(tmp_path, rig, clock, threaded=False) is None
    dish = FaultyMicroscope(SimulatedMicroscope(height_px=64, width_px=64, n_cells=2), Faults())
    beside = with_sorter(dish, SerialSorter(port="COM3"))
    assert isinstance(truth_writer(tmp_path, beside, clock, threaded=False), TruthWriter)
