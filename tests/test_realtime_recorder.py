"""The recorder process's object on a real ring, door and session folder: slots come back, nothing is written twice."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from acquisition.clock import NS_PER_S, SystemClock
from realtime.bus import Door, KeyPair
from realtime.config import load_config
from realtime.processes import recorder
from realtime.processes.recorder import RecorderProcess
from realtime.processes.ticket import Report, Reporter, Ticket, Working
from realtime.ring import Ring
from realtime.session import faulty_disk, writer
from realtime.session.disk import DiskFull
from realtime.session.header import session_toml
from realtime.session.reader import SessionReader
from realtime.wire import AnyMessage, FrameReady, Notice
from tests.polling import wait_until
from tests.scenes import header
from tests.tiny_config import write_tiny

RUN, CLOCK = "run-a", SystemClock()
N_SLOTS, SIDE_PX = 8, 45
Batches = list[list[AnyMessage]]


class Bench:
    """A recorder; what comes to its inbox is put there by the test, batch by batch."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = {role: KeyPair.new() for role in ("acquisition", "recorder")}
        role_of = {pair.public: role for role, pair in keys.items()}
        self.folder = folder / "session"
        self.ring = Ring.create(f"test-{folder.name}", N_SLOTS, SIDE_PX * SIDE_PX * 2)
        self.door = Door(RUN, keys["acquisition"], role_of, CLOCK)
        self.process = RecorderProcess(
            Ticket(
                run=RUN, role="recorder", folder=str(self.folder), ring=self.ring.name, door=self.door.address,
                session_toml=session_toml(RUN, load_config(write_tiny(folder))), keys=keys["recorder"], role_of=role_of,
            )
        )  # fmt: skip
        self.batches: Batches = []
        monkeypatch.setattr(self.process.inbox, "receive", self._receive)
        self._finished = False

    def _receive(self, timeout_s: float) -> Iterable[tuple[str, AnyMessage]]:
        return [("acquisition", message) for message in (self.batches.pop(0) if self.batches else [])]

    def frame(self, index: int) -> FrameReady:
        """A frame in the ring, and the words that go with it."""
        pixels = np.full((SIDE_PX, SIDE_PX), index, np.uint16)
        slot, seq = self.ring.write(pixels) or (-1, -1)
        return FrameReady(run=RUN, header=header(index, size_px=SIDE_PX), slot=slot, seq=seq)

    def notices(self, n: int = 1) -> list[Notice]:
        """What the recorder says at the door."""
        said: list[Notice] = []
        wait_until(lambda: len(self._hear(said)) >= n, CLOCK, f"{n} notices")
        return said

    def _hear(self, said: list[Notice]) -> list[Notice]:
        said += [message for _, message in self.door.receive(0.01) if isinstance(message, Notice)]
        return said

    def finish(self) -> None:
        """The recorder's own end."""
        if not self._finished:
            self._finished = True
            self.process.close()

    def close(self) -> None:
        self.finish()
        self.door.close()
        self.ring.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with closing(Bench(tmp_path, monkeypatch)) as bench:
        yield bench


class Said:
    """A reporter's other end."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def say(self, report: Report) -> None:
        self.reports.append(report)


def indices_with_pixels(folder: Path) -> list[int]:
    reader = SessionReader(folder)
    indices = [each.index for each in reader.headers()][: reader.n_readable]
    assert all((reader.pixels(index) == index).all() for index in indices)
    return indices


def test_in_a_backlog_slots_come_back_one_by_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that goes on while the recorder catches up must find room before the whole backlog is written."""
    session, fill = bench.process.writer, []
    begin = session.add_frame

    def watched(message: FrameReady, pixels: np.ndarray) -> None:
        fill.append(bench.ring.fill())
        begin(message, pixels)
        wait_until(lambda: session.settled() > message.header.index, CLOCK, "the frame is written")

    monkeypatch.setattr(session, "add_frame", watched)
    bench.batches = [[bench.frame(n) for n in range(N_SLOTS)]]
    bench.process.turn()
    assert fill == [1 - n / N_SLOTS for n in range(N_SLOTS)]


def test_a_frame_whose_journal_line_failed_is_neither_repeated_nor_released(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = bench.process.writer._journal
    keep, failures = journal.add, [OSError(errno.ENOSPC, "No space left on device")]

    def fails_once(message: AnyMessage) -> None:
        if isinstance(message, FrameReady) and message.header.index == 1 and failures:
            raise failures.pop()
        keep(message)

    monkeypatch.setattr(journal, "add", fails_once)
    bench.batches = [[bench.frame(0), bench.frame(1)]]
    with pytest.raises(DiskFull):
        bench.process.turn()
    bench.finish()
    assert bench.ring.fill() == 1 / N_SLOTS, "frame 0 is on the disk, frame 1 was never begun"
    assert indices_with_pixels(bench.folder) == [0]


def test_what_is_on_its_way_when_space_runs_short_still_goes_into_the_reserve(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faulty_disk, "free_gb", lambda path: -1.0)
    monkeypatch.setattr(writer, "LOOK_NS", 0)
    bench.batches = [[bench.frame(0), bench.frame(1)], [bench.frame(2)]]
    for _ in range(2):
        bench.process.turn()
    (complaint,) = bench.notices()
    assert complaint.level == "error"
    assert "make room" in complaint.text
    bench.finish()
    assert indices_with_pixels(bench.folder) == [0, 1, 2]


def test_a_long_complaint_is_heard(bench: Bench) -> None:
    bench.process.complain("the disk is full " * 1000)
    (complaint,) = bench.notices()
    assert len(complaint.text) == 4000


def test_draining_goes_on_until_nothing_comes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "WORKING_NS", 0)
    bench.batches = [[bench.frame(0), bench.frame(1)], [bench.frame(2)], [bench.frame(3)]]
    said = Said()
    bench.process.drain(cast(Reporter, said))
    assert bench.ring.fill() == 0, "and until every frame is on the disk"
    bench.finish()
    assert indices_with_pixels(bench.folder) == [0, 1, 2, 3]
    told = [report.n_written for report in said.reports if isinstance(report, Working)]
    assert told == sorted(set(told)), "told only when it got on"
    assert told[-1] == 8


def test_after_the_session_is_closed_no_file_is_touched(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def touched() -> int:
        return pytest.fail("flush of closed file")

    bench.batches = [[bench.frame(0)]]
    bench.process.turn()
    monkeypatch.setattr(bench.process.writer, "settled", touched)
    bench.finish()
    assert bench.ring.fill() == 0


def test_figures_are_made_for_the_heartbeat_not_for_every_turn(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, session = [], bench.process.writer
    figures = session.figures
    monkeypatch.setattr(session, "figures", lambda: asked.append(1) or figures())
    began_ns = CLOCK.now_ns()
    for _ in range(100):
        bench.process.turn()
    assert 1 <= len(asked) <= 2 + 5 * (CLOCK.now_ns() - began_ns) / NS_PER_S
    assert bench.process._pulse.figures["in_flight"] == 0
