"""`reflexscope check` for a sort: is every stack looked at, and is a pulse scheduled before its cell is there?"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from acquisition.clock import NS_PER_MS, SystemClock
from acquisition.faults import Faults
from acquisition.frame import Frame
from acquisition.pulses import HasPulseTimer
from realtime.check import (
    Finding,
    Remark,
    bus_finding,
    camera_finding,
    disk_finding,
    median_ms,
    ring_finding,
    take_frames,
)
from realtime.config import RunConfig
from realtime.devices import build_rig
from realtime.processes.rig_lock import RigLock
from realtime.sort.check_cells import Looked, cell_remark, evidence_findings, looked
from realtime.sort.gate import check_channel
from realtime.sort.rehearsed_strips import crowded
from realtime.sort.settings import SortSettings
from realtime.sort.told_flow import WINDOW_SHARE, check_told_channel, flow_findings
from realtime.sorting import Sorting

N_STACKS = 50
"""Crowded ones that are timed, after those from which the background is learned."""
LEAST_CELLS, MOST_STRIPS = 20, 3000
"""Crowded stacks go on until so many cells have passed, or until there are so many strips."""
FRAMES_BYTES = 200e6
"""Stacks as filmed, in memory: the cells in them are counted."""
N_EDGES, EDGE_MS = 200, 1.0
CROWD_TOLERANCE = 1.25
"""A fifth of the cells may be hidden by others."""
TOO_SLOW = (
    "stacks pile up and the run ends when the ring is full: fewer cells or strips a second, smaller strips, a smaller "
    "sort.looks, a faster engine or computer"
)


@dataclass(frozen=True)
class Rehearsed:
    """What the rig gave when it was tried."""

    frames: list[Frame]
    rate_hz: float
    lead_ms: float | None
    """How long before its moment a pulse must be handed over; None: this computer keeps the time of pulses."""
    gate_ms: float
    """How long the microscope's trigger output takes; 0 where it is not used."""


def sort_rehearsal(config: RunConfig, tell: Callable[[str], None] = lambda text: None) -> list[Finding | Remark]:
    """Open the rig, image for some seconds, measure all that lies between a cell and its pulse.

    Raises MicroscopeError, ConfigError.
    """
    assert config.sort is not None
    check_told_channel(config)
    clock = SystemClock()
    tried = _try_rig(config, clock, tell)
    header = tried.frames[-1].header
    check_channel(config.sort, header)
    n_strips = len(header.strips_t_ns)
    stack_ms = n_strips * config.imaging.interval_ms
    strips = "1 strip" if n_strips == 1 else f"{n_strips} strips"
    tell(f"the camera hands out {strips} at a time: one stack every {stack_ms:.3g} ms")
    sorting = Sorting.from_config(config, clock)
    sorting.prepare(*header.shape)
    real = looked(Sorting(config.sort, sorting.classifier, clock), tried.frames, config.imaging.interval_ms, clock)
    return [
        *flow_findings(config),
        *_pace_findings(config, tried, real, _crowd_looked(config, tried, sorting, stack_ms, clock), clock),
        cell_remark(config, sorting, tried.frames, real, clock),
        *evidence_findings(sorting, header, real),
    ]


def _pace_findings(
    config: RunConfig, tried: Rehearsed, real: Looked, crowd: Looked, clock: SystemClock
) -> list[Finding]:
    """Camera, computer and sorter against the pace of the strips."""
    assert config.sort is not None
    frames, settings = tried.frames, config.sort
    n_strips = len(frames[-1].header.strips_t_ns)
    stack_ms = n_strips * config.imaging.interval_ms
    bus = bus_finding(clock)
    crowd_ms = crowd.times_ms[-N_STACKS:]
    decide_ms = 2 * bus.measured + float(np.quantile(crowd_ms, 0.99))
    findings = [
        camera_finding(tried.rate_hz * n_strips, 1000 / config.imaging.interval_ms, "strips/s"),
        ring_finding(config, frames, stack_ms),
        replace(bus, demanded=min(bus.demanded, stack_ms / 2)),
        _looking_finding("sort, as filmed", float(np.median(real.times_ms[-N_STACKS:])), stack_ms),
        _looking_finding(f"sort, {settings.events_per_s:g}/s", float(np.mean(crowd_ms)), stack_ms),
        _apart_finding(settings, crowd),
        *_time_findings(settings, frames[-1], stack_ms, decide_ms, tried),
    ]
    if tried.lead_ms is None:
        findings += _edge_findings(config, settings, clock, tried.gate_ms)
    if config.recorder.images == "all":
        findings.append(disk_finding(config, frames, clock, stack_ms))
    return findings


