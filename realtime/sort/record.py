"""A recorded sort, read back: its cells, what became of their pulses, and, where it is known, the truth."""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from acquisition.clock import NS_PER_MS
from acquisition.commands import PulseSorter
from acquisition.frame import FrameHeader
from models.cells import Floats
from models.features_only import PARTICLE
from realtime.session.disk import EVENTS, RecordingError
from realtime.session.reader import SessionReader
from realtime.session.tables import Columns, read_parts
from realtime.sort.deflected import Spans, caught, spans_of
from realtime.sort.settings import SortGate, SortSettings
from realtime.sort.true_cells import NOBODY, TrueCells, matched, read_true_cells
from realtime.wire import FrameReady, OutcomeReached, StripsSorted

SORTED = ("sorted", "with_another")
"""Verdicts of cells that are to be deflected."""
CHECKED = 2
"""Place of the mark `checked` in OutcomeReached.ends_ns."""


@dataclass(frozen=True)
class Pulses:
    """Pulses that were asked for, each with its outcome; row by row."""

    decision_id: npt.NDArray[np.str_]  # [P]
    status: npt.NDArray[np.str_]  # [P] done, late, refused or failed
    scheduled_ms: Floats  # [P] from the end of exposure of the cell's last strip until the Guard had checked it


@dataclass(frozen=True)
class _Strip:
    height_px: int
    um_per_px: float


@dataclass(frozen=True)
class SortRecord:
    """All that a report is made of."""

    name: str
    """The session's folder."""
    settings: SortSettings
    events: Columns
    """As in events.parquet, one row a cell that left the view, and `y_um` from the channel's axis."""
    pulses: Pulses
    truth: TrueCells | None
    """Those that entered after the first event: before, the finder learns the background, and finds nobody."""
    cell: npt.NDArray[np.intp]
    """The true cell of each event `[E]`, or NOBODY."""
    fired: Spans
    """Pulses that were fired; those of a dry sort that would have been, and the truth has those as deflected who were there."""

    def __len__(self) -> int:
        return len(self.events["event_id"])

    @property
    def sorted_rows(self) -> npt.NDArray[np.bool_]:
        """Cells `[E]` for which a pulse was planned, of their own or another's."""
        return np.isin(self.events["verdict"].astype(str), SORTED)

    @property
    def p_wanted(self) -> Floats:
        """Probability `[E]` to be wanted: of the class, and 0 for who was measured outside the gate's ranges."""
        return np.where(outside(self.events, self.settings.gate), 0.0, self.events["p_wanted"])


def read_sort(session: Path) -> SortRecord:
    """Raises RecordingError if no sort is recorded there, or no cell passed."""
    reader = SessionReader(session)
    settings = _settings(reader)
    pulses, strip = _journal(reader)
    events = read_parts(session / EVENTS)
    if strip is not None:
        events["y_um"] = (events["y_px"] - (strip.height_px - 1) / 2) * strip.um_per_px
    has_fired = (
        _has_pulse(events) if settings.dry else np.isin(_ids(events), pulses.decision_id[pulses.status == "done"])
    )
    fired = spans_of(events, has_fired, settings.pulse.delay_ms)
    truth, cell = None, np.full(len(events["event_id"]), NOBODY, np.intp)
    if strip is not None and (told := read_true_cells(session, settings)) is not None:
        truth = told.since(int(events["last_ns"].min()))
        cell = matched(events, truth)
        truth = _as_measured(truth, cell, events, settings.gate)
        truth = replace(truth, deflected=caught(truth.arrival_ns, fired)) if settings.dry else truth
    return SortRecord(session.resolve().name, settings, events, pulses, truth, cell, fired)


def outside(events: Columns, gate: SortGate) -> npt.NDArray[np.bool_]:
    """Cells `[E]` that were measured outside the gate's ranges; those that were never seen whole may be inside."""
    is_outside = np.zeros(len(events["event_id"]), np.bool_)
    for name, (low, high) in gate.where.items():
        is_outside |= (events[name] < low) | (events[name] > high)
    return is_outside


def _as_measured(truth: TrueCells, cell: npt.NDArray[np.intp], events: Columns, gate: SortGate) -> TrueCells:
    """True cells that were measured only outside the gate's ranges are not wanted; of what is no kind, those inside are."""
    known, is_outside = cell != NOBODY, outside(events, gate)
    inside = np.unique(cell[known & ~is_outside])
    wanted = truth.wanted.copy()
    wanted[np.setdiff1d(cell[known & is_outside], inside)] = False
    if PARTICLE in gate.classes:
        wanted[inside] = True
    return replace(truth, wanted=wanted)


def _has_pulse(events: Columns) -> npt.NDArray[np.bool_]:
    return np.array([each is not None for each in events["decision_id"]], np.bool_)


def _ids(events: Columns) -> npt.NDArray[np.str_]:
    """Of the pulse of each event; empty without one."""
    return np.array([each or "" for each in events["decision_id"]], np.str_)


def _settings(reader: SessionReader) -> SortSettings:
    config = tomllib.loads(reader.config_text).get("config", {})
    if "sort" not in config:
        raise RecordingError(
            f"{reader.folder}: its config has no section [sort], so it is no sort; give a session of `reflexscope sort`"
        )
    return msgspec.convert(config["sort"], SortSettings)


def _journal(reader: SessionReader) -> tuple[Pulses, _Strip | None]:
    """What it says of pulses, and of strips, if any were looked at."""
    rows: list[tuple[str, str, float]] = []
    stack: FrameHeader | None = None
    n_strips = 0
    for message in reader.records():
        if isinstance(message, FrameReady):
            stack = stack or message.header
        elif isinstance(message, StripsSorted):
            n_strips = n_strips or message.n_strips
        elif isinstance(message, OutcomeReached) and _is_of_a_pulse(message):
            scheduled_ms = (message.ends_ns[CHECKED] - message.exposed_ns) / NS_PER_MS
            rows.append((message.outcome.decision_id, message.outcome.status, scheduled_ms))
    ids, status, scheduled = ([row[i] for row in rows] for i in range(3))
    pulses = Pulses(np.array(ids, np.str_), np.array(status, np.str_), np.array(scheduled, np.float64))
    return pulses, _Strip(stack.height_px // n_strips, stack.um_per_px) if stack and n_strips else None


def _is_of_a_pulse(message: OutcomeReached) -> bool:
    """Of one that came from a stack, as those of a person do not."""
    order = message.decision.command if message.decision else None
    return isinstance(order, PulseSorter) and len(message.ends_ns) > CHECKED
