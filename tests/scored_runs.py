"""Hand-made records of runs, for the judge: frames at given times, events and decisions with known answers."""

from collections.abc import Sequence

import numpy as np

from acquisition.clock import NS_PER_S
from acquisition.commands import Command, Outcome, Status
from acquisition.frame import FrameHeader, StagePosition
from acquisition.simulated.history import TrueEvent, TruthKind
from realtime.decisions import Decision
from realtime.scoring.record import Look, Record
from realtime.wire import OutcomeReached

VIEW_UM = (100.0, 80.0)
MJ_A_FRAME = 0.5


def header(index: int, t_s: float, reason: str = "start", at_um: tuple[float, float] = (0.0, 0.0)) -> FrameHeader:
    return FrameHeader(
        index=index, t_ns=round(t_s * NS_PER_S), t_read_ns=round(t_s * NS_PER_S), height_px=80, width_px=100,
        dtype="uint16", channel="nuclei", exposure_ms=10.0, interval_ms=1000.0, light_mw=1.0,
        stage=StagePosition(*at_um), um_per_px=1.0, reason=reason,
        stage_from_pixel=(1.0, 0.0, at_um[0] - 49.5, 0.0, 1.0, at_um[1] - 39.5),
    )  # fmt: skip


def look(index: int, t_s: float, in_view: Sequence[int] = (1,), snr: float | None = None, reason: str = "start",
         at_um: tuple[float, float] = (0.0, 0.0), defocus_um: float = 0.0) -> Look:  # fmt: skip
    frame = header(index, t_s, reason, at_um)
    return Look(frame, MJ_A_FRAME * (index + 1), np.array(in_view, np.int64), defocus_um, snr)


def looks(times_s: Sequence[float], in_view: Sequence[int] = (1,)) -> list[Look]:
    return [look(i, t_s, in_view) for i, t_s in enumerate(times_s)]


def event(start_s: float, end_s: float | None, cell_id: int = 1, kind: TruthKind = "mitosis",
          start_um: tuple[float, float] = (0.0, 0.0)) -> TrueEvent:  # fmt: skip
    end_ns = None if end_s is None else round(end_s * NS_PER_S)
    return TrueEvent(kind, cell_id, round(start_s * NS_PER_S), end_ns, start_um)


def record(of: list[Look], events: Sequence[TrueEvent] = (), outcomes: Sequence[OutcomeReached] = (),
           planned_s: float = 100.0) -> Record:  # fmt: skip
    ended_ns = of[-1].header.t_ns if of else 0
    return Record(
        view_um=VIEW_UM, opened_ns=0, planned_ns=round(planned_s * NS_PER_S), ended_ns=ended_ns, looks=of,
        outcomes=list(outcomes), events=list(events), dose_mj=of[-1].dose_mj if of else 0.0,
        cells_j_cm2=np.array([1.0, 3.0]),
    )  # fmt: skip


def reached(frame: FrameHeader, command: Command, status: Status = "done", policy: str = "pace", deadline_s: float = 9e9,
            checked_s: float | None = None, done_s: float | None = None) -> OutcomeReached:  # fmt: skip
    """What became of a decision on a frame; without times, at once."""
    checked_ns = frame.t_ns if checked_s is None else round(checked_s * NS_PER_S)
    done_ns = checked_ns if done_s is None else round(done_s * NS_PER_S)
    decision = Decision(
        command=command, reason="", id=f"{frame.index}.{policy}.0", frame_index=frame.index, policy=policy,
        deadline_ns=round(deadline_s * NS_PER_S),
    )  # fmt: skip
    ends_ns = (frame.t_ns, frame.t_ns, checked_ns, done_ns)
    return OutcomeReached(
        run="r",
        outcome=Outcome(decision.id, status, "", done_ns),
        decision=decision,
        exposed_ns=frame.t_ns,
        ends_ns=ends_ns,
    )