def _try_rig(config: RunConfig, clock: SystemClock, tell: Callable[[str], None]) -> Rehearsed:
    microscope = build_rig(config, Faults())
    with RigLock(microscope.rig_id, "rehearsal"):
        try:
            microscope.open(clock, config.imaging)
            timer = microscope.pulse_timer if isinstance(microscope, HasPulseTimer) else None
            lead_ms = timer.lead_ms if timer is not None else None
            tell("the sorter times pulses itself" if timer is not None else "this computer keeps the time of pulses")
            gate_ms = 0.0 if timer is not None else median_ms(clock, 20, lambda: microscope.set_gate(False))
            frames, rate_hz = take_frames(microscope, clock, config.imaging.interval_ms, FRAMES_BYTES)
        finally:
            microscope.close()
    return Rehearsed(frames, rate_hz, lead_ms, gate_ms)


def _crowd_looked(config: RunConfig, tried: Rehearsed, sorting: Sorting, stack_ms: float, clock: SystemClock) -> Looked:
    """Stacks with as many cells as are to pass; `seconds` are those in which they did."""
    assert config.sort is not None
    needed = math.ceil(LEAST_CELLS / config.sort.events_per_s * 1000 / stack_ms)
    most = MOST_STRIPS // len(tried.frames[-1].header.strips_t_ns)
    n_stacks = max(N_STACKS, min(needed, most))
    crowd = crowded(tried.frames, config.sort, config.imaging.interval_ms, n_stacks)
    fresh = Sorting(config.sort, sorting.classifier, clock)
    return replace(
        looked(fresh, crowd, config.imaging.interval_ms, clock), seconds=n_stacks * stack_ms / 1000
    )  # fmt: skip


def _looking_finding(what: str, ms: float, stack_ms: float) -> Finding:
    """A slow stack now and then, as the one that makes the background known, waits in the ring."""
    return Finding(what, ms, stack_ms, "ms", False, TOO_SLOW)


def _apart_finding(settings: SortSettings, crowd: Looked) -> Finding:
    """Of the cells that were drawn, how many were seen as one cell each."""
    return Finding(
        "told apart", crowd.n_events / crowd.seconds, settings.events_per_s, "cells/s", True,
        "at this rate cells overlap in the view and pass for one: dilute the sample, narrow the view or widen the flow",
        usable=CROWD_TOLERANCE,
    )  # fmt: skip


def _time_findings(
    settings: SortSettings, frame: Frame, stack_ms: float, decide_ms: float, tried: Rehearsed
) -> list[Finding]:
    """A cell leaves the view at worst with the first strip of a stack, and must have been decided on in time."""
    header, pulse, lead_ms = frame.header, settings.pulse, tried.lead_ms or 0.0
    way_um = settings.flow.junction_um - header.width_px * header.um_per_px / 2
    left_ms = way_um / settings.flow.speed_um_s * 1000 - pulse.delay_ms - pulse.window_ms / 2 - lead_ms
    return [
        Finding(
            "cell to order", stack_ms + decide_ms, left_ms, "ms", False,
            "pulses will come too late and be refused: move the junction further down (sort.flow.junction_um), slow the "
            "flow, or let the camera hand out fewer strips at a time",
        ),
        Finding(
            "waiting cells", stack_ms + decide_ms + lead_ms, pulse.lead_ms, "ms", False,
            "a cell that waits for a better view of those behind it would be decided on too late: raise sort.pulse.lead_ms",
            usable=1.0,
        ),
    ]  # fmt: skip


def _edge_findings(config: RunConfig, settings: SortSettings, clock: SystemClock, gate_ms: float) -> list[Finding]:
    """How far an edge of the gate is from its moment where the computer keeps the time."""
    late_ms = []
    for _ in range(N_EDGES):
        at_ns = clock.now_ns() + round(EDGE_MS * NS_PER_MS)
        clock.wait_until(at_ns)
        late_ms.append((clock.now_ns() - at_ns) / NS_PER_MS)
    measured = float(np.quantile(late_ms, 0.99)) + gate_ms
    advice = "use a sorter that keeps time itself ([sorter], docs/serial_sorter.md)"
    return [
        Finding(
            "gate's edge (p99)", measured, config.limits.pulse_tolerance_ms, "ms", False,
            f"pulses will be refused as late: {advice}, or raise limits.pulse_tolerance_ms", usable=1.0,
        ),
        Finding(
            "edge to window", measured, WINDOW_SHARE * settings.pulse.window_ms, "ms", False,
            f"pulses will miss their cells: {advice}, or sort with a longer sort.pulse.window_ms", usable=1.0,
        ),
    ]  # fmt: skip
