"""Whom nobody saw: exactly those cells that were in the view in no strip."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS, NS_PER_S
from realtime.sort.watch import Watch
from tracking.flow_settings import FlowSettings

FLOW, VIEW_UM = FlowSettings(junction_um=2_000.0, speed_um_s=100_000.0, speed_spread=0.3), 128.0
STRIP_NS = NS_PER_MS // 4
BLIND = st.lists(st.booleans(), min_size=16, max_size=160)


def watched(unseen: list[bool], stack: int = 16) -> Watch:
    watch = Watch(FLOW, VIEW_UM)
    for first in range(0, len(unseen), stack):
        part = np.array(unseen[first : first + stack])
        watch.look(tuple((first + n + 1) * STRIP_NS for n in range(len(part))), part)
    return watch


@given(BLIND, st.floats(80_000.0, 120_000.0), st.floats(-30.0, 50.0))
def test_a_cell_is_hidden_if_no_strip_shows_it(unseen: list[bool], speed_um_s: float, middle_ms: float) -> None:
    """It is in the middle of the view at `middle_ms`."""
    times_ms = (np.flatnonzero(~np.array(unseen)) + 1) * 0.25
    beside_um = np.abs(times_ms - middle_ms) * speed_um_s / 1000 - VIEW_UM / 2
    if np.any(np.abs(beside_um) < 0.1):
        return  # on the edge
    hidden = watched(unseen).hidden(speed_um_s).spans(1.0)
    arrives_ns = (middle_ms / 1000 + FLOW.junction_um / speed_um_s) * NS_PER_S
    is_hidden = bool(np.any((hidden[:, 0] <= arrives_ns) & (arrives_ns <= hidden[:, 1])))
    assert is_hidden == bool(np.all(beside_um > 0))


@given(BLIND)
def test_it_matters_not_how_strips_are_put_into_stacks(unseen: list[bool]) -> None:
    one, other = (watched(unseen, stack).hidden(100_000.0).spans(1.0) for stack in (16, 5))
    assert one.tolist() == other.tolist()


def test_what_has_long_passed_is_forgotten() -> None:
    watch = watched([True] * 8 + [False] * 8)
    assert len(watch.gaps) == 1
    for n in range(1, 2_000):
        watch.look(tuple((16 * n + k + 1) * STRIP_NS for k in range(16)), np.zeros(16, np.bool_))
    assert len(watch.gaps) == 0
