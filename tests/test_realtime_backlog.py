"""Whom a full ring waits for, and how long the end of a run waits for an inference that catches up."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from acquisition.clock import SimulatedClock
from acquisition.microscope import Capabilities
from realtime.bus import DOOR_HWM
from realtime.config import load_config
from realtime.processes.backlog import FAREWELL_S, LONGEST_FAREWELL_S, Patience, ring_for, why_full
from realtime.ring import Ring
from tests.flow_rig import flow_config

FRAME = np.zeros((8, 8), np.uint8)


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring.create(f"test-{uuid4().hex}", 8, FRAME.nbytes)
    ring.wait_for_inference()
    yield ring
    ring.close()


def write(ring: Ring, n: int) -> None:
    for _ in range(n):
        assert ring.write(FRAME) is not None


def test_a_full_ring_names_the_one_that_is_behind(ring: Ring) -> None:
    write(ring, 8)
    ring.release(5)
    assert why_full(ring, 9).startswith("inference is 8 stacks of strips behind and the ring is full, so stack 9")
    ring.looked(8)
    ring.release(0)
    assert why_full(ring, 9).startswith("the recorder is 8 frames behind and the ring is full, so frame 9")


def test_patience_ends_when_nothing_is_looked_at(ring: Ring) -> None:
    clock = SimulatedClock()
    write(ring, 8)
    patience = Patience(clock, ring)
    clock.sleep_s(0.9 * FAREWELL_S)
    assert patience.lasts()
    clock.sleep_s(0.2 * FAREWELL_S)
    assert not patience.lasts()


def test_patience_is_renewed_by_progress_but_not_for_ever(ring: Ring) -> None:
    clock, waited_s = SimulatedClock(), 0.0
    write(ring, 8)
    patience = Patience(clock, ring)
    for seq in range(1, 9):
        ring.looked(seq)
        assert patience.lasts() == (waited_s < LONGEST_FAREWELL_S)
        clock.sleep_s(0.9 * FAREWELL_S)
        waited_s += 0.9 * FAREWELL_S
    assert not patience.lasts()


def test_the_ring_of_a_sort_holds_no_more_than_inference_can_be_told_of(tmp_path: Path) -> None:
    config = load_config(flow_config(tmp_path))
    ring = ring_for(f"test-{uuid4().hex}", config, Capabilities("tiny", 4, 4, "uint8", 1.0, frozenset()))
    assert ring.n_slots == DOOR_HWM
    ring.close()
