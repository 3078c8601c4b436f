"""Cells that left the view → their verdicts, and pulses for those that are wanted and can be caught alone."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from acquisition.clock import NS_PER_MS
from acquisition.commands import PulseSorter
from models.cells import Floats
from realtime.decisions import Decision
from realtime.sort.pulses import Arrivals, Shaper, Span
from realtime.sort.settings import PulseSettings
from realtime.sort.traffic import Traffic
from realtime.sort.verdicts import Verdict
from realtime.sort.watch import Watch
from tracking.flow_cells import FlowCells

POLICY = "sort"
"""Pulses are decided under this name; no policy may be called so."""
Verdicts = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Plan:
    """What a stack led to; rows are those of FlowCells."""

    pulses: dict[int, Span]
    """By the row of its cell, in the order of arrivals."""
    waiting: npt.NDArray[np.intp]
    """Rows of wanted cells that have left the view and are decided with the next stack."""


@dataclass
class Planner:
    """Plans pulses for cells as they leave the view; remembers what is on its way to the junction."""

    settings: PulseSettings
    traffic: Traffic = field(init=False)

    def __post_init__(self) -> None:
        self._delay_ns, self._lead_ns = (
            round(time_ms * NS_PER_MS) for time_ms in (self.settings.delay_ms, self.settings.lead_ms)
        )
        self.traffic = Traffic(Shaper.of(self.settings))

    def plan(self, cells: FlowCells, verdict: Verdicts, watch: Watch, now_ns: int) -> Plan:
        """Pulses for wanted cells that have left the view; unless they wait, their verdict becomes final.

        `watch` knows which cells nobody saw; `now_ns` is the end of exposure of the newest strip.
        """
        wanted = verdict == Verdict.SORTED
        arrivals = Arrivals.of(cells.arrival_ns, cells.sigma_ms, cells.last_ns)
        self.traffic.forget(now_ns)
        self.traffic.leave(arrivals[cells.gone & ~wanted])
        in_view = arrivals[~cells.gone & ~wanted]
        is_sure = cells.sigma_ms <= self.settings.worst_sigma_ms  # NaN is not
        verdict[wanted & cells.gone & ~is_sure] = Verdict.UNCERTAIN_ARRIVAL
        rows = np.flatnonzero(wanted & is_sure)
        rows = rows[np.argsort(cells.arrival_ns[rows], kind="stable")]
        pulses, waiting = {}, []
        for i in np.flatnonzero(cells.gone[rows]).tolist():
            hidden = watch.hidden(float(cells.speed_um_s[rows[i]]))
            pulse = self._pulse(arrivals[rows[i : i + 1]], arrivals[rows[i + 1 :]], in_view, hidden, now_ns)
            if pulse is None:
                waiting.append(rows[i])
            elif isinstance(pulse, Verdict):
                verdict[rows[i]] = pulse
            else:
                pulses[int(rows[i])] = pulse
        return Plan(pulses, np.array(waiting, np.intp))

    def order(self, pulse: Span) -> PulseSorter:
        """The order to the gate for a pulse at the junction."""
        return PulseSorter(at_ns=pulse[0] - self._delay_ns, width_ms=(pulse[1] - pulse[0]) / NS_PER_MS)

    def _pulse(
        self, target: Arrivals, companions: Arrivals, in_view: Arrivals, hidden: Arrivals, now_ns: int
    ) -> Span | Verdict | None:
        """None: it can wait."""
        pulse = self.traffic.pulse_for(target, companions, in_view + hidden)
        if pulse == Verdict.COINCIDENCE and len(in_view) and self._may_wait(target, companions, hidden, now_ns):
            return None
        if isinstance(pulse, Verdict):
            return pulse
        if pulse[0] - self._delay_ns <= now_ns:
            return Verdict.TOO_LATE
        self.traffic.plan(pulse)
        return pulse

    def _may_wait(self, target: Arrivals, companions: Arrivals, hidden: Arrivals, now_ns: int) -> bool:
        """Whether only cells in view are in the way, of which the next stack may tell better when they arrive."""
        alone = self.traffic.pulse_for(target, companions, hidden)
        return not isinstance(alone, Verdict) and alone[0] - self._delay_ns - now_ns > self._lead_ns


def decisions_for(
    plan: Plan, planner: Planner, cells: FlowCells, frame_index: int, p_wanted: Floats, n_looks: Ints
) -> list[Decision]:
    """One decision a pulse, in the order of the cells' arrivals; `p_wanted` and `n_looks` row by row as `cells`."""
    return [
        _decision(row, n, planner.order(pulse), cells, frame_index, float(p_wanted[row]), int(n_looks[row]))
        for n, (row, pulse) in enumerate(plan.pulses.items())
    ]


def _decision(
    row: int, n: int, order: PulseSorter, cells: FlowCells, frame_index: int, p_wanted: float, n_looks: int
) -> Decision:
    ahead_ms = (int(cells.arrival_ns[row]) - int(cells.last_ns[row])) / NS_PER_MS
    reason = (
        f"wanted with p {p_wanted:.4f} after {n_looks} looks; arrives {ahead_ms:.3f} ± {cells.sigma_ms[row]:.3f} ms "
        "after its last strip"
    )
    return Decision(
        command=order, reason=reason, track_id=int(cells.id[row]), deadline_ns=order.at_ns,
        id=f"{frame_index}.{POLICY}.{n}", frame_index=frame_index, policy=POLICY,
    )  # fmt: skip
