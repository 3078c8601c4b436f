"""What a microscope promises besides if its camera takes bursts by itself (BurstSequencer in acquisition/microscope.py)."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from acquisition.clock import NS_PER_MS, NS_PER_S, SystemClock
from acquisition.faults import DroppedFrames, DuplicatedFrames, Faults, LateFrames
from acquisition.faulty_microscope import with_faults
from acquisition.frame import FrameHeader
from acquisition.microscope import BurstSequencer, Imaging, Microscope
from tests.contracts.test_microscope_contract import micromanager, simulated
from tests.polling import next_frames

SLOW = Imaging(interval_ms=40.0, exposure_ms=8.0, light_mw=2.0)
LATE = Faults(late_frames=LateFrames(share=0.5, delay_ms=30.0), duplicated_frames=DuplicatedFrames(share=0.3))

RIGS: dict[str, Callable[[Path], Microscope]] = {
    "Micro-Manager, streaming": micromanager(mode="stream"),
    "Micro-Manager, snapping": micromanager(mode="snap"),
    "Micro-Manager, late frames": lambda folder: with_faults(micromanager(mode="stream")(folder), LATE),
}


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Microscope]:
    microscope = RIGS[request.param](tmp_path)
    microscope.open(SystemClock(), SLOW)
    microscope.start()
    yield microscope
    microscope.close()


def sequencer(rig: Microscope) -> BurstSequencer:
    assert isinstance(rig, BurstSequencer)
    return rig


def headers_of(rig: Microscope, n: int) -> list[FrameHeader]:
    """The next `n` frames; what comes twice counts once."""
    headers: list[FrameHeader] = []
    while len(headers) < n:
        (frame,) = next_frames(rig, SystemClock(), 1)
        if not headers or frame.header.index > headers[-1].index:
            headers.append(frame.header)
    return headers


def began_ns(header: FrameHeader) -> int:
    return header.t_ns - round(header.exposure_ms * NS_PER_MS)


def test_exactly_so_many_exposures_then_imaging_as_before(rig: Microscope) -> None:
    headers_of(rig, 2)
    since_ns = sequencer(rig).burst(9, 8.0)
    assert since_ns is not None
    headers = [header for header in headers_of(rig, 16) if began_ns(header) > since_ns]
    taken, after = headers[:9], headers[9:]
    assert {header.interval_ms for header in taken} == {8.0}
    assert np.median([b.t_ns - a.t_ns for a, b in pairwise(taken)]) == pytest.approx(8.7 * NS_PER_MS, rel=0.1)
    assert {header.interval_ms for header in after} == {40.0}
    assert rig.state().interval_ms == 40.0
    assert [b.index - a.index for a, b in pairwise(headers)] == [1] * (len(headers) - 1)
    assert rig.lost_frames() == 0
    assert sequencer(rig).burst_failure() == ""


def test_an_interval_that_the_devices_cannot_keep_changes_nothing(rig: Microscope) -> None:
    headers_of(rig, 1)
    before = rig.state()
    assert sequencer(rig).burst(5, 20.0) is None
    assert rig.state() == before
    assert {header.interval_ms for header in headers_of(rig, 4)} == {40.0}
    assert sequencer(rig).burst_failure() == ""


def test_every_exposure_of_a_burst_is_counted_as_dose_and_none_twice(rig: Microscope) -> None:
    clock = SystemClock()
    headers_of(rig, 2)
    before_ns, before_mj = clock.now_ns(), rig.dose_mj()
    assert sequencer(rig).burst(20, 8.0) is not None
    taken = set[int]()
    while len(taken) < 20:
        taken |= {header.index for header in headers_of(rig, 1) if header.interval_ms == 8.0}
    lit_s = (rig.dose_mj() - before_mj) / SLOW.light_mw
    took_s = (clock.now_ns() - before_ns) / NS_PER_S
    assert 20 * SLOW.exposure_ms / 1000 <= lit_s + 0.001 <= took_s + 0.05, "no longer than there was time"


def test_lost_frames_of_a_burst_are_told_after_its_last_one(tmp_path: Path) -> None:
    rig = with_faults(micromanager()(tmp_path), Faults(dropped_frames=DroppedFrames(share=0.4)))
    rig.open(SystemClock(), SLOW)
    rig.start()
    try:
        headers_of(rig, 1)
        since_ns, lost_before = sequencer(rig).burst(20, 8.0), rig.lost_frames()
        assert since_ns is not None
        taken = []
        while not (failure := sequencer(rig).burst_failure()):
            taken += [header for header in headers_of(rig, 1) if began_ns(header) > since_ns]
        n_lost = int(failure.split()[0])
        assert failure == f"{n_lost} of its frames were lost (fault dropped_frames)"
        assert 20 - n_lost <= len(taken) <= 21 - n_lost
        assert n_lost <= rig.lost_frames() - lost_before, "others may be lost besides"
        assert sequencer(rig).burst(3, 8.0) is not None
        assert sequencer(rig).burst_failure() == "", "the next burst is not blamed"
    finally:
        rig.close()


def test_only_a_camera_that_can_says_so(tmp_path: Path) -> None:
    """Through faults, too: the loop asks isinstance, and counts frames itself where the answer is no."""
    faults = Faults(dropped_frames=DroppedFrames())
    assert not isinstance(with_faults(simulated(tmp_path), faults), BurstSequencer)
    assert isinstance(with_faults(micromanager()(tmp_path), faults), BurstSequencer)
