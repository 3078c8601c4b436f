"""Messages of a sort for tests: stacks with cells that left the view, and what became of their pulses."""

import msgspec
import numpy as np

from acquisition.clock import NS_PER_MS
from acquisition.commands import Outcome, PulseSorter
from acquisition.commands import Status as OutcomeStatus
from acquisition.frame import FrameHeader
from realtime.decisions import Decision
from realtime.latency import SORT_STAGES
from realtime.sort.verdicts import Verdict
from realtime.wire import Column, FrameReady, OutcomeReached, StripsSorted
from tests.wire_examples import HEADER

RUN = "test"
STACK_NS = 4 * NS_PER_MS
SIDE_PX = 4


def decision(index: int, n: int, cell: int) -> Decision:
    at_ns = (index + 6) * STACK_NS
    return Decision(
        command=PulseSorter(at_ns=at_ns, width_ms=0.3), reason=f"cell {cell}", track_id=cell, deadline_ns=at_ns,
        id=f"{index}.sort.{n}", frame_index=index, policy="sort",
    )  # fmt: skip


def stack(index: int, verdicts: list[Verdict], first_id: int = 1, kept: tuple[int, ...] = ()) -> StripsSorted:
    """Stack `index`, with which a cell of each verdict was gone; crops of the rows `kept`."""
    n = len(verdicts)
    is_sorted = np.array([verdict == Verdict.SORTED for verdict in verdicts], bool)
    numbers = np.where(is_sorted, np.cumsum(is_sorted) - 1, -1).astype(np.int32)
    ids = np.arange(first_id, first_id + n)
    p_wanted = np.where(is_sorted, 0.99, 0.01)
    columns = {
        "frame_index": np.full(n, index), "event_id": ids, "p_wanted": p_wanted,
        "verdict": np.array(verdicts, np.uint8), "decision_n": numbers,
    }  # fmt: skip
    expected = {"wanted": p_wanted.sum(), "sorted": is_sorted.sum(), "sorted_wanted": p_wanted[is_sorted].sum()}
    crops = np.stack([np.full((SIDE_PX, SIDE_PX), row, np.uint8) for row in kept]) if kept else None
    return StripsSorted(
        run=RUN, frame_index=index, t_ns=index * STACK_NS, skipped=0, exposed_ns=index * STACK_NS,
        ends_ns=tuple(index * STACK_NS + (i + 1) * NS_PER_MS // 2 for i in range(len(SORT_STAGES))),
        n_strips=16, n_sightings=5 * n, n_in_view=1, n_unseen=2,
        verdicts={verdict.word: verdicts.count(verdict) for verdict in verdicts},
        expected={name: float(value) for name, value in expected.items()},
        decisions=tuple(decision(index, int(numbers[row]), int(ids[row])) for row in np.flatnonzero(is_sorted)),
        events={name: Column.of(values) for name, values in columns.items()} if n else {},
        crops=Column.of(crops) if crops is not None else None,
        crop_rows=Column.of(np.array(kept, np.int32)) if kept else None,
    )  # fmt: skip


def outcome(made: Decision, status: OutcomeStatus, detail: str, after_ms: float) -> OutcomeReached:
    """What became of a pulse that was scheduled so long after its cell's last strip."""
    assert isinstance(made.command, PulseSorter)
    exposed_ns = made.frame_index * STACK_NS
    checked_ns = exposed_ns + round(after_ms * NS_PER_MS)
    done_ns = made.command.at_ns + 1000 if status == "done" else checked_ns + 1000
    return OutcomeReached(
        run=RUN, outcome=Outcome(made.id, status, detail, done_ns), decision=made, exposed_ns=exposed_ns,
        ends_ns=(checked_ns - 300_000, checked_ns - 200_000, checked_ns, done_ns),
    )  # fmt: skip


def strips_frame(index: int) -> tuple[FrameReady, np.ndarray]:
    """A small stack of four strips."""
    times_ns = tuple((index * 4 + n + 1) * NS_PER_MS for n in range(4))
    header: FrameHeader = msgspec.structs.replace(
        HEADER, index=index, t_ns=times_ns[-1], t_read_ns=times_ns[-1], height_px=32, width_px=16, dtype="uint8",
        strip_t_ns=times_ns,
    )  # fmt: skip
    return FrameReady(run=RUN, header=header, slot=0, seq=index + 1), np.full((32, 16), index, np.uint8)
